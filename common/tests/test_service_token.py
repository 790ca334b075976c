"""Service tokens: what a service says of itself is believed only with the shared secret."""

import json
import time
from typing import Any

import jwt
import pytest

from im_common.errors import AppError, Code
from im_common.rpc.service_token import ServiceTokens

SECRET = "0123456789abcdef0123456789abcdef"
OTHER_SECRET = "fedcba9876543210fedcba9876543210"


class Clock:
    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    return {"iss": "chat", "aud": "im-internal", "iat": now, "exp": now + 60} | changes


def refused(token: str, tokens: ServiceTokens | None = None) -> AppError:
    with pytest.raises(AppError) as caught:
        (tokens or ServiceTokens(SECRET, "user")).verify(token)
    assert caught.value.code is Code.UNAUTHENTICATED
    return caught.value


def test_a_service_is_known_by_its_token() -> None:
    assert ServiceTokens(SECRET, "user").verify(ServiceTokens(SECRET, "chat").current()) == "chat"


def test_a_token_says_who_for_whom_and_for_how_long() -> None:
    token = ServiceTokens(SECRET, "chat").current()
    said = jwt.decode(token, SECRET, algorithms=["HS256"], audience="im-internal")
    assert said["iss"] == "chat"
    assert said["exp"] - said["iat"] == 60


def test_a_token_is_used_again_while_it_has_30_seconds_left(clock: Clock) -> None:
    tokens = ServiceTokens(SECRET, "chat", clock=clock)
    first = tokens.current()
    clock.now += 28
    assert tokens.current() == first
    clock.now += 3
    assert tokens.current() != first


def test_a_clock_that_is_set_back_gets_a_token_of_its_time(clock: Clock) -> None:
    tokens = ServiceTokens(SECRET, "chat", clock=clock)
    tokens.current()
    clock.now -= 3600
    said = jwt.decode(tokens.current(), options={"verify_signature": False})
    assert said["iat"] <= clock.now


def test_a_remembered_token_ends_too(clock: Clock) -> None:
    tokens = ServiceTokens(SECRET, "user", clock=clock)
    token = ServiceTokens(SECRET, "chat").current()
    assert tokens.verify(token) == "chat"
    clock.now += 55
    assert tokens.verify(token) == "chat"
    clock.now += 10
    refused(token, tokens)


def test_clocks_may_differ_by_some_seconds() -> None:
    now = int(time.time())
    tokens = ServiceTokens(SECRET, "user")
    assert tokens.verify(jwt.encode(claims(iat=now + 3, exp=now + 63), SECRET)) == "chat"
    # The maker renews a token long before: nobody needs it after its end.
    refused(jwt.encode(claims(iat=now - 61, exp=now - 1), SECRET), tokens)


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": int(time.time()) - 3600},
        {"iat": int(time.time()) + 3600},
        {"aud": "im"},
        {"iss": ""},
        {"iss": 7},
    ],
    ids=["expired", "from the future", "for others", "nameless", "numbered"],
)
def test_wrong_claims_are_refused(changes: dict[str, Any]) -> None:
    # Signed as bytes, for jwt.encode makes no token with a number as issuer.
    token = jwt.api_jws.encode(json.dumps(claims(**changes)).encode(), SECRET, "HS256")
    refused(token)


@pytest.mark.parametrize("missing", ["iss", "aud", "iat", "exp"])
def test_every_claim_is_needed(missing: str) -> None:
    payload = claims()
    del payload[missing]
    refused(jwt.encode(payload, SECRET))


def test_another_secret_is_refused() -> None:
    refused(ServiceTokens(OTHER_SECRET, "chat").current())


@pytest.mark.parametrize("algorithm", ["none", "HS384", "HS512"])
def test_only_one_algorithm_is_taken(algorithm: str) -> None:
    key = "" if algorithm == "none" else SECRET * 2
    refused(jwt.encode(claims(), key, algorithm=algorithm), ServiceTokens(SECRET * 2, "user"))


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "ä.ö.ü", "e30.e30.", "\udcff"])
def test_garbage_is_refused(token: str) -> None:
    refused(token)


def test_a_refusal_does_not_say_why() -> None:
    assert refused("x").message == refused(ServiceTokens(OTHER_SECRET, "chat").current()).message


@pytest.mark.parametrize("secret", ["", "short", "x" * 31])
def test_a_short_secret_is_an_error(secret: str) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        ServiceTokens(secret, "chat")


def test_the_memory_of_tokens_is_bounded() -> None:
    tokens = ServiceTokens(SECRET, "user")
    for number in range(1100):
        assert tokens.verify(jwt.encode(claims(iss=f"s{number}"), SECRET)) == f"s{number}"
    assert len(tokens._verified) <= 1024
