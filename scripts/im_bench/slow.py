"""Clients that stop reading, in a group that is written to until all of them are cut off, and a pair
that talks beside them: how long its messages take, and what the gateway's memory grows by."""

from __future__ import annotations

import argparse
import asyncio
import re
from collections.abc import Sequence
from time import perf_counter as clock
from urllib.request import urlopen

from im_bench import machine
from im_bench.crowds import connect_all, nothing, talking
from im_bench.http import Client, call
from im_bench.idle import GATEWAY
from im_bench.options import add_seconds, whole
from im_bench.people import Person, register
from im_bench.report import Failed, Row
from im_bench.websocket import Socket, connect, text_frame
from im_local.testing import Ready

CONTENT_BYTES = 16_000
CUT_OFF_WITHIN_S = 60.0
LOOKS_A_SECOND = 10
_MIB = 1024 * 1024
_ENDED = re.compile(rb'im_connections_ended_total\{code="4003"\} ([0-9.e+]+)')


def add_options(parser: argparse.ArgumentParser) -> None:
    add_seconds(parser)
    parser.add_argument("--readers", type=whole(), default=100, help="that stop reading")
    parser.add_argument(
        "--rate", type=whole(), default=100, help="messages of 16 KB a second to them"
    )


def longest_s(options: argparse.Namespace) -> float:
    return float(options.readers + 2 * options.seconds + 2 * CUT_OFF_WITHIN_S)


async def run(options: argparse.Namespace, ready: Ready) -> list[Row]:
    sender, receiver, writer, *readers = await register(ready.api, options.readers + 3)
    group_id = await _made(ready, writer, readers)
    sockets = await connect_all(ready.ws, readers, 16)
    out = await connect(ready.ws, writer.token, nothing)
    async with talking(ready, sender, receiver) as talk:
        await asyncio.sleep(options.seconds)
        calm = talk.since(0.0)
        rest = _memory(ready)
        for socket in sockets:
            socket.pause()
        began = clock()
        most, sent = await _write_until_cut_off(ready, options, out, group_id)
        took_s = clock() - began
        beside = talk.since(began)
    for socket in [*sockets, out]:
        socket.abort()
    return [
        (
            "load",
            f"{len(readers)} of a group stop reading; {options.rate} messages of 16 KB a second",
        ),
        ("all are cut off", f"after {took_s:.1f} s and {sent} messages, with 4003"),
        ("gateway's memory", f"{rest / _MIB:.1f} -> at most {most / _MIB:.1f} MiB"),
        ("a pair before", calm[1]),
        beside,
    ]


async def _made(ready: Ready, owner: Person, members: Sequence[Person]) -> int:
    client = await Client.connect(ready.api)
    body = {"name": "slow", "member_ids": [member.user_id for member in members]}
    made = await call(client, "POST", "/v1/groups", token=owner.token, body=body)
    client.close()
    return int(made["group_id"])


def _memory(ready: Ready) -> int:
    return machine.usage({GATEWAY: ready.pids[GATEWAY]})[GATEWAY].rss


async def _write_until_cut_off(
    ready: Ready, options: argparse.Namespace, out: Socket, group_id: int
) -> tuple[int, int]:
    """The most memory that the gateway had, and how many were sent. Until it has ended all of them."""
    metrics = f"http://{ready.dev[GATEWAY]}/metrics"
    begin, sent, most, text = clock(), 0, 0, "x" * CONTENT_BYTES
    head = f'{{"type":"chat","group_id":{group_id},"content":"{text}","client_msg_id":"s-'
    while await _cut_off(metrics) < options.readers:
        if clock() - begin > CUT_OFF_WITHIN_S:
            raise Failed(f"not all are cut off after {CUT_OFF_WITHIN_S:g} s")
        for _ in range(max(1, options.rate // LOOKS_A_SECOND)):
            out.write(text_frame(f'{head}{sent}"}}'.encode()))
            sent += 1
        most = max(most, _memory(ready))
        await asyncio.sleep(max(0.0, begin + sent / options.rate - clock()))
    return most, sent


async def _cut_off(metrics: str) -> int:
    """How many the gateway has ended as they were too slow."""

    def read() -> bytes:
        with urlopen(metrics, timeout=CUT_OFF_WITHIN_S) as answer:  # noqa: S310
            return bytes(answer.read())

    found = _ENDED.search(await asyncio.to_thread(read))
    return int(float(found[1])) if found else 0
