"""A group all of whose members are online, beside one with as many online and many more who are away:
how many copies a second arrive, how long until the last one has a message, and what memory it takes.
The bigger group is made by invitations; then many small ones talk at once, and then all by twos."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import secrets
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from time import perf_counter as clock
from typing import Any

from im.user.v1 import user_pb2_grpc
from im.user.v1.user_pb2 import CreateProfileRequest
from im_bench import machine
from im_bench.acks import ack_frame, acknowledging, add_acks
from im_bench.http import Client, call
from im_bench.options import add_seconds, whole
from im_bench.people import Person, register
from im_bench.report import Failed, Row, latency, percentiles
from im_bench.rpc import channel_to
from im_bench.websocket import Socket, text_frame
from im_bench.websocket import connect as open_socket
from im_common.runtime.chunks import chunks
from im_local.testing import Ready

# Members of one invitation, and profiles that are made at once.
INVITED = 1000
AT_ONCE = 8
WARM_UP_S = 2.0
LONE = 100
STANDSTILL_S = 30.0
# Making, inviting and befriending one who is away, at worst.
SLOWEST_MEMBER_S = 0.02
# Of people who are away: no account has such a number.
_AWAY = 10**15
_PROCESSES = ("chat-mq", "ws-gateway", "group", "chat")

# The field of a `chat` frame, and whose number it has.
Target = tuple[bytes, int]


def add_options(parser: argparse.ArgumentParser) -> None:
    add_seconds(parser)
    parser.add_argument("--online", type=whole(2), default=500, help="members who are connected")
    parser.add_argument("--members", type=whole(), default=10_000, help="of the bigger group")
    parser.add_argument("--in-flight", type=whole(), default=16, help="most unanswered messages")
    parser.add_argument("--groups", type=whole(0), default=1_000, help="small ones, at the end")
    parser.add_argument("--size", type=whole(2), default=50, help="of the small ones")
    parser.add_argument("--seed", type=int, default=1, help="of who is in the small ones")
    add_acks(parser)


def longest_s(options: argparse.Namespace) -> float:
    made_s = options.online + SLOWEST_MEMBER_S * options.members + options.groups
    return float(made_s + 6 * options.seconds + 6 * STANDSTILL_S)


async def run(options: argparse.Namespace, ready: Ready) -> list[Row]:
    people = await register(ready.api, options.online)
    async with (
        _Crowd.connected(ready, people) as crowd,
        acknowledging(options.acks, [member.acknowledge for member in crowd.members]),
    ):
        group_id = await _made(ready, people[0], [one.user_id for one in people[1:]])
        rows, small = await _talk(options, ready, crowd, group_id, f"group of {len(people)}")
        if options.members > len(people):
            before = machine.usage(ready.pids)
            group_id, made = await _make_big(options, ready, people)
            rows.append(made)
            more, big = await _talk(options, ready, crowd, group_id, f"of {options.members}")
            ratio = big / small
            rows += [*more, ("last of all has it", f"{ratio:.2f} times that of the smaller one")]
            rows += _growth(before, machine.usage(ready.pids))
        if options.groups:
            rows += await _mix(options, ready, crowd)
    return rows


async def _made(ready: Ready, owner: Person, user_ids: Sequence[int]) -> int:
    """A group of the owner and those who are invited."""
    client = await Client.connect(ready.api)
    group_id = await _create(client, owner)
    path = f"/v1/groups/{group_id}/members"
    for some in chunks(user_ids, INVITED):
        body = {"user_ids": list(some)}
        await call(client, "POST", path, token=owner.token, body=body)
    client.close()
    return group_id


async def _create(client: Client, owner: Person, members: Sequence[int] = ()) -> int:
    body = {"name": "bench", "member_ids": list(members)}
    return int((await call(client, "POST", "/v1/groups", token=owner.token, body=body))["group_id"])


async def _make_big(
    options: argparse.Namespace, ready: Ready, people: Sequence[Person]
) -> tuple[int, Row]:
    away = await _profiles(ready, options.members - len(people))
    begin = clock()
    online = [one.user_id for one in people[1:]]
    group_id = await _made(ready, people[0], online + away)
    took = clock() - begin
    said = f"a group of {options.members} by invitations of {INVITED}: {took:.1f} s"
    return group_id, ("made", said)


async def _profiles(ready: Ready, number: int) -> list[int]:
    """So many users who never log in: profiles, by user-service itself."""
    first = _AWAY + secrets.randbits(40) * 10**6 % 10**15
    todo, name = iter(range(first, first + number)), secrets.token_hex(4)

    async def work(users: user_pb2_grpc.UserServiceAsyncStub) -> None:
        for user_id in todo:
            made = CreateProfileRequest(user_id=user_id, username=f"a_{name}_{user_id - first}")
            await users.CreateProfile(made)

    async with channel_to(ready, "user") as channel:
        users = user_pb2_grpc.UserServiceStub(channel)
        await asyncio.gather(*(work(users) for _ in range(AT_ONCE)))
    return list(range(first, first + number))


class _Member:
    """A connection, and what it got of each group: each message once, in order."""

    def __init__(self, person: Person, count: Callable[[int], None]) -> None:
        self.person = person
        self.failure = ""
        self.on_answer: Callable[[], None] = lambda: None
        self._count = count
        # By the group's conversation.
        self._last: dict[bytes, int] = {}
        self._unacknowledged: dict[bytes, int] = {}

    async def open(self, url: str) -> None:
        self.socket: Socket = await open_socket(url, self.person.token, self.on_frame)

    def say(self, target: Target, number: int) -> None:
        head = b'{"type":"chat","%s":%d,"client_msg_id":"%s-%d","content":"%064d"}'
        name = self.person.username.encode()
        self.socket.write(text_frame(head % (*target, name, number, number)))

    def acknowledge(self) -> None:
        """It says what it has got since the last time."""
        for on, seq in self._unacknowledged.items():
            self.socket.write(ack_frame(on, seq))
        self._unacknowledged.clear()

    def on_frame(self, frame: bytes) -> None:
        if frame.startswith(b'{"type":"message"'):
            at = frame.index(b'"conversation_id":"') + 19
            end = frame.index(b'"', at)
            seq_at = frame.index(b'"seq":', end) + 6
            seq = int(frame[seq_at : frame.index(b",", seq_at)])
            on = frame[at:end]
            if seq <= self._last.get(on, 0):
                self.failure = f"{seq} after {self._last[on]}: {frame.decode()}"
            self._last[on] = self._unacknowledged[on] = seq
            if b'"content_type":"text"' in frame:
                content_at = frame.index(b'"content":"', seq_at) + 11
                self._count(int(frame[content_at : content_at + 64]))
        elif frame.startswith(b'{"type":"sent"'):
            self.on_answer()
        elif frame.startswith((b'{"type":"error"', b'{"type":"kick"')):
            self.failure = frame.decode()


class _Crowd:
    """Members who are online. A message goes to so many others; when all have it is known."""

    def __init__(self, people: Sequence[Person]) -> None:
        self.members = [_Member(person, self._arrived) for person in people]
        self.delivered = 0
        self._numbers = itertools.count(1)
        # Number -> how many have it not yet, and since when it is under way.
        self._missing: dict[int, tuple[int, float]] = {}
        self.took: array[float] = array("d")

    @classmethod
    @asynccontextmanager
    async def connected(cls, ready: Ready, people: Sequence[Person]) -> Any:
        crowd = cls(people)
        for member in crowd.members:
            await member.open(ready.ws)
        yield crowd
        for member in crowd.members:
            member.socket.close()

    def send(self, sender: _Member, target: Target, others: int) -> None:
        number = next(self._numbers)
        self._missing[number] = others, clock()
        sender.say(target, number)

    def _arrived(self, number: int) -> None:
        self.delivered += 1
        left, since = self._missing[number]
        if left == 1:
            del self._missing[number]
            self.took.append(clock() - since)
        else:
            self._missing[number] = left - 1, since

    async def settle(self) -> None:
        """Until all have everything. Raises Failed."""
        seen, since = -1, clock()
        while self._missing:
            self.check()
            if self.delivered != seen:
                seen, since = self.delivered, clock()
            if clock() - since > STANDSTILL_S:
                raise Failed(f"{len(self._missing)} messages do not reach all")
            await asyncio.sleep(0.001)

    def check(self) -> None:
        for member in self.members:
            if member.failure or member.socket.ended:
                raise Failed(f"{member.person.username}: {member.failure or member.socket.ended}")


async def _talk(
    options: argparse.Namespace, ready: Ready, crowd: _Crowd, group_id: int, name: str
) -> tuple[list[Row], float]:
    """What to say of a group, and the median time (s) until the last one has a lone message."""
    sender, others = crowd.members[0], len(crowd.members) - 1
    target = b"group_id", group_id
    crowd.took = array("d")
    for _ in range(LONE):
        crowd.send(sender, target, others)
        await crowd.settle()
    lone = crowd.took
    rate, rows = await _closed_loop(
        options, ready, crowd, lambda: crowd.send(sender, target, others), [sender]
    )
    said = f"{rate * others:.0f} copies a second, {options.in_flight} messages in flight"
    return [
        (name, f"{len(crowd.members)} online: {said}"),
        ("last of all has it", f"{latency(lone)}, one message at a time"),
        *rows,
    ], percentiles(lone, 0.5)[0]


async def _closed_loop(
    options: argparse.Namespace,
    ready: Ready,
    crowd: _Crowd,
    send: Callable[[], None],
    senders: Sequence[_Member],
) -> tuple[float, list[Row]]:
    """Each answer lets the next one go. Messages a second that reached all, and what that cost."""
    end = clock() + WARM_UP_S + options.seconds

    def answered() -> None:
        if clock() < end:
            send()

    for member in senders:
        member.on_answer = answered
    for _ in range(options.in_flight):
        send()
    await asyncio.sleep(WARM_UP_S)
    before, crowd.took, begin = machine.usage(ready.pids), array("d"), clock()
    await asyncio.sleep(options.seconds)
    done, seconds = len(crowd.took), clock() - begin
    after = machine.usage(ready.pids)
    await crowd.settle()
    for member in senders:
        member.on_answer = lambda: None
    rows = machine.compare(before, after, max(1, done))
    return done / seconds, rows


def _growth(before: dict[str, machine.Usage], after: dict[str, machine.Usage]) -> Iterator[Row]:
    for name in _PROCESSES:
        if name in before and name in after:
            grown = (after[name].rss - before[name].rss) / 2**20
            yield f"  {name}", f"{grown:+.1f} MiB since before the bigger group"


async def _mix(options: argparse.Namespace, ready: Ready, crowd: _Crowd) -> list[Row]:
    """Many small groups, each of which somebody writes to in turn; then everybody to their neighbour,
    with as many in flight."""
    others = min(options.size, len(crowd.members)) - 1
    groups = itertools.cycle(await _small_groups(options, ready, crowd, others))
    neighbours = itertools.cycle(zip(crowd.members, crowd.members[1:], strict=False))

    def to_group() -> None:
        sender, group_id = next(groups)
        crowd.send(sender, (b"group_id", group_id), others)

    def to_neighbour() -> None:
        sender, receiver = next(neighbours)
        crowd.send(sender, (b"to", receiver.person.user_id), 1)

    rate, rows = await _closed_loop(options, ready, crowd, to_group, crowd.members)
    singles, more = await _closed_loop(options, ready, crowd, to_neighbour, crowd.members)
    said = f"{rate:.0f} messages, {rate * others:.0f} copies a second"
    return [
        (f"{options.groups} groups of {others + 1}", f"{said}, {options.in_flight} in flight"),
        *rows,
        ("one to one", f"{singles:.0f} messages a second, {options.in_flight} in flight"),
        *more,
    ]


async def _small_groups(
    options: argparse.Namespace, ready: Ready, crowd: _Crowd, others: int
) -> list[tuple[_Member, int]]:
    """Each with the one of it who writes."""
    dice = random.Random(options.seed)  # noqa: S311
    groups: list[tuple[_Member, int]] = []
    client = await Client.connect(ready.api)
    for _ in range(options.groups):
        sender, *invited = dice.sample(crowd.members, others + 1)
        ids = [member.person.user_id for member in invited]
        groups.append((sender, await _create(client, sender.person, ids)))
    client.close()
    return groups
