import assert from "node:assert/strict";
import { test } from "node:test";
import { ApiError, MemoryStorage, createClient } from "../index.js";
import { contents, history, open, person, record, until } from "./world.js";

test("two people talk: each message is shown once, in order, and its sender learns how far it is", async (t) => {
  const [ann, bob] = [await person(), await person()];
  t.after(() => [ann, bob].forEach(({ client }) => client.close()));
  const talk = ann.client.conversationWith(bob.id);
  for (let i = 0; i < 30; i += 1) ann.client.send(talk, `${i}`);
  await until(() => bob.shown.length === 30, "all are shown");
  const wanted = Array.from({ length: 30 }, (_, i) => `${i}`);
  assert.deepEqual(contents(bob.shown), wanted);
  await until(() => ann.client.waiting === 0, "all are answered");
  assert.deepEqual(contents(ann.shown), wanted);
  assert.deepEqual(ann.shown.map((message) => message.seq), wanted.map((_, i) => i + 1));

  const conversation = ann.client.conversation(talk);
  const last = conversation.messages.at(-1);
  await until(() => conversation.stateOf(last) === "delivered", "delivered");
  assert.equal(bob.client.conversation(talk).unread, 30);
  await bob.client.markRead(talk, last.seq);
  assert.equal(bob.client.conversation(talk).unread, 0);
  await until(() => conversation.stateOf(last) === "read", "read");
});

test("a page that is opened again has its messages, and what was written meanwhile", async (t) => {
  const [ann, bob] = [await person(), await person()];
  const talk = ann.client.conversationWith(bob.id);
  await ann.client.send(talk, "before");
  await until(() => bob.shown.length === 1, "the first is shown");
  await bob.client.setDraft(talk, "half a th");
  bob.client.close();
  for (const word of ["while", "away"]) await ann.client.send(talk, word);
  await until(() => ann.client.waiting === 0, "all are sent");
  const again = await open(bob.storage);
  t.after(() => [ann.client, again].forEach((client) => client.close()));
  const shown = record(again);
  await again.open(talk);
  assert.equal(again.conversation(talk).messages[0].content, "before");
  assert.equal(again.conversation(talk).draft, "half a th");
  await until(() => shown.length === 2, "the others are shown");
  assert.deepEqual(contents(again.conversation(talk).messages), ["before", "while", "away"]);
  assert.equal(again.conversation(talk).unread, 3);
});

test("another device begins with the list, and asks for the history when somebody looks", async (t) => {
  const [ann, bob] = [await person(), await person()];
  const talk = ann.client.conversationWith(bob.id);
  for (let i = 0; i < 60; i += 1) ann.client.send(talk, `${i}`);
  await until(() => ann.client.waiting === 0 && bob.shown.length === 60, "all are sent");
  const phone = await open(new MemoryStorage());
  t.after(() => [ann.client, bob.client, phone].forEach((client) => client.close()));
  const shown = record(phone);
  await phone.login({ username: bob.username, password: bob.password });
  await until(() => phone.state === "online", "online");
  const conversation = phone.conversation(talk);
  assert.equal(conversation.unread, 60);
  assert.equal(conversation.lastMessage.content, "59");
  assert.equal(await phone.older(talk, 50), 50);
  assert.equal(await phone.older(talk, 50), 10);
  assert.ok(conversation.isComplete);
  await ann.client.send(talk, "60");
  await until(() => shown.length === 1, "a new one is shown");
  assert.deepEqual(contents(conversation.messages), Array.from({ length: 61 }, (_, i) => `${i}`));
});

test("what was typed while offline goes out from the next page, in order", async (t) => {
  const [ann, bob] = [await person(), await person()];
  const talk = ann.client.conversationWith(bob.id);
  ann.client.close();
  // A page without a gateway that answers.
  const lonely = await open(ann.storage, { ws: "ws://127.0.0.1:9/ws/connect" });
  for (const word of ["one", "two", "three"]) await lonely.send(talk, word);
  assert.equal(lonely.pending(talk).length, 3);
  lonely.close();
  const again = await open(ann.storage);
  t.after(() => [bob.client, again].forEach((client) => client.close()));
  await until(() => bob.shown.length === 3, "all are shown");
  assert.deepEqual(contents(bob.shown), ["one", "two", "three"]);
  await until(() => again.waiting === 0, "all are answered");
});

test("two pages of one account see the same, and one of them renews the token for both", async (t) => {
  const [ann, bob] = [await person(), await person()];
  const other = await open(ann.storage);
  t.after(() => [ann.client, bob.client, other].forEach((client) => client.close()));
  const talk = ann.client.conversationWith(bob.id);
  const shown = record(other);
  await until(() => ann.client.state === "online" && other.state === "online", "both are online");
  await ann.client.send(talk, "from the one");
  await other.send(talk, "from the other");
  await until(() => ann.shown.length === 2 && shown.length === 2, "both have both");
  assert.deepEqual(contents(ann.shown), contents(shown));

  const session = await ann.storage.get("session");
  const asked = await Promise.all(
    [ann.client, other, other, ann.client].map((client) => client.http.request("GET", "/v1/users/me")),
  );
  assert.equal(new Set(asked.map((me) => me.user_id)).size, 1);
  assert.equal((await ann.storage.get("session")).refresh_token, session.refresh_token);
});

test("a token that has expired is renewed once for all who ask at the same time", async (t) => {
  const ann = await person();
  ann.client.close();
  const session = await ann.storage.get("session");
  await ann.storage.write([["session", { ...session, expires_at: 0 }]]);
  let renewals = 0;
  const counting = (url, init) => {
    if (String(url).endsWith("/refresh")) renewals += 1;
    return fetch(url, init);
  };
  const pages = [await open(ann.storage, { fetch: counting }), await open(ann.storage, { fetch: counting })];
  t.after(() => pages.forEach((client) => client.close()));
  await Promise.all(pages.flatMap((page) => [page.http.get("/v1/users/me"), page.http.get("/v1/friends")]));
  await until(() => pages.every((page) => page.state === "online"), "both are online");
  assert.equal(renewals, 1);
});

test("a message that is refused says why, and is sent as a new one when tried again", async (t) => {
  const [ann, bob] = [await person(), await person()];
  t.after(() => [ann, bob].forEach(({ client }) => client.close()));
  const talk = ann.client.conversationWith(bob.id);
  await bob.client.http.put(`/v1/blocks/${ann.id}`);
  await ann.client.send(talk, "let me in");
  const failed = await until(() => ann.client.pending(talk).find((one) => one.state === "failed"), "refused");
  assert.equal(failed.error.code, "BLOCKED");
  await bob.client.http.delete(`/v1/blocks/${ann.id}`);
  await ann.client.retry(failed.client_msg_id);
  await until(() => bob.shown.length === 1, "shown");
  assert.equal(ann.client.pending(talk).length, 0);
  await assert.rejects(ann.client.send(talk, "x".repeat(16 * 1024 + 1)), (error) => {
    return error instanceof ApiError && error.code === "PAYLOAD_TOO_LARGE";
  });
});

test("a message that is taken back is empty on both sides", async (t) => {
  const [ann, bob] = [await person(), await person()];
  t.after(() => [ann, bob].forEach(({ client }) => client.close()));
  const talk = ann.client.conversationWith(bob.id);
  await ann.client.send(talk, "oops", { ext: { a: 1 } });
  await until(() => bob.shown.length && ann.shown.length, "shown");
  await ann.client.recall(ann.shown[0].message_id);
  for (const { client } of [ann, bob]) {
    const message = await until(() => client.conversation(talk).messages.find((one) => one.recalled), "recalled");
    assert.equal(message.content, "");
    assert.equal(client.conversation(talk).lastMessage.recalled, true);
  }
});

test("a group's messages and its changes come in one order to all", async (t) => {
  const people = [await person(), await person(), await person()];
  t.after(() => people.forEach(({ client }) => client.close()));
  const [ann, bob, eve] = people;
  await until(() => people.every(({ client }) => client.state === "online"), "online");
  const body = { name: "team", member_ids: [bob.id, eve.id] };
  const { group_id: group } = await ann.client.http.post("/v1/groups", body);
  const talk = ann.client.conversationOf(group);
  await Promise.all(people.map(({ client, username }) => client.send(talk, `hello from ${username}`)));
  await until(() => people.every(({ shown }) => shown.length === 4), "all have all");
  const places = people.map(({ shown }) => shown.map((message) => [message.seq, message.content]));
  assert.deepEqual(places[1], places[0]);
  assert.deepEqual(places[2], places[0]);
  assert.equal(ann.shown[0].ext.event, "group_created");
});

test("a session that is ended elsewhere ends this client, and what it had not sent stays", async (t) => {
  const ann = await person();
  const phone = await open(new MemoryStorage());
  t.after(() => [ann.client, phone].forEach((client) => client.close()));
  await phone.login({ username: ann.username, password: ann.password });
  await until(() => ann.client.state === "online", "online");
  const ended = new Promise((resolve) => ann.client.on("session", resolve));
  await phone.http.delete(`/v1/auth/sessions/${ann.client.sessionId}`);
  assert.equal((await ended).userId, null);
  assert.equal(ann.client.state, "off");
  assert.equal(await ann.storage.get("session"), undefined);
});

test("what waited for who had no device is delivered when the first one has it", async (t) => {
  const [ann, bob] = [await person(), await person()];
  bob.client.close();
  const talk = ann.client.conversationWith(bob.id);
  await ann.client.send(talk, "hello");
  await until(() => ann.client.waiting === 0, "sent");
  const phone = await open(new MemoryStorage());
  t.after(() => [ann.client, phone].forEach((client) => client.close()));
  await phone.login({ username: bob.username, password: bob.password });
  const conversation = ann.client.conversation(talk);
  await until(() => conversation.stateOf(conversation.lastMessage) === "delivered", "delivered");
  assert.equal(phone.conversation(talk).unread, 1);
});

test("what a client cannot do without is asked for by its name", async () => {
  await assert.rejects(createClient({}), { code: "INVALID_ARGUMENT", field: "api" });
  const { WebSocket } = globalThis;
  delete globalThis.WebSocket;
  try {
    await assert.rejects(open(new MemoryStorage()), { code: "INVALID_ARGUMENT", field: "WebSocket" });
  } finally {
    globalThis.WebSocket = WebSocket;
  }
});

test("a wrong password is asked with once, and renews no token", async (t) => {
  const asked = [];
  const ann = await person({
    fetch: (url, options) => (asked.push(new URL(url).pathname), fetch(url, options)),
  });
  t.after(() => ann.client.close());
  asked.length = 0;
  const body = { old_password: "wrong password", new_password: ann.password };
  await assert.rejects(ann.client.http.post("/v1/auth/password", body), { code: "INVALID_CREDENTIALS" });
  assert.deepEqual(asked.filter((path) => path.startsWith("/v1/auth/")), ["/v1/auth/password"]);
});

test("the history is what was shown", async (t) => {
  const [ann, bob] = [await person(), await person()];
  t.after(() => [ann, bob].forEach(({ client }) => client.close()));
  const talk = ann.client.conversationWith(bob.id);
  await Promise.all([ann, bob].flatMap(({ client }) => [1, 2, 3].map((i) => client.send(talk, `${client.userId}:${i}`))));
  await until(() => ann.shown.length === 6 && bob.shown.length === 6, "all are shown");
  const stored = await history(ann.client, talk);
  assert.deepEqual(contents(ann.shown), contents(stored));
  assert.deepEqual(contents(bob.shown), contents(stored));
});
