// The running system for these tests (IM_READY names its ready.json), and people on it.

import { readFileSync } from "node:fs";
import { MemoryStorage, createClient } from "../index.js";

const READY = process.env.IM_READY;
const PASSWORD = "correct horse battery";
const LIMIT_MS = 60_000;
let count = 0;

export function ready() {
  return JSON.parse(readFileSync(READY, "utf8"));
}

/** SIGKILL; gives a promise that is kept when the process runs again. */
export function kill(name) {
  const pid = ready().pids[name];
  process.kill(pid, "SIGKILL");
  return until(() => ready().pids[name] !== pid, `${name} is started again`);
}

/** A client that is logged in as somebody new, with a record of what it showed. */
export async function person(more = {}) {
  const storage = more.storage ?? new MemoryStorage();
  const client = await open(storage, more);
  count += 1;
  const username = `js${count}.${Math.random().toString(36).slice(2, 10)}`;
  await client.register({ username, password: PASSWORD });
  return { client, storage, username, password: PASSWORD, shown: record(client), id: client.userId };
}

export function open(storage, more = {}) {
  const { api, ws_gateways: ws } = ready();
  return createClient({ api, ws, ...more, storage });
}

/** Every message in the order in which it was shown. */
export function record(client) {
  const shown = [];
  client.on("message", (message) => shown.push(message));
  return shown;
}

/** Waits for something to be so; asks again at every event of the clients and now and then. */
export async function until(isSo, what, limitMs = LIMIT_MS) {
  const end = Date.now() + limitMs;
  for (;;) {
    const found = await isSo();
    if (found) return found;
    if (Date.now() > end) throw new Error(`not within ${limitMs / 1000} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** All that the server has of a conversation. */
export async function history(client, conversationId) {
  const items = [];
  for (;;) {
    const page = await client.http.get(`/v1/conversations/${conversationId}/messages`, {
      after_seq: items.at(-1)?.seq ?? 0,
      limit: 100,
    });
    items.push(...page.items);
    if (page.items.length < 100) return items;
  }
}

export function contents(messages) {
  return messages.map((message) => message.content);
}
