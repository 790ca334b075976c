"""What users' devices are told by a service under test, whose events go to Redis Streams."""

from __future__ import annotations

import json
from typing import Any

from redis.asyncio import Redis

from im.bus.v1.event_pb2 import UserEvent
from im_common.bus.kinds import open_bus
from im_common.bus.topics import EVENT_TOPIC
from im_common.runtime.sections import BusConf
from im_common.testing.waiting import eventually

BUS = BusConf(kind="redis")


async def told(redis: Redis, user_id: int, count: int) -> list[tuple[str, Any]]:
    """The events for a user's devices, when there are so many: name and data, oldest first."""
    events: list[UserEvent] = []

    async def enough() -> bool:
        events.clear()
        async for record in open_bus(BUS, lambda: redis).browse(EVENT_TOPIC):
            event = UserEvent.FromString(record.value)
            if event.user_id == user_id:
                events.append(event)
        return len(events) >= count

    await eventually(enough)
    return [(event.event, json.loads(event.data_json)) for event in events]
