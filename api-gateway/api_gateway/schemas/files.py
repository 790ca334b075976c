"""Files."""

from __future__ import annotations

from typing import Self

from pydantic import Field

from api_gateway.schemas.base import Absent, View
from im.chat.v1.file_pb2 import File


class UploadedFile(View):
    file_id: str = Field(examples=["f_0197f2c8a1b47e6f9d0c5b3a2e1f4d68"])
    url: str = Field(description="Its path at this API; needs a token, as all do.")
    size: int = Field(description="Bytes.")
    content_type: str = Field(description="By its content, such as image/png.")
    width: Absent[int] = Field(default=None, description="Of a picture, in pixels, as shown.")
    height: Absent[int] = None
    thumbnail_url: Absent[str] = Field(default=None, description="A small picture, image/webp.")

    @classmethod
    def of(cls, file: File) -> Self:
        url = f"/v1/files/{file.file_id}"
        return cls(
            file_id=file.file_id,
            url=url,
            size=file.size,
            content_type=file.content_type,
            width=file.width or None,
            height=file.height or None,
            thumbnail_url=f"{url}/thumbnail" if file.thumbnail_size else None,
        )
