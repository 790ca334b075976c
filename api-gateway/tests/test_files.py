"""Files: in and out, by a store in a folder, in front of what chat-service would know of them."""

from __future__ import annotations

import io
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from api_gateway.config import FilesConf, PicturesConf
from api_gateway.files.store import key_of, thumbnail_key_of
from api_gateway.files.sweep import remove_unused
from im.chat.v1 import file_pb2 as pb
from im.group.v1 import group_pb2
from im.user.v1 import user_pb2
from im_common.errors import AppError, Code, not_found
from im_common.testing.waiting import eventually

# Fixtures' classes, of conftest.py, which tests do not import.
Gateway = Any
Start = Any

FILE_ID = "f_0123456789abcdef0123456789abcdef"
URL = f"/v1/files/{FILE_ID}"


class Known:
    """What chat-service knows: one file at a time."""

    def __init__(self, gateway: Gateway) -> None:
        self.file: pb.File | None = None
        self.unused: list[list[str]] = []
        self.forgotten: list[str] = []
        gateway.services.answers |= {
            "CreateFile": pb.CreateFileResponse(file_id=FILE_ID),
            "FinishFile": self._finish,
            "GetFile": self._get,
            "ListUnusedFiles": self._unused,
            "ForgetFiles": self._forget,
        }

    async def _finish(self, request: pb.FinishFileRequest) -> pb.FinishFileResponse:
        self.file = request.file
        return pb.FinishFileResponse()

    async def _get(self, request: pb.GetFileRequest) -> pb.GetFileResponse:
        if self.file is None or request.file_id != self.file.file_id:
            raise not_found("file")
        return pb.GetFileResponse(file=self.file)

    async def _unused(self, _: pb.ListUnusedFilesRequest) -> pb.ListUnusedFilesResponse:
        return pb.ListUnusedFilesResponse(file_ids=self.unused.pop(0) if self.unused else [])

    async def _forget(self, request: pb.ForgetFilesRequest) -> pb.ForgetFilesResponse:
        self.forgotten += request.file_ids
        return pb.ForgetFilesResponse()


@pytest.fixture
def known(gateway: Gateway) -> Known:
    return Known(gateway)


async def _upload(gateway: Gateway, content: bytes, name: str = "x") -> Any:
    return await gateway.request("POST", "/v1/files", files={"file": (name, content)})


def _picture(kind: str, size: tuple[int, int] = (640, 400), **more: Any) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, "teal").save(out, kind, **more)
    return out.getvalue()


@pytest.mark.parametrize("size", [0, 1, 32 * 1024, 300_001])
async def test_what_is_uploaded_comes_back_to_the_byte(
    gateway: Gateway, known: Known, size: int
) -> None:
    content = b"\x00" + os.urandom(size - 1) if size else b""
    response = await _upload(gateway, content)
    assert response.status_code == 201
    assert response.json() == {
        "file_id": FILE_ID,
        "url": URL,
        "size": size,
        "content_type": "application/octet-stream",
    }
    response = await gateway.request("GET", URL)
    assert (response.status_code, response.content) == (200, content)
    assert response.headers["content-length"] == str(size)
    assert response.headers["etag"] == f'"{FILE_ID}"'
    assert response.headers["cache-control"] == "private, no-cache"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in response.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("content", "content_type", "is_shown"),
    [
        (b"<html><script>alert(1)</script>", "text/plain", False),
        (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "text/plain", False),
        (b"%PDF-1.7\n", "application/pdf", False),
        (b"PK\x03\x04" + bytes(40), "application/zip", False),
        ("é".encode() * 5000, "text/plain", False),
        (b"ID3\x03" + bytes(40), "audio/mpeg", True),
        (b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41", "video/mp4", True),
        (_picture("GIF"), "image/gif", True),
    ],
)
async def test_a_file_is_what_its_content_is_whatever_its_name_says(
    gateway: Gateway, known: Known, content: bytes, content_type: str, is_shown: bool
) -> None:
    assert (await _upload(gateway, content, "picture.png")).json()["content_type"] == content_type
    headers = (await gateway.request("GET", URL)).headers
    assert headers["content-type"].split(";")[0] == content_type
    how = "inline" if is_shown else "attachment"
    assert headers["content-disposition"].startswith(f'{how}; filename="{FILE_ID}')


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
async def test_a_picture_has_a_size_and_a_small_one(
    gateway: Gateway, known: Known, kind: str
) -> None:
    told = (await _upload(gateway, _picture(kind))).json()
    assert (told["width"], told["height"], told["thumbnail_url"]) == (640, 400, f"{URL}/thumbnail")
    response = await gateway.request("GET", told["thumbnail_url"])
    assert (response.status_code, response.headers["content-type"]) == (200, "image/webp")
    small = Image.open(io.BytesIO(response.content))
    assert small.size == (320, 200)


async def test_a_picture_that_lies_on_its_side_is_told_of_as_it_is_shown(
    gateway: Gateway, known: Known
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    told = (await _upload(gateway, _picture("JPEG", exif=exif))).json()
    assert (told["width"], told["height"]) == (400, 640)
    small = Image.open(io.BytesIO((await gateway.request("GET", f"{URL}/thumbnail")).content))
    assert (small.size, dict(small.getexif())) == ((200, 320), {})


async def test_what_is_no_sound_picture_is_kept_as_a_file(gateway: Gateway, known: Known) -> None:
    content = _picture("PNG")[:60] + b"broken"
    told = (await _upload(gateway, content)).json()
    assert told["content_type"] == "image/png"
    assert "width" not in told
    assert "thumbnail_url" not in told
    assert (await gateway.request("GET", URL)).content == content
    assert (await gateway.request("GET", f"{URL}/thumbnail")).status_code == 404


async def test_a_picture_of_too_many_pixels_is_kept_as_a_file(
    start: Start, services: Any, tmp_path: Path
) -> None:
    # 100 million of them, in a few kilobytes.
    out = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(out, "PNG")
    bomb = out.getvalue()
    sections = {"files": FilesConf(folder=str(tmp_path)), "pictures": PicturesConf(timeout=5000)}
    async with start(sections=sections) as gateway:
        Known(gateway)
        told = (await _upload(gateway, bomb)).json()
    assert (told["size"], told.get("width")) == (len(bomb), None)


@pytest.mark.parametrize(
    ("asked", "status", "part"),
    [
        ("bytes=0-3", 206, (0, 4)),
        ("bytes=4-", 206, (4, 10)),
        ("bytes=-3", 206, (7, 10)),
        ("bytes=8-99", 206, (8, 10)),
        ("bytes=-99", 206, (0, 10)),
        ("bytes=5-2", 200, None),
        ("bytes=0-1,4-5", 200, None),
        ("bytes=-", 200, None),
        ("lines=0-1", 200, None),
        ("bytes=10-", 416, None),
        ("bytes=-0", 416, None),
    ],
)
async def test_a_part_can_be_asked_for(
    gateway: Gateway, known: Known, asked: str, status: int, part: tuple[int, int] | None
) -> None:
    await _upload(gateway, b"0123456789")
    response = await gateway.request("GET", URL, headers={"Range": asked})
    assert response.status_code == status
    if part:
        assert response.content == b"0123456789"[slice(*part)]
        assert response.headers["content-range"] == f"bytes {part[0]}-{part[1] - 1}/10"
    elif status == 200:
        assert response.content == b"0123456789"
    else:
        assert response.headers["content-range"] == "bytes */10"
        assert response.json()["code"] == "INVALID_ARGUMENT"


async def test_what_a_client_has_is_not_sent_again(gateway: Gateway, known: Known) -> None:
    await _upload(gateway, b"0123456789")
    etag = f'"{FILE_ID}"'
    for tags in (etag, f'"other", W/{etag}', "*"):
        response = await gateway.request("GET", URL, headers={"If-None-Match": tags})
        assert (response.status_code, response.content) == (304, b"")
        assert response.headers["etag"] == etag
    asked = {"Range": "bytes=1-2", "If-Range": '"other"'}
    assert (await gateway.request("GET", URL, headers=asked)).status_code == 200
    asked["If-Range"] = etag
    assert (await gateway.request("GET", URL, headers=asked)).content == b"12"


async def test_head_tells_the_same_without_the_bytes(gateway: Gateway, known: Known) -> None:
    await _upload(gateway, b"0123456789")
    whole, head = await gateway.request("GET", URL), await gateway.request("HEAD", URL)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-length", "content-type", "etag", "content-disposition", "accept-ranges"):
        assert head.headers[name] == whole.headers[name]


async def test_who_may_not_see_it_gets_404_and_who_has_no_token_401(
    gateway: Gateway, known: Known
) -> None:
    await _upload(gateway, b"0123456789")
    other = "/v1/files/f_" + "0" * 32
    for path in (other, f"{other}/thumbnail", "/v1/files/..%2Fsecret"):
        assert (await gateway.request("GET", path)).status_code == 404
    assert (await gateway.anonymous("GET", URL)).status_code == 401
    assert (await gateway.anonymous("POST", "/v1/files", content=b"x")).status_code == 401


async def test_nothing_is_kept_of_who_is_refused(gateway: Gateway, known: Known) -> None:
    gateway.services.answers["CreateFile"] = AppError(Code.SESSION_REVOKED, "it has ended")
    response = await _upload(gateway, bytes(5_000_000))
    assert (response.status_code, response.json()["code"]) == (401, "SESSION_REVOKED")
    assert [call.method for call in gateway.services.calls] == ["CreateFile"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"files": {"other": ("x", b"1")}},
        {"data": {"file": "no filename"}, "files": {"x": ("x", b"1")}},
        {"files": [("file", ("a", b"1")), ("file", ("b", b"2"))]},
        {"json": {"file": "x"}},
        {
            "content": b"--b\r\nnonsense",
            "headers": {"Content-Type": "multipart/form-data; boundary=b"},
        },
        {"content": b"", "headers": {"Content-Type": "multipart/form-data"}},
    ],
)
async def test_what_is_no_upload_is_refused_with_the_reason(
    gateway: Gateway, known: Known, arguments: Any
) -> None:
    response = await gateway.request("POST", "/v1/files", **arguments)
    assert (response.status_code, response.json()["code"]) == (400, "INVALID_ARGUMENT")
    assert [call.method for call in gateway.services.calls] == ["CreateFile"]


async def test_a_repeat_with_the_same_key_makes_no_second_file(
    gateway: Gateway, known: Known
) -> None:
    key = {"Idempotency-Key": f"upload-{os.urandom(8).hex()}"}
    send = partial(gateway.request, "POST", "/v1/files", headers=key)
    first = await send(files={"file": ("x", b"the same")})
    again = await send(files={"file": ("another name", b"the same")})
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"
    assert [call.method for call in gateway.services.calls].count("FinishFile") == 1
    other = await send(files={"file": ("x", b"another")})
    assert (other.status_code, other.json()["field"]) == (409, "Idempotency-Key")
    key["Idempotency-Key"] = "x" * 65
    response = await gateway.request("POST", "/v1/files", headers=key, files={"file": ("x", b"1")})
    assert (response.status_code, response.json()["field"]) == (400, "Idempotency-Key")


async def test_a_file_that_is_too_large_is_refused(start: Start, tmp_path: Path) -> None:
    sections = {"files": FilesConf(folder=str(tmp_path), max_bytes=100_000)}
    async with start(sections=sections) as gateway:
        known = Known(gateway)
        assert (await _upload(gateway, bytes(100_000))).status_code == 201
        known.file = None
        for size in (100_001, 200_000):
            response = await _upload(gateway, bytes(size))
            assert (response.status_code, response.json()["code"]) == (413, "PAYLOAD_TOO_LARGE")

        async def stream() -> Any:
            yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
            for _ in range(20):
                yield bytes(10_000)
            yield b"\r\n--b--\r\n"

        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        response = await gateway.request("POST", "/v1/files", content=stream(), headers=headers)
        assert (response.status_code, response.json()["code"]) == (413, "PAYLOAD_TOO_LARGE")
        assert known.file is None


async def test_what_nothing_uses_is_removed_and_then_forgotten(
    gateway: Gateway, start: Start, tmp_path: Path
) -> None:
    sections = {"files": FilesConf(folder=str(tmp_path), remove_unused_every=1000)}
    async with start(sections=sections) as other:
        known = Known(other)
        await _upload(other, _picture("PNG"))
        places = [tmp_path / key_of(FILE_ID), tmp_path / thumbnail_key_of(FILE_ID)]
        assert all(place.exists() for place in places)
        known.unused = [[FILE_ID, "f_" + "0" * 32]]
        await eventually(lambda: len(known.forgotten) == 2)
        assert not any(place.exists() for place in places)
        assert (await other.request("GET", URL)).status_code == 404


async def test_a_store_that_fails_keeps_what_is_to_be_removed(
    gateway: Gateway, known: Known, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Away:
        async def remove(self, _key: str) -> None:
            raise AppError(Code.UNAVAILABLE, "away")

    known.unused = [[FILE_ID]]
    stub: Any = type("Stub", (), {"ListUnusedFiles": known._unused, "ForgetFiles": known._forget})()
    with pytest.raises(AppError):
        await remove_unused(stub, Away())  # type: ignore[arg-type]
    assert known.forgotten == []


@pytest.mark.parametrize(
    ("path", "method", "answer", "holder"),
    [
        ("/v1/users/me", "UpdateProfile", user_pb2.UpdateProfileResponse, {"user_id": 1001}),
        ("/v1/groups/7", "UpdateGroup", group_pb2.UpdateGroupResponse, {"group_id": 7}),
    ],
)
async def test_a_file_that_becomes_an_avatar_is_for_all_from_then_on(
    gateway: Gateway, known: Known, path: str, method: str, answer: Any, holder: Any
) -> None:
    await _upload(gateway, b"x")
    services = gateway.services
    services.answers[method] = (
        answer(profile=user_pb2.Profile(user=user_pb2.User(user_id=1001)))
        if "user_id" in holder
        else answer(group=group_pb2.Group(group_id=7))
    )
    services.answers["UseAsAvatar"] = pb.UseAsAvatarResponse()
    services.calls.clear()
    response = await gateway.request("PATCH", path, json={"avatar": URL})
    assert response.status_code == 200, response.text
    assert [call.method for call in services.calls] == ["GetFile", method, "UseAsAvatar"]
    assert services.last.message == pb.UseAsAvatarRequest(file_id=FILE_ID, **holder)
    # Of one that the caller may not see nothing is done, and one from elsewhere is nobody's business.
    services.calls.clear()
    response = await gateway.request("PATCH", path, json={"avatar": "f_" + "0" * 32})
    assert (response.status_code, response.json()["field"]) == (404, "avatar")
    response = await gateway.request("PATCH", path, json={"avatar": "https://example.com/a.png"})
    assert response.status_code == 200
    assert [call.method for call in services.calls] == ["GetFile", method]
