"""Where a record goes that can never be handled."""

from __future__ import annotations

import time

from im_common.bus.interface import Producer, Record
from im_common.runtime import metrics


async def dead_letter(producer: Producer, topic: str, record: Record, reason: str) -> None:
    """Puts the record as it was into ``topic``, with headers that say why, and where it came from.

    Raises:
        BusUnavailable: not stored for certain; the caller's batch fails and comes again.
    """
    headers = {
        **record.headers,
        "dlq-reason": reason.encode(),
        "dlq-topic": record.topic.encode(),
        "dlq-partition": str(record.partition).encode(),
        "dlq-position": record.position.encode(),
        "dlq-at": str(time.time_ns() // 1_000_000).encode(),
    }
    await producer.send(topic, record.key, record.value, headers)
    metrics.DEAD_LETTERS.labels(record.topic).inc()
