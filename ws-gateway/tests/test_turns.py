"""Turns of those who can wait."""

from __future__ import annotations

import asyncio

from ws_gateway.logic.turns import Turns


async def test_who_can_wait_goes_on_one_by_one_and_none_is_forgotten() -> None:
    turns, gone = Turns(), list[int]()

    async def go(number: int) -> None:
        await turns.take()
        gone.append(number)

    tasks = [asyncio.create_task(go(number)) for number in range(5)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    seen = list[int]()
    while len(gone) < 4:
        await asyncio.sleep(0)
        seen.append(len(gone))
    assert gone == [0, 2, 3, 4]
    # Others had their turns in between.
    assert seen.count(1) >= 1
    await go(9)
    assert gone[-1] == 9
