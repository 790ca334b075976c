"""Leases for pairs that talk a lot, in front of a friend-service that answers what a test tells it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from chat_service.mq import blocks as module
from chat_service.mq.blocks import Blocks, Pair
from im.friend.v1.friend_pb2 import BatchIsBlockedRequest, BatchIsBlockedResponse
from im_common.errors import AppError, Code, unavailable
from im_common.testing.waiting import eventually

BUSY_BATCHES = 3
BUSY, BLOCKED, QUIET = (1, 2), (3, 4), (5, 6)


@dataclass
class Friends:
    """Answers for friend-service."""

    lease_ms: int = 10_000
    blocked: set[Pair] = field(default_factory=set)
    friends: set[Pair] = field(default_factory=set)
    away: bool = False
    answers_after_s: float = 0.0
    asked: list[list[Pair]] = field(default_factory=list)
    # When the last question came that was answered.
    answered_since: float = 0.0

    async def BatchIsBlocked(self, request: BatchIsBlockedRequest) -> BatchIsBlockedResponse:
        asked_at = time.monotonic()
        pairs = [(pair.user_id, pair.target_id) for pair in request.pairs]
        self.asked.append(pairs)
        if self.away:
            raise unavailable("away")
        if self.answers_after_s:
            await asyncio.sleep(self.answers_after_s)
        self.answered_since = asked_at
        blocked = [pair in self.blocked for pair in pairs]
        friends = [pair in self.friends for pair in pairs] if request.with_friends else ()
        return BatchIsBlockedResponse(blocked=blocked, friends=friends, lease_ms=self.lease_ms)


@pytest.fixture
def friends(monkeypatch: pytest.MonkeyPatch) -> Friends:
    monkeypatch.setattr(module, "BUSY_BATCHES", BUSY_BATCHES)
    monkeypatch.setattr(module, "CHOOSE_EVERY_S", 0.3)
    monkeypatch.setattr(module, "ASK_EVERY_S", 0.02)
    return Friends()


@asynccontextmanager
async def _leasing(friends: Friends, **more: bool) -> AsyncIterator[Blocks]:
    stub: Any = friends
    blocks = Blocks(stub, **more)
    keeper = asyncio.create_task(blocks.keep_leases())
    yield blocks
    assert not keeper.done()
    keeper.cancel()
    with suppress(asyncio.CancelledError):
        await keeper


async def _talk(blocks: Blocks, *pairs: Pair, batches: int = BUSY_BATCHES) -> None:
    for _ in range(batches):
        await blocks.among(pairs)


async def _costs_a_call(friends: Friends, blocks: Blocks, pair: Pair) -> bool:
    """Whether a batch of this pair asks friend-service; what asks in the background has no time
    to in between."""
    before = len(friends.asked)
    await blocks.among([pair])
    return len(friends.asked) > before


async def _refusal(blocks: Blocks, pair: Pair) -> AppError | None:
    try:
        await blocks.among([pair])
    except AppError as error:
        return error
    return None


async def test_only_a_pair_in_many_batches_gets_a_lease(friends: Friends) -> None:
    async with _leasing(friends) as blocks:
        await _talk(blocks, BUSY)
        await _talk(blocks, QUIET, batches=BUSY_BATCHES - 1)
        # Before there are leases, every batch asked.
        assert len(friends.asked) == 2 * BUSY_BATCHES - 1
        await eventually(lambda: friends.asked[2 * BUSY_BATCHES - 1 :])
        assert friends.asked[-1] == [BUSY]
        assert not await _costs_a_call(friends, blocks, BUSY)
        assert await _costs_a_call(friends, blocks, QUIET)
        assert await _costs_a_call(friends, blocks, QUIET)
        # Only who has no lease is asked for.
        await blocks.among([BUSY, QUIET])
        assert friends.asked[-1] == [QUIET]


async def test_a_lease_that_has_ended_comes_again_with_a_batch(
    friends: Friends, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What asks in the background is late.
    monkeypatch.setattr(module, "ASK_EVERY_S", 60.0)
    monkeypatch.setattr(module, "CHOOSE_EVERY_S", 0.05)
    friends.lease_ms = 1
    async with _leasing(friends) as blocks:
        await _talk(blocks, BUSY)
        # The one question beside the batches.
        await eventually(lambda: len(friends.asked) > BUSY_BATCHES)
        friends.lease_ms = 60_000

        assert await _costs_a_call(friends, blocks, BUSY)
        assert not await _costs_a_call(friends, blocks, BUSY)
        friends.blocked.add(BLOCKED)
        assert await _costs_a_call(friends, blocks, BLOCKED)
        assert await _costs_a_call(friends, blocks, BLOCKED)


async def test_a_blocked_pair_has_no_lease(friends: Friends) -> None:
    friends.blocked = {BLOCKED}
    async with _leasing(friends) as blocks:
        await _talk(blocks, BUSY, BLOCKED)
        await eventually(lambda: friends.asked[BUSY_BATCHES:])
        assert set(friends.asked[-1]) == {BUSY, BLOCKED}
        assert not await _costs_a_call(friends, blocks, BUSY)
        assert await blocks.among([BUSY, BLOCKED]) == {BLOCKED: Code.BLOCKED}
        assert friends.asked[-1] == [BLOCKED]


async def test_where_only_friends_may_write_strangers_are_barred(friends: Friends) -> None:
    friends.blocked, friends.friends = {BLOCKED}, {BUSY}
    async with _leasing(friends, require_friendship=True) as blocks:
        pairs = [BUSY, BLOCKED, QUIET]
        barred = {BLOCKED: Code.BLOCKED, QUIET: Code.NOT_FRIENDS}
        questions = len(friends.asked)
        assert await blocks.among(pairs) == barred
        assert len(friends.asked) == questions + 1
        await _talk(blocks, *pairs)
        await eventually(lambda: len(friends.asked) > questions + 1 + BUSY_BATCHES)
        # Only friends have a lease, and it ends with the friendship.
        assert await blocks.among(pairs) == barred
        assert set(friends.asked[-1]) == {BLOCKED, QUIET}
        friends.friends = set()
        questions = len(friends.asked)
        await eventually(lambda: len(friends.asked) > questions)
        assert await blocks.among([BUSY]) == {BUSY: Code.NOT_FRIENDS}


async def test_a_block_ends_the_lease_with_the_next_question(friends: Friends) -> None:
    async with _leasing(friends) as blocks:
        await _talk(blocks, BUSY)
        await eventually(lambda: friends.asked[BUSY_BATCHES:])
        friends.blocked = {BUSY}
        assert await blocks.among([BUSY]) == {}
        questions = len(friends.asked)
        await eventually(lambda: len(friends.asked) > questions)
        assert await blocks.among([BUSY]) == {BUSY: Code.BLOCKED}


async def test_a_lease_is_not_relied_on_longer_than_it_lasts_from_the_question(
    friends: Friends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUSY_BATCHES", 1)
    friends.lease_ms = 1_500
    friends.answers_after_s = 0.1
    async with _leasing(friends) as blocks:

        async def leased() -> bool:
            return not await _costs_a_call(friends, blocks, BUSY)

        await eventually(leased)
        friends.away = True
        relied_at = time.monotonic()
        assert await blocks.among([BUSY]) == {}
        error = None
        while error is None:
            assert relied_at < friends.answered_since + 5
            now = time.monotonic()
            error = await _refusal(blocks, BUSY)
            relied_at = relied_at if error else now
            await asyncio.sleep(0.005)
        assert error.code is Code.UNAVAILABLE
        assert relied_at - friends.answered_since < friends.lease_ms / 1000
        # Leases come back with friend-service.
        friends.away = False
        await eventually(leased)


async def test_a_friend_service_that_knows_no_leases_is_asked_with_every_batch(
    friends: Friends,
) -> None:
    friends.lease_ms = 0
    async with _leasing(friends) as blocks:
        await _talk(blocks, BUSY)
        for _ in range(2):
            questions = len(friends.asked)
            await eventually(lambda before=questions: len(friends.asked) > before)
            assert await _costs_a_call(friends, blocks, BUSY)
