"""Files in a bucket, on the server that `scripts/infra up --with s3` starts; skipped without one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from api_gateway.config import FilesConf, S3Conf
from api_gateway.files.store import FileStore, key_of
from im.chat.v1 import file_pb2 as pb
from im_common.domain.file_ids import new_file_id
from im_local.infra_file import access_of

# Fixtures' classes, of conftest.py, which tests do not import.
Start = Any


def _server() -> dict[str, Any]:
    """How it is reached, as S3Conf has it; empty when there is none."""
    path = os.environ.get("IM_TEST_INFRA")
    if not path:
        return {}
    file = Path(path)
    described = yaml.safe_load(file.read_text(encoding="utf-8")).get("s3", {})
    server: dict[str, Any] = access_of(described, file.parent)
    if secret := server.pop("secret_access_key_file", None):
        server["secret_access_key"] = Path(secret).read_text(encoding="utf-8").strip()
    return server


SERVER = _server()
pytestmark = pytest.mark.skipif(not SERVER, reason="the real servers have no s3")
# More than one piece, and not a whole number of them.
CONTENT = os.urandom(11 * 1024 * 1024 + 7)


def _conf(**more: Any) -> FilesConf:
    return FilesConf(s3=S3Conf.model_validate({"prefix": "im", **SERVER, **more}))


def _known(services: Any) -> str:
    file_id, known = new_file_id(), {}

    async def finish(request: pb.FinishFileRequest) -> pb.FinishFileResponse:
        known[request.file.file_id] = request.file
        return pb.FinishFileResponse()

    async def get(request: pb.GetFileRequest) -> pb.GetFileResponse:
        return pb.GetFileResponse(file=known[request.file_id])

    services.answers |= {
        "CreateFile": pb.CreateFileResponse(file_id=file_id),
        "FinishFile": finish,
        "GetFile": get,
    }
    return file_id


async def test_a_client_is_sent_to_the_bucket_for_a_minute(start: Start, services: Any) -> None:
    async with start(sections={"files": _conf()}) as gateway:
        file_id = _known(services)
        uploaded = await gateway.request("POST", "/v1/files", files={"file": ("x", CONTENT)})
        assert uploaded.status_code == 201, uploaded.text
        url = uploaded.json()["url"]
        sent_on = await gateway.request("GET", url)
        assert (sent_on.status_code, sent_on.headers["cache-control"]) == (302, "private, no-store")
        head = await gateway.request("HEAD", url)
        assert (head.status_code, head.headers["content-length"]) == (200, str(len(CONTENT)))
        etag = {"If-None-Match": head.headers["etag"]}
        assert (await gateway.request("GET", url, headers=etag)).status_code == 304
    address = sent_on.headers["location"]
    async with httpx.AsyncClient(verify=False) as anybody:
        whole = await anybody.get(address)
        assert (whole.status_code, whole.content == CONTENT) == (200, True)
        assert whole.headers["content-type"] == "application/octet-stream"
        assert whole.headers["content-disposition"].startswith(f'attachment; filename="{file_id}')
        part = await anybody.get(address, headers={"Range": "bytes=5-8"})
        assert (part.status_code, part.content) == (206, CONTENT[5:9])
        unsigned = await anybody.get(address.partition("?")[0])
        assert unsigned.status_code == 403


async def test_or_the_bytes_go_through_the_gateway(start: Start, services: Any) -> None:
    async with start(sections={"files": _conf(presigned_for=0)}) as gateway:
        _known(services)
        uploaded = await gateway.request("POST", "/v1/files", files={"file": ("x", CONTENT)})
        response = await gateway.request("GET", uploaded.json()["url"])
        assert (response.status_code, response.content == CONTENT) == (200, True)
        part = {"Range": "bytes=5242870-5242890"}
        response = await gateway.request("GET", uploaded.json()["url"], headers=part)
        assert (response.status_code, response.content) == (206, CONTENT[5242870:5242891])


async def test_what_is_removed_is_gone_and_removed_again(start: Start, services: Any) -> None:
    async with start(sections={"files": _conf(presigned_for=0)}) as gateway:
        file_id = _known(services)
        uploaded = await gateway.request("POST", "/v1/files", files={"file": ("x", b"bytes")})
        store = FileStore(_conf())
        for _ in range(2):
            await store.remove(key_of(file_id))
        assert (await gateway.request("GET", uploaded.json()["url"])).status_code == 404


async def test_a_bucket_that_is_not_there_is_a_store_that_is_away(
    start: Start, services: Any
) -> None:
    async with start(sections={"files": _conf(bucket="no-such-bucket")}) as gateway:
        _known(services)
        response = await gateway.request("POST", "/v1/files", files={"file": ("x", CONTENT)})
        assert (response.status_code, response.json()["code"]) == (503, "UNAVAILABLE")
