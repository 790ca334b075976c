#!/usr/bin/env bash
# aioboto3 15.5.0 (boto3 1.40.61): an object that is replaced while download_file() or download_fileobj() reads it comes
# as a file whose parts are of the old and of the new one, without an error. boto3's own raises then.
#
# One would expect the old object or the new one, or an error, as of the methods of boto3 that these stand for: S3 never
# gives a mixture for a GET, and boto3 asks for each part under the ETag that it began with. But aioboto3 has a download
# of its own, which asks for the size and then for each 8 MiB by Range alone. So a picture, a backup or an export that
# is written anew under its name comes with parts of both, and as long as the old one was: what is longer now is cut.
# No check sees it, as S3's checksum is of the whole object. ExtraArgs={"IfMatch": etag}, with the ETag of a
# head_object(), makes it an error; get_object() is one request and has one version.
#
# Shown with a small server that knows HEAD, Range and If-Match, and replaces an object of 20 MiB of "a" by one of 24
# MiB of "b" once a part was read. Seen: aioboto3's download_file and download_fileobj: 20 MiB, of which 8 are "a" and
# 12 "b"; with IfMatch: Exception; boto3's download_file and download_fileobj: ClientError.
# Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q aioboto3==15.5.0 aiobotocore==2.25.1 boto3==1.40.61
cat >show.py <<'PY'
import asyncio
import io
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import groupby
from pathlib import Path

import aioboto3
import boto3

MIB = 2**20
OLD, NEW = b"a" * (20 * MIB), b"b" * (24 * MIB)


class Bucket(BaseHTTPRequestHandler):
    """One object, which is replaced once a part of it was read."""

    protocol_version = "HTTP/1.1"
    stored = OLD
    lock = threading.Lock()

    def log_message(self, *_):
        pass

    def handle(self):
        try:
            super().handle()
        except ConnectionError:  # who was refused a part has left the others
            pass

    def do_HEAD(self):
        self.answer(200, {"Content-Length": str(len(Bucket.stored))})

    def do_GET(self):
        with Bucket.lock:
            etag, body = self.etag(), Bucket.stored
            if self.headers["If-Match"] not in (None, etag):
                self.answer(412, {"Content-Length": "0"})
                return
            if not (asked := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers["Range"] or "")):
                self.answer(200, {"Content-Length": str(len(body))}, body)
                return
            first, last = int(asked[1]), min(int(asked[2] or len(body)), len(body) - 1)
            span = {"Content-Range": f"bytes {first}-{last}/{len(body)}", "Content-Length": str(last - first + 1)}
            self.answer(206, span, body[first : last + 1])
            Bucket.stored = NEW

    def etag(self):
        return '"%s"' % ("1" * 32 if Bucket.stored is OLD else "2" * 32)

    def answer(self, status, headers, body=b""):
        self.send_response(status)
        for name, value in {"ETag": self.etag(), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def runs(content):
    """What is in it, sorted, as the parts come in any order: (letter, MiB)."""
    return [(chr(letter), sum(1 for _ in same) / MIB) for letter, same in groupby(sorted(content))]


async def seen_by(name, download):
    Bucket.stored = OLD
    try:
        seen = runs(await download())
    except Exception as error:
        seen = type(error).__name__
    print(f"{name}: {seen}")
    return seen


async def main(settings):
    here = ("bucket", "key")

    async with aioboto3.Session().client("s3", **settings) as s3:

        async def to_file():
            await s3.download_file(*here, "copy")
            return Path("copy").read_bytes()

        async def to_memory(**arguments):
            copy = io.BytesIO()
            await s3.download_fileobj(*here, copy, **arguments)
            return copy.getvalue()

        async def under_its_etag():
            etag = (await s3.head_object(Bucket="bucket", Key="key"))["ETag"]
            return await to_memory(ExtraArgs={"IfMatch": etag})

        mixed = [
            await seen_by("aioboto3, download_file", to_file),
            await seen_by("aioboto3, download_fileobj", to_memory),
        ]
        refused = [await seen_by("aioboto3, download_fileobj, IfMatch", under_its_etag)]

    s3 = boto3.client("s3", **settings)

    async def to_file():
        await asyncio.to_thread(s3.download_file, *here, "copy")
        return Path("copy").read_bytes()

    async def to_memory():
        copy = io.BytesIO()
        await asyncio.to_thread(s3.download_fileobj, *here, copy)
        return copy.getvalue()

    refused += [
        await seen_by("boto3, download_file", to_file),
        await seen_by("boto3, download_fileobj", to_memory),
    ]
    return mixed == [[("a", 8), ("b", 12)]] * 2 and all(isinstance(each, str) for each in refused)


with ThreadingHTTPServer(("127.0.0.1", 0), Bucket) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    as_stated = asyncio.run(
        main(
            {
                "endpoint_url": f"http://127.0.0.1:{server.server_port}",
                "region_name": "us-east-1",
                "aws_access_key_id": "key",
                "aws_secret_access_key": "none",
            }
        )
    )
    server.shutdown()
sys.exit(0 if as_stated else 1)
PY
venv/bin/python show.py
