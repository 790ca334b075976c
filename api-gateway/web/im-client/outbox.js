// What was sent by the user and has no definite answer yet. It is stored before it is sent, and goes
// out again under the same client_msg_id until it is `sent` or refused: never lost, never twice. Of each
// conversation one message is on its way at a time, so that they come in the order they were written.

import { isRetryable } from "./http.js";
import { randomId } from "./parts.js";

const ANSWER_MS = 15_000;
const PAUSE_MS = 1_000;

export class Outbox {
  #options;
  #entries = [];
  #onTheWay = new Map();
  #isReady = false;
  #pausedUntil = 0;
  #resume = 0;
  #failures = 0;
  #count = 0;

  /** `storage`, `prefix` of its keys; `send(frame)` gives whether it was handed on; `onChange(conversationId)`. */
  constructor(options) {
    this.#options = options;
  }

  /** Takes over what earlier pages left; `isAlive(owner)` says whether another tab looks after an entry. */
  async load(isAlive) {
    const stored = await this.#options.storage.list(this.#options.prefix);
    const known = new Set(this.#entries.map((entry) => entry.key));
    for (const [key, entry] of stored) {
      if (known.has(key) || (entry.owner !== this.#options.owner && (await isAlive(entry.owner)))) continue;
      this.#entries.push({ ...entry, key, owner: this.#options.owner, isStored: true });
    }
    this.#entries.sort((a, b) => (a.key < b.key ? -1 : 1));
    this.#pump();
  }

  of(conversationId) {
    return this.#entries.filter((entry) => entry.conversation_id === conversationId);
  }

  get size() {
    return this.#entries.length;
  }

  /** Stores the message; from then on it is the outbox's to see it sent. */
  async add(conversationId, target, body) {
    const entry = {
      key: this.#nextKey(),
      client_msg_id: randomId(),
      conversation_id: conversationId,
      frame: { ...target, ...body },
      created_at: Date.now(),
      state: "sending",
      owner: this.#options.owner,
      isStored: false,
    };
    this.#entries.push(entry);
    this.#options.onChange(conversationId);
    await this.#options.storage.write([[entry.key, stored(entry)]]);
    entry.isStored = true;
    this.#pump();
    return entry;
  }

  /** Sends what was refused once more. It is a new message: the refusal of the old one is final. */
  async retry(clientMsgId) {
    const entry = this.#find(clientMsgId);
    if (!entry || entry.state !== "failed") return;
    await this.discard(clientMsgId);
    const { to, group_id: groupId, ...body } = entry.frame;
    await this.add(entry.conversation_id, to ? { to } : { group_id: groupId }, body);
  }

  async discard(clientMsgId) {
    const entry = this.#find(clientMsgId);
    if (!entry || (entry.state !== "failed" && this.#onTheWay.has(entry.conversation_id))) return;
    await this.#options.storage.write([[entry.key, undefined]]);
    this.#remove(entry);
  }

  /** The message has its place: what must be written so that it is forgotten here. */
  settle(clientMsgId) {
    const entry = clientMsgId && this.#find(clientMsgId);
    if (!entry) return null;
    this.#failures = 0;
    this.#arrived(entry);
    this.#remove(entry);
    this.#pump();
    return entry;
  }

  /** An `error` frame; gives whether it was about a message of this outbox. */
  async refuse(error) {
    const entry = error.client_msg_id && this.#find(error.client_msg_id);
    if (!entry) return false;
    this.#arrived(entry);
    if (isRetryable(error.code)) {
      const waitMs = error.retry_after_ms ?? PAUSE_MS * Math.min(2 ** this.#failures, 16) * (0.5 + Math.random());
      this.#failures += 1;
      this.#pause(waitMs);
    } else {
      entry.state = "failed";
      entry.error = { code: error.code, message: error.message };
      await this.#options.storage.write([[entry.key, stored(entry)]]);
      this.#options.onChange(entry.conversation_id);
      this.#pump();
    }
    return true;
  }

  /** Whether there is a connection. What was on its way when one ended goes out again on the next. */
  connected(isReady) {
    this.#isReady = isReady;
    for (const { timer } of this.#onTheWay.values()) clearTimeout(timer);
    this.#onTheWay.clear();
    this.#pump();
  }

  close() {
    this.connected(false);
    clearTimeout(this.#resume);
  }

  #pump() {
    if (!this.#isReady || Date.now() < this.#pausedUntil) return;
    const busy = new Set(this.#onTheWay.keys());
    for (const entry of this.#entries) {
      if (entry.state !== "sending" || busy.has(entry.conversation_id)) continue;
      // One that is not on the disk yet holds back what was written after it, too.
      busy.add(entry.conversation_id);
      if (entry.isStored) this.#sendOut(entry);
    }
  }

  #sendOut(entry) {
    const frame = { type: "chat", ...entry.frame, client_msg_id: entry.client_msg_id };
    if (!this.#options.send(frame)) return;
    const timer = setTimeout(() => {
      // The server owes an answer; asking again is safe.
      this.#onTheWay.delete(entry.conversation_id);
      this.#pump();
    }, ANSWER_MS);
    this.#onTheWay.set(entry.conversation_id, { entry, timer });
  }

  #arrived(entry) {
    const onTheWay = this.#onTheWay.get(entry.conversation_id);
    if (onTheWay?.entry !== entry) return;
    clearTimeout(onTheWay.timer);
    this.#onTheWay.delete(entry.conversation_id);
  }

  #pause(waitMs) {
    this.#pausedUntil = Date.now() + waitMs;
    clearTimeout(this.#resume);
    this.#resume = setTimeout(() => this.#pump(), waitMs + 1);
  }

  #find(clientMsgId) {
    return this.#entries.find((entry) => entry.client_msg_id === clientMsgId);
  }

  #remove(entry) {
    this.#entries = this.#entries.filter((other) => other !== entry);
    this.#options.onChange(entry.conversation_id);
  }

  #nextKey() {
    this.#count += 1;
    const part = (number, digits) => number.toString(36).padStart(digits, "0");
    return `${this.#options.prefix}${part(Date.now(), 9)}-${part(this.#count, 6)}-${this.#options.owner.slice(0, 6)}`;
  }
}

function stored({ isStored: _, ...entry }) {
  return entry;
}
