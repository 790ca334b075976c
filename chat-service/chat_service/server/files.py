"""FileService: a line or two for each RPC."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row

from chat_service.logic import files
from chat_service.model.files import Kind
from chat_service.svc import ServiceContext
from im.chat.v1 import file_pb2 as pb
from im.chat.v1.file_pb2_grpc import FileServiceServicer
from im_common.domain.ids import check_id
from im_common.errors import invalid
from im_common.runtime.context import identity


class FileServicer(FileServiceServicer):
    def __init__(self, svc: ServiceContext) -> None:
        self._svc = svc

    async def CreateFile(self, _request: pb.CreateFileRequest, _: Any) -> pb.CreateFileResponse:
        file_id = await files.create_file(self._svc, identity().user_id)
        return pb.CreateFileResponse(file_id=file_id)

    async def FinishFile(self, request: pb.FinishFileRequest, _: Any) -> pb.FinishFileResponse:
        await files.finish_file(self._svc, request.file.file_id, _kind(request.file))
        return pb.FinishFileResponse()

    async def GetFile(self, request: pb.GetFileRequest, _: Any) -> pb.GetFileResponse:
        row = await files.get_file(self._svc, identity().user_id, request.file_id)
        return pb.GetFileResponse(file=_file(row))

    async def UseAsAvatar(self, request: pb.UseAsAvatarRequest, _: Any) -> pb.UseAsAvatarResponse:
        await files.use_as_avatar(self._svc, request.file_id, _holder(request))
        return pb.UseAsAvatarResponse()

    async def ListUnusedFiles(
        self, request: pb.ListUnusedFilesRequest, _: Any
    ) -> pb.ListUnusedFilesResponse:
        unused = await files.list_unused_files(self._svc, request.limit)
        return pb.ListUnusedFilesResponse(file_ids=unused)

    async def ForgetFiles(self, request: pb.ForgetFilesRequest, _: Any) -> pb.ForgetFilesResponse:
        await files.forget_files(self._svc, request.file_ids)
        return pb.ForgetFilesResponse()


def _kind(file: pb.File) -> Kind:
    return Kind(file.size, file.content_type, file.width, file.height, file.thumbnail_size)


def _file(row: Row[Any]) -> pb.File:
    return pb.File(
        file_id=row.file_id,
        size=row.size,
        content_type=row.content_type,
        width=row.width,
        height=row.height,
        thumbnail_size=row.thumbnail_size,
        created_at=row.created_at,
    )


def _holder(request: pb.UseAsAvatarRequest) -> str:
    which = request.WhichOneof("holder")
    if which is None:
        raise invalid("user_id", "or group_id must be given")
    return f"{which[0]}:{check_id(which, getattr(request, which))}"
