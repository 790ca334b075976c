"""Kafka's records as the bus's own."""

from __future__ import annotations

from aiokafka import ConsumerRecord

from im_common.bus.interface import NO_HEADERS, Record


def read_record(message: ConsumerRecord[bytes, bytes]) -> Record:
    return Record(
        message.topic,
        message.partition,
        str(message.offset),
        message.key or b"",
        message.value or b"",
        dict(message.headers) if message.headers else NO_HEADERS,
    )
