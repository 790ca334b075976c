"""Events for a user's devices: what an `event` frame says, and its record on the bus."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import UNSET, UnsetType

from im.bus.v1.event_pb2 import UserEvent
from im_common.bus.topics import EVENT_TOPIC
from im_common.domain.ids import new_event_id, now_ms
from im_common.sql.outbox import OutboxRecord


class EventData(msgspec.Struct, kw_only=True):
    """The `data` of an event; the class is named as the event is."""


class NewFriendRequest(EventData):
    """To who was asked."""

    request_id: int
    from_user_id: int
    username: str
    nickname: str
    avatar: str
    message: str


class FriendRequestCancelled(EventData):
    """To who was asked."""

    request_id: int
    from_user_id: int


class FriendAccepted(EventData):
    """To both, each with the other one's id."""

    request_id: int
    user_id: int


class FriendRejected(EventData):
    """To who asked."""

    request_id: int
    user_id: int


class FriendDeleted(EventData):
    """To both, each with the other one's id."""

    user_id: int


class BlockListChanged(EventData):
    """To one's own devices."""

    user_id: int
    blocked: bool


class GroupInvited(EventData):
    """To who was added."""

    group_id: int
    name: str
    by: int


class GroupJoinRequested(EventData):
    """To owner and admins."""

    group_id: int
    request_id: int
    user_id: int
    message: str


class GroupJoinHandled(EventData):
    """To who asked to join."""

    group_id: int
    request_id: int
    accepted: bool


class GroupUpdated(EventData):
    """To all members: what has changed, and nothing else."""

    group_id: int
    name: str | UnsetType = UNSET
    avatar: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    announcement: str | UnsetType = UNSET
    join_policy: str | UnsetType = UNSET
    muted: bool | UnsetType = UNSET
    owner_id: int | UnsetType = UNSET


class GroupDismissed(EventData):
    """To all members."""

    group_id: int
    by: int


class GroupRemoved(EventData):
    """To who was removed."""

    group_id: int
    by: int


class ProfileUpdated(EventData):
    """To friends and the user's own devices: what has changed of what everybody may see, and nothing
    else."""

    user_id: int
    nickname: str | UnsetType = UNSET
    avatar: str | UnsetType = UNSET
    signature: str | UnsetType = UNSET


class SessionRevoked(EventData):
    """To the user's other devices."""

    session_id: str


def user_event(user_id: int, data: EventData, *, but_sessions: Sequence[str] = ()) -> OutboxRecord:
    """Tells the devices of ``user_id`` but for those of some sessions, with an id and a time of its
    own."""
    event = UserEvent(
        event_id=new_event_id(),
        user_id=user_id,
        event=type(data).__name__,
        data_json=msgspec.json.encode(data).decode(),
        timestamp=now_ms(),
        except_session_ids=but_sessions,
    )
    return OutboxRecord(EVENT_TOPIC, str(user_id), event.SerializeToString())
