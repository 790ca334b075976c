"""Files that are pictures of users and groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from im.chat.v1.file_pb2 import GetFileRequest, UseAsAvatarRequest
from im_common.domain.file_ids import named_files
from im_common.errors import AppError, Code

if TYPE_CHECKING:
    from im.chat.v1.file_pb2_grpc import FileServiceAsyncStub


async def file_of_avatar(files: FileServiceAsyncStub, avatar: str) -> str | None:
    """The file that a new avatar names, when it names one; asked before the avatar is set.

    Raises AppError NOT_FOUND that names the field when the caller may not see the file.
    """
    named = named_files(avatar)
    if not named:
        return None
    try:
        await files.GetFile(GetFileRequest(file_id=named[0]))
    except AppError as error:
        if error.code is not Code.NOT_FOUND:
            raise
        said = "avatar names a file that is not there"
        raise AppError(Code.NOT_FOUND, said, field="avatar") from None
    return named[0]


async def show_to_all(
    files: FileServiceAsyncStub, file_id: str | None, *, user_id: int = 0, group_id: int = 0
) -> None:
    """Once it is the avatar of the user or group. When this fails the caller does it all again."""
    if file_id is not None:
        request = UseAsAvatarRequest(file_id=file_id)
        if group_id:
            request.group_id = group_id
        else:
            request.user_id = user_id
        await files.UseAsAvatar(request)
