#!/usr/bin/env bash
# reconnecting-websocket 4.4.0: when the function that gives the URL fails once, it never connects again, and
# reconnect() does nothing from then on either.
#
# One would expect of the package with this name that a URL that could not be had counts as an attempt that failed, as
# a server that is away does: the function may be asynchronous just so that it can fetch a token each time, which is
# the README's own example, and both are lost together, as when a laptop wakes up and its network is there a second
# later. But a lock is taken before the function is called, and only given back where it has answered. No `error` and
# no `close` tells of it, only an unhandled rejection, which in a browser is a line of the console (and ends a Node
# process); reconnect() finds the lock and returns, and send() goes on to take messages into a queue without a limit
# that nobody sends. Such a client is online again when the page is loaded anew. What helps is a function that does not
# fail: one that tries again itself, or gives a URL without a token, which the server refuses.
#
# Seen, a server that ends each of the first two connections, ws 8.23.0, delays of 50 ms: URL always had: third
# connection open; the second time it is asked the function throws, once: one connection, function asked twice, no
# `error`, none more in 3 s after reconnect(), 1,000 messages in the queue. partysocket 1.3.0, a fork: `error`, and it
# comes back.
# Exits 1 when that is no longer so. Needs Node.js and npm.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund --ignore-scripts reconnecting-websocket@4.4.0 partysocket@1.3.0 ws@8.23.0
cat >show.mjs <<'JS'
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { WebSocket as Fork } from "partysocket";
import Package from "reconnecting-websocket";
import { WebSocket, WebSocketServer } from "ws";

const LASTING = 3;
const DELAYS = { minReconnectionDelay: 50, maxReconnectionDelay: 50, minUptime: 0 };
const unhandled = [];
process.on("unhandledRejection", (error) => unhandled.push(error.message));

async function until(condition, seconds) {
  for (let n = 0; n < seconds * 20 && !condition(); n++) await sleep(50);
  return condition();
}

async function show(name, Kind, failing) {
  unhandled.length = 0;
  const server = new WebSocketServer({ host: "127.0.0.1", port: 0 });
  await once(server, "listening");
  let connections = 0;
  server.on("connection", (socket) => {
    if (++connections < LASTING) socket.close(1012);
  });

  let asked = 0;
  const url = async () => {
    if (++asked === failing) throw new Error("no token");
    return `ws://127.0.0.1:${server.address().port}`;
  };
  const client = new Kind(url, [], { WebSocket, ...DELAYS });
  let errors = 0;
  client.addEventListener("error", () => errors++);
  const back = () => connections === LASTING && client.readyState === 1;
  const seconds = Kind === Package && failing ? 3 : 20;
  let came = await until(back, seconds);
  if (!came) {
    client.reconnect();
    came = await until(back, seconds);
    for (let n = 0; n < 1000; n++) client.send("x");
  }
  const seen = { came, connections, asked, errors, unhandled: unhandled.length, queued: client.bufferedAmount };
  console.log(name, JSON.stringify(seen));
  client.close();
  for (const socket of server.clients) socket.terminate();
  server.close();
  return seen;
}

const always = await show("URL always had:", Package);
const failed = await show("not had the second time:", Package, 2);
const fork = await show("not had the second time, partysocket:", Fork, 2);
const lost = !failed.came && failed.connections === 1 && failed.asked === 2 && failed.errors === 0;
process.exit(always.came && lost && failed.queued === 1000 && fork.came ? 0 : 1);
JS
node show.mjs
