"""How users show in lists that other services make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from im.user.v1.user_pb2 import BatchGetUsersRequest

if TYPE_CHECKING:
    from im.user.v1.user_pb2_grpc import UserServiceAsyncStub


@dataclass(frozen=True, slots=True)
class Person:
    """How a user shows in lists."""

    user_id: int
    username: str = ""
    nickname: str = ""
    avatar: str = ""


async def people_by_id(users: UserServiceAsyncStub, user_ids: Sequence[int]) -> dict[int, Person]:
    """At most a page of them; without names who is not there any more."""
    people = {user_id: Person(user_id) for user_id in user_ids}
    if people:
        answer = await users.BatchGetUsers(BatchGetUsersRequest(user_ids=list(people)))
        for user in answer.users:
            people[user.user_id] = Person(user.user_id, user.username, user.nickname, user.avatar)
    return people
