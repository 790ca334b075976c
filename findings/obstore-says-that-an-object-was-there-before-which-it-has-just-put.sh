#!/usr/bin/env bash
# obstore 0.12.1 (Rust's object_store), S3: put(mode="create") whose object is stored, but whose answer is lost (the
# connection ends, or a proxy says 503), raises AlreadyExistsError. A put under an ETag raises PreconditionError then.
#
# One would expect an error that says that nobody knows, as of a conditional write that must not be done twice, and
# AlreadyExistsError for what it is documented for, an object of somebody else. But what was sent is sent again, ten
# times at most, as any other put, and the second one finds the object of the first. So whoever takes a lock, a place as
# a leader or a name by it is told that another one has it, and so is everybody else: nobody has it. Who appends under
# an ETag reads again, sees an object that is newer, and writes its change a second time. retry_config={"max_retries":
# 0} gives the error of the connection, GenericError, and one can look what is there.
#
# Shown with a small server that knows PUT, If-None-Match and If-Match, and once says nothing after it has stored. Seen:
# mode="create": AlreadyExistsError, 2 requests, the object is there, by us; an ETag: PreconditionError, 2 requests, the
# change is there; without repetitions GenericError, 1 request, there; an object of another: AlreadyExistsError.
# Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q obstore==0.12.1
cat >"$folder/show.py" <<'PY'
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import obstore
from obstore.store import S3Store

# By path: the object, and its ETag, which counts what was stored there.
objects: dict[str, tuple[bytes, int]] = {}
# Paths whose next answer is lost, or is this status.
lost: dict[str, int | None] = {}
requests: list[str] = []


class Bucket(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, etag=None):
        self.send_response(status)
        if etag is not None:
            self.send_header("ETag", f'"{etag}"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_PUT(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        requests.append(self.path)
        _, etag = objects.get(self.path, (b"", 0))
        if self.headers["If-None-Match"] == "*" and etag or self.headers["If-Match"] not in (None, f'"{etag}"'):
            self.answer(412)
            return
        objects[self.path] = body, etag + 1
        if self.path not in lost:
            self.answer(200, etag + 1)
        elif status := lost.pop(self.path):
            self.answer(status)
        else:
            self.close_connection = True


def put(store, key, mode, *, status=None):
    """What put() says when the answer to its first request is lost, and how many requests there were."""
    path = f"/bucket/{key}"
    lost[path] = status
    before = len(requests)
    try:
        obstore.put(store, key, b"ours", mode=mode)
        said = "ok"
    except Exception as error:
        said = type(error).__name__
    stored, _ = objects[path]
    print(f"{key}: {said}, {len(requests) - before} requests, there is {stored!r}")
    return said, len(requests) - before, stored


with ThreadingHTTPServer(("127.0.0.1", 0), Bucket) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings = {
        "endpoint": f"http://127.0.0.1:{server.server_port}",
        "region": "us-east-1",
        "access_key_id": "key",
        "secret_access_key": "none",
        "client_options": {"allow_http": True},
    }
    store = S3Store("bucket", **settings)
    once = S3Store("bucket", **settings, retry_config={"max_retries": 0})
    first = obstore.put(store, "change", b"first")
    obstore.put(store, "of-another", b"theirs")
    seen = [
        put(store, "create", "create"),
        put(store, "create-503", "create", status=503),
        put(store, "change", {"e_tag": first["e_tag"]}),
        put(once, "create-once", "create"),
        put(store, "of-another", "create"),
    ]
    server.shutdown()
expected = [
    ("AlreadyExistsError", 2, b"ours"),
    ("AlreadyExistsError", 2, b"ours"),
    ("PreconditionError", 2, b"ours"),
    ("GenericError", 1, b"ours"),
    ("AlreadyExistsError", 1, b"theirs"),
]
sys.exit(0 if seen == expected else 1)
PY
"$folder/venv/bin/python" "$folder/show.py"
