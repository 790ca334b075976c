"""What a file is, by its content and never by its name; and what a browser may do with it."""

from __future__ import annotations

import mimetypes
from typing import IO

import filetype

_HEAD_BYTES = 8192
_ANYTHING = "application/octet-stream"
# What a browser shows without running anything in it; everything else is saved.
_SHOWN = frozenset(
    {
        "image/png",
        "image/jpeg",
        "image/gif",
        "image/webp",
        "image/avif",
        "image/bmp",
        "audio/aac",
        "audio/mpeg",
        "audio/mp4",
        "audio/ogg",
        "audio/x-flac",
        "audio/x-wav",
        "video/mp4",
        "video/mpeg",
        "video/quicktime",
        "video/webm",
    }
)
# Pictures of which a small one is made, by the names that Pillow has for their formats.
PICTURES = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/gif": "GIF",
    "image/webp": "WEBP",
    "image/avif": "AVIF",
    "image/bmp": "BMP",
}
THUMBNAIL_TYPE = "image/webp"


def content_type_of(content: IO[bytes]) -> str:
    """Reads the beginning. HTML, scripts and SVG are text like any other."""
    content.seek(0)
    head = content.read(_HEAD_BYTES)
    content.seek(0)
    if known := filetype.guess_mime(head):  # type: ignore[no-untyped-call]
        return str(known)
    return "text/plain" if _is_text(head) else _ANYTHING


def disposition_of(file_id: str, content_type: str) -> str:
    """The value of Content-Disposition."""
    how = "inline" if content_type in _SHOWN else "attachment"
    ending = mimetypes.guess_extension(content_type) or ""
    return f'{how}; filename="{file_id}{ending}"'


def _is_text(head: bytes) -> bool:
    if not head or b"\0" in head:
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        # A character that the end of the head has cut.
        return len(head) == _HEAD_BYTES and error.start >= _HEAD_BYTES - 3
    return True
