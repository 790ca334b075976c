"""/v1/files: upload and download."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Path, Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from api_gateway.errors import http_problem
from api_gateway.files.kinds import THUMBNAIL_TYPE, disposition_of
from api_gateway.files.ranges import Part, Unsatisfiable, is_known, wanted_part
from api_gateway.files.store import key_of, thumbnail_key_of
from api_gateway.files.upload import BYTES, digest_of, keep, received
from api_gateway.middleware import is_head
from api_gateway.routes.keyed import key_of as idempotency_key
from api_gateway.routes.keyed import keyed, once
from api_gateway.routes.parts import Svc, area, signed_in
from api_gateway.schemas.files import UploadedFile
from api_gateway.svc import ServiceContext
from im.chat.v1 import file_pb2 as pb
from im_common.errors import not_found

router = area("/v1/files", tags=["files"], dependencies=[signed_in])

FileIdPath = Annotated[str, Path(min_length=1, max_length=64)]
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            }
        },
    }
}
_BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "All of it.", "content": {"*/*": _BINARY}},
    206: {"description": "The part that Range asked for.", "content": {"*/*": _BINARY}},
    302: {"description": "It is at the URL in Location, for a minute; with a store that has URLs."},
    304: {"description": "It is what If-None-Match says."},
}
# Nothing in a file may run, wherever a browser opens it; and only who asks with a token gets it again.
_HEADERS = {
    "Accept-Ranges": "bytes",
    "Cache-Control": "private, no-cache",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Vary": "Authorization",
    "X-Content-Type-Options": "nosniff",
}


@router.post(
    "",
    status_code=201,
    openapi_extra=_BODY,
    summary="Upload a file",
    response_model=UploadedFile,
    dependencies=[keyed],
)
async def upload_file(request: Request, svc: Svc) -> Response:
    """One part named `file`. What it is, is found out from its content. A file that no message and no
    profile names is removed after a day."""
    # First of all, so that nothing is taken of who is not signed in, and nothing is left by who dies.
    key = idempotency_key(request)
    file_id = (await svc.files.CreateFile(pb.CreateFileRequest())).file_id
    async with received(request, svc.settings.files.max_bytes) as content:

        async def make() -> Response:
            file = await keep(file_id, content, svc.store, svc.pictures)
            await svc.files.FinishFile(pb.FinishFileRequest(file=file))
            told = UploadedFile.of(file).model_dump_json()
            return Response(told, 201, media_type="application/json")

        if key is None:
            return await make()
        # Known by its content: each sending has a boundary of its own. What was begun for a repeat,
        # or by who died in between, nothing uses.
        digest = await asyncio.to_thread(digest_of, content)
        return await once(request, key, "/v1/files", digest, make)


@router.get(
    "/{file_id}",
    summary="A file, for those who may see it",
    response_class=Response,
    responses=_ANSWERS,
)
async def get_file(file_id: FileIdPath, request: Request, svc: Svc) -> Response:
    """Who uploaded it, who can read a message that names it, and, when it is somebody's picture,
    everybody who is logged in."""
    file = (await svc.files.GetFile(pb.GetFileRequest(file_id=file_id))).file
    return await _answer(request, svc, key_of(file_id), file)


@router.get(
    "/{file_id}/thumbnail",
    summary="A small picture of a picture",
    response_class=Response,
    responses=_ANSWERS,
)
async def get_thumbnail(file_id: FileIdPath, request: Request, svc: Svc) -> Response:
    """As the file itself; 404 for one that has none."""
    file = (await svc.files.GetFile(pb.GetFileRequest(file_id=file_id))).file
    if not file.thumbnail_size:
        raise not_found("thumbnail")
    small = pb.File(file_id=file_id, content_type=THUMBNAIL_TYPE, size=file.thumbnail_size)
    return await _answer(request, svc, thumbnail_key_of(file_id), small)


async def _answer(request: Request, svc: ServiceContext, key: str, file: pb.File) -> Response:
    # A file never changes, nor does its thumbnail.
    etag = f'"{key.rpartition("/")[2]}"'
    headers = {**_HEADERS, "ETag": etag}
    if is_known(request.headers, etag):
        return Response(status_code=304, headers=headers)
    headers["Content-Disposition"] = disposition_of(file.file_id, file.content_type)
    if not is_head(request) and (address := await svc.store.address(key)) is not None:
        return RedirectResponse(address, 302, {"Cache-Control": "private, no-store"})
    try:
        part = wanted_part(request.headers, etag, file.size)
    except Unsatisfiable:
        return http_problem(
            416, "the range is not in the file", {"Content-Range": f"bytes */{file.size}"}
        )
    start, end = part or Part(0, file.size)
    if part is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
    headers["Content-Length"] = str(end - start)
    status = 200 if part is None else 206
    if is_head(request):
        return Response(None, status, headers, media_type=file.content_type)
    try:
        pieces = await svc.store.get(key, start, end)
    except FileNotFoundError:
        raise not_found("file") from None
    return StreamingResponse(_counted(pieces), status, headers, media_type=file.content_type)


async def _counted(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for piece in pieces:
        BYTES.labels("out").inc(len(piece))
        yield piece
