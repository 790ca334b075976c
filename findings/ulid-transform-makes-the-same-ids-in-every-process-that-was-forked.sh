#!/usr/bin/env bash
# ulid-transform 2.2.9, its C++ extension (what pip installs): once a process has made an id, all processes forked from
# it make the same random parts, one after the other. Two that make their n-th id in the same millisecond make one id.
#
# One would expect 80 random bits to differ between processes, as those of uuid-utils do, and those of the pure Python
# that the same package falls back to: Python seeds its generator anew in a forked child. But the extension has one of
# its own for each thread, seeded for the first id, and a child has the parent's as it was. So an application that is
# loaded once and forked (gunicorn --preload, Celery's prefork pool, multiprocessing), and has made one id while it
# loaded, has workers that draw the same numbers in the same order. Only the time keeps them apart, by milliseconds, and
# workers that do the same work at the same pace, or on the same tick, meet. Where the time is that of what the id is
# for (ulid_at_time), nothing keeps them apart. What has such an id as its key is then refused or overwrites
# another, rarely, and in production only: without a fork all is well.
#
# Seen, four children, each 50 ids, with the time of their event: 50 ids instead of 200, each one four times; ids of
# now: the random parts are 50 as well; the pure Python of the same package, UUIDv4 of uuid-utils 1.2.0, and the
# extension where the parent has made none: 200. Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q ulid-transform==2.2.9 uuid-utils==1.2.0
cat >"$folder/show.py" <<'PY'
import os
import sys

import ulid_transform
import uuid_utils
from ulid_transform import _py_ulid_impl, _ulid_impl

WHEN = 1_700_000_000  # when what the ids are for has happened
MAKERS = {
    "of its event": lambda: ulid_transform.ulid_at_time(WHEN),
    "of now": ulid_transform.ulid_now,
    "of its event, pure Python": lambda: _py_ulid_impl.ulid_at_time(WHEN),
    "UUIDv4, in Rust": lambda: str(uuid_utils.uuid4()),
}


def made(make):
    """What four forked children make, 50 each."""
    ids = []
    for _ in range(4):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writer, " ".join(make() for _ in range(50)).encode())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            ids += pipe.read().split()
        os.waitpid(child, 0)
    return ids


def differing(ids):
    """Of 200, the different ones, and the different random parts."""
    return len(set(ids)), len({one[10:] for one in ids})


assert ulid_transform.ulid_at_time is _ulid_impl.ulid_at_time
found = {"before the parent has made one": differing(made(MAKERS["of its event"]))}
for make in MAKERS.values():
    make()
found |= {name: differing(made(make)) for name, make in MAKERS.items()}
for name, counts in found.items():
    print(f"{name}: {counts[0]} different ids, {counts[1]} random parts")
apart = (200, 200)
as_stated = (
    found["before the parent has made one"] == apart
    and found["of its event, pure Python"] == found["UUIDv4, in Rust"] == apart
    and found["of its event"] == (50, 50)
    and found["of now"][1] == 50
)  # fmt: skip
sys.exit(0 if as_stated else 1)
PY
"$folder/venv/bin/python" "$folder/show.py"
