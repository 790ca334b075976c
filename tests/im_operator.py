"""An operator of the running system, without a command line."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from im_people import User, single

from im.chat.v1.content_pb2 import Content
from im.chat.v1.record_pb2 import ChatRecord, NewMessage
from im_admin.config import VARIABLES, read_settings
from im_admin.operator import Operator, open_operator
from im_common.bus import Record, dead_letter
from im_common.bus.topics import CHAT_TOPIC, DEAD_LETTER_TOPIC
from im_local.testing import System


@asynccontextmanager
async def operator_of(system: System, who: str = "tester") -> AsyncIterator[Operator]:
    variables = json.loads((system.data / VARIABLES).read_text(encoding="utf-8"))
    with pytest.MonkeyPatch.context() as patch:
        for name, text in variables.items():
            patch.setenv(name, text)
        settings = read_settings()
    async with open_operator(settings, who) as operator:
        yield operator


def message(a: User, b: User, message_id: str, timestamp: int) -> Record:
    """As the gateway would have put it on the log."""
    new = NewMessage(
        message_id=message_id,
        conversation_id=single(a, b),
        sender_id=a.user_id,
        to_user_id=b.user_id,
        timestamp=timestamp,
        content=Content(content_type="text", content="late", client_msg_id=message_id),
    )
    value = ChatRecord(message=new).SerializeToString()
    return Record(CHAT_TOPIC, 0, "1", single(a, b).encode(), value, {})


async def bury(system: System, record: Record) -> None:
    """Puts a record among the dead letters."""
    async with operator_of(system) as operator:
        producer = await operator.ways.producer()
        await dead_letter(producer, DEAD_LETTER_TOPIC, record, "a test")
