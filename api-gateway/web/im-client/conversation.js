// One conversation as this device knows it: a stretch of messages without a hole, and its cursors.

export class Conversation {
  /** Messages in the order of `seq`; what is below the first one is on the server (see `isComplete`). */
  messages = [];
  /** What came ahead of its turn, by seq. */
  held = new Map();
  isComplete = false;
  isLoaded = false;

  constructor(conversationId, known = {}) {
    this.id = conversationId;
    this.isGroup = conversationId.startsWith("g:");
    // Everything up to here has been seen by this device, or is below what it began with.
    this.cursor = known.cursor ?? 0;
    this.lastSeq = known.lastSeq ?? 0;
    this.readSeq = known.readSeq ?? 0;
    this.unread = known.unread ?? 0;
    this.lastMessage = known.lastMessage ?? null;
    this.mentionedSeq = known.mentionedSeq ?? null;
    this.pinned = known.pinned ?? false;
    this.muted = known.muted ?? false;
    this.draft = known.draft ?? "";
    // Of the others: user id to {delivered_seq, read_seq}.
    this.cursors = new Map(known.cursors ?? []);
    // Read here, and not known to be told to the server.
    this.readHere = known.readHere ?? 0;
  }

  /** What of it is stored. */
  toStored() {
    const { cursor, lastSeq, readSeq, unread, lastMessage, mentionedSeq, pinned, muted, draft, readHere } = this;
    const cursors = [...this.cursors];
    return { cursor, lastSeq, readSeq, unread, lastMessage, mentionedSeq, pinned, muted, draft, readHere, cursors };
  }

  /** The next message in order. `me`: the user's own id. */
  append(message, me) {
    this.messages.push(message);
    this.cursor = message.seq;
    this.lastSeq = Math.max(this.lastSeq, message.seq);
    this.lastMessage = message;
    if (message.from === me) {
      this.readUpTo(message.seq, me);
    } else if (message.seq > this.readSeq) {
      this.unread += message.recalled ? 0 : 1;
      const named = message.mentions ?? [];
      if (named.includes(me) || named.includes("all")) this.mentionedSeq ??= message.seq;
      this.heardOf(message.from, { delivered_seq: message.seq, read_seq: message.seq });
    }
  }

  /** A cursor of another member; it never moves back. Who writes has read what came before. */
  heardOf(userId, { delivered_seq: delivered = 0, read_seq: read = 0 }) {
    const known = this.cursors.get(userId) ?? { delivered_seq: 0, read_seq: 0 };
    this.cursors.set(userId, {
      delivered_seq: Math.max(known.delivered_seq, delivered, read),
      read_seq: Math.max(known.read_seq, read),
    });
  }

  readUpTo(seq, me) {
    if (seq <= this.readSeq) return false;
    this.readSeq = seq;
    const isLeft = (message) => message.seq > seq && message.from !== me && !message.recalled;
    this.unread = seq >= this.lastSeq ? 0 : Math.min(this.unread, this.messages.filter(isLeft).length || this.unread);
    if (this.mentionedSeq !== null && this.mentionedSeq <= seq) this.mentionedSeq = null;
    return true;
  }

  /** What the server has counted: what came since then is not in it. */
  counted({ last_seq: lastSeq, read_seq: readSeq, unread }, me) {
    this.lastSeq = Math.max(this.lastSeq, lastSeq);
    if (readSeq < this.readSeq) return;
    this.readSeq = readSeq;
    const isLater = (message) => message.seq > Math.max(lastSeq, readSeq) && message.from !== me && !message.recalled;
    this.unread = unread + this.messages.filter(isLater).length;
  }

  /** Older messages, as the server's history has them. */
  prepend(items) {
    const first = this.messages[0]?.seq ?? Infinity;
    this.messages = [...items.filter((message) => message.seq < first), ...this.messages];
  }

  recall(messageId, seq) {
    const emptied = (message) =>
      message.message_id === messageId ? { ...message, content: "", ext: undefined, mentions: undefined, recalled: true } : message;
    const at = this.messages.findIndex((message) => message.seq === seq);
    if (at >= 0) this.messages[at] = emptied(this.messages[at]);
    if (this.lastMessage?.seq === seq) this.lastMessage = emptied(this.lastMessage);
    return at >= 0 ? this.messages[at] : null;
  }

  /** How far an own message is: sent, delivered, or read (in a group: by somebody). */
  stateOf(message) {
    let state = "sent";
    for (const cursors of this.cursors.values()) {
      if (cursors.read_seq >= message.seq) return "read";
      if (cursors.delivered_seq >= message.seq) state = "delivered";
    }
    return state;
  }

  /** The device begins anew at `seq`: what is below comes from the history when somebody looks. */
  skipTo(seq) {
    this.messages = [];
    this.cursor = seq;
    this.lastSeq = Math.max(this.lastSeq, seq);
    this.isComplete = false;
  }
}
