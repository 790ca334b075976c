"""A process of its own for one picture: `python -m api_gateway.files.picture_process LIMITS`, the
picture on standard input, a line of JSON and a small WebP on standard output.

A decoder that is led astray ends this process, which has nothing: no secrets, no files, little memory
and time.
"""

from __future__ import annotations

import io
import json
import resource
import sys
from typing import BinaryIO

from PIL import Image, ImageOps

_QUALITY = 80


def main(formats: str, max_pixels: str, side: str, memory_bytes: str, cpu_s: str) -> int:
    """The exit code: 0, or 1 for what is no picture that fits the limits."""
    _bound(int(memory_bytes), int(cpu_s))
    try:
        answer, small = _shrink(sys.stdin.buffer, formats.split(","), int(max_pixels), int(side))
    except Exception:
        # Pillow raises anything for a broken picture.
        return 1
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n" + small)
    return 0


def _bound(memory_bytes: int, cpu_s: int) -> None:
    for what, most in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 16),
    ):
        resource.setrlimit(what, (most, most))


def _shrink(
    source: BinaryIO, formats: list[str], max_pixels: int, side: int
) -> tuple[dict[str, int], bytes]:
    # The size that a picture claims is looked at here, before anything is decoded.
    Image.MAX_IMAGE_PIXELS = None
    with Image.open(source, formats=formats) as picture:
        if picture.width * picture.height > max_pixels:
            raise ValueError("too many pixels")
        turned = picture.getexif().get(0x0112, 1) >= 5
        width, height = picture.size[::-1] if turned else picture.size
        # JPEG is decoded at about the size that is needed.
        picture.draft(None, (2 * side, 2 * side))
        small = ImageOps.exif_transpose(picture)
    has_alpha = small.mode in ("LA", "PA", "RGBA") or "transparency" in small.info
    small = small.convert("RGBA" if has_alpha else "RGB")
    small.thumbnail((side, side))
    out = io.BytesIO()
    small.save(out, "WEBP", quality=_QUALITY, exif=b"", icc_profile=None)
    return {"width": width, "height": height}, out.getvalue()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
