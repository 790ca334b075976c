"""Where the time of a lone message goes: the hops of its way, from its trace, each beside its floor,
which is what the same call costs alone on this machine.

With a trace for each message all takes somewhat longer; the spans say how the time is shared out.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Sequence
from itertools import pairwise, starmap
from time import perf_counter as clock
from time import time

from im_bench import floors
from im_bench.load import check, settle
from im_bench.options import whole
from im_bench.pair import Pair, Window
from im_bench.people import register
from im_bench.report import Failed, Row, latency, percentiles
from im_common.testing.collector import Collector, Seen, grpc_collector
from im_local.infra_file import read_infra
from im_local.ports import HOST, spare_ports
from im_local.testing import Ready

_ENDPOINT = "IM_TELEMETRY__ENDPOINT"
# Processes send their spans every five seconds.
SPANS_WITHIN_S = 20.0
PAUSE_S = 0.01
WARM_UP = 50

_FRAME, _CALL = "a frame, there and back", "a call, there and back"
# A hop ends where the moment of its row is; by how many of which floor it is at least.
HOPS = (
    ("client to ws-gateway", 0.5, _FRAME),
    ("ws-gateway to chat-mq, through the log", 1.0, "a record through the log"),
    ("chat-mq, until it asks the database", 0.0, ""),
    ("the database, until it is committed", 1.0, "a commit of one row"),
    ("chat-mq, until it pushes", 0.0, ""),
    ("chat-mq to ws-gateway", 0.5, _CALL),
    ("ws-gateway", 0.0, ""),
    ("ws-gateway to client", 0.5, _FRAME),
)


def settings() -> dict[str, str]:
    """For the system: its spans come here."""
    address = os.environ.setdefault(_ENDPOINT, f"{HOST}:{next(spare_ports())}")
    return {_ENDPOINT: address}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=whole(), default=300, help="messages, and calls alone")


def longest_s(options: argparse.Namespace) -> float:
    return float(options.rounds)


async def run(options: argparse.Namespace, ready: Ready) -> list[Row]:
    infra = read_infra(options.infra) if options.infra else None
    alone = await floors.measure(options.rounds, ready, infra)
    async with grpc_collector(settings()[_ENDPOINT]) as collector:
        delivered, moments = await _messages(options.rounds, ready, collector)
    hops = [
        _hop(times, *about, alone)
        for times, about in zip(zip(*starmap(_spans, moments), strict=True), HOPS, strict=True)
    ]
    least = sum(factor * percentiles(alone[of], 0.5)[0] for _, factor, of in HOPS if of)
    return [
        ("load", f"{options.rounds} messages, one at a time, each traced"),
        ("delivered", latency(delivered)),
        *hops,
        ("floor of the whole way", f"{least * 1e3:.2f} ms at the median"),
        *((f"alone: {what}", latency(times)) for what, times in alone.items()),
        ("checked", "each message: answered once, delivered once, in order, stored"),
    ]


def _hop(
    times: Sequence[float], name: str, factor: float, of: str, alone: dict[str, floors.Times]
) -> Row:
    here = f"p50 {percentiles(times, 0.5)[0] * 1e3:.2f} ms"
    if not of:
        return f"  {name}", here
    floor = factor * percentiles(alone[of], 0.5)[0]
    half = " / 2" if factor < 1 else ""
    return f"  {name}", f"{here}; floor {floor * 1e3:.2f} ({of}{half})"


async def _messages(
    rounds: int, ready: Ready, collector: Collector
) -> tuple[Sequence[float], list[tuple[float, float, dict[str, Seen]]]]:
    """How long each took, and of each when it went, when it came, and its spans."""
    sender, receiver = await register(ready.api, 2)
    window = Window()
    pair = Pair(sender, receiver, window)
    await pair.connect(ready.ws, ready.ws)
    sent_at = []
    for number in range(WARM_UP + rounds):
        if number == WARM_UP:
            window.begin = clock()
        sent_at.append(time())
        pair.send(clock())
        await settle([pair])
        await asyncio.sleep(PAUSE_S)
    await check(ready.api, [pair])
    pair.close()
    traces = await _traces(collector, WARM_UP + rounds)
    took = window.delivered_s
    begun = sent_at[WARM_UP:]
    ended = (at + seconds for at, seconds in zip(begun, took, strict=True))
    return took, list(zip(begun, ended, traces[WARM_UP:], strict=True))


async def _traces(collector: Collector, number: int) -> list[dict[str, Seen]]:
    """The spans of each message by their name, in the order of the messages. Raises Failed."""

    def have(name: str) -> bool:
        return sum(span.name == name for span in collector.spans) >= number

    try:
        names = ("chat frame", "place", "database write", "deliver", "hand over")
        await collector.wait_for(lambda _: all(have(name) for name in names), SPANS_WITHIN_S)
    except AssertionError as error:
        raise Failed(f"not all spans came ({error}): does the system send them here?") from None
    found: dict[str, dict[str, Seen]] = {}
    for span in sorted(collector.spans, key=lambda span: span.began):
        found.setdefault(span.trace_id, {}).setdefault(f"{span.service}: {span.name}", span)
    traces = [spans for spans in found.values() if "ws-gateway: chat frame" in spans]
    return sorted(traces, key=lambda spans: spans["ws-gateway: chat frame"].began)


def _spans(sent_at: float, arrived_at: float, spans: dict[str, Seen]) -> list[float]:
    """How long each hop took (s). They follow each other, so that together they are all of it."""
    push = "/im.gateway.v1.PushService/PushStream"
    moments = [
        sent_at,
        spans["ws-gateway: chat frame"].began,
        spans["chat-mq: place"].began,
        spans["chat-mq: database write"].began,
        spans["chat-mq: database write"].ended,
        spans[f"chat-mq: {push}"].began,
        spans["ws-gateway: hand over"].began,
        spans["ws-gateway: hand over"].ended,
        arrived_at,
    ]
    return [after - before for before, after in pairwise(moments)]
