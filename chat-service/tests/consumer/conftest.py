"""The consumer on a real database and Redis, with gateways and the policy's owners on real gRPC."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import msgspec
import pytest
from redis.asyncio import Redis
from sqlalchemy import Select, select

from chat_service.gateways import Gateways
from chat_service.model.members import Cursors, new_row
from chat_service.model.members import make as make_members
from chat_service.model.tables import messages
from chat_service.mq.blocks import Blocks
from chat_service.mq.deliver import Deliverer
from chat_service.mq.groups import Groups
from chat_service.mq.policy import Policy
from chat_service.mq.worker import Worker
from im.chat.v1.content_pb2 import Content
from im.chat.v1.record_pb2 import ChatRecord, GroupChange, NewMessage, Origin, Recall
from im.friend.v1 import friend_pb2
from im.friend.v1.friend_pb2_grpc import (
    FriendServiceServicer,
    FriendServiceStub,
    add_FriendServiceServicer_to_server,
)
from im.gateway.v1 import outcome_pb2, push_pb2
from im.gateway.v1.outcome_pb2_grpc import (
    OutcomeServiceServicer,
    add_OutcomeServiceServicer_to_server,
)
from im.gateway.v1.push_pb2_grpc import PushServiceServicer, add_PushServiceServicer_to_server
from im.group.v1 import group_pb2
from im.group.v1.group_pb2_grpc import (
    GroupServiceServicer,
    GroupServiceStub,
    add_GroupServiceServicer_to_server,
)
from im.user.v1 import user_pb2
from im.user.v1.user_pb2_grpc import (
    UserServiceServicer,
    UserServiceStub,
    add_UserServiceServicer_to_server,
)
from im_common.bus import Record
from im_common.domain.group_gateways import GroupGateways
from im_common.domain.ids import new_message_id, single_conversation
from im_common.domain.missed import MissedLog
from im_common.domain.offline import OfflineList
from im_common.domain.recalls import RecallLog
from im_common.domain.routes import Route, RouteTable
from im_common.rpc.channel_options import PINGS_ALLOWED
from im_common.rpc.client import AddressChannels, connect
from im_common.rpc.service_token import ServiceTokens
from im_common.runtime.sections import ClientConf
from im_common.sql.db import Database
from im_common.testing.groups import send_info
from im_common.testing.ports import free_port
from im_common.testing.services import SECRET

# An id that user-service does not know.
GHOST = 9999
_ANY_PORT = "127.0.0.1:0"


@dataclass
class Owners(UserServiceServicer, FriendServiceServicer, GroupServiceServicer):
    """Answers for user-, friend- and group-service."""

    blocked: set[tuple[int, int]] = field(default_factory=set)
    groups: dict[int, group_pb2.GroupSendInfo] = field(default_factory=dict)
    away: bool = False
    calls: int = 0
    # Calls wait here for others.
    together: asyncio.Barrier | None = None

    async def _answer(self, call: Any) -> None:
        self.calls += 1
        if self.together is not None:
            await self.together.wait()
        if self.away:
            await call.abort(grpc.StatusCode.UNAVAILABLE, "away")

    async def CheckUsers(self, request: Any, call: Any) -> user_pb2.CheckUsersResponse:
        await self._answer(call)
        return user_pb2.CheckUsersResponse(user_ids=[u for u in request.user_ids if u != GHOST])

    async def BatchIsBlocked(self, request: Any, call: Any) -> friend_pb2.BatchIsBlockedResponse:
        await self._answer(call)
        return friend_pb2.BatchIsBlockedResponse(
            blocked=[(p.user_id, p.target_id) in self.blocked for p in request.pairs]
        )

    async def BatchGetSendInfo(self, request: Any, call: Any) -> group_pb2.BatchGetSendInfoResponse:
        await self._answer(call)
        return send_info(request, self.groups)


class Gateway(PushServiceServicer, OutcomeServiceServicer):
    """Remembers what it was pushed; knows some users, and of groups what it was told."""

    def __init__(self, groups: GroupGateways) -> None:
        self._groups = groups
        # By conversation: up to which change the members are known, and what each sees.
        self._known: dict[str, int] = {}
        self._standings: dict[str, dict[int, push_pb2.GroupStanding]] = defaultdict(dict)
        self._asked: set[str] = set()
        self._shown: list[tuple[int, dict[str, Any]]] = []
        self.requests: list[push_pb2.PushRequest] = []
        self.users: set[int] = set()
        self.address = ""
        self.before: Any = None
        self.behind_ms = 0

    @asynccontextmanager
    async def serving(self, address: str = "") -> AsyncIterator[str]:
        """Answers until the block ends, at the address that it gives."""
        address = address or f"127.0.0.1:{free_port()}"
        registrations = (
            (add_PushServiceServicer_to_server, self),
            (add_OutcomeServiceServicer_to_server, self),
        )
        async with _serving(*registrations, address=address) as served:
            yield served

    async def PushStream(self, requests: Any, call: Any) -> AsyncIterator[push_pb2.PushResponse]:  # type: ignore[override]
        async for request in requests:
            yield await self.Push(request, call)

    async def Push(self, request: push_pb2.PushRequest, _: Any) -> push_pb2.PushResponse:
        if self.before:
            await self.before(request)
        if behind := self._behind(request):
            return push_pb2.PushResponse(behind=behind)
        asked = {user for delivery in request.deliveries for user in delivery.user_ids}
        if request.only_if_here and not asked <= self.users:
            return push_pb2.PushResponse(absent_user_ids=sorted(asked - self.users))
        self.requests.append(request)
        for delivery in request.deliveries:
            await self._show(delivery)
        held = [
            push_pb2.HeldGroup(
                conversation_id=roster.conversation_id,
                version=len(self.requests),
                user_ids=self.users.intersection(self._standings[roster.conversation_id]),
            )
            for roster in request.rosters
            if roster.is_small
        ]
        return push_pb2.PushResponse(
            absent_user_ids=sorted(asked - self.users), behind_ms=self.behind_ms, held=held
        )

    def _behind(self, request: push_pb2.PushRequest) -> list[push_pb2.BehindGroup]:
        for roster in request.rosters:
            if roster.conversation_id in self._asked:
                self._asked.discard(roster.conversation_id)
                self._known[roster.conversation_id] = roster.roster_seq
                self._standings[roster.conversation_id] = {s.user_id: s for s in roster.standings}
        unknown = {
            delivery.conversation_id
            for delivery in request.deliveries
            if delivery.HasField("group")
            and self._known.get(delivery.conversation_id, -1) < delivery.group.roster_seq
        }
        self._asked |= unknown
        return [push_pb2.BehindGroup(conversation_id=g, user_ids=self.users) for g in unknown]

    async def _show(self, delivery: push_pb2.Delivery) -> None:
        frame, on, seq = msgspec.json.decode(delivery.frame), delivery.conversation_id, delivery.seq
        if not delivery.HasField("group"):
            self._shown += [(user_id, frame) for user_id in delivery.user_ids]
            return
        standings = self._standings[on]
        if delivery.group.is_change:
            self._known[on] = seq
            standings |= {s.user_id: s for s in delivery.group.moved}
            await self._groups.put(self.address, [on])
        for user_id, of_user in standings.items():
            has_left = of_user.HasField("left_seq")
            sees = of_user.min_seq < seq and (not has_left or seq <= of_user.left_seq)
            is_here = user_id in self.users and user_id != delivery.group.except_user_id
            if is_here and (sees if seq else not has_left):
                self._shown.append((user_id, frame))

    async def Settle(
        self, request: outcome_pb2.SettleRequest, call: Any
    ) -> outcome_pb2.SettleResponse:
        await self.Push(push_pb2.PushRequest(answers=request.answers), call)
        return outcome_pb2.SettleResponse(behind_ms=self.behind_ms)

    def answers(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(a.frame) for r in self.requests for a in r.answers]

    def delivered(self, user_id: int) -> list[dict[str, Any]]:
        return [frame for shown_to, frame in self._shown if shown_to == user_id]


class Letters:
    """Takes dead letters."""

    def __init__(self) -> None:
        self.sent: list[dict[str, bytes]] = []

    async def send(self, _topic: str, _key: bytes, _value: bytes, headers: Any = None) -> None:
        self.sent.append(dict(headers))


@dataclass
class World:
    consumer: Worker
    db: Database
    redis: Redis
    owners: Owners
    gateway: Gateway
    letters: Letters
    # How the consumer reaches it.
    gateways: Gateways
    # One more like `consumer`, on another way to the database.
    consumer_on: Callable[[Database], Worker]
    changes: int = 0

    async def handle(self, records: list[Record]) -> None:
        """Both stages of a batch, and what follows its commit."""
        finish = await self.consumer.handle(records)
        if (committed := await finish()) is not None:
            await committed()

    async def make(self, group_id: int, *members: int, managers: Sequence[int] = ()) -> None:
        """A group with these members, of which the conversation knows."""
        self.owners.groups[group_id] = group_pb2.GroupSendInfo(
            group_id=group_id, member_ids=members, manager_ids=managers
        )
        keys = [(user_id, f"g:{group_id}") for user_id in members]
        rows = {key: new_row(key, Cursors(0, 0)) for key in keys}
        await self.db.write(make_members, rows)

    async def online(self, user_id: int, connection_id: int = 1) -> None:
        self.gateway.users.add(user_id)
        groups = [f"g:{group_id}" for group_id in self.owners.groups]
        await GroupGateways(self.redis).put(self.gateway.address, groups)
        route = Route(self.gateway.address, connection_id, "web", "d")
        await RouteTable(self.redis).put([(user_id, route)])

    async def offline(self, user_id: int) -> list[dict[str, Any]]:
        frames, _ = await OfflineList(self.redis).head(user_id)
        return [msgspec.json.decode(frame) for frame in frames]

    async def stored(self) -> list[tuple[str, int, str]]:
        t = messages.c
        query = select(t.conversation_id, t.seq, t.content).order_by(t.conversation_id, t.seq)
        return await self.rows(query)

    async def rows(self, query: Select[Any]) -> list[Any]:
        rows = await self.db.read(lambda connection: connection.execute(query).all())
        return [tuple(row) for row in rows]

    def record(self, sender: int, to: int, content: str, **more: Any) -> Record:
        client_msg_id = more.pop("client_msg_id", new_message_id())
        gateway = more.pop("gateway", "")
        message = NewMessage(
            message_id=new_message_id(),
            conversation_id=single_conversation(sender, to),
            sender_id=sender,
            to_user_id=to,
            timestamp=more.pop("timestamp", 5),
            content=Content(client_msg_id=client_msg_id, content_type="text", content=content),
        )
        if "group_id" in more:
            message.group_id = more["group_id"]
            message.conversation_id = f"g:{more['group_id']}"
        return self.wrap(message, gateway)

    def recall(self, message_id: str, user_id: int, conversation_id: str) -> Record:
        recall = Recall(
            message_id=message_id,
            conversation_id=conversation_id,
            user_id=user_id,
            timestamp=6,
        )
        origin = Origin(address=self.gateway.address, token=2)
        value = ChatRecord(origin=origin, recall=recall).SerializeToString()
        return Record("im-chat-topic", 0, "0", conversation_id.encode(), value, {})

    def change(self, by: int, group_id: int, event: str, **more: Any) -> Record:
        """A change of a group, as group-service tells of it; each is later than the one before."""
        self.changes += 1
        told = {"event": event} | {
            name: more.pop(name) for name in ("user_id", "user_ids") if name in more
        }
        change = GroupChange(
            group_id=group_id,
            user_id=by,
            message_id=new_message_id(),
            timestamp=more.pop("timestamp", self.changes),
            ext_json=msgspec.json.encode(told).decode(),
            **more,
        )
        value = ChatRecord(group_change=change).SerializeToString()
        return Record("im-chat-topic", 0, "0", f"g:{group_id}".encode(), value, {})

    def wrap(self, message: NewMessage, gateway: str = "") -> Record:
        origin = Origin(address=gateway or self.gateway.address, token=1, connection_id=77)
        value = ChatRecord(origin=origin, message=message).SerializeToString()
        return Record("im-chat-topic", 0, "0", message.conversation_id.encode(), value, {})


@asynccontextmanager
async def _serving(*registrations: Any, address: str = _ANY_PORT) -> AsyncIterator[str]:
    server = grpc.aio.server(options=PINGS_ALLOWED)
    for register, servicer in registrations:
        register(servicer, server)
    port = server.add_insecure_port(address)
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


@pytest.fixture
async def world(db: Database, redis: Redis) -> AsyncIterator[World]:
    owners, gateway, letters = Owners(), Gateway(GroupGateways(redis)), Letters()
    tokens = ServiceTokens(SECRET, "chat-mq")
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(
            _serving(
                (add_UserServiceServicer_to_server, owners),
                (add_FriendServiceServicer_to_server, owners),
                (add_GroupServiceServicer_to_server, owners),
            )
        )
        gateway.address = await stack.enter_async_context(gateway.serving())
        channel = connect(ClientConf(endpoints=[address]), None, tokens)
        await channel.start()
        stack.push_async_callback(channel.close)
        channels = AddressChannels(tokens, timeout_ms=60_000, ping_every_ms=1_500)
        stack.push_async_callback(channels.close)
        gateways = Gateways(channels)
        policy = Policy(
            UserServiceStub(channel), Blocks(FriendServiceStub(channel)), GroupServiceStub(channel)
        )

        def consumer_on(db: Database) -> Worker:
            deliverer = Deliverer(
                RouteTable(redis),
                OfflineList(redis),
                RecallLog(redis),
                MissedLog(redis),
                gateways,
                Groups(db, GroupGateways(redis), most_members=3),
            )
            return Worker(db, policy, deliverer, letters)  # type: ignore[arg-type]

        yield World(consumer_on(db), db, redis, owners, gateway, letters, gateways, consumer_on)
