"""The bus's topics: their names, and making them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog

from im_common.bus.interface import Bus, BusUnavailable

log = structlog.get_logger(__name__)

# Keyed by conversation_id; im.chat.v1.ChatRecord.
CHAT_TOPIC = "im-chat-topic"
# Keyed by user id; im.bus.v1.UserEvent.
EVENT_TOPIC = "im-event-topic"
# Records that can never be worked on, as they were, with the reason in their headers.
DEAD_LETTER_TOPIC = "im-chat-dlq"

_AGAIN_S = 1.0


async def make_topics(bus: Bus, topics: Mapping[str, int]) -> None:
    """Makes those that are missing, with so many partitions each; tries until the log can be
    reached."""
    while True:
        try:
            await bus.ensure_topics(topics)
        except BusUnavailable as error:
            log.warning("topics not made yet", error=str(error))
            await asyncio.sleep(_AGAIN_S)
        else:
            return
