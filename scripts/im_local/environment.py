"""Which IM_ variable reaches which process."""

import difflib
from collections.abc import Mapping

from im_local.errors import LocalError

PREFIX = "IM_"

# What the launcher offers but a caller may choose otherwise.
_CALLERS_CHOICE = {"IM_KEYS__FILE", "IM_INTERNAL_SECRET_FILE", "IM_GRACE", "IM_RATES__FACTOR"}
_SECRET = "IM_INTERNAL_SECRET"

# process -> variable -> value
Variables = Mapping[str, Mapping[str, str]]


def callers_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """The settings for services among the caller's variables."""
    return {name: value for name, value in environ.items() if name.upper().startswith(PREFIX)}


def share_out(
    offers: Variables, caller: Mapping[str, str], known: Mapping[str, set[str]]
) -> dict[str, dict[str, str]]:
    """Give each process the offers and the caller's variables that it knows.

    Raises LocalError for a caller's variable that no process knows, or that is the launcher's.
    """
    _refuse_unknown(caller, set().union(*known.values()))
    _refuse_ours(caller, set().union(*offers.values()) - _CALLERS_CHOICE)
    # A service takes the secret or its file, not both.
    dropped = {f"{_SECRET}_FILE"} if _SECRET in caller else set()
    return {
        process: {
            name: value
            for name, value in (*ours.items(), *caller.items())
            if name.upper() in known[process] and name not in dropped
        }
        for process, ours in offers.items()
    }


def _refuse_unknown(caller: Mapping[str, str], known: set[str]) -> None:
    for name in sorted(caller):
        if name.upper() in known:
            continue
        close = difflib.get_close_matches(name.upper(), known, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise LocalError(f"No service knows the variable {name}{hint}")


def _refuse_ours(caller: Mapping[str, str], ours: set[str]) -> None:
    for name in sorted(caller):
        if name.upper() in ours:
            raise LocalError(
                f"{name} is set, but scripts/up chooses it itself (see its options --data, "
                "--port-offset and --infra). Unset it."
            )
