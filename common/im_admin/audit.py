"""What operators have done."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import Message

from im.auth.v1.admin_pb2 import ListDeedsRequest
from im_admin.operator import Operator
from im_admin.plain import Row, pages


async def list_deeds(
    operator: Operator, *, who: str = "", target: str = "", action: str = "", most: int = 50
) -> list[Row]:
    """Newest first; an empty ``who``, ``target`` or ``action`` leaves nothing out."""
    service = await operator.audit()

    async def ask(limit: int, cursor: str) -> tuple[Sequence[Message], str]:
        request = ListDeedsRequest(
            who=who, target=target, action=action, limit=limit, cursor=cursor
        )
        answer = await service.ListDeeds(request)
        return answer.deeds, answer.next_cursor

    return await pages(ask, most)
