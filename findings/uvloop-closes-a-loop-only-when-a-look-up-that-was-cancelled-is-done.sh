#!/usr/bin/env bash
# uvloop 0.23.0: loop.close() waits for each look-up of a name that is still on its way, also one that was
# cancelled, for as long as the resolver tries: usually 10 s for each name server and search domain.
#
# One would expect that what was given up (asyncio.timeout, a cancelled task) holds nothing up any more, and
# of close() what Python says of it: it "does not wait for the executor to finish". asyncio's own loop keeps
# to that. With uvloop a program that has ended all its tasks, within limits of its own, still does not end
# while a name server says nothing, and whoever runs it kills it.
#
# Shown in a network of its own, with a name server that takes questions and says nothing, and a resolver that
# tries once for 3 s. Seen: close() takes 2.5 s after a look-up that was given up after 0.5 s; asyncio 0.0 s.
# Exits 1 when that is no longer so. Needs unshare and a kernel that lets it make namespaces, or root.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q uvloop==0.23.0
printf 'nameserver 127.0.0.1\noptions timeout:3 attempts:1\n' >"$folder/resolv.conf"
cat >"$folder/show.py" <<'PY'
import asyncio, socket, sys, time, uvloop

silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
silent.bind(("127.0.0.1", 53))


def seconds_to_close(loop):
    async def give_up():
        try:
            async with asyncio.timeout(0.5):
                await loop.getaddrinfo("somewhere.test", 80, family=socket.AF_INET)
        except TimeoutError:
            return
        raise SystemExit("the look-up was answered: nothing is shown")

    loop.run_until_complete(give_up())
    started = time.monotonic()
    loop.close()
    return time.monotonic() - started


ours, pythons = seconds_to_close(uvloop.new_event_loop()), seconds_to_close(asyncio.new_event_loop())
print(f"close() after a look-up that was given up: uvloop {ours:.1f} s, asyncio {pythons:.1f} s")
sys.exit(0 if ours > 1.5 and pythons < 0.5 else 1)
PY
unshare --map-root-user --net --mount bash -c '
  ip link set lo up && mount --bind "$1/resolv.conf" /etc/resolv.conf && "$1/venv/bin/python" "$1/show.py"' - "$folder"
