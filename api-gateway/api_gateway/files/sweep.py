"""Removing the bytes of files that nothing uses any more."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import structlog
from prometheus_client import Counter

from api_gateway.files.store import FileStore, key_of, thumbnail_key_of
from im.chat.v1.file_pb2 import ForgetFilesRequest, ListUnusedFilesRequest
from im_common.errors import AppError

if TYPE_CHECKING:
    from im.chat.v1.file_pb2_grpc import FileServiceAsyncStub

log = structlog.get_logger(__name__)

REMOVED = Counter("im_files_removed_total", "Files that nothing used any more")
_STEP = 100


async def keep_removing(files: FileServiceAsyncStub, store: FileStore, every_s: float) -> None:
    """Any number of gateways may do it at once: what one has begun, each of them may end."""
    while True:
        # Not all at the same time.
        await asyncio.sleep(every_s * random.uniform(0.8, 1.2))  # noqa: S311
        try:
            await remove_unused(files, store)
        except AppError as error:
            log.warning("unused files were not removed, and will be later", reason=error.message)


async def remove_unused(files: FileServiceAsyncStub, store: FileStore) -> None:
    """Looks once at all whose time has come. Raises AppError when a service or the store is away."""
    while unused := (await files.ListUnusedFiles(ListUnusedFilesRequest(limit=_STEP))).file_ids:
        for file_id in unused:
            await store.remove(thumbnail_key_of(file_id))
            await store.remove(key_of(file_id))
        # Only now: who dies before it leaves it to the next look.
        await files.ForgetFiles(ForgetFilesRequest(file_ids=unused))
        REMOVED.inc(len(unused))
