"""group-service, started as its process starts it, on real servers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from pydantic import SecretStr
from redis.asyncio import Redis

import group_service
import group_service.server
from group_service.config import Settings
from group_service.logic import changes
from im.chat.v1.record_pb2 import ChatRecord, GroupChange
from im.group.v1 import group_pb2 as pb
from im.group.v1.admin_pb2_grpc import GroupAdminServiceStub
from im.group.v1.group_pb2_grpc import GroupServiceStub
from im_common.bus.kinds import open_bus
from im_common.bus.topics import CHAT_TOPIC
from im_common.runtime.sections import DbConf
from im_common.testing.databases import KINDS, migrated_database
from im_common.testing.fixtures import people, redis, valkey
from im_common.testing.people import People, Person
from im_common.testing.ports import free_port
from im_common.testing.services import SECRET, call, running
from im_common.testing.told import BUS, told
from im_common.testing.valkey import ValkeyServer

__all__ = ["people", "redis", "valkey"]


@dataclass
class Groups:
    """The service, and the calls that most tests make."""

    stub: Any
    settings: Settings
    redis: Redis
    admin: Any

    async def act(self, person: Person, method: str, group_id: int, **fields: Any) -> Any:
        """Any call about a group."""
        request = getattr(pb, f"{method}Request")(group_id=group_id, **fields)
        return await call(getattr(self.stub, method), request, token=person.token)

    async def update(self, person: Person, group_id: int, **fields: Any) -> pb.Group:
        request = pb.UpdateGroupRequest(
            group=pb.Group(group_id=group_id, **fields), update_mask=FieldMask(paths=list(fields))
        )
        answer: pb.UpdateGroupResponse = await call(
            self.stub.UpdateGroup, request, token=person.token
        )
        return answer.group

    async def ask(self, person: Person, group_id: int, message: str = "") -> int:
        """The id of a request to join, which has to wait."""
        answer = await self.act(person, "JoinGroup", group_id, message=message)
        assert not answer.joined
        return int(answer.request_id)

    async def handle(self, person: Person, group_id: int, request_id: int, accept: bool) -> None:
        await self.act(person, "HandleJoinRequest", group_id, request_id=request_id, accept=accept)

    async def pending(self, person: Person, group_id: int) -> list[int]:
        answer = await self.act(person, "ListJoinRequests", group_id)
        return [request.request_id for request in answer.requests]

    async def recorded(self, group_id: int) -> list[tuple[int, dict[str, Any], GroupChange]]:
        """The changes in the log, which are there when they are confirmed: who made them, what their
        messages say, and all of it."""
        changes: list[tuple[int, dict[str, Any], GroupChange]] = []
        async for record in open_bus(BUS, lambda: self.redis).browse(CHAT_TOPIC):
            change = ChatRecord.FromString(record.value).group_change
            if change.group_id == group_id:
                assert record.key == f"g:{group_id}".encode()
                changes.append((change.user_id, json.loads(change.ext_json), change))
        return changes

    async def told(self, user_id: int, count: int) -> list[tuple[str, Any]]:
        """The events for a user's devices, when there are so many: name and data, oldest first."""
        return await told(self.redis, user_id, count)

    async def create(
        self,
        owner: Person,
        member_ids: Sequence[int] = (),
        *,
        name: str = "Friends of the sea",
        join_policy: pb.JoinPolicy.ValueType = pb.JOIN_POLICY_UNSPECIFIED,
    ) -> pb.Group:
        request = pb.CreateGroupRequest(name=name, member_ids=member_ids, join_policy=join_policy)
        answer: pb.CreateGroupResponse = await call(
            self.stub.CreateGroup, request, token=owner.token
        )
        return answer.group

    async def get(self, person: Person, group_id: int) -> pb.Group:
        request = pb.GetGroupRequest(group_id=group_id)
        answer: pb.GetGroupResponse = await call(self.stub.GetGroup, request, token=person.token)
        return answer.group

    async def mine(
        self, person: Person, *, limit: int = 0, cursor: str = ""
    ) -> pb.ListMyGroupsResponse:
        request = pb.ListMyGroupsRequest(limit=limit, cursor=cursor)
        answer: pb.ListMyGroupsResponse = await call(
            self.stub.ListMyGroups, request, token=person.token
        )
        return answer

    async def members(
        self, person: Person, group_id: int, *, limit: int = 0, cursor: str = ""
    ) -> pb.ListMembersResponse:
        request = pb.ListMembersRequest(group_id=group_id, limit=limit, cursor=cursor)
        answer: pb.ListMembersResponse = await call(
            self.stub.ListMembers, request, token=person.token
        )
        return answer

    async def roles(self, person: Person, group_id: int) -> dict[int, pb.Role.ValueType]:
        page = await self.members(person, group_id)
        return {member.user_id: member.role for member in page.members}

    async def invite(self, person: Person, group_id: int, user_ids: Sequence[int]) -> list[int]:
        request = pb.InviteMembersRequest(group_id=group_id, user_ids=user_ids)
        answer = await call(self.stub.InviteMembers, request, token=person.token)
        return list(answer.added)

    async def send_info(
        self, *group_ids: int, of: Sequence[Person] = ()
    ) -> dict[int, pb.GroupSendInfo]:
        """What is said of these users in the groups."""
        users = [person.user_id for person in of]
        asked = [pb.GroupSenders(group_id=group_id, user_ids=users) for group_id in group_ids]
        request = pb.BatchGetSendInfoRequest(groups=asked)
        answer = await call(self.stub.BatchGetSendInfo, request, service="chat-service")
        return {group.group_id: group for group in answer.groups}


Start = Callable[..., AbstractAsyncContextManager[Groups]]


@pytest.fixture(scope="session", params=KINDS)
def db(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DbConf]:
    """Of each kind once for all tests: each has users and groups of its own."""
    migrations = Path(group_service.__file__).parent / "migrations"
    with migrated_database(request.param, tmp_path_factory.mktemp("db"), migrations) as conf:
        yield conf


@pytest.fixture
def start(
    db: DbConf,
    valkey: ValkeyServer,
    redis: Redis,
    people: People,
    monkeypatch: pytest.MonkeyPatch,
) -> Start:
    """Starts the service; arguments are its settings. It waits for the log, and its callers for it, as
    long as a machine may take that has much else to do."""
    monkeypatch.setattr(changes, "RELAYED_WITHIN_S", 15.0)

    @asynccontextmanager
    async def start(**changed: Any) -> AsyncIterator[Groups]:
        settings = Settings(
            name="group-service",
            listen_on=f"127.0.0.1:{free_port()}",
            db=db,
            redis=valkey.conf,
            internal_secret=SecretStr(SECRET),
            auth_rpc=people.conf,
            user_rpc=people.conf,
            friend_rpc=people.conf,
            bus=BUS,
            **{"chat_rpc": people.conf, "timeout": 20_000} | changed,
        )
        async with running(group_service.server.serve, settings) as service:
            stub = GroupServiceStub(service.channel)
            yield Groups(stub, settings, redis, GroupAdminServiceStub(service.channel))

    return start


@pytest.fixture
async def groups(start: Start) -> AsyncIterator[Groups]:
    async with start() as groups:
        yield groups
