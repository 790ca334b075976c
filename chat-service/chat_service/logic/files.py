"""Files: what is known of them, and who may see them. A file never changes."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from sqlalchemy import Row

from chat_service.model import files
from chat_service.model.files import Kind
from chat_service.svc import ServiceContext
from im_common.domain.file_ids import may_be_file_id, new_file_id
from im_common.domain.ids import now_ms
from im_common.errors import invalid, not_found

# Pictures that are kept of a user or group. The gateway says what the new one is after the profile
# names it, and two changes at once may be told of in the other order.
MOST_AVATARS = 3
MOST_FILES = 1000
_CONTENT_TYPE = re.compile(r"[a-z0-9.+-]{1,63}/[a-z0-9.+-]{1,63}")


async def create_file(svc: ServiceContext, user_id: int) -> str:
    """The id of a file that has no bytes yet; if they never come it is forgotten after a day."""
    file_id = new_file_id()
    await svc.db.write(files.create, file_id, owner_id=user_id, now=now_ms())
    return file_id


async def finish_file(svc: ServiceContext, file_id: str, kind: Kind) -> None:
    """Safe to repeat. INVALID_ARGUMENT; NOT_FOUND when it was forgotten meanwhile."""
    if min(kind.size, kind.width, kind.height, kind.thumbnail_size) < 0:
        raise invalid("size", "and the other numbers must not be negative")
    if not _CONTENT_TYPE.fullmatch(kind.content_type):
        raise invalid("content_type", "must be type/subtype")
    _check(file_id)
    if not await svc.db.write(files.finish, file_id, kind):
        raise not_found("file")


async def get_file(svc: ServiceContext, user_id: int, file_id: str) -> Row[Any]:
    """NOT_FOUND for who may not see it, as for one that is not there."""
    _check(file_id)
    if not await svc.db.read(files.visible, [(user_id, file_id)]):
        raise not_found("file")
    found = await svc.db.read(files.find, file_id)
    if found is None:
        raise not_found("file")
    return found


async def use_as_avatar(svc: ServiceContext, file_id: str, holder: str) -> None:
    """Lets everybody see it: it is the picture of ``holder`` now. NOT_FOUND."""
    _check(file_id)
    found = await svc.db.read(files.find, file_id)
    if found is None or found.size is None or found.is_ending:
        raise not_found("file")
    await svc.db.write(files.put_avatar, file_id, holder, now=now_ms(), most=MOST_AVATARS)


async def list_unused_files(svc: ServiceContext, limit: int) -> list[str]:
    """What the caller is to remove from the store, and then to forget."""
    if not 0 <= limit <= MOST_FILES:
        raise invalid("limit", f"must be 0 to {MOST_FILES}")
    return await svc.db.write(files.take_unused, now=now_ms(), limit=limit or 100)


async def forget_files(svc: ServiceContext, file_ids: Collection[str]) -> None:
    """Those of them that are ending. What can be no id is no file's."""
    if len(file_ids) > MOST_FILES:
        raise invalid("file_ids", f"may be at most {MOST_FILES}")
    if possible := [file_id for file_id in file_ids if may_be_file_id(file_id)]:
        await svc.db.write(files.forget, possible)


def _check(file_id: str) -> None:
    if not may_be_file_id(file_id):
        raise not_found("file")
