"""What group-service asks of user-service."""

from __future__ import annotations

from collections.abc import Sequence

from group_service.svc import ServiceContext
from im.user.v1.user_pb2 import CheckUsersRequest
from im_common.errors import AppError, Code

# As many as one CheckUsers takes.
CHUNK = 10_000


async def check_exist(svc: ServiceContext, field: str, user_ids: Sequence[int]) -> None:
    """NOT_FOUND, naming ``field``, when one of the users is not there (or disabled)."""
    known: set[int] = set()
    for start in range(0, len(user_ids), CHUNK):
        asked = CheckUsersRequest(user_ids=user_ids[start : start + CHUNK])
        known.update((await svc.users.CheckUsers(asked)).user_ids)
    unknown = next((user_id for user_id in user_ids if user_id not in known), None)
    if unknown is not None:
        raise AppError(Code.NOT_FOUND, f"user {unknown} not found", field=field)
