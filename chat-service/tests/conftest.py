"""Real servers, and small stand-ins for the owners of the policy."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

import chat_service
from chat_service.config import Settings
from chat_service.logic.audience import Audiences
from chat_service.logic.notify import Note
from chat_service.logic.retention import expire_page
from chat_service.model.members import Cursors, new_row
from chat_service.model.members import make as make_members
from chat_service.model.messages import Place
from chat_service.mq.entry import NOBODY
from chat_service.mq.message import MessageEntry
from chat_service.mq.store import store
from chat_service.svc import ServiceContext
from im.chat.v1.content_pb2 import Content
from im.chat.v1.record_pb2 import NewMessage
from im.friend.v1.friend_pb2 import BatchIsBlockedRequest, BatchIsBlockedResponse
from im.group.v1.group_pb2 import (
    BatchGetSendInfoRequest,
    BatchGetSendInfoResponse,
    GroupSendInfo,
)
from im_common.bus import Record
from im_common.domain.ids import new_message_id, now_ms, single_conversation
from im_common.domain.in_flight import InFlight
from im_common.errors import unavailable
from im_common.runtime.sections import DbConf
from im_common.sql.db import Database
from im_common.testing.databases import KINDS, migrated_database
from im_common.testing.fixtures import lone_valkey, redis, valkey
from im_common.testing.groups import send_info

MIGRATIONS = Path(chat_service.__file__).parent / "migrations"


__all__ = ["lone_valkey", "redis", "valkey"]


@pytest.fixture(params=KINDS)
def db_conf(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DbConf]:
    with migrated_database(request.param, tmp_path, MIGRATIONS) as conf:
        yield conf


@pytest.fixture
async def db(db_conf: DbConf) -> AsyncIterator[Database]:
    database = Database(db_conf)
    yield database
    await database.close()


@dataclass
class Groups:
    """Answers for group-service."""

    by_id: dict[int, GroupSendInfo] = field(default_factory=dict)
    calls: int = 0

    async def BatchGetSendInfo(self, request: BatchGetSendInfoRequest) -> BatchGetSendInfoResponse:
        self.calls += 1
        return send_info(request, self.by_id)

    def make(self, group_id: int, *members: int, managers: Sequence[int] = ()) -> None:
        self.by_id[group_id] = GroupSendInfo(
            group_id=group_id, member_ids=members, manager_ids=managers
        )


@dataclass
class Friends:
    """Answers for friend-service: (user, target) whose target has blocked the user, and friends."""

    blocked: set[tuple[int, int]] = field(default_factory=set)
    pairs: set[tuple[int, int]] = field(default_factory=set)
    away: bool = False

    async def BatchIsBlocked(self, request: BatchIsBlockedRequest) -> BatchIsBlockedResponse:
        if self.away:
            raise unavailable("away")
        pairs = [(pair.user_id, pair.target_id) for pair in request.pairs]
        both = request.both_ways
        return BatchIsBlockedResponse(
            blocked=[
                pair in self.blocked or (both and pair[::-1] in self.blocked) for pair in pairs
            ],
            friends=[pair in self.pairs for pair in pairs] if request.with_friends else (),
        )


class Notes:
    """Remembers what would be told."""

    def __init__(self) -> None:
        self.told: list[tuple[dict[str, Any], list[int]]] = []
        # The same, whole.
        self.notes: list[Note] = []

    def tell(self, _key: object, note: Note) -> None:
        self.notes.append(note)
        self.told.append((msgspec.json.decode(note.frame), sorted(note.user_ids)))


@dataclass
class Desk:
    """The logic on a real database, and messages to work with."""

    svc: ServiceContext
    groups: Groups
    friends: Friends
    notes: Notes

    async def make(self, group_id: int, *members: int) -> None:
        """A group with these members, of which the conversation knows."""
        self.groups.make(group_id, *members)
        keys = [(user_id, f"g:{group_id}") for user_id in members]
        rows = {key: new_row(key, Cursors(0, 0)) for key in keys}
        await self.svc.db.write(make_members, rows)

    async def say(self, sender: int, to: int, *contents: str, **more: Any) -> list[Place]:
        """Stores messages as the consumer does; ``group`` instead of ``to`` with to=0."""
        items = self.items(sender, to, *contents, **more)
        await self.store(items)
        return [item.place for item in items if item.place]

    def items(self, sender: int, to: int, *contents: str, **more: Any) -> list[MessageEntry]:
        items = [_item(sender, to, content, **more) for content in contents]
        for item in items:
            if item.group_id is not None:
                item.group_members = self.groups.by_id[item.group_id].member_ids
        return items

    async def store(self, items: Sequence[MessageEntry]) -> None:
        await store(self.svc.db, items)

    async def expire(self, *, before_ms: int) -> int:
        """Removes what is older, part after part; how many."""
        removed, cursor = await expire_page(self.svc.db, before_ms=before_ms, cursor="")
        while cursor:
            more, cursor = await expire_page(self.svc.db, before_ms=before_ms, cursor=cursor)
            removed += more
        return removed


def _item(sender: int, to: int, content: str, **more: Any) -> MessageEntry:
    group = more.pop("group", 0)
    message = NewMessage(
        message_id=new_message_id(),
        conversation_id=f"g:{group}" if group else single_conversation(sender, to),
        sender_id=sender,
        timestamp=more.pop("timestamp", now_ms()),
        content=Content(
            client_msg_id=new_message_id(), content_type="text", content=content, **more
        ),
    )
    if group:
        message.group_id = group
    else:
        message.to_user_id = to
    return MessageEntry(Record("t", 0, "0", b"", b"", {}), NOBODY, message)


@pytest.fixture
async def desk(db: Database, redis: Redis) -> Desk:
    groups, friends, notes = Groups(), Friends(), Notes()
    unused: Any = None
    svc = ServiceContext(
        settings=Settings.model_construct(require_friendship=False),
        db=db,
        redis=redis,
        producer=unused,
        groups=groups,  # type: ignore[arg-type]
        friends=friends,  # type: ignore[arg-type]
        tokens=unused,
        in_flight=InFlight(),
        notifier=notes,  # type: ignore[arg-type]
        audiences=Audiences(db),
    )
    return Desk(svc, groups, friends, notes)


@pytest.fixture
def placing() -> Callable[[Database], Awaitable[list[str]]]:
    """The kinds of the statements that give messages their places: one, where an INSERT says what is
    there then; MySQL is asked."""

    async def placing(db: Database) -> list[str]:
        returns = await db.write(lambda connection: connection.dialect.insert_returning)
        return ["INSERT"] if returns else ["INSERT", "SELECT"]

    return placing
