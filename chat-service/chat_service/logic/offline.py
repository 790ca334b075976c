"""The offline list for clients without a WebSocket."""

from __future__ import annotations

from dataclasses import dataclass

from chat_service.svc import ServiceContext
from im_common.domain.offline import BATCH_FRAMES, OfflineList
from im_common.domain.paging import page_limit
from im_common.domain.recalls import RecallLog


@dataclass(frozen=True, slots=True)
class Batch:
    # Confirms these frames; empty when there are none.
    batch_id: str
    # Encoded, in order, each once.
    frames: list[bytes]
    # How many wait after these.
    remaining: int


async def pull_offline_messages(
    svc: ServiceContext, user_id: int, confirmed: str, limit: int
) -> Batch:
    """Takes the confirmed batch away, and gives the next one. A batch that is not confirmed comes
    again; so do frames of one that another device or the list's cap changed meanwhile."""
    size = page_limit(limit, default=BATCH_FRAMES, most=BATCH_FRAMES)
    offline = OfflineList(svc.redis)
    if confirmed:
        await offline.confirm_batch(user_id, confirmed)
    frames, remaining = await offline.head(user_id, size)
    shown = await RecallLog(svc.redis).emptied(user_id, list(dict.fromkeys(frames)))
    return Batch(offline.batch_id(frames) if frames else "", shown, remaining)
