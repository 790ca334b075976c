#!/usr/bin/env bash
# nginx 1.22.1: a WebSocket whose server has said nothing for proxy_read_timeout stays open as long as its client sends.
#
# One would expect what the manual says, that the connection is closed when the proxied server transmits nothing within
# proxy_read_timeout, which is the time between two reads from the server. But once a connection is upgraded, whatever
# moves in either direction begins that time anew. So a limit that is set to get clients away from a backend that hangs
# (a process that is stopped or in a deadlock, whose kernel still takes what comes) works for the clients that are
# quiet, and not for those that send a ping more often than that, which they were told to do because of nginx's
# limit: their pings keep them where nobody hears them. Only a client's own limit on the answer to its ping helps.
#
# Shown with proxy_read_timeout 3s and a server that does the handshake and then says nothing. Seen: a client that is
# quiet is closed after 3.0 s; one that sends each 0.3 s is still open after 12 s, and closed 2.4 s after it stopped.
# Exits 1 when that is no longer so. Needs Debian 12 (amd64) with python3.11.
set -euo pipefail
version=1.22.1-9+deb12u11
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || { kill "$server"; wait "$server"; } 2>/dev/null || true; rm -rf "$folder"' EXIT
chmod 755 "$folder"
cd "$folder"
apt-get -o APT::Sandbox::User=root download -qq "nginx=$version"
dpkg-deb -x nginx_*.deb server
python3.11 -m venv venv
venv/bin/pip install -q websockets==17.4
cat >nginx.conf <<'CONF'
daemon off;
user root root;
worker_processes 1;
pid pid;
error_log log;
events {}
http {
  access_log off;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  server {
    listen unix:edge;
    location / {
      proxy_pass http://unix:FOLDER/backend:/;
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection upgrade;
      proxy_read_timeout 3s;
    }
  }
}
CONF
sed -i "s|FOLDER|$folder|; s|unix:edge|unix:$folder/edge|" nginx.conf
server/usr/sbin/nginx -p "$folder" -c nginx.conf -e log &
server=$!
for _ in $(seq 100); do [ -S edge ] && break; sleep 0.1; done
cat >show.py <<'PY'
import asyncio
import sys
import time

from websockets.asyncio.client import unix_connect
from websockets.asyncio.server import unix_serve

READ_TIMEOUT = 3
SENDS_FOR = 4 * READ_TIMEOUT
EVERY = 0.3


async def says_nothing(connection):
    await connection.wait_closed()


async def until_closed(client):
    """Seconds until nginx closed it."""
    began = time.monotonic()
    async with asyncio.timeout(10 * READ_TIMEOUT):
        await client.wait_closed()
    return time.monotonic() - began


async def connected():
    return await unix_connect("edge", "ws://localhost/", ping_interval=None, close_timeout=0)


async def main():
    async with unix_serve(says_nothing, "backend", ping_interval=None, close_timeout=0):
        quiet = await until_closed(await connected())
        print(f"a client that is quiet: closed after {quiet:.1f} s")
        client = await connected()
        for _ in range(round(SENDS_FOR / EVERY)):
            await client.send("here")
            await asyncio.sleep(EVERY)
        is_open = client.close_code is None
        stopped = await until_closed(client)
        print(f"one that sends: open after {SENDS_FOR} s: {is_open}, closed {stopped:.1f} s after it stopped")
    return is_open and READ_TIMEOUT - 1 < quiet < SENDS_FOR and stopped < SENDS_FOR


sys.exit(0 if asyncio.run(main()) else 1)
PY
venv/bin/python show.py
