"""A file on its way in: out of the request onto the disk, looked at, put into the store."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import IO, cast

from fastapi import Request
from prometheus_client import Counter
from python_multipart.exceptions import FormParserError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from api_gateway.files.kinds import THUMBNAIL_TYPE, content_type_of, disposition_of
from api_gateway.files.pictures import Pictures
from api_gateway.files.store import FileStore, Served, key_of, thumbnail_key_of
from im.chat.v1.file_pb2 import File
from im_common.errors import AppError, Code, invalid

# What a body may have besides the file: its parts' headers, and small fields that nobody reads.
FRAMING_BYTES = 64 * 1024
BYTES = Counter("im_file_bytes_total", "Bytes of files that went in and out", ["way"])


class _Parser(MultiPartParser):
    # Beyond it a file is on the disk.
    spool_max_size = 32 * 1024


@asynccontextmanager
async def received(request: Request, max_bytes: int) -> AsyncIterator[IO[bytes]]:
    """The part `file` of the body, on the disk until the end of the block.

    Raises AppError INVALID_ARGUMENT, PAYLOAD_TOO_LARGE.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise invalid("file", "must be a part of a body of type multipart/form-data")
    parser = _Parser(
        request.headers, request.stream(), max_files=1, max_fields=8, max_part_size=FRAMING_BYTES
    )
    try:
        form = await parser.parse()
    except (MultiPartException, FormParserError, ClientDisconnect) as error:
        said = getattr(error, "message", "") or "it ends early"
        raise AppError(Code.INVALID_ARGUMENT, f"the body cannot be read: {said}") from None
    try:
        part = form.get("file")
        if not isinstance(part, UploadFile):
            raise invalid("file", "must be a part of the body, with a filename")
        if (part.size or 0) > max_bytes:
            said = f"file may have at most {max_bytes} bytes"
            raise AppError(Code.PAYLOAD_TOO_LARGE, said, field="file")
        # A small one is put onto the disk, too: others read it by its number.
        part.file.fileno()
        BYTES.labels("in").inc(part.size or 0)
        yield cast("IO[bytes]", part.file)
    finally:
        await form.close()


def digest_of(content: IO[bytes]) -> bytes:
    """Of all of it; takes a while."""
    content.seek(0)
    found = hashlib.sha256()
    while piece := content.read(FRAMING_BYTES):
        found.update(piece)
    return found.digest()


async def keep(file_id: str, content: IO[bytes], store: FileStore, pictures: Pictures) -> File:
    """Puts it into the store, with a small picture of a picture, and tells what it is."""
    file = File(file_id=file_id, content_type=content_type_of(content))
    file.size = content.seek(0, 2)
    picture = await pictures.look_at(content, file.content_type)
    disposition = disposition_of(file_id, file.content_type)
    await store.put(key_of(file_id), content, Served(file.content_type, disposition))
    if picture is not None:
        served = Served(THUMBNAIL_TYPE, disposition_of(file_id, THUMBNAIL_TYPE))
        await store.put(thumbnail_key_of(file_id), picture.thumbnail, served)
        file.width, file.height = picture.width, picture.height
        file.thumbnail_size = len(picture.thumbnail)
    return file
