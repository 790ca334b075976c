"""Three times as much as the system can do, by clients that behave, then half of it: everything is
answered in its time again, and nothing lost, doubled or reordered, whatever dies meanwhile."""

from __future__ import annotations

import asyncio

import pytest
from im_infra import kill_and_start

from im_bench.crowd import Crowd
from im_bench.overload import AFTER_S, RECOVER_S, capacity
from im_bench.people import register
from im_local.testing import System

PAIRS = 20
MEASURE_S = 3.0
OVERLOAD_S = 15.0
KILLED_AFTER_S = 5.0
# The contract's.
ANSWER_WITHIN_S = 10.0


@pytest.mark.parametrize("victim", [None, "chat-mq", "ws-gateway"])
async def test_a_system_that_was_offered_too_much_comes_back_by_itself(
    system: System, victim: str | None
) -> None:
    people = await register(system.ready.api, 4 * PAIRS)
    rate = await capacity(system.ready.ws, people[: 2 * PAIRS], MEASURE_S)
    async with Crowd(system.ready.ws, people[2 * PAIRS :]) as crowd:
        overload = asyncio.create_task(crowd.offer(3 * rate, OVERLOAD_S))
        if victim is not None:
            await asyncio.sleep(KILLED_AFTER_S)
            await kill_and_start(system, victim)
        during = await overload
        recovering = await crowd.offer(rate / 2, RECOVER_S)
        after = await crowd.offer(rate / 2, AFTER_S)
        settled_s = await crowd.settle()
        await crowd.check(system.ready.api)
    print(
        f"\n{victim or 'nothing'} killed: {rate:.0f}/s can be done;"
        f" {during.sent / OVERLOAD_S:.0f}/s sent and {during.refused / OVERLOAD_S:.0f}/s refused;"
        f" slowest answer {during.slowest_s:.1f}, {recovering.slowest_s:.1f},"
        f" {after.slowest_s:.1f} s; without one {during.silent}, {recovering.silent},"
        f" {after.silent}; all sent {settled_s:.1f} s after the end"
    )
    assert during.refused > 0, "there was no overload"
    assert during.sent > 0
    assert (after.silent, after.slowest_s < ANSWER_WITHIN_S) == (0, True), after
