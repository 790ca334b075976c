// What a client does at each close code, with a WebSocket and a clock of the test's own.

import assert from "node:assert/strict";
import { test } from "node:test";
import { afterClose, backoff } from "../index.js";
import { Connection } from "../connection.js";

const URLS = ["ws://a/ws/connect", "ws://b/ws/connect"];

function world(t) {
  t.mock.timers.enable({ apis: ["setTimeout", "Date"] });
  const seen = { sockets: [], renewed: [], ended: [], replaced: 0, frames: [], states: [] };
  class FakeSocket {
    constructor(url, protocols) {
      Object.assign(this, { url, protocols, sent: [] });
      seen.sockets.push(this);
    }
    send(text) {
      this.sent.push(JSON.parse(text));
    }
    close() {}
    hello() {
      this.onmessage({ data: '{"type":"hello","heartbeat_ms":20000}' });
    }
  }
  const session = {
    access: async () => `token${seen.renewed.length}`,
    renew: async (stale) => seen.renewed.push(stale),
    end: async (reason) => seen.ended.push(reason),
  };
  const connection = new Connection({
    urls: URLS,
    session,
    WebSocket: FakeSocket,
    random: () => 0.5,
    query: () => ({ device_id: "d", platform: "web" }),
    onFrame: (frame) => seen.frames.push(frame),
    onState: (state) => seen.states.push(state),
    onReplaced: () => (seen.replaced += 1),
  });
  t.after(() => connection.stop());
  return { connection, seen };
}

/** Lets what was promised happen, then the clock go on. */
async function pass(t, ms) {
  for (let i = 0; i < 20; i += 1) await null;
  t.mock.timers.tick(ms);
  for (let i = 0; i < 20; i += 1) await null;
}

test("it brings the token as a subprotocol, and is online at hello", async (t) => {
  const { connection, seen } = world(t);
  connection.start();
  await pass(t, 0);
  assert.deepEqual(seen.sockets[0].protocols, ["bearer", "token0"]);
  assert.match(seen.sockets[0].url, /\?device_id=d&platform=web$/);
  assert.equal(connection.send({ type: "ping" }), false);
  seen.sockets[0].hello();
  assert.equal(connection.state, "online");
  assert.equal(connection.send({ type: "ping" }), true);
});

test("4001: it renews the token it came with and is back at once", async (t) => {
  const { connection, seen } = world(t);
  connection.start();
  await pass(t, 0);
  seen.sockets[0].onclose({ code: 4001 });
  await pass(t, 0);
  await pass(t, 0);
  assert.deepEqual(seen.renewed, ["token0"]);
  assert.deepEqual(seen.sockets[1].protocols, ["bearer", "token1"]);
});

test("4002 after a kick: the session is over, and it does not come back", async (t) => {
  const { connection, seen } = world(t);
  connection.start();
  await pass(t, 0);
  const [socket] = seen.sockets;
  socket.hello();
  socket.onmessage({ data: '{"type":"kick","reason":"signed out"}' });
  socket.onclose({ code: 4002 });
  await pass(t, 120_000);
  assert.deepEqual(seen.ended, ["signed out"]);
  assert.equal(seen.sockets.length, 1);
  assert.equal(connection.state, "off");
});

test("4002 because another connection came under its name: it comes back under another", async (t) => {
  const { connection, seen } = world(t);
  connection.start();
  await pass(t, 0);
  seen.sockets[0].hello();
  seen.sockets[0].onmessage({ data: '{"type":"kick","reason":"this device has connected again"}' });
  seen.sockets[0].onclose({ code: 4002 });
  await pass(t, 10_000);
  assert.deepEqual([seen.replaced, seen.ended], [1, []]);
  assert.equal(seen.sockets.length, 2);
});

for (const [code, isElsewhere] of [[1001, true], [1013, true], [1006, true], [4003, false], [4008, false]]) {
  test(`${code}: it waits, and comes back ${isElsewhere ? "to another gateway" : "to the same one"}`, async (t) => {
    const { connection, seen } = world(t);
    connection.start();
    await pass(t, 0);
    seen.sockets[0].hello();
    seen.sockets[0].onclose({ code });
    assert.equal(connection.state, "waiting");
    await pass(t, 0);
    assert.equal(seen.sockets.length, 1);
    await pass(t, 10_000);
    assert.equal(seen.sockets.length, 2);
    assert.equal(seen.sockets[1].url.startsWith(seen.sockets[0].url.slice(0, 6)), !isElsewhere);
  });
}

test("who ignored a limit, or broke the protocol, stays away for five seconds", () => {
  assert.equal(afterClose(1001, 3, () => 0.5, "going away; retry_after_ms=1234").waitMs, 1234);
  assert.equal(afterClose(1001, 3, () => 0.5, "going away").waitMs, 1500);
  for (const code of [4004, 4008]) assert.ok(afterClose(code, 0, () => 0).waitMs >= 5_000);
});

test("waits grow to thirty seconds, and are never the same for all", () => {
  assert.deepEqual([0, 1, 2, 6, 50].map((n) => backoff(n, () => 1)), [500, 1000, 2000, 30_000, 30_000]);
  assert.deepEqual([0, 1, 2, 6, 50].map((n) => backoff(n, () => 0)), [250, 500, 1000, 15_000, 15_000]);
});

test("a gateway that says nothing to a ping for ten seconds is given up", async (t) => {
  const { connection, seen } = world(t);
  connection.start();
  await pass(t, 0);
  const [socket] = seen.sockets;
  socket.hello();
  await pass(t, 20_000);
  assert.deepEqual(socket.sent, [{ type: "ping" }]);
  await pass(t, 10_000);
  assert.equal(connection.state, "waiting");
  await pass(t, 1_000);
  assert.equal(seen.sockets.length, 2);
});
