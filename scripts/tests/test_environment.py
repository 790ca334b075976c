"""Which variable reaches which process."""

import pytest

from im_local.environment import callers_variables, share_out
from im_local.errors import LocalError

OFFERS = {
    "user": {"IM_LISTEN_ON": "127.0.0.1:1", "IM_INTERNAL_SECRET_FILE": "/secret", "IM_X": "x"},
    "edge": {"IM_INTERNAL_SECRET_FILE": "/secret"},
}
KNOWN = {
    "user": {"IM_LISTEN_ON", "IM_INTERNAL_SECRET", "IM_INTERNAL_SECRET_FILE", "IM_LOG__LEVEL"},
    "edge": {"IM_INTERNAL_SECRET", "IM_INTERNAL_SECRET_FILE", "IM_RATE_LIMITS"},
}


def test_only_im_variables_of_the_caller_count() -> None:
    assert callers_variables({"PATH": "/bin", "IM_A": "1", "im_b": "2"}) == {
        "IM_A": "1",
        "im_b": "2",
    }


def test_each_process_gets_what_it_knows() -> None:
    """Offers that a process does not know are left out, and so are the caller's."""
    envs = share_out(OFFERS, {"IM_RATE_LIMITS": "off"}, KNOWN)
    assert envs == {
        "user": {"IM_LISTEN_ON": "127.0.0.1:1", "IM_INTERNAL_SECRET_FILE": "/secret"},
        "edge": {"IM_INTERNAL_SECRET_FILE": "/secret", "IM_RATE_LIMITS": "off"},
    }


def test_the_callers_secret_replaces_ours() -> None:
    """A service refuses both a secret and a file with one."""
    envs = share_out(OFFERS, {"IM_INTERNAL_SECRET": "s"}, KNOWN)
    assert envs["edge"] == {"IM_INTERNAL_SECRET": "s"}
    envs = share_out(OFFERS, {"IM_INTERNAL_SECRET_FILE": "/own"}, KNOWN)
    assert envs["edge"] == {"IM_INTERNAL_SECRET_FILE": "/own"}


def test_a_variable_that_no_service_knows_is_refused() -> None:
    with pytest.raises(LocalError, match="IM_RATE_LIMIT; did you mean IM_RATE_LIMITS"):
        share_out(OFFERS, {"IM_RATE_LIMIT": "off"}, KNOWN)


def test_an_address_that_the_launcher_chooses_is_refused() -> None:
    """Rather than have the caller's value without effect."""
    with pytest.raises(LocalError, match="IM_LISTEN_ON is set"):
        share_out(OFFERS, {"IM_LISTEN_ON": "127.0.0.1:2"}, KNOWN)
