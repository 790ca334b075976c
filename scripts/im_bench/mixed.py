"""A day's traffic in small: of what people send four fifths go to a friend, 15 % to a group, the rest
is typing; they acknowledge what they read, and come and go, which their friends are told."""

from __future__ import annotations

import argparse
import asyncio
import random
from collections.abc import Sequence
from contextlib import aclosing
from time import perf_counter as clock

from im_bench import machine
from im_bench.acks import acknowledging, add_acks
from im_bench.everyday import Log, User, check, missing, until
from im_bench.http import Client, call
from im_bench.options import add_seconds, whole
from im_bench.people import Person, befriend, register
from im_bench.report import Row, latency
from im_bench.ticks import ticks
from im_common.domain.ids import group_conversation, single_conversation
from im_local.testing import Ready

WARM_UP_S = 2.0
TICK_S = 0.002
TO_FRIENDS, TO_GROUPS = 0.80, 0.15
# Longer than a gateway waits before it says that somebody has gone.
AWAY_S = 6.0
SETTLED_WITHIN_S = 20.0
SLOWEST_S = 0.2

Target = tuple[str, int]


def add_options(parser: argparse.ArgumentParser) -> None:
    add_seconds(parser)
    parser.add_argument("--people", type=whole(3), default=200, help="each with two devices")
    parser.add_argument("--groups", type=whole(), default=20, help="that they are in")
    parser.add_argument("--size", type=whole(2), default=20, help="members of each group")
    parser.add_argument("--rate", type=whole(), default=300, help="frames a second by all together")
    parser.add_argument(
        "--leaving", type=whole(0), default=2, help="who go and come back, a second"
    )
    parser.add_argument("--seed", type=int, default=1, help="of who does what")
    add_acks(parser)


def longest_s(options: argparse.Namespace) -> float:
    made = options.people * 3 + options.groups * (1 + options.size)
    return float(made * SLOWEST_S + options.seconds + AWAY_S + SETTLED_WITHIN_S)


async def run(options: argparse.Namespace, ready: Ready) -> list[Row]:
    dice = random.Random(options.seed)  # noqa: S311
    people = await register(ready.api, options.people)
    log = Log()
    users, targets = await _acquainted(options, ready, people, log, dice)
    urls = ready.ws_gateways
    for number, user in enumerate(users):
        await user.come(urls[number % len(urls)])
    async with acknowledging(options.acks, [user.acknowledge for user in users]):
        try:
            rows = await _measure(options, ready, users, targets, log, dice)
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
        await until(lambda: missing(users, log) == 0, SETTLED_WITHIN_S, "something is missing")
    log.check()
    check(users, log)
    for user in users:
        user.close()
    everything = f"all {len(log.due)}: answered once; each copy came once, in order"
    return [*rows, ("checked", everything)]


async def _acquainted(
    options: argparse.Namespace,
    ready: Ready,
    people: Sequence[Person],
    log: Log,
    dice: random.Random,
) -> tuple[list[User], dict[User, tuple[list[Target], list[Target]]]]:
    """Everybody with two friends and some groups; and whom each may write to."""
    friends: dict[Person, list[Person]] = {person: [] for person in people}
    groups: dict[Person, list[int]] = {person: [] for person in people}
    client = await Client.connect(ready.api)
    for a, b in zip(people, [*people[1:], people[0]], strict=True):
        await befriend(client, a, b)
        friends[a].append(b)
        friends[b].append(a)
    for _ in range(options.groups):
        members = dice.sample(people, min(options.size, len(people)))
        body = {"name": "bench", "member_ids": [member.user_id for member in members[1:]]}
        made = await call(client, "POST", "/v1/groups", token=members[0].token, body=body)
        for member in members:
            groups[member].append(int(made["group_id"]))
    client.close()
    users, targets = [], {}
    for person in people:
        names = [single_conversation(person.user_id, friend.user_id) for friend in friends[person]]
        user = User(person, [*names, *map(group_conversation, groups[person])], log)
        users.append(user)
        targets[user] = (
            [("to", friend.user_id) for friend in friends[person]],
            [("group_id", group) for group in groups[person]],
        )
    return users, targets


async def _measure(
    options: argparse.Namespace,
    ready: Ready,
    users: Sequence[User],
    targets: dict[User, tuple[list[Target], list[Target]]],
    log: Log,
    dice: random.Random,
) -> list[Row]:
    begin = clock()
    log.begin, end = begin + WARM_UP_S, begin + WARM_UP_S + options.seconds
    before, counted = machine.usage(ready.pids), 0
    offered, left = 0, 0
    urls = ready.ws_gateways
    async with asyncio.TaskGroup() as away, aclosing(ticks(TICK_S)) as clockwork:
        async for _ in clockwork:
            now = clock()
            if now >= end:
                break
            if now < log.begin:
                before, counted = machine.usage(ready.pids), len(log.due)
            for number in range(offered, due := int((now - begin) * options.rate)):
                _act(dice, users, targets, begin + number / options.rate)
            offered = due
            if left < int((now - begin) * options.leaving) and (free := _who_may_go(users)):
                left += 1
                away.create_task(_away(dice.choice(free), dice.choice(urls)))
            log.check()
            for user in users:
                user.check()
        after, done = machine.usage(ready.pids), len(log.due) - counted
    seen = log.seen
    total = seen.total() - seen["presence"] - seen["receipt"] - seen["typing"]
    return [
        ("load", _describe(options)),
        ("sent", f"{len(log.sent_s) / options.seconds:.0f} a second, {latency(log.sent_s)}"),
        (
            "delivered live",
            f"{len(log.delivered_s) / options.seconds:.0f} a second, {latency(log.delivered_s)}",
        ),
        (
            "copies",
            f"{total}: {seen['live']} live, {seen['list']} out of offline lists, "
            f"{seen['sync']} by sync",
        ),
        (
            "told besides",
            f"{seen['presence']} presence, {seen['receipt']} receipts, {seen['typing']} typing; "
            f"{left} went and came back",
        ),
        *machine.compare(before, after, max(1, done)),
    ]


def _act(
    dice: random.Random,
    users: Sequence[User],
    targets: dict[User, tuple[list[Target], list[Target]]],
    due: float,
) -> None:
    """One who is there sends something."""
    user = dice.choice(users)
    while not user.is_online:
        user = dice.choice(users)
    friends, groups = targets[user]
    what = dice.random()
    if what < TO_FRIENDS or (what < TO_FRIENDS + TO_GROUPS and not groups):
        user.say(dice.choice(friends), due)
    elif what < TO_FRIENDS + TO_GROUPS:
        user.say(dice.choice(groups), due)
    else:
        user.type(dice.choice(friends))


def _who_may_go(users: Sequence[User]) -> list[User]:
    """Those who wait for no answer."""
    return [user for user in users if user.is_online and not user.unanswered]


async def _away(user: User, url: str) -> None:
    user.leave()
    await asyncio.sleep(AWAY_S)
    await user.come(url)


def _describe(options: argparse.Namespace) -> str:
    return (
        f"{options.people} people with two devices, {options.groups} groups of {options.size}, "
        f"{options.rate} frames a second, {options.leaving} a second leave for {AWAY_S:g} s, "
        f"{options.seconds:g} s"
    )
