"""A user with many friends: their list in pages, how soon those who are online see the user come and
go, and who has blocked whom for a batch of messages."""

from __future__ import annotations

import argparse
import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter as clock
from typing import NamedTuple

import msgspec

from im.friend.v1.friend_pb2 import BatchIsBlockedRequest, IsBlockedRequest
from im.friend.v1.friend_pb2_grpc import FriendServiceStub
from im_bench import machine
from im_bench.http import Client, call, fetch
from im_bench.options import add_seconds, whole
from im_bench.people import Person, befriend, register
from im_bench.report import Failed, Row, latency
from im_bench.rpc import channel_to
from im_bench.websocket import connect as open_socket
from im_local.testing import Ready

PAGE = 100
AT_ONCE = 4
# Making and befriending one, at worst.
SLOWEST_FRIEND_S = 0.5
SLOWEST_NEWS_S = 30.0


def add_options(parser: argparse.ArgumentParser) -> None:
    add_seconds(parser)
    parser.add_argument("--friends", type=whole(PAGE + 1), default=5_000, help="of the one user")
    parser.add_argument("--lists", type=whole(), default=50, help="how often the list is shown")
    parser.add_argument("--online", type=whole(), default=500, help="friends who are connected")
    parser.add_argument("--comings", type=whole(), default=5, help="how often the user comes")
    parser.add_argument("--pairs", type=whole(), default=1_000, help="asked for in one call")
    parser.add_argument("--calls", type=whole(), default=4, help="at a time")
    parser.add_argument("--seed", type=int, default=1, help="of the pairs")


def longest_s(options: argparse.Namespace) -> float:
    made_s = options.friends * SLOWEST_FRIEND_S + options.online
    return float(
        made_s + 4 * options.seconds + 10 * options.lists + 2 * SLOWEST_NEWS_S * options.comings
    )


async def run(options: argparse.Namespace, ready: Ready) -> list[Row]:
    begin = clock()
    hub, *others = await register(ready.api, 1 + options.friends)
    registered = clock()
    await _befriend(ready.api, hub, others)
    rows: list[Row] = [
        (
            "made",
            f"{options.friends} friends: {options.friends / (registered - begin):.0f} accounts a "
            f"second, then {options.friends / (clock() - registered):.0f} friendships",
        )
    ]
    rows += await _show(ready, hub, others, options.lists)
    rows += await _come(ready, hub, others[: options.online], options)
    return rows + await _ask(ready, [hub, *others], options)


async def _befriend(api: str, hub: Person, others: Sequence[Person]) -> None:
    """Each asks, and the one accepts."""
    todo = iter(others)

    async def work() -> None:
        client = await Client.connect(api)
        for other in todo:
            await befriend(client, other, hub)
        client.close()

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))


class _Friend(msgspec.Struct):
    user_id: int


class _Page(msgspec.Struct):
    items: list[_Friend]
    next_cursor: str | None


_page_decoder = msgspec.json.Decoder(_Page)


class _Times(NamedTuple):
    """How long pages took."""

    # The first after a change: the list is sorted anew.
    changed: list[float]
    # The first when nothing has changed, and all others.
    again: list[float]
    others: list[float]


async def _show(ready: Ready, hub: Person, others: Sequence[Person], lists: int) -> list[Row]:
    client, times = await Client.connect(ready.api), _Times([], [], [])
    wanted = {other.user_id for other in others}

    async def page(cursor: str) -> tuple[float, _Page]:
        begin = clock()
        path = f"/v1/friends?limit={PAGE}" + (f"&cursor={cursor}" if cursor else "")
        answer = await fetch(client, "GET", path, token=hub.token)
        return clock() - begin, _page_decoder.decode(answer)

    before = machine.usage(ready.pids)
    for number in range(lists):
        path = f"/v1/friends/{others[number % len(others)].user_id}"
        body = {"remark": f"friend {number}"}
        await call(client, "PATCH", path, token=hub.token, body=body)
        times.changed.append((await page(""))[0])
        took, shown = await page("")
        times.again.append(took)
        found = [friend.user_id for friend in shown.items]
        while number == 0 and shown.next_cursor:
            took, shown = await page(shown.next_cursor)
            times.others.append(took)
            found += [friend.user_id for friend in shown.items]
        if number == 0 and (len(found) != len(wanted) or set(found) != wanted):
            raise Failed(f"{len(found)} friends were shown, {len(wanted)} there are")
    after = machine.usage(ready.pids)
    client.close()
    return [
        ("load", f"{lists} lists in pages of {PAGE}, one at a time; the first to its end"),
        ("first page after a change", latency(times.changed)),
        ("first page", latency(times.again)),
        ("other pages", latency(times.others)),
        *machine.compare(before, after, sum(map(len, times))),
        ("checked", f"all {len(wanted)} friends were shown once"),
    ]


class _Frame(msgspec.Struct):
    type: str
    user_id: int = 0
    online: bool = False


_frame_decoder = msgspec.json.Decoder(_Frame)


class _Watchers:
    """Connections that wait for one user to come or go."""

    def __init__(self, user_id: int, number: int) -> None:
        self._user_id = user_id
        self._number = number
        self._online = False
        self._left = 0
        self._all = asyncio.Event()

    def on_frame(self, payload: bytes) -> None:
        frame = _frame_decoder.decode(payload)
        if (frame.type, frame.user_id, frame.online) == ("presence", self._user_id, self._online):
            self._left -= 1
            if self._left == 0:
                self._all.set()

    def expect(self, online: bool) -> Callable[[], Awaitable[float]]:
        """From now on; what it gives waits for the last frame, and says how long that took."""
        begin, self._online, self._left = clock(), online, self._number
        self._all.clear()

        async def wait() -> float:
            async with asyncio.timeout(SLOWEST_NEWS_S):
                await self._all.wait()
            return clock() - begin

        return wait


async def _come(
    ready: Ready, hub: Person, online: Sequence[Person], options: argparse.Namespace
) -> list[Row]:
    watchers = _Watchers(hub.user_id, len(online))
    sockets = [await open_socket(ready.ws, one.token, watchers.on_frame) for one in online]
    came, went = list[float](), list[float]()
    before = machine.usage(ready.pids)
    for _ in range(options.comings):
        seen = watchers.expect(True)
        socket = await open_socket(ready.ws, hub.token, lambda _frame: None)
        came.append(await seen())
        seen = watchers.expect(False)
        socket.close()
        went.append(await seen())
    after = machine.usage(ready.pids)
    for socket in sockets:
        socket.close()
    return [
        ("load", f"{options.comings} times the user comes and goes, {len(online)} watch"),
        ("until the last sees it come", f"{latency(came)}, the handshake included"),
        ("until the last sees it go", f"{latency(went)}, 5 s for a reconnect included"),
        *machine.compare(before, after, 2 * options.comings),
    ]


async def _ask(ready: Ready, people: Sequence[Person], options: argparse.Namespace) -> list[Row]:
    dice = random.Random(options.seed)  # noqa: S311
    ids = [person.user_id for person in people]

    async def one() -> None:
        users, targets = dice.choices(ids, k=options.pairs), dice.choices(ids, k=options.pairs)
        pairs = [
            IsBlockedRequest(user_id=user, target_id=target)
            for user, target in zip(users, targets, strict=True)
        ]
        answer = await friends.BatchIsBlocked(BatchIsBlockedRequest(pairs=pairs))
        if any(answer.blocked) or len(answer.blocked) != options.pairs:
            raise Failed("nobody has blocked anybody, and an answer says otherwise")

    async with channel_to(ready, "friend") as channel:
        friends = FriendServiceStub(channel)
        # Until Redis has the lists of all.
        await _repeat(one, 2.0, 1)
        before = machine.usage(ready.pids)
        alone = await _repeat(one, options.seconds, 1)
        together = await _repeat(one, options.seconds, options.calls)
        after = machine.usage(ready.pids)
    calls = len(alone) + len(together)
    return [
        ("load", f"BatchIsBlocked of {options.pairs} random pairs of {len(ids)} users"),
        ("one call at a time", _rate(alone, options)),
        (f"{options.calls} calls at a time", _rate(together, options)),
        *machine.compare(before, after, calls),
    ]


async def _repeat(one: Callable[[], Awaitable[None]], seconds: float, at_once: int) -> list[float]:
    """How long each took."""
    end, times = clock() + seconds, list[float]()

    async def work() -> None:
        while (begin := clock()) < end:
            await one()
            times.append(clock() - begin)

    await asyncio.gather(*(work() for _ in range(at_once)))
    return times


def _rate(times: Sequence[float], options: argparse.Namespace) -> str:
    return f"{len(times) * options.pairs / options.seconds:.0f} pairs a second, {latency(times)}"
