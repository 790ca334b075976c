"""Whom wrong guesses are counted for."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from auth_service.config import GuessingConf
from auth_service.model.guesses import CountedGuesses
from im_common.errors import AppError, Code
from im_common.testing.fixtures import redis, valkey

__all__ = ["redis", "valkey"]


@pytest.mark.parametrize(
    ("guesser", "others", "same"),
    [
        ("::ffff:192.0.2.1", ["::ffff:192.0.2.2", "192.0.2.3"], ["192.0.2.1", "::ffff:192.0.2.1"]),
        ("2001:db8::1", ["2001:db8:0:1::1", "192.0.2.1"], ["2001:db8::2"]),
    ],
)
async def test_an_address_waits_alone(
    redis: Redis, guesser: str, others: list[str], same: list[str]
) -> None:
    """IPv4 in IPv6's form is no network of IPv6, which would be everybody."""
    guesses = CountedGuesses(redis, GuessingConf())
    for number in range(GuessingConf().address_failures):
        await guesses.failed(f"name-{number}", guesser)
    for address in others:
        await guesses.before("somebody", address)
    for address in same:
        with pytest.raises(AppError) as caught:
            await guesses.before("somebody", address)
        assert caught.value.code is Code.ACCOUNT_LOCKED
