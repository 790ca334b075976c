// Who is logged in, and the tokens of it, renewed by one tab at a time.

import { ApiError, call } from "./http.js";
import { randomId } from "./parts.js";

const KEY = "session";
const DEVICE_KEY = "device";
// A token that is about to expire is renewed before it is used.
const MARGIN_MS = 30_000;

export class Session {
  #base;
  #fetch;
  #storage;
  #locks;
  #platform;
  #tokens = null;
  #renewing = null;
  #tabs;
  /** Called with a reason (logout, revoked, elsewhere) when the session is over, or another one began. */
  onEnd = () => {};

  constructor({ base, fetch, storage, locks, platform, channel }) {
    this.#base = base;
    this.#fetch = fetch;
    this.#storage = storage;
    this.#locks = locks;
    this.#platform = platform;
    this.#tabs = channel;
    if (channel) channel.onmessage = () => this.#look();
  }

  get userId() {
    return this.#tokens?.user_id ?? null;
  }

  get sessionId() {
    return this.#tokens?.session_id ?? null;
  }

  get deviceId() {
    return this.#tokens?.device_id ?? null;
  }

  async load() {
    this.#tokens = (await this.#storage.get(KEY)) ?? null;
    return this.userId;
  }

  register(account) {
    return this.#begin("/v1/auth/register", account);
  }

  login(credentials) {
    return this.#begin("/v1/auth/login", credentials);
  }

  /** Ends the session on the server, as far as it can be reached, and here in any case. */
  async logout() {
    const token = await this.access().catch(() => null);
    if (token) {
      const headers = { Authorization: `Bearer ${token}` };
      await call(this.#fetch, `${this.#base}/v1/auth/logout`, { method: "POST", headers }).catch(() => {});
    }
    await this.end("logout");
  }

  /** An access token that is good for the next moments. */
  async access() {
    if (!this.#tokens) throw loggedOut();
    if (this.#tokens.expires_at - MARGIN_MS > Date.now()) return this.#tokens.access_token;
    return this.renew(this.#tokens.access_token);
  }

  /** A newer access token than `stale`, asked for once by all that need it, in all tabs. */
  renew(stale) {
    if (this.#tokens && this.#tokens.access_token !== stale) {
      return Promise.resolve(this.#tokens.access_token);
    }
    this.#renewing ??= this.#alone(() => this.#renew(stale)).finally(() => {
      this.#renewing = null;
    });
    return this.#renewing;
  }

  /** The session is over: nothing of it is kept but what was not sent yet. */
  async end(reason) {
    if (!this.#tokens) return;
    const stored = await this.#storage.get(KEY);
    if (stored?.session_id === this.#tokens.session_id) await this.#storage.write([[KEY, undefined]]);
    this.#tokens = null;
    this.#tabs?.postMessage("session");
    this.onEnd(reason);
  }

  async #begin(path, body) {
    const device = await this.#device();
    const answer = await call(this.#fetch, this.#base + path, {
      method: "POST",
      body: { ...body, device_id: device, platform: this.#platform },
    });
    await this.#keep(answer, device);
    this.#tabs?.postMessage("session");
    return answer.user_id;
  }

  async #device() {
    const known = await this.#storage.get(DEVICE_KEY);
    if (known) return known;
    const made = randomId();
    await this.#storage.write([[DEVICE_KEY, made]]);
    return made;
  }

  async #keep(answer, device) {
    const { expires_in: expiresIn, ...rest } = answer;
    const tokens = { ...rest, device_id: device, expires_at: Date.now() + expiresIn * 1000 };
    await this.#storage.write([[KEY, tokens]]);
    this.#tokens = tokens;
  }

  #alone(task) {
    return this.#locks ? this.#locks.request("im-client-tokens", task) : task();
  }

  async #renew(stale) {
    // Another tab may have done it while we waited for our turn.
    const stored = await this.#storage.get(KEY);
    if (!stored || !this.#tokens) throw loggedOut();
    if (stored.user_id === this.#tokens.user_id && stored.access_token !== stale) {
      this.#tokens = stored;
      return stored.access_token;
    }
    try {
      // A lost answer is no harm: the same token gets the same pair again for 30 s.
      const answer = await call(this.#fetch, `${this.#base}/v1/auth/refresh`, {
        method: "POST",
        body: { refresh_token: stored.refresh_token, device_id: stored.device_id },
      });
      await this.#keep(answer, stored.device_id);
      return answer.access_token;
    } catch (error) {
      if (error.status !== 401 && error.status !== 403) throw error;
      await this.end("revoked");
      throw loggedOut();
    }
  }

  async #look() {
    const stored = await this.#storage.get(KEY);
    if (!this.#tokens || stored?.session_id === this.#tokens.session_id) {
      if (stored && this.#tokens) this.#tokens = stored;
      return;
    }
    this.#tokens = null;
    this.onEnd("elsewhere");
  }
}

function loggedOut() {
  return new ApiError({ status: 401, code: "UNAUTHENTICATED", message: "not logged in" });
}
