"""Lists in pages: a bounded `limit` and an opaque `cursor`."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, TypeVar

import msgspec

from im_common.errors import AppError, invalid

DEFAULT_LIMIT = 50
MAX_LIMIT = 100
# A cursor comes from outside; a greater number would be the database's error.
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
# For a column that holds nothing else: MariaDB does not compare it with more, and takes a space at its
# end for nothing, so that whatever sorts below a space is in another place there.
Ascii = Annotated[str, msgspec.Meta(pattern=r"^[\x21-\x7e]*\Z")]
T = TypeVar("T")


def page_limit(limit: int, *, default: int = DEFAULT_LIMIT, most: int = MAX_LIMIT) -> int:
    """The page size that was asked for; 0 means ``default``. INVALID_ARGUMENT outside 1 to ``most``."""
    if limit == 0:
        return default
    if not 1 <= limit <= most:
        raise invalid("limit", f"must be 1 to {most}")
    return limit


def write_cursor(*values: int | str | None) -> str:
    """Where a page ended, as text that a client gives back as it is."""
    return base64.urlsafe_b64encode(msgspec.json.encode(values)).decode().rstrip("=")


def read_cursor(cursor: str, length: int) -> Sequence[int] | None:
    """The numbers in a cursor, or None for the first page. INVALID_ARGUMENT when it is no cursor."""
    values = read_cursor_as(list[Int64], cursor)
    if values is not None and len(values) != length:
        raise bad_cursor()
    return values


def bad_cursor() -> AppError:
    """For a cursor of the client's own making."""
    return invalid("cursor", "is not one that this list gave")


def read_cursor_as(kind: type[T], cursor: str) -> T | None:
    """The values in a cursor, as a list or tuple type, or None for the first page.

    Raises:
        AppError: INVALID_ARGUMENT when it is no cursor with such values.
    """
    if not cursor:
        return None
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        return msgspec.json.decode(raw, type=kind)
    except (binascii.Error, msgspec.DecodeError, ValueError, RecursionError):
        raise bad_cursor() from None
