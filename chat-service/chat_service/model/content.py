"""What a sender gives of a message, as columns of ``messages``."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Column, Row, Text

from im.chat.v1.content_pb2 import Content
from im_common.domain.content import Given
from im_common.domain.frames import ALL
from im_common.sql.db import ExactText, ascii_key

# What a message that was taken back has in these columns.
EMPTIED: dict[str, Any] = {"content": "", "mentions": None, "ext": None}


def columns() -> tuple[Column[Any], ...]:
    return (
        Column("client_msg_id", ExactText(64), nullable=False),
        Column("content_type", ascii_key(16), nullable=False),
        Column("content", Text, nullable=False),
        Column("reply_to", ascii_key(36)),
        # JSON texts, decoded only for those who read them.
        Column("mentions", Text),
        Column("ext", Text),
    )


def to_row(given: Given) -> tuple[Any, ...]:
    """The values of ``columns``."""
    named = given.named()
    return (
        given.client_msg_id,
        given.content_type,
        given.content,
        given.reply_to or None,
        msgspec.json.encode(named).decode() if named else None,
        given.ext_json or None,
    )


def of_row(row: Row[Any], *, for_sender: bool) -> Content:
    """The client_msg_id is for the sender alone."""
    named = msgspec.json.decode(row.mentions) if row.mentions else ()
    return Content(
        client_msg_id=row.client_msg_id if for_sender else "",
        content_type=row.content_type,
        content=row.content,
        reply_to=row.reply_to or "",
        mentions=[one for one in named if one != ALL],
        mentions_all=ALL in named,
        ext_json=row.ext or "",
    )
