"""Who is cancelled holds nobody up."""

from __future__ import annotations

import asyncio
from typing import Any

from chat_service.logic.save import save_message
from im.chat.v1.content_pb2 import Content
from im.chat.v1.record_pb2 import NewMessage
from im_common.errors import AppError, Code
from im_common.testing.cut_off import cut_off

ANN, BOB = 1001, 1002


async def test_after_a_hundred_that_are_cut_off_the_next_one_has_its_turn(desk: Any) -> None:
    async def save(number: int, timeout_s: float) -> int:
        content = Content(client_msg_id=f"c-{number}", content="hello")
        message = NewMessage(sender_id=ANN, to_user_id=BOB, content=content)
        try:
            async with asyncio.timeout(timeout_s):
                return int((await save_message(desk.svc, message)).seq)
        except TimeoutError:
            raise AppError(Code.DEADLINE_EXCEEDED, "too late") from None

    await cut_off(save)
    # What was cut off is there whole, or not at all: places have no gap.
    stored = await save(100, 20)
    assert await save(200, 20) == stored + 1
