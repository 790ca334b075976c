"""Which groups users are in, for the gateways that they come to."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from chat_service.model import windows
from chat_service.model.windows import UserGroup
from chat_service.svc import ServiceContext
from im_common.errors import invalid

MOST_USERS = 1000


async def list_group_standings(
    svc: ServiceContext, user_ids: Collection[int]
) -> Mapping[int, Sequence[UserGroup]]:
    """By user; without users who are in no group. INVALID_ARGUMENT."""
    if len(user_ids) > MOST_USERS:
        raise invalid("user_ids", f"may be at most {MOST_USERS}")
    return await svc.db.read(windows.groups_of, set(user_ids)) if user_ids else {}
