"""What waits: for consumers, for the log, for users."""

from __future__ import annotations

import heapq
import json

from im.common.v1.outbox_pb2 import GetBacklogRequest
from im.common.v1.outbox_pb2_grpc import OutboxServiceStub
from im_admin.accounts import get_user
from im_admin.operator import Operator
from im_admin.plain import Row
from im_common.bus.topics import CHAT_TOPIC, EVENT_TOPIC
from im_common.domain.offline import OfflineList
from im_common.domain.routes import RouteTable

# Of a frame, without what people wrote.
_SHOWN = ("type", "event", "conversation_id", "seq", "from", "timestamp")


async def consumer_lag(operator: Operator) -> list[Row]:
    """Records that chat-mq has not committed, by topic and partition, whether or not one runs."""
    bus = operator.resources.bus(operator.settings.bus)
    groups = ((CHAT_TOPIC, operator.settings.group), (EVENT_TOPIC, operator.settings.event_group))
    return [
        {"topic": topic, "group": group, "partition": one.partition, "records": one.records}
        for topic, group in groups
        for one in await bus.lag(topic, group)
    ]


async def outbox_backlogs(operator: Operator) -> list[Row]:
    """Events that wait to be told, of each service with an outbox; 10,000 stands for more, too."""
    settings = operator.settings
    rows: list[Row] = []
    services = (settings.auth_rpc, settings.friend_rpc, settings.group_rpc, settings.user_rpc)
    for conf in services:
        outbox = OutboxServiceStub(await operator.channel(conf))
        found = await outbox.GetBacklog(GetBacklogRequest())
        service = conf.key.removesuffix(".rpc")
        rows.append({"service": service, "records": found.records, "oldest_at": found.oldest_at})
    return rows


async def offline_lists(operator: Operator, *, most: int = 50) -> list[Row]:
    """The longest lists of frames that wait for users. It goes through all keys of Redis."""
    redis = operator.resources.redis()
    lengths = {user_id: length async for user_id, length in OfflineList(redis).all()}
    longest = heapq.nlargest(most, lengths.items(), key=lambda one: one[1])
    here = await RouteTable(redis).find([user_id for user_id, _ in longest])
    return [
        {"user_id": user_id, "frames": length, "online": user_id in here}
        for user_id, length in longest
    ]


async def offline_frames(operator: Operator, user: str, *, most: int = 50) -> list[Row]:
    """What waits for a user, oldest first: never what somebody wrote."""
    account = await get_user(operator, user)
    frames = await OfflineList(operator.resources.redis()).oldest(account["user_id"], most)
    return [_shown(frame) for frame in frames]


def _shown(frame: bytes) -> Row:
    found = json.loads(frame)
    return {name: found.get(name) for name in _SHOWN} | {"bytes": len(frame)}
