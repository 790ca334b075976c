"""Files that messages name: who may not see one cannot send it on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from chat_service.model import files
from im_common.domain.file_ids import named_files
from im_common.errors import AppError, Code, invalid
from im_common.sql.db import Database

if TYPE_CHECKING:
    from chat_service.mq.message import MessageEntry

MOST_FILES = 50


async def judge(db: Database, items: Sequence[MessageEntry]) -> None:
    """Sets why messages may not name their files: by one look for the whole batch, and none for a batch
    that names no files."""
    naming = [item for item in items if item.file_ids]
    if not naming:
        return
    asked = [item for item in naming if len(item.file_ids) <= MOST_FILES]
    wishes = {(item.author_id, file_id) for item in asked for file_id in item.file_ids}
    seen = await db.read(files.visible, wishes) if wishes else set()
    for item in naming:
        unseen = [one for one in item.file_ids if (item.author_id, one) not in seen]
        item.file_refusal = _refusal(item, unseen)


def _refusal(item: MessageEntry, unseen: Sequence[str]) -> AppError | None:
    content = item.content
    if len(item.file_ids) > MOST_FILES:
        in_content = len(named_files(content.content)) > MOST_FILES
        return invalid("content" if in_content else "ext", f"may name at most {MOST_FILES} files")
    if not unseen:
        return None
    field = "content" if unseen[0] in content.content else "ext"
    return AppError(Code.NOT_FOUND, f"{field} names a file that is not there", field=field)
