// What arrives: put in order, without doubles; holes are filled by `sync`; kept for the next page.

import { Conversation } from "./conversation.js";
import { Turns } from "./parts.js";

const KEPT = 200;
const PAGE = 50;
// A WebSocket frame holds no more cursors than this; HTTP takes them all.
const FRAME_CURSORS = 1_000;
const SYNC_LIMIT = 200;
const SYNC_MS = 15_000;
const RETRY_MS = 1_000;
// A device that has missed more of a conversation begins there anew.
const CATCH_UP = 2_000;
const ACK_MS = 100;

export class Inbox {
  conversations = new Map();
  #options;
  #turns = new Turns();
  #isSyncing = false;
  #isWanted = false;
  #round = 0;
  #answer = null;
  #retry = 0;
  #acks = new Map();
  #ackTimer = 0;
  #isOnline = false;

  /** `storage`, `prefix`, `me`, `http`, `send(frame)`, `outbox`, `emit(name, value)`. */
  constructor(options) {
    this.#options = options;
  }

  async load() {
    for (const [key, known] of await this.#options.storage.list(this.#key("conv/"))) {
      const id = key.slice(this.#key("conv/").length);
      this.conversations.set(id, new Conversation(id, known));
    }
  }

  /** The list of conversations from the server; on a device's first start it says where each one begins. */
  async refresh() {
    const items = await this.#options.http.all("/v1/conversations", {}, 2_000);
    await this.#turns.take(async () => {
      const isFirst = !(await this.#options.storage.get(this.#key("begun")));
      for (const item of items) this.#listed(item, isFirst);
      const changes = items.map((item) => this.#stored(this.conversations.get(item.conversation_id)));
      await this.#options.storage.write([...changes.filter(Boolean), [this.#key("begun"), true]]);
    });
    this.#options.emit("conversations");
  }

  #listed(item, isFirst) {
    if (!isFirst && !this.conversations.has(item.conversation_id)) return;
    const conversation = this.of(item.conversation_id);
    conversation.pinned = item.pinned;
    conversation.muted = item.muted;
    if (isFirst) {
      conversation.skipTo(item.last_seq);
      conversation.readSeq = item.read_seq;
      conversation.unread = item.unread;
      conversation.lastMessage = item.last_message;
    }
    if (conversation.cursor === item.last_seq) {
      conversation.lastMessage = item.last_message ?? conversation.lastMessage;
      conversation.mentionedSeq = item.mentioned_seq ?? null;
    }
  }

  of(conversationId) {
    if (!this.conversations.has(conversationId)) {
      this.conversations.set(conversationId, new Conversation(conversationId));
    }
    return this.conversations.get(conversationId);
  }

  connected(isOnline) {
    this.#isOnline = isOnline;
    clearTimeout(this.#retry);
    this.#answer?.reject(new Error("the connection has ended"));
    if (!isOnline) return;
    this.#sync();
    for (const conversation of this.conversations.values()) {
      if (conversation.readHere > 0) this.#tellRead(conversation, conversation.readHere);
    }
  }

  /** Everything that changes messages, one frame after the other. */
  take(frame) {
    if (frame.type === "sync") {
      this.#answer?.resolve(frame);
      return this.#turns.idle();
    }
    return this.#turns.take(() => this.#apply([frame]));
  }

  /** An `offline` batch; when the promise is kept all of it is stored. */
  takeBatch(frames) {
    return this.#turns.take(() => this.#apply(frames));
  }

  /** When everything that came until now is stored. */
  idle() {
    return this.#turns.idle();
  }

  /** Messages before the first one that is known; gives how many came. */
  async older(conversationId, limit = PAGE) {
    const conversation = this.of(conversationId);
    await this.#turns.take(() => this.#loadKept(conversation));
    if (conversation.isComplete) return 0;
    const before = conversation.messages[0]?.seq ?? conversation.cursor + 1;
    const path = `/v1/conversations/${conversationId}/messages`;
    const { items } = await this.#options.http.get(path, { before_seq: before, limit });
    return this.#turns.take(async () => {
      // Two that asked at once.
      if ((conversation.messages[0]?.seq ?? conversation.cursor + 1) !== before) return 0;
      conversation.prepend(items);
      conversation.isComplete = items.length < limit;
      if (conversation.messages.length <= KEPT) await this.#options.storage.write(items.map((item) => this.#row(item)));
      this.#options.emit("conversation", conversationId);
      return items.length;
    });
  }

  /** What this device has kept of the conversation. */
  open(conversationId) {
    const conversation = this.of(conversationId);
    return this.#turns.take(() => this.#loadKept(conversation));
  }

  async markRead(conversationId, seq) {
    const conversation = this.of(conversationId);
    if (!conversation.readUpTo(seq, this.#options.me)) return;
    conversation.readHere = seq;
    this.#options.emit("conversation", conversationId);
    this.#tellRead(conversation, seq);
    await this.#turns.take(() => this.#options.storage.write([this.#stored(conversation)].filter(Boolean)));
  }

  async setDraft(conversationId, text) {
    const conversation = this.of(conversationId);
    conversation.draft = text;
    await this.#turns.take(() => this.#options.storage.write([[`${this.#key("conv/")}${conversationId}`, conversation.toStored()]]));
  }

  close() {
    this.connected(false);
    clearTimeout(this.#ackTimer);
  }

  // --- frames

  async #apply(frames) {
    const touched = new Set();
    const changes = [];
    const shown = [];
    // Not shown: the conversation was there already.
    const known = [];
    for (const frame of frames) this.#one(frame, { touched, changes, shown, known });
    for (const id of touched) changes.push(this.#stored(this.conversations.get(id)));
    if (changes.length) await this.#options.storage.write(changes.filter(Boolean));
    for (const message of shown) this.#options.emit("message", message);
    for (const id of touched) this.#options.emit("conversation", id);
    for (const frame of frames) if (frame.type === "event") this.#options.emit("event", frame);
    // A first device begins above what waited for it, and has received it all the same.
    this.#ackLater([...shown, ...known]);
  }

  #one(frame, out) {
    if (frame.type === "message") this.#arrived(frame, out);
    else if (frame.type === "sent") this.#placed(frame, out);
    else if (frame.type === "recalled") this.#recalled(frame, out);
    else if (frame.type === "receipt") this.#receipt(frame, out);
  }

  #placed(frame, out) {
    const entry = this.#options.outbox.settle(frame.client_msg_id);
    if (!entry) return;
    out.changes.push([entry.key, undefined]);
    const { message_id, conversation_id, seq, timestamp, client_msg_id } = frame;
    const place = { message_id, conversation_id, seq, timestamp, client_msg_id };
    this.#arrived({ type: "message", from: this.#options.me, content_type: "text", ...entry.frame, ...place }, out);
  }

  #arrived(message, out) {
    const conversation = this.of(message.conversation_id);
    // It came by another way before the answer did.
    const entry = message.from === this.#options.me && this.#options.outbox.settle(message.client_msg_id);
    if (entry) out.changes.push([entry.key, undefined]);
    if (message.seq <= conversation.cursor) {
      out.touched.add(conversation.id);
      out.known.push(message);
    } else if (message.seq === conversation.cursor + 1) {
      this.#show(conversation, message, out);
      this.#release(conversation, out);
    } else {
      conversation.held.set(message.seq, { message, round: this.#round });
      this.#sync();
    }
  }

  #show(conversation, { type: _, ...message }, out) {
    conversation.append(message, this.#options.me);
    out.changes.push(this.#row(message));
    out.touched.add(conversation.id);
    out.shown.push(message);
  }

  /** Held messages whose turn has come. `round`: a hole that this sync did not fill is there for good. */
  #release(conversation, out, round = 0) {
    const seqs = [...conversation.held.keys()].sort((a, b) => a - b);
    for (const seq of seqs) {
      const held = conversation.held.get(seq);
      if (seq > conversation.cursor + 1 && held.round >= round) return;
      conversation.held.delete(seq);
      if (seq > conversation.cursor) this.#show(conversation, held.message, out);
    }
  }

  #recalled(frame, out) {
    const conversation = this.of(frame.conversation_id);
    const held = conversation.held.get(frame.seq);
    if (held) held.message = { ...held.message, content: "", ext: undefined, recalled: true };
    const message = conversation.recall(frame.message_id, frame.seq);
    if (message) out.changes.push(this.#row(message));
    else if (!conversation.isLoaded) out.changes.push([this.#rowKey(conversation.id, frame.seq), undefined]);
    out.touched.add(conversation.id);
  }

  #receipt(frame, out) {
    const conversation = this.of(frame.conversation_id);
    if (frame.user_id === this.#options.me) {
      conversation.readUpTo(frame.read_seq, this.#options.me);
      if (frame.read_seq >= conversation.readHere) conversation.readHere = 0;
    } else {
      conversation.heardOf(frame.user_id, frame);
    }
    out.touched.add(conversation.id);
  }

  // --- sync

  #sync() {
    this.#isWanted = true;
    if (this.#isSyncing || !this.#isOnline) return;
    this.#isSyncing = true;
    this.#rounds()
      .catch(() => {
        this.#isWanted = false;
        if (this.#isOnline) this.#retry = setTimeout(() => this.#sync(), RETRY_MS);
      })
      .finally(() => {
        this.#isSyncing = false;
        if (this.#isWanted) this.#sync();
      });
  }

  async #rounds() {
    while (this.#isWanted) {
      this.#isWanted = false;
      this.#round += 1;
      const round = this.#round;
      let answer;
      do {
        answer = await this.#askForMissing();
        const { conversations } = answer;
        await this.#turns.take(() => this.#fill(conversations));
      } while (answer.has_more);
      await this.#turns.take(() => this.#releaseAll(round));
      this.#options.emit("synced");
    }
  }

  async #askForMissing() {
    const cursors = {};
    for (const { id, cursor } of this.conversations.values()) cursors[id] = cursor;
    const ask = { cursors, limit: SYNC_LIMIT };
    if (this.conversations.size > FRAME_CURSORS) return this.#options.http.post("/v1/sync", ask);
    const answer = new Promise((resolve, reject) => {
      this.#answer = { resolve, reject };
    });
    const timer = setTimeout(() => this.#answer?.reject(new Error("no answer to sync")), SYNC_MS);
    try {
      if (!this.#options.send({ type: "sync", ...ask })) throw new Error("not connected");
      return await answer;
    } finally {
      clearTimeout(timer);
      this.#answer = null;
    }
  }

  async #fill(deltas) {
    const out = { touched: new Set(), changes: [], shown: [] };
    for (const delta of deltas) this.#fillOne(delta, out);
    await this.#write(out);
  }

  #fillOne(delta, out) {
    const conversation = this.of(delta.conversation_id);
    if (delta.last_seq - conversation.cursor > CATCH_UP) {
      conversation.skipTo(delta.last_seq);
      conversation.isLoaded = true;
      conversation.lastMessage = null;
    } else if (!delta.messages.length) {
      // Everything up to there is deleted, or below what the user may see.
      conversation.cursor = Math.max(conversation.cursor, delta.last_seq);
    }
    for (const message of delta.messages) {
      const entry = message.from === this.#options.me && this.#options.outbox.settle(message.client_msg_id);
      if (entry) out.changes.push([entry.key, undefined]);
      if (message.seq > conversation.cursor) this.#show(conversation, message, out);
    }
    conversation.counted(delta, this.#options.me);
    out.touched.add(conversation.id);
  }

  async #releaseAll(round) {
    const out = { touched: new Set(), changes: [], shown: [] };
    for (const conversation of this.conversations.values()) {
      if (conversation.held.size) this.#release(conversation, out, round);
      if (conversation.held.size) this.#isWanted = true;
    }
    await this.#write(out);
  }

  async #write({ touched, changes, shown }) {
    for (const id of touched) changes.push(this.#stored(this.conversations.get(id)));
    await this.#options.storage.write(changes.filter(Boolean));
    for (const message of shown) this.#options.emit("message", message);
    for (const id of touched) this.#options.emit("conversation", id);
    this.#ackLater(shown);
  }

  // --- what is told to the server

  #ackLater(messages) {
    for (const { conversation_id: id, seq, from } of messages) {
      if (from !== this.#options.me) this.#acks.set(id, Math.max(seq, this.#acks.get(id) ?? 0));
    }
    if (!this.#acks.size || this.#ackTimer) return;
    this.#ackTimer = setTimeout(() => {
      this.#ackTimer = 0;
      for (const [id, seq] of this.#acks) this.#options.send({ type: "ack", conversation_id: id, seq });
      this.#acks.clear();
    }, ACK_MS);
  }

  #tellRead(conversation, seq) {
    this.#options.send({ type: "read", conversation_id: conversation.id, seq });
  }

  // --- storage

  async #loadKept(conversation) {
    if (conversation.isLoaded) return;
    conversation.isLoaded = true;
    const rows = await this.#options.storage.list(this.#key(`msg/${conversation.id}/`));
    const first = conversation.messages[0]?.seq ?? conversation.cursor + 1;
    const kept = stretchBefore(first, rows.map(([, message]) => message));
    conversation.prepend(kept);
    const old = rows.slice(0, -2 * KEPT).map(([key]) => [key, undefined]);
    if (old.length) await this.#options.storage.write(old);
    this.#options.emit("conversation", conversation.id);
  }

  #key(rest) {
    return `${this.#options.prefix}${rest}`;
  }

  #stored(conversation) {
    // One that is only looked at has nothing to remember.
    if (!conversation || (conversation.lastSeq === 0 && !conversation.draft)) return null;
    return [`${this.#key("conv/")}${conversation.id}`, conversation.toStored()];
  }

  #rowKey(conversationId, seq) {
    return this.#key(`msg/${conversationId}/${String(seq).padStart(16, "0")}`);
  }

  #row(message) {
    return [this.#rowKey(message.conversation_id, message.seq), message];
  }
}

/** The newest of them that reach up to `first` without a hole. */
function stretchBefore(first, messages) {
  const below = messages.filter((message) => message.seq < first);
  let at = below.length;
  let next = first;
  while (at > 0 && below.length - at < KEPT && below[at - 1].seq === next - 1) {
    at -= 1;
    next = below[at].seq;
  }
  return below.slice(at);
}
