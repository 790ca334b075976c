// The client: one object for an account on a device, put together from the parts beside it.

import { Connection } from "./connection.js";
import { DeviceName } from "./device_name.js";
import { ApiError, Http, call } from "./http.js";
import { Inbox } from "./inbox.js";
import { Outbox } from "./outbox.js";
import { Emitter, groupConversation, randomId, targetOf, userConversation } from "./parts.js";
import { Session } from "./session.js";
import { backoff } from "./close_codes.js";
import { openStorage } from "./storage.js";

const CONTENT_BYTES = 16 * 1024;
const SEEN_EVENTS = 2_048;

/** Opens the storage, finds out where the gateways are, and gives a client; see index.d.ts. */
export async function createClient(options = {}) {
  const { WebSocket = globalThis.WebSocket } = options;
  if (!WebSocket) throw missing("WebSocket", "there is none here; Node has one from 22 on");
  if (!options.api && !globalThis.location) throw missing("api", "the address of the API; there is no page to take it from");
  const base = (options.api ?? "").replace(/\/$/, "");
  const fetch = options.fetch ?? ((...given) => globalThis.fetch(...given));
  const storage = options.storage ?? (await openStorage());
  const urls = options.ws ? [options.ws].flat() : (await call(fetch, `${base}/config.json`)).ws;
  const client = new ImClient({ platform: "web", ...options, WebSocket, base, fetch, storage, urls });
  await client.resume();
  return client;
}

function missing(field, what) {
  return new ApiError({ code: "INVALID_ARGUMENT", message: `${field} is missing: ${what}`, field });
}

export class ImClient {
  #options;
  #events = new Emitter();
  #session;
  #connection = null;
  #inbox = null;
  #outbox = null;
  #seen = new Set();
  #tab = randomId();
  #endTab = () => {};
  #beginning = 0;
  #device = null;

  constructor(options) {
    this.#options = options;
    const { base, fetch, storage, platform } = options;
    const locks = options.locks ?? globalThis.navigator?.locks;
    const channel = typeof window === "undefined" ? null : new BroadcastChannel("im-client");
    this.#session = new Session({ base, fetch, storage, platform, locks, channel });
    this.#session.onEnd = (reason) => this.#ended(reason);
    this.http = new Http({ base, fetch, session: this.#session });
    if (typeof window !== "undefined") {
      window.addEventListener("online", () => this.nudge());
      document.addEventListener("visibilitychange", () => document.hidden || this.nudge());
    }
    // Another tab sees that this one is there, and leaves its messages to it.
    locks?.request(`im-client-tab-${this.#tab}`, () => new Promise((resolve) => (this.#endTab = resolve)));
  }

  get userId() {
    return this.#session.userId;
  }

  get sessionId() {
    return this.#session.sessionId;
  }

  /** off, connecting, online or waiting (for the next attempt) */
  get state() {
    return this.#connection?.state ?? "off";
  }

  get conversations() {
    return this.#inbox?.conversations ?? new Map();
  }

  on(name, listener) {
    return this.#events.on(name, listener);
  }

  // --- accounts

  async register(account) {
    await this.#session.register(account);
    await this.#start();
    return this.userId;
  }

  async login(credentials) {
    await this.#session.login(credentials);
    await this.#start();
    return this.userId;
  }

  /** Goes on with the session that is stored, if there is one. */
  async resume() {
    if (await this.#session.load()) await this.#start();
    return this.userId;
  }

  /** For a request that `http` cannot make, as an upload that tells how far it is. */
  accessToken() {
    return this.#session.access();
  }

  logout() {
    return this.#session.logout();
  }

  /** Leaves everything as it is, as a closed page does. */
  close() {
    this.#stop();
    this.#endTab();
  }

  nudge() {
    this.#connection?.nudge();
  }

  // --- messages

  conversationWith(userId) {
    return userConversation(this.userId, userId);
  }

  conversationOf(groupId) {
    return groupConversation(groupId);
  }

  conversation(conversationId) {
    return this.#inbox.of(conversationId);
  }

  /** Sends to a conversation; what it gives is stored already and will be sent. Raises ApiError. */
  async send(conversationId, content, more = {}) {
    if (new TextEncoder().encode(content).length > CONTENT_BYTES) {
      throw new ApiError({ code: "PAYLOAD_TOO_LARGE", message: "the message is too long", field: "content" });
    }
    return this.#outbox.add(conversationId, targetOf(conversationId, this.userId), { content, ...more });
  }

  /** What was sent to the conversation and has no place yet, oldest first. */
  pending(conversationId) {
    return this.#outbox?.of(conversationId) ?? [];
  }

  /** How many messages wait in all conversations. */
  get waiting() {
    return this.#outbox?.size ?? 0;
  }

  retry(clientMsgId) {
    return this.#outbox.retry(clientMsgId);
  }

  discard(clientMsgId) {
    return this.#outbox.discard(clientMsgId);
  }

  recall(messageId) {
    return this.http.post(`/v1/messages/${messageId}/recall`);
  }

  typing(conversationId) {
    this.#connection?.send({ type: "typing", ...targetOf(conversationId, this.userId) });
  }

  open(conversationId) {
    return this.#inbox.open(conversationId);
  }

  older(conversationId, limit) {
    return this.#inbox.older(conversationId, limit);
  }

  markRead(conversationId, seq) {
    return this.#inbox.markRead(conversationId, seq);
  }

  setDraft(conversationId, text) {
    return this.#inbox.setDraft(conversationId, text);
  }

  refresh() {
    return this.#inbox.refresh();
  }

  // --- inside

  async #start() {
    this.#stop();
    const { storage } = this.#options;
    const prefix = `u/${this.userId}/`;
    const emit = (name, value) => this.#events.emit(name, value);
    const send = (frame) => this.#connection.send(frame);
    this.#outbox = new Outbox({
      storage,
      prefix: `${prefix}out/`,
      owner: this.#tab,
      send,
      onChange: (conversationId) => emit("conversation", conversationId),
    });
    this.#inbox = new Inbox({ storage, prefix, me: this.userId, http: this.http, send, outbox: this.#outbox, emit });
    this.#connection = new Connection({
      urls: this.#options.urls,
      WebSocket: this.#options.WebSocket,
      session: this.#session,
      query: () => ({ device_id: this.#device.name, platform: this.#options.platform }),
      onFrame: (frame) => this.#take(frame),
      onState: (state) => this.#is(state),
      onReplaced: () => this.#device.rename(),
    });
    this.#device = await DeviceName.take(this.#session.deviceId, this.#options.locks ?? globalThis.navigator?.locks);
    await this.#inbox.load();
    await this.#outbox.load((owner) => this.#isAlive(owner));
    emit("session", { userId: this.userId });
    await this.#begin(prefix, 0);
  }

  /** A device's first start begins with the list of conversations: without it `sync` gives all there ever was. */
  async #begin(prefix, attempt) {
    const connection = this.#connection;
    const hasBegun = await this.#options.storage.get(`${prefix}begun`);
    try {
      if (!hasBegun) await this.#inbox.refresh();
    } catch {
      if (connection !== this.#connection) return;
      this.#beginning = setTimeout(() => this.#begin(prefix, attempt + 1), backoff(attempt));
      return;
    }
    if (connection !== this.#connection) return;
    connection.start();
    if (hasBegun) this.#inbox.refresh().catch(() => {});
  }

  #stop() {
    clearTimeout(this.#beginning);
    this.#connection?.stop();
    this.#outbox?.close();
    this.#inbox?.close();
    this.#device?.release();
    this.#connection = null;
  }

  #ended(reason) {
    this.#stop();
    this.#events.emit("session", { userId: null, reason });
    if (reason === "elsewhere") this.resume();
  }

  #is(state) {
    this.#outbox.connected(state === "online");
    this.#inbox.connected(state === "online");
    this.#events.emit("state", state);
  }

  async #isAlive(owner) {
    const locks = this.#options.locks ?? globalThis.navigator?.locks;
    const { held = [] } = (await locks?.query()) ?? {};
    return held.some((lock) => lock.name === `im-client-tab-${owner}`);
  }

  async #take(frame) {
    switch (frame.type) {
      case "offline":
        await this.#inbox.takeBatch(frame.frames.filter((one) => this.#isNew(one)));
        this.#connection?.send({ type: "offline_ack", batch_id: frame.batch_id });
        break;
      case "error":
        if (!(await this.#outbox.refuse(frame))) this.#events.emit("error", frame);
        break;
      case "typing":
      case "presence":
      case "hello":
        this.#events.emit(frame.type, frame);
        break;
      default:
        if (this.#isNew(frame)) this.#inbox.take(frame);
    }
  }

  #isNew(frame) {
    if (frame.type !== "event") return true;
    if (this.#seen.has(frame.event_id)) return false;
    this.#seen.add(frame.event_id);
    if (this.#seen.size > SEEN_EVENTS) this.#seen.delete(this.#seen.values().next().value);
    return true;
  }
}
