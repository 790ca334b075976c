"""The consumer: a batch of records in, places, answers, frames and offline lists out.

The database and Redis are real; gateways are real gRPC servers; the owners of the policy are small
real gRPC servers with settable answers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import msgspec
import pytest
from redis.asyncio import Redis
from sqlalchemy import select

from chat_service.model.tables import conversation_members, conversations, messages
from chat_service.mq.blocks import Blocks
from chat_service.mq.consumer import Consumer
from chat_service.mq.deliver import Deliverer
from chat_service.mq.policy import Policy
from im.chat.v1.record_pb2 import ChatRecord, GroupChange, NewMessage, Origin, Recall
from im.friend.v1 import friend_pb2
from im.friend.v1.friend_pb2_grpc import (
    FriendServiceServicer,
    FriendServiceStub,
    add_FriendServiceServicer_to_server,
)
from im.gateway.v1 import push_pb2
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
from im_common.config import ClientConf
from im_common.db import Database
from im_common.errors import AppError, Code
from im_common.ids import new_message_id, now_ms, single_conversation
from im_common.offline import OfflineList
from im_common.routes import Route, RouteTable
from im_common.rpc.client import AddressChannels, connect
from im_common.rpc.service_token import ServiceTokens
from im_common.testing.queries import counted_queries
from im_common.testing.services import SECRET

A, B, C, GHOST = 1001, 1002, 1003, 9999


@dataclass
class Owners(UserServiceServicer, FriendServiceServicer, GroupServiceServicer):
    """Answers for user-, friend- and group-service."""

    blocked: set[tuple[int, int]] = field(default_factory=set)
    groups: dict[int, group_pb2.GroupSendInfo] = field(default_factory=dict)
    away: bool = False
    calls: int = 0

    async def _answer(self, call: Any) -> None:
        self.calls += 1
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
        found = [self.groups[g] for g in request.group_ids if g in self.groups]
        return group_pb2.BatchGetSendInfoResponse(groups=found)


class Gateway(PushServiceServicer):
    """Remembers what it was pushed; knows some users."""

    def __init__(self) -> None:
        self.requests: list[push_pb2.PushRequest] = []
        self.users: set[int] = set()
        self.address = ""
        self.before: Any = None

    async def Push(self, request: push_pb2.PushRequest, _: Any) -> push_pb2.PushResponse:
        if self.before:
            await self.before(request)
        self.requests.append(request)
        asked = {user for delivery in request.deliveries for user in delivery.user_ids}
        return push_pb2.PushResponse(absent_user_ids=sorted(asked - self.users))

    def answers(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(a.frame) for r in self.requests for a in r.answers]

    def delivered(self, user_id: int) -> list[dict[str, Any]]:
        return [
            msgspec.json.decode(d.frame)
            for r in self.requests
            for d in r.deliveries
            if user_id in d.user_ids
        ]


class Letters:
    """Takes dead letters."""

    def __init__(self) -> None:
        self.sent: list[dict[str, bytes]] = []

    async def send(self, _topic: str, _key: bytes, _value: bytes, headers: Any = None) -> None:
        self.sent.append(dict(headers))


@dataclass
class World:
    consumer: Consumer
    db: Database
    redis: Redis
    owners: Owners
    gateway: Gateway
    letters: Letters

    async def handle(self, records: list[Record]) -> None:
        """Both stages of a batch."""
        finish = await self.consumer.handle(records)
        await finish()

    async def online(self, user_id: int, connection_id: int = 1) -> None:
        self.gateway.users.add(user_id)
        route = Route(self.gateway.address, connection_id, "web", "d")
        await RouteTable(self.redis).put([(user_id, route)])

    async def offline(self, user_id: int) -> list[dict[str, Any]]:
        frames, _ = await OfflineList(self.redis).head(user_id)
        return [msgspec.json.decode(frame) for frame in frames]

    async def stored(self) -> list[tuple[str, int, str]]:
        t = messages.c
        query = select(t.conversation_id, t.seq, t.content).order_by(t.conversation_id, t.seq)
        async with self.db.read() as connection:
            return [tuple(row) for row in await connection.execute(query)]  # type: ignore[misc]

    def record(self, sender: int, to: int, content: str, **more: Any) -> Record:
        client_msg_id = more.pop("client_msg_id", new_message_id())
        message = NewMessage(
            message_id=new_message_id(),
            conversation_id=single_conversation(sender, to),
            sender_id=sender,
            to_user_id=to,
            client_msg_id=client_msg_id,
            content_type="text",
            content=content,
            timestamp=more.pop("timestamp", 5),
        )
        if "group_id" in more:
            message.group_id = more["group_id"]
            message.conversation_id = f"g:{more['group_id']}"
        return self.wrap(message)

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

    def wrap(self, message: NewMessage) -> Record:
        origin = Origin(address=self.gateway.address, token=1, connection_id=77)
        value = ChatRecord(origin=origin, message=message).SerializeToString()
        return Record("im-chat-topic", 0, "0", message.conversation_id.encode(), value, {})


@asynccontextmanager
async def _serving(*registrations: Any, address: str = "127.0.0.1:0") -> AsyncIterator[str]:
    server = grpc.aio.server()
    for register, servicer in registrations:
        register(servicer, server)
    port = server.add_insecure_port(address)
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)


@pytest.fixture
async def world(db: Database, redis: Redis) -> AsyncIterator[World]:
    owners, gateway, letters = Owners(), Gateway(), Letters()
    tokens = ServiceTokens(SECRET, "chat-mq")
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(
            _serving(
                (add_UserServiceServicer_to_server, owners),
                (add_FriendServiceServicer_to_server, owners),
                (add_GroupServiceServicer_to_server, owners),
            )
        )
        gateway.address = await stack.enter_async_context(
            _serving((add_PushServiceServicer_to_server, gateway))
        )
        channel = connect(ClientConf(endpoints=[address]), None, tokens)
        await channel.start()
        stack.push_async_callback(channel.close)
        gateways = AddressChannels(tokens)
        stack.push_async_callback(gateways.close)
        policy = Policy(
            UserServiceStub(channel), Blocks(FriendServiceStub(channel)), GroupServiceStub(channel)
        )
        deliverer = Deliverer(
            RouteTable(redis), OfflineList(redis), gateways, offline_group_members=3
        )
        consumer = Consumer(db, policy, deliverer, letters)  # type: ignore[arg-type]
        yield World(consumer, db, redis, owners, gateway, letters)


async def test_a_batch_is_placed_answered_and_delivered_in_order(world: World) -> None:
    await world.online(B)
    records = [world.record(A, B, f"{i}") for i in range(5)] + [world.record(B, A, "back")]
    await world.handle(records)
    assert await world.stored() == [
        ("s:1001:1002", i + 1, text) for i, text in enumerate(["0", "1", "2", "3", "4", "back"])
    ]
    assert [f["seq"] for f in world.gateway.answers()] == [1, 2, 3, 4, 5, 6]
    assert len(world.gateway.requests) == 1
    received = [f for f in world.gateway.delivered(B) if f["from"] == A]
    assert [f["content"] for f in received] == ["0", "1", "2", "3", "4"]
    # A is on no gateway, and B's own device gets a copy.
    assert [f["content"] for f in await world.offline(A)] == ["back"]
    assert await world.offline(B) == []


async def test_a_batch_of_200_costs_as_many_statements_and_calls_as_one_of_2(world: World) -> None:
    await world.online(B)
    counts = []
    for size in (2, 200):
        for user in range(2000, 2000 + size):
            await world.online(user)
        with counted_queries() as statements:
            calls, pushes = world.owners.calls, len(world.gateway.requests)
            await world.handle([world.record(A, 2000 + i, "x") for i in range(size)])
        kinds = [text.split()[0] for text in statements]
        counts.append((kinds, world.owners.calls - calls, len(world.gateway.requests) - pushes))
    assert counts[0] == counts[1]
    kinds, calls, pushes = counts[1]
    assert [kind for kind in kinds if kind != "BEGIN"] == [
        "INSERT",  # places
        "INSERT",  # messages
        "INSERT",  # members and cursors
    ]
    assert (calls, pushes) == (2, 1)


async def test_a_batch_with_some_that_are_stored_costs_one_look_up_more(world: World) -> None:
    known = [world.record(A, 2000 + i, "known") for i in range(10)]
    await world.handle(known)
    fresh = [world.record(A, 2000 + i, "fresh") for i in range(10)]
    with counted_queries() as statements:
        await world.handle([record for pair in zip(fresh, known, strict=True) for record in pair])
    kinds = [text.split()[0] for text in statements]
    assert [kind for kind in kinds if kind != "BEGIN"] == [
        *("INSERT", "INSERT"),  # places and messages, taken back
        "SELECT",
        *("INSERT", "INSERT", "INSERT"),  # those that are new
    ]
    assert await world.stored() == [
        (f"s:{A}:{2000 + i}", seq + 1, text)
        for i in range(10)
        for seq, text in enumerate(["known", "fresh"])
    ]


async def test_places_are_the_same_on_a_database_that_gives_nothing_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Database, "has_returning", property(lambda _: False))
    with counted_queries() as statements:
        for batch in (range(3), range(3, 6)):
            records = [world.record(A, to, f"{n}") for n in batch for to in (B, C)]
            await world.handle(records)
    assert not any("RETURNING" in statement for statement in statements)
    assert await world.stored() == [
        (f"s:{A}:{to}", n + 1, f"{n}") for to in (B, C) for n in range(6)
    ]
    assert [f["seq"] for f in world.gateway.answers()] == [n + 1 for n in range(6) for _ in (B, C)]


async def test_a_record_that_comes_again_is_delivered_but_not_stored_again(world: World) -> None:
    await world.online(B)
    records = [world.record(A, B, "x"), world.record(A, B, "y")]
    await world.handle(records)
    await world.handle(records)
    assert len(await world.stored()) == 2
    assert [f["seq"] for f in world.gateway.answers()] == [1, 2, 1, 2]
    assert [f["seq"] for f in world.gateway.delivered(B)] == [1, 2, 1, 2]


async def test_a_clients_retry_gets_the_first_place_and_is_not_delivered_again(
    world: World,
) -> None:
    await world.online(B)
    await world.handle([world.record(A, B, "x", client_msg_id="c")])
    again = [world.record(A, B, "x", client_msg_id="c") for _ in range(2)]
    await world.handle(again)
    first, *others = world.gateway.answers()
    assert others == [first, first]
    assert len(world.gateway.delivered(B)) == 1
    assert len(await world.stored()) == 1


async def test_equal_client_msg_ids_in_one_batch_are_one_message(world: World) -> None:
    records = [world.record(A, B, "x", client_msg_id="c") for _ in range(3)]
    other = world.record(A, C, "x", client_msg_id="c")
    await world.handle([*records, other])
    answers = world.gateway.answers()
    assert {(f["message_id"], f["seq"]) for f in answers[:3]} == {(answers[0]["message_id"], 1)}
    assert (answers[3]["type"], answers[3]["code"]) == ("error", "ALREADY_EXISTS")
    assert len(await world.stored()) == 1


async def test_refusals_go_to_the_sender_and_take_no_place(world: World) -> None:
    world.owners.blocked = {(A, B)}
    world.owners.groups = {
        5: group_pb2.GroupSendInfo(group_id=5, member_ids=[A, B], muted_member_ids=[B]),
        6: group_pb2.GroupSendInfo(group_id=6, member_ids=[A, B], manager_ids=[B], muted=True),
    }
    await world.handle(
        [
            world.record(A, B, "blocked"),
            world.record(A, GHOST, "nobody"),
            world.record(A, C, "fine"),
            world.record(A, 0, "no group", group_id=4),
            world.record(C, 0, "stranger", group_id=5),
            world.record(B, 0, "muted", group_id=5),
            world.record(A, 0, "all muted", group_id=6),
            world.record(B, 0, "manager", group_id=6),
        ]
    )
    codes = [f.get("code", "sent") for f in world.gateway.answers()]
    assert codes == [
        "BLOCKED", "NOT_FOUND", "sent", "NOT_FOUND", "NOT_GROUP_MEMBER", "MUTED", "MUTED", "sent",
    ]  # fmt: skip
    assert await world.stored() == [("g:6", 1, "manager"), ("s:1001:1003", 1, "fine")]


async def test_what_is_stored_keeps_its_place_when_it_would_be_refused_by_now(world: World) -> None:
    await world.handle([world.record(A, B, "x", client_msg_id="c")])
    world.owners.blocked = {(A, B)}
    await world.handle([world.record(A, B, "x", client_msg_id="c")])
    first, second = world.gateway.answers()
    assert first == second


async def test_the_batch_waits_when_the_owners_of_the_policy_are_away(world: World) -> None:
    world.owners.away = True
    with pytest.raises(AppError) as caught:
        await world.consumer.handle([world.record(A, B, "x")])
    assert caught.value.code is Code.UNAVAILABLE
    assert await world.stored() == []
    assert world.gateway.requests == []


async def test_poison_goes_to_the_dead_letters_and_the_rest_goes_on(world: World) -> None:
    bad = Record("im-chat-topic", 0, "9", b"s:1:2", b"\xff\xff", {})
    empty = Record("im-chat-topic", 0, "10", b"s:1:2", ChatRecord().SerializeToString(), {})
    await world.handle([bad, world.record(A, B, "fine"), empty])
    assert [content for *_, content in await world.stored()] == ["fine"]
    assert len(world.letters.sent) == 2
    assert b"decoded" in world.letters.sent[0]["dlq-reason"]


async def test_one_message_that_cannot_be_stored_does_not_hold_up_the_others(world: World) -> None:
    # Two records that claim one message_id: no client of ours makes them.
    message = NewMessage.FromString(
        ChatRecord.FromString(world.record(A, B, "first").value).message.SerializeToString()
    )
    await world.handle([world.wrap(message)])
    message.client_msg_id = "other"
    await world.handle([world.wrap(message), world.record(A, B, "fine")])
    assert [content for *_, content in await world.stored()] == ["first", "fine"]
    assert [f.get("code", "sent") for f in world.gateway.answers()] == ["sent", "INTERNAL", "sent"]
    assert len(world.letters.sent) == 1


async def test_an_unreachable_gateway_counts_as_away(world: World) -> None:
    gone = Route("127.0.0.1:1", 5, "web", "d")
    await RouteTable(world.redis).put([(B, gone)])
    await world.handle([world.record(A, B, "x")])
    assert [f["content"] for f in await world.offline(B)] == ["x"]


async def test_a_gateway_that_no_longer_has_the_user_is_told_to_look_at_the_list(
    world: World,
) -> None:
    await world.online(B)
    world.gateway.users.clear()
    await world.handle([world.record(A, B, "x")])
    assert [f["content"] for f in await world.offline(B)] == ["x"]
    # The route is there: in the race it is a new connection, which must look again.
    assert list(world.gateway.requests[-1].drain_user_ids) == [B]


async def test_the_senders_other_devices_get_a_copy(world: World) -> None:
    await world.online(A, connection_id=77)
    await world.handle([world.record(A, B, "x", client_msg_id="c")])
    assert world.gateway.delivered(A) == []
    await world.online(A, connection_id=78)
    await world.handle([world.record(A, B, "y", client_msg_id="d")])
    (copy,) = world.gateway.delivered(A)
    assert copy["client_msg_id"] == "d"
    (delivery,) = [d for r in world.gateway.requests for d in r.deliveries]
    assert delivery.except_connection_id == 77


async def test_a_group_message_is_stored_once_and_big_groups_have_no_copies(world: World) -> None:
    world.owners.groups = {
        5: group_pb2.GroupSendInfo(group_id=5, member_ids=[A, B, C]),
        6: group_pb2.GroupSendInfo(group_id=6, member_ids=[A, B, C, 1004]),
    }
    await world.handle(
        [world.record(A, 0, "small", group_id=5), world.record(A, 0, "big", group_id=6)]
    )
    assert await world.stored() == [("g:5", 1, "small"), ("g:6", 1, "big")]
    assert [f["content"] for f in await world.offline(B)] == ["small"]
    assert await world.offline(A) == []
    t = conversation_members.c
    async with world.db.read() as connection:
        query = select(t.user_id, t.read_seq).where(t.conversation_id == "g:5").order_by(t.user_id)
        members = [tuple(row) for row in await connection.execute(query)]
        last = await connection.execute(select(conversations.c.last_seq))
        assert [row[0] for row in last] == [1, 1]
    assert members == [(A, 1), (B, 0), (C, 0)]


async def test_a_recall_is_told_to_all_in_its_place_and_kept_for_the_absent(world: World) -> None:
    await world.online(B)
    await world.online(A, connection_id=77)
    await world.handle([world.record(A, B, "first")])
    message_id = world.gateway.answers()[0]["message_id"]
    recall = world.recall(message_id, A, "s:1001:1002")
    for _ in range(2):
        await world.handle([world.record(A, B, "x"), recall, world.record(A, B, "y")])
        wanted = {"type": "recalled", "seq": 1, "message_id": message_id, "by": A}
        assert world.gateway.answers()[-2] == {**wanted, "conversation_id": "s:1001:1002"}
        kinds = [f["type"] for f in world.gateway.delivered(B)][-3:]
        assert kinds == ["message", "recalled", "message"]
        # The device that asked gets it too.
        assert world.gateway.delivered(A)[-1]["type"] == "recalled"
    assert (await world.stored())[0] == ("s:1001:1002", 1, "")
    world.gateway.users.clear()
    await RouteTable(world.redis).remove([(B, Route(world.gateway.address, 1, "web", "d"))])
    await world.handle([recall])
    assert [f["type"] for f in await world.offline(B)] == ["recalled"]
    assert await world.offline(A) == []


async def test_recalls_of_a_group_ask_for_it_together_with_the_messages(world: World) -> None:
    world.owners.groups = {
        5: group_pb2.GroupSendInfo(group_id=5, member_ids=[A, B, C], manager_ids=[B])
    }
    await world.online(C)
    await world.handle([world.record(A, 0, "x", group_id=5)])
    message_id = world.gateway.answers()[0]["message_id"]
    calls = world.owners.calls
    await world.handle(
        [
            world.recall(message_id, C, "g:5"),
            world.record(A, 0, "y", group_id=5),
            world.recall(message_id, B, "g:5"),
        ]
    )
    assert world.owners.calls == calls + 1
    assert [f.get("code", f["type"]) for f in world.gateway.answers()[1:]] == [
        "PERMISSION_DENIED",
        "sent",
        "recalled",
    ]
    assert [f["type"] for f in world.gateway.delivered(C)] == ["message", "message", "recalled"]


async def test_group_changes_are_taken_into_account(world: World) -> None:
    world.owners.groups = {5: group_pb2.GroupSendInfo(group_id=5, member_ids=[A, B, C])}
    change = GroupChange(group_id=5, left_user_ids=[C], timestamp=9)
    value = ChatRecord(group_change=change).SerializeToString()
    record = Record("im-chat-topic", 0, "0", b"g:5", value, {})
    await world.handle([world.record(A, 0, "1", group_id=5), record])
    await world.handle([world.record(A, 0, "2", group_id=5), record])
    t = conversation_members.c
    async with world.db.read() as connection:
        query = select(t.user_id, t.left_seq).order_by(t.user_id)
        assert [tuple(row) for row in await connection.execute(query)] == [
            (A, None),
            (B, None),
            (C, 1),
        ]
    assert len(world.gateway.answers()) == 2


async def test_mentions_of_strangers_are_dropped(world: World) -> None:
    world.owners.groups = {5: group_pb2.GroupSendInfo(group_id=5, member_ids=[A, B])}
    await world.online(B)
    record = ChatRecord.FromString(world.record(A, 0, "x", group_id=5).value)
    record.message.mentions.extend([C, B])
    await world.handle([world.wrap(record.message)])
    (frame,) = world.gateway.delivered(B)
    assert frame["mentions"] == [B]


async def test_who_is_away_has_the_message_in_the_list_before_the_sender_is_told(
    world: World,
) -> None:
    waiting: list[int] = []

    async def look(_: Any) -> None:
        waiting.append(len(await world.offline(B)))

    world.gateway.before = look
    await world.handle([world.record(A, B, "x")])
    assert waiting == [1]


async def test_a_gateway_that_comes_back_is_pushed_to_at_once(world: World) -> None:
    """Its own new records say that it is back, however lately it did not answer."""
    async with AsyncExitStack() as stack:
        again = await stack.enter_async_context(
            _serving((add_PushServiceServicer_to_server, world.gateway))
        )
        world.gateway.address = again
        await world.handle([world.record(A, B, "before", timestamp=now_ms())])
        assert len(world.gateway.answers()) == 1
    await world.handle([world.record(A, B, "lost", timestamp=now_ms())])
    async with _serving((add_PushServiceServicer_to_server, world.gateway), address=again):
        await world.handle([world.record(A, B, "too old to tell", timestamp=1)])
        assert len(world.gateway.answers()) == 1
        await world.handle([world.record(A, B, "back", timestamp=now_ms() + 1)])
        assert len(world.gateway.answers()) == 2
