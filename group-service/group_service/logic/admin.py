"""What operators see of groups, and do with them."""

from __future__ import annotations

from group_service.logic.changes import Editing, edit
from group_service.logic.groups import end_group
from group_service.model import groups, members
from group_service.model.groups import Group
from group_service.model.members import Member
from group_service.svc import ServiceContext
from im_common.domain.paging import page_limit, read_cursor, write_cursor
from im_common.errors import not_found


async def find_groups(
    svc: ServiceContext, *, group_id: int, user_id: int, text: str, limit: int, cursor: str
) -> tuple[list[Group], str]:
    """A page, newest first, and the cursor of the next one (empty when this is the last). 0 and an
    empty ``text`` leave nothing out."""
    size = page_limit(limit)
    (below,) = read_cursor(cursor, 1) or (None,)
    found = await svc.db.read(
        groups.find, group_id=group_id, user_id=user_id, text=text, below=below, limit=size + 1
    )
    page = found[:size]
    return page, write_cursor(page[-1].group_id) if len(found) > size else ""


async def list_group_members(
    svc: ServiceContext, group_id: int, *, limit: int, cursor: str
) -> tuple[list[Member], str]:
    """A page in the order of their ids, and the cursor of the next one. NOT_FOUND."""
    size = page_limit(limit)
    (after,) = read_cursor(cursor, 1) or (0,)
    await _owner(svc, group_id)
    found = await svc.db.read(members.page, group_id, after=after, limit=size + 1)
    page = found[:size]
    return page, write_cursor(page[-1].user_id) if len(found) > size else ""


async def end_group_of_owner(svc: ServiceContext, group_id: int) -> None:
    """As if its owner had dismissed it, whoever that is by then. NOT_FOUND."""

    def dismiss(editing: Editing) -> None:
        editing.user_id = editing.group.owner_id
        end_group(editing)

    await edit(svc, await _owner(svc, group_id), group_id, dismiss)


async def _owner(svc: ServiceContext, group_id: int) -> int:
    found = await svc.db.read(groups.get, group_id, 0)
    if found is None:
        raise not_found(f"group {group_id}")
    return found[0].owner_id
