"""Entries of a stream, as APPEND writes them, as the bus's own records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from im_common.bus.batching import Outgoing
from im_common.bus.interface import NO_HEADERS, Record


class _Packed(msgspec.Struct, array_like=True, gc=False):
    key: bytes
    value: bytes
    headers: dict[str, bytes] | None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[_Packed]).decode
_decode_headers = msgspec.msgpack.Decoder(dict[str, bytes]).decode


def pack(records: Iterable[Outgoing]) -> bytes:
    """Several as one entry holds them."""
    return _encode(
        [(one.key, one.value, dict(one.headers) if one.headers else None) for one in records]
    )


def read_entry(
    topic: str, partition: int, entry_id: bytes, fields: Sequence[bytes]
) -> list[Record]:
    """``fields`` are names and values in turn."""
    last = entry_id.decode()
    if fields[0] == b"k":
        # As earlier versions wrote it, a record in each.
        headers: Mapping[str, bytes] = _decode_headers(fields[5]) if len(fields) > 4 else NO_HEADERS
        return [Record(topic, partition, last, fields[1], fields[3], headers)]
    records = _decode(fields[3])
    milliseconds, _, count = last.partition("-")
    first = int(count) - len(records) + 1
    return [
        Record(
            topic, partition, f"{milliseconds}-{n}", one.key, one.value, one.headers or NO_HEADERS
        )
        for n, one in enumerate(records, first)
    ]
