// One WebSocket that is always there again: it comes back after whatever ended it.

import { KICKED, REPLACED, TOKEN_INVALID, afterClose, backoff } from "./close_codes.js";

const HELLO_MS = 10_000;
const PONG_MS = 10_000;
const HEARTBEAT_MS = 30_000;
// A connection that lasted for less does not count as a success.
const PROVEN_MS = 5_000;

export class Connection {
  #options;
  #socket = null;
  #isRunning = false;
  #attempt = 0;
  #last = "";
  #timers = { back: 0, hello: 0, beat: 0, pong: 0 };
  #greetedAt = 0;
  #heartbeatMs = HEARTBEAT_MS;
  /** connecting, online, waiting, off */
  state = "off";

  /**
   * `urls`: the gateways; `session`: for tokens; `query`: of the address; `onFrame`, `onState`, `onReplaced` (another
   * connection came under this one's name); `WebSocket`, `random`: those of the platform, or a test's.
   */
  constructor(options) {
    this.#options = { random: Math.random, ...options };
  }

  start() {
    if (this.#isRunning) return;
    this.#isRunning = true;
    this.#attempt = 0;
    this.#open();
  }

  stop() {
    this.#isRunning = false;
    this.#forget(1000);
    this.#is("off");
  }

  /** Try now instead of at the end of the wait: the network is back, or the page is looked at again. */
  nudge() {
    if (this.state === "waiting") this.#open();
    else if (this.state === "online") this.#ping();
  }

  /** Whether the frame was handed to a connection; that it arrives nobody knows. */
  send(frame) {
    if (this.state !== "online") return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  async #open() {
    this.#forget();
    this.#kickedFor = "";
    this.#is("connecting");
    let token;
    try {
      token = await this.#options.session.access();
    } catch {
      // When the session is over, the client has stopped us.
      this.#wait(backoff(this.#attempt++, this.#options.random));
      return;
    }
    if (!this.#isRunning || this.#socket) return;
    const socket = new this.#options.WebSocket(this.#address(), ["bearer", token]);
    this.#socket = socket;
    this.#timers.hello = setTimeout(() => this.#lost(socket, 1006, token), HELLO_MS);
    socket.onmessage = (event) => this.#heard(socket, event.data);
    socket.onclose = (event) => this.#lost(socket, event.code, token, event.reason);
    socket.onerror = () => {};
  }

  #address() {
    const others = this.#options.urls.filter((url) => url !== this.#last);
    const choice = others.length ? others : this.#options.urls;
    const url = this.#last && !this.#isElsewhere ? this.#last : choice[Math.floor(this.#options.random() * choice.length)];
    this.#last = url;
    this.#isElsewhere = false;
    return `${url}?${new URLSearchParams(this.#options.query())}`;
  }

  #isElsewhere = true;

  #heard(socket, data) {
    if (socket !== this.#socket) return;
    clearTimeout(this.#timers.pong);
    this.#timers.pong = 0;
    const frame = JSON.parse(data);
    if (frame.type === "hello") {
      clearTimeout(this.#timers.hello);
      this.#greetedAt = Date.now();
      this.#heartbeatMs = frame.heartbeat_ms || HEARTBEAT_MS;
      this.#is("online");
    }
    this.#beat();
    if (frame.type === "kick") this.#kickedFor = frame.reason ?? "kicked";
    if (frame.type !== "pong") this.#options.onFrame(frame);
  }

  #kickedFor = "";

  #beat() {
    clearTimeout(this.#timers.beat);
    this.#timers.beat = setTimeout(() => this.#ping(), this.#heartbeatMs);
  }

  #ping() {
    const socket = this.#socket;
    if (this.#timers.pong || !this.send({ type: "ping" })) return;
    this.#timers.pong = setTimeout(() => this.#lost(socket, 1006), PONG_MS);
  }

  #lost(socket, code, token, reason) {
    if (socket !== this.#socket) return;
    if (this.#greetedAt && Date.now() - this.#greetedAt > PROVEN_MS) this.#attempt = 0;
    this.#forget();
    if (!this.#isRunning) return;
    const next = afterClose(code, this.#attempt, this.#options.random, reason);
    this.#attempt += 1;
    this.#isElsewhere = next.elsewhere;
    if (next.action === "ended" && this.#kickedFor === REPLACED) {
      this.#options.onReplaced();
      this.#wait(backoff(this.#attempt, this.#options.random));
    } else if (next.action === "ended") {
      this.stop();
      this.#options.session.end(this.#kickedFor || String(KICKED));
    } else if (code === TOKEN_INVALID && token) {
      // When that fails, the next attempt asks for a token anyway.
      const renewed = this.#options.session.renew(token).catch(() => {});
      this.#is("waiting");
      renewed.then(() => this.#isRunning && this.#wait(next.waitMs));
    } else {
      this.#wait(next.waitMs);
    }
  }

  #wait(waitMs) {
    if (!this.#isRunning) return;
    this.#is("waiting");
    clearTimeout(this.#timers.back);
    this.#timers.back = setTimeout(() => this.#open(), waitMs);
  }

  #forget(code) {
    for (const name of Object.keys(this.#timers)) {
      clearTimeout(this.#timers[name]);
      this.#timers[name] = 0;
    }
    const socket = this.#socket;
    this.#socket = null;
    this.#greetedAt = 0;
    if (socket) {
      socket.onmessage = socket.onclose = null;
      socket.close(code);
    }
  }

  #is(state) {
    if (state === this.state) return;
    this.state = state;
    this.#options.onState(state);
  }
}
