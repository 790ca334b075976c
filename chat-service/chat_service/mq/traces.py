"""Spans of the messages of a batch.

Each message whose trace is recorded has a span for each stage. What is done once for the whole batch
(calls, queries, pushes) is below that of the first one; those of the others link to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from chat_service.mq.entry import Entry
from im_common.bus import Committed, Finish, Record
from im_common.runtime import context, tracing
from im_common.runtime.context import TRACEPARENT, RequestContext

# Of a record in the log.
Place = tuple[str, int, str]


@contextmanager
def stage(name: str, records: Sequence[Record]) -> Iterator[dict[Place, str]]:
    """For as long as the block lasts; gives the spans of those that are recorded. In the task of a
    stage, whose current request it becomes."""
    parents = _recorded(records) if tracing.maker is not None else []
    if not parents:
        yield {}
        return
    spans: list[tracing.Span] = []
    assert tracing.maker is not None
    for record, parent in parents:
        links = [span.traceparent for span in spans[:1]]
        about: tracing.Attributes = {"topic": record.topic, "batch": len(records)}
        spans.append(tracing.maker.begin(name, "consumer", parent, about, links))
    first = spans[0].traceparent
    context.current.set(RequestContext(request_id=context.new_request_id(), traceparent=first))
    try:
        yield {
            _place(record): span.traceparent
            for (record, _), span in zip(parents, spans, strict=True)
        }
    except BaseException as error:
        _end(spans, type(error).__name__)
        raise
    _end(spans, tracing.OK)


def delivered(entries: Sequence[Entry], deliver: Finish) -> Finish:
    """``deliver`` as a stage of its own."""
    if tracing.maker is None:
        return deliver

    async def traced() -> Committed | None:
        with stage("deliver", [entry.record for entry in entries]) as spans:
            for entry in entries:
                entry.traceparent = spans.get(_place(entry.record), "")
            return await deliver()

    return traced


def _recorded(records: Sequence[Record]) -> list[tuple[Record, str]]:
    parents = []
    for record in records:
        parent = record.headers.get(TRACEPARENT, b"").decode(errors="replace")
        if context.is_recorded(parent):
            parents.append((record, parent))
    return parents


def _place(record: Record) -> Place:
    return record.topic, record.partition, record.position


def _end(spans: Sequence[tracing.Span], code: str) -> None:
    for span in reversed(spans):
        span.end(code)
