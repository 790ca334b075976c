"""What the libraries and servers take alone: the load of `messages` on the system, and in turns on two
processes that pass a message the same way (WebSocket, log, database, gRPC, WebSocket), and that is all.

They know no users, blocks, groups or devices, keep nothing for who is away, find no retry and survive
no crash: a system of these parts can hardly be quicker. Both are on the same servers, without `ack`.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager

import msgspec

from im_bench import machine, messages
from im_bench.bare.log import new_log
from im_bench.bare.parts import HOST, Servers
from im_bench.load import connected
from im_bench.options import add_seconds, whole
from im_bench.pair import Pair, Window
from im_bench.people import Person
from im_bench.report import Row, figures
from im_bench.runs import measured
from im_bench.started import started
from im_bench.target import own_servers, target
from im_bench.turns import Ratios, Side, in_turns, table
from im_local.infra_file import Infra, read_infra
from im_local.testing import Ready

# What the processes of a system share with it.
_SERVERS = ("kafka", "mysql", "redis")
_FIRST_USER = 1001


def add_options(parser: argparse.ArgumentParser) -> None:
    add_seconds(parser)
    parser.set_defaults(seconds=5.0)
    parser.add_argument("--pairs", type=whole(), default=100, help="of senders and receivers")
    parser.add_argument(
        "--in-flight", type=whole(), default=16, help="most unanswered, for each pair"
    )
    parser.add_argument("--rate", type=whole(), help="messages a second offered by all together")


def compare(options: argparse.Namespace, env: Mapping[str, str]) -> tuple[list[Row], Ratios]:
    """Raises Failed when a message is lost, doubled or out of order on one of the two."""
    this, bare = Side("this"), Side("bare")
    load = _load(options)
    with ExitStack() as stack:
        file = stack.enter_context(own_servers()) if options.real else None
        infra = read_infra(file) if file else None
        ready = stack.enter_context(target(data=None, ready=None, infra=file, env=env, scale={}))
        # New servers are slow: the first runs do not count.
        for turn, side in [(0, this), (0, bare), *in_turns([this, bare], options.turns)]:
            print(f"turn {turn}: {side.name}", file=sys.stderr, flush=True)
            work = messages.run(load, ready) if side is this else _bare(load, ready, infra)
            run = figures(measured(work, options.seconds))
            if turn > 0:
                side.runs.append(run)
    return table(this, bare)


def _load(options: argparse.Namespace) -> argparse.Namespace:
    rate = () if options.rate is None else ("--rate", str(options.rate))
    return messages.load(
        *("--seconds", str(options.seconds), "--pairs", str(options.pairs)),
        *("--in-flight", str(options.in_flight), "--acks", "0", *rate),
    )


async def _bare(load: argparse.Namespace, ready: Ready, infra: Infra | None) -> list[Row]:
    window = Window()
    people = [
        Person(user_id, f"bench_{user_id}", str(user_id))
        for user_id in range(_FIRST_USER, _FIRST_USER + 2 * load.pairs)
    ]
    pairs = [Pair(people[2 * i], people[2 * i + 1], window) for i in range(load.pairs)]
    async with _processes(ready, infra) as (url, pids), connected([url], pairs):
        rows = await messages.measure(load, pids, pairs, window)
        for pair in pairs:
            pair.check()
    return rows


@asynccontextmanager
async def _processes(
    ready: Ready, infra: Infra | None
) -> AsyncIterator[tuple[str, dict[str, int]]]:
    """The address of the one, and the pids of both and of the servers."""
    name = f"im_bench_{secrets.token_hex(4)}"
    servers = Servers(name, ready.data, ready.redis, infra)
    words = msgspec.json.encode(servers).decode()
    async with new_log(servers), started("im_bench.bare.gateway", words) as gateway:
        web_socket, rpc = gateway.said
        async with started("im_bench.bare.consumer", words, f"{HOST}:{rpc}") as consumer:
            pids = {name: pid for name, pid in ready.pids.items() if name in _SERVERS}
            pids |= {"ws-gateway": gateway.pid, machine.CONSUMER: consumer.pid}
            pids["load generator"] = os.getpid()
            yield f"ws://{HOST}:{web_socket}/", pids
