"""Who comes together goes in together."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from ws_gateway.logic.cohorts import Cohorts


class Door:
    """Newcomers, each of whom stays inside until ``out`` says so."""

    def __init__(self, most: int = 100) -> None:
        self.cohorts = Cohorts(most)
        self.inside: list[str] = []
        self._out: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def comes(self, *names: str) -> None:
        for name in names:
            self._out[name] = asyncio.Event()
            self.tasks[name] = asyncio.create_task(self._pass(name))
        await self.settle()

    async def out(self, *names: str) -> None:
        for name in names:
            self._out[name].set()
        await self.settle()

    async def cancel(self, name: str) -> None:
        self.tasks[name].cancel()
        with suppress(asyncio.CancelledError):
            await self.tasks[name]
        await self.settle()

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def _pass(self, name: str) -> None:
        async with self.cohorts:
            self.inside.append(name)
            try:
                await self._out[name].wait()
            finally:
                self.inside.remove(name)


async def test_who_comes_alone_goes_in_at_once() -> None:
    door = Door()
    await door.comes("ann")
    assert door.inside == ["ann"]
    await door.out("ann")
    await door.comes("bob")
    assert door.inside == ["bob"]
    await door.out("bob")


async def test_those_who_come_meanwhile_go_in_together_when_the_first_are_through() -> None:
    door = Door()
    await door.comes("ann", "bob", "cid")
    assert door.inside == ["ann"]
    await door.out("ann")
    assert door.inside == ["bob", "cid"]
    await door.comes("dan")
    await door.out("bob")
    assert door.inside == ["cid"]
    await door.out("cid")
    assert door.inside == ["dan"]
    await door.out("dan")


async def test_so_many_go_in_at_once_the_others_next_and_in_order() -> None:
    door = Door(most=2)
    await door.comes("ann", "bob", "cid", "dan")
    await door.out("ann")
    assert door.inside == ["bob", "cid"]
    await door.out("bob", "cid")
    assert door.inside == ["dan"]
    await door.out("dan")


async def test_one_that_fails_or_gives_up_keeps_nobody_out() -> None:
    door = Door()
    await door.comes("ann", "bob", "cid")
    await door.cancel("bob")
    await door.cancel("ann")
    assert door.inside == ["cid"]
    await door.out("cid")


async def test_one_that_gives_up_as_its_turn_comes_keeps_nobody_out() -> None:
    door = Door()
    await door.comes("ann", "bob")
    door.tasks["ann"].cancel()
    await asyncio.sleep(0)
    door.tasks["bob"].cancel()
    await door.settle()
    await door.comes("cid")
    assert door.inside == ["cid"]
    await door.out("cid")
