// What is promised holds whatever is killed in the middle.

import assert from "node:assert/strict";
import { test } from "node:test";
import { contents, history, kill, open, person, record, until } from "./world.js";

const TOTAL = 300;

for (const name of ["ws-gateway", "chat-mq", "api-gateway"]) {
  test(`everything sent is shown once and in order when ${name} is killed in the middle`, async (t) => {
    const [ann, bob] = [await person(), await person()];
    t.after(() => [ann, bob].forEach(({ client }) => client.close()));
    const talk = ann.client.conversationWith(bob.id);
    const wanted = Array.from({ length: TOTAL }, (_, i) => `${i}`);
    for (const word of wanted) ann.client.send(talk, word);
    await until(() => bob.shown.length > TOTAL / 10, "it has begun");
    const again = kill(name);
    await until(() => bob.shown.length >= TOTAL && ann.client.waiting === 0, `all are shown (${bob.shown.length})`);
    await again;
    assert.deepEqual(contents(bob.shown), wanted);
    assert.deepEqual(contents(ann.shown), wanted);
    assert.deepEqual(bob.shown.map((message) => message.seq), wanted.map((_, i) => i + 1));
    const stored = await until(() => history(ann.client, talk).catch(() => null), "the history answers");
    assert.deepEqual(contents(stored), wanted);
  });
}

test("nothing is lost or doubled when the pages of both are closed and opened and the gateway dies", async (t) => {
  const [ann, bob] = [await person(), await person()];
  const talk = ann.client.conversationWith(bob.id);
  const wanted = Array.from({ length: TOTAL }, (_, i) => `${i}`);
  for (const word of wanted) await ann.client.send(talk, word);
  await until(() => bob.shown.length > TOTAL / 10, "it has begun");
  ann.client.close();
  bob.client.close();
  const again = kill("ws-gateway");
  const pages = [await open(ann.storage), await open(bob.storage)];
  t.after(() => pages.forEach((client) => client.close()));
  const later = record(pages[1]);
  await until(() => bob.shown.length + later.length >= TOTAL && pages[0].waiting === 0, "all are shown");
  await again;
  assert.deepEqual(contents([...bob.shown, ...later]), wanted);
  const stored = await history(pages[0], talk);
  assert.deepEqual(contents(stored), wanted);
});
