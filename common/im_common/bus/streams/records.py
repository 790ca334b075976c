"""Entries of a stream, as APPEND writes them, as the bus's own records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from im_common.bus.interface import NO_HEADERS, Record

_decode_headers = msgspec.msgpack.Decoder(dict[str, bytes]).decode


def read_entry(topic: str, partition: int, entry_id: bytes, fields: Sequence[bytes]) -> Record:
    """``fields`` are names and values in turn."""
    headers: Mapping[str, bytes] = _decode_headers(fields[5]) if len(fields) > 4 else NO_HEADERS
    return Record(topic, partition, entry_id.decode(), fields[1], fields[3], headers)
