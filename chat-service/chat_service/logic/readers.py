"""Who has read a message of a group."""

from __future__ import annotations

from chat_service.model import members, messages
from chat_service.svc import ServiceContext
from im_common.domain.ids import check_id, group_conversation
from im_common.domain.paging import page_limit
from im_common.errors import AppError, Code, not_found

# So many members are looked at for a page, whoever has read the message.
MOST_LOOKED_AT = 10_000


async def list_readers(
    svc: ServiceContext, user_id: int, group_id: int, seq: int, *, after: int, limit: int
) -> tuple[list[int], int | None]:
    """The members but for the sender, by their ids from above ``after`` on, and after whom the next
    page begins (None when this is the last); for the sender only. A page may have few or none while
    there is a next one: those who were looked at have not read it.

    Raises:
        AppError: INVALID_ARGUMENT, NOT_FOUND (the message), PERMISSION_DENIED.
    """
    size = page_limit(limit)
    place = (group_conversation(check_id("group_id", group_id)), check_id("seq", seq))
    sender = (await svc.db.read(messages.senders, [place])).get(place)
    if sender is None:
        raise not_found("message")
    if sender != user_id:
        raise AppError(Code.PERMISSION_DENIED, "only its sender may see who has read a message")
    found, looked_at = await svc.db.read(
        members.readers, *place, after=after, limit=size + 2, most=MOST_LOOKED_AT
    )
    others = [reader for reader in found if reader != sender]
    page = others[:size]
    return page, page[-1] if len(others) > size else looked_at
