// Small things that the other modules share.

/** 128 random bits. crypto.randomUUID is only there on pages that came over HTTPS or from localhost. */
export function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function userConversation(a, b) {
  return `s:${Math.min(a, b)}:${Math.max(a, b)}`;
}

export function groupConversation(groupId) {
  return `g:${groupId}`;
}

/** Where a message to the conversation goes: `{to}` or `{group_id}`. */
export function targetOf(conversationId, me) {
  const [kind, first, second] = conversationId.split(":");
  if (kind === "g") return { group_id: Number(first) };
  return { to: Number(first) === me ? Number(second) : Number(first) };
}

/** Listeners by name; one that throws does not keep the others from hearing. */
export class Emitter {
  #listeners = new Map();

  on(name, listener) {
    if (!this.#listeners.has(name)) this.#listeners.set(name, new Set());
    this.#listeners.get(name).add(listener);
    return () => this.#listeners.get(name).delete(listener);
  }

  emit(name, value) {
    for (const listener of this.#listeners.get(name) ?? []) {
      try {
        listener(value);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}

/** One task after the other. What fails is told to who asked, and does not stop the next. */
export class Turns {
  #last = Promise.resolve();

  take(task) {
    const done = this.#last.then(task);
    this.#last = done.catch(() => {});
    return done;
  }

  /** When everything asked for until now is done. */
  idle() {
    return this.#last;
  }
}
