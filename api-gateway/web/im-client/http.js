// The HTTP API: errors as one class, tokens put on and renewed, what can be repeated tried again.

import { randomId } from "./parts.js";

/** An answer that is no success. `code` is for programs, `message` for people; `status` 0: no answer. */
export class ApiError extends Error {
  constructor({ status = 0, code = "UNAVAILABLE", message = "", field, retryAfterMs } = {}) {
    super(message || code);
    this.name = "ApiError";
    this.status = status;
    this.code = code;
    this.field = field;
    this.retryAfterMs = retryAfterMs;
  }

  /** Whether the same request may succeed later. */
  get retryable() {
    return isRetryable(this.code);
  }
}

const RETRYABLE = new Set(["UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL", "RATE_LIMITED"]);
const ATTEMPTS = 3;
const LONGEST_WAIT_MS = 5_000;

export function isRetryable(code) {
  return RETRYABLE.has(code);
}

/** One request without a token; gives the parsed body (null when there is none). */
export async function call(fetch, url, { method = "GET", body, headers = {}, signal } = {}) {
  const isJson = body !== undefined && !(body instanceof FormData);
  let response;
  try {
    response = await fetch(url, {
      method,
      body: isJson ? JSON.stringify(body) : body,
      headers: isJson ? { "Content-Type": "application/json", ...headers } : headers,
      signal,
      cache: "no-store",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError({ message: "the server cannot be reached" });
  }
  if (!response.ok) throw await problem(response);
  if (response.status === 204) return null;
  return response.json();
}

async function problem(response) {
  const said = await response.json().catch(() => ({}));
  const seconds = Number(response.headers.get("Retry-After"));
  return new ApiError({
    status: response.status,
    code: said.code ?? (response.status >= 500 ? "UNAVAILABLE" : "INVALID_ARGUMENT"),
    message: said.detail ?? said.title,
    field: said.field,
    retryAfterMs: said.retry_after_ms ?? (seconds ? seconds * 1000 : undefined),
  });
}

export class Http {
  #base;
  #fetch;
  #session;

  constructor({ base, fetch, session }) {
    this.#base = base;
    this.#fetch = fetch;
    this.#session = session;
  }

  get(path, query) {
    return this.request("GET", path, { query });
  }

  post(path, body) {
    return this.request("POST", path, { body });
  }

  patch(path, body) {
    return this.request("PATCH", path, { body });
  }

  put(path, body) {
    return this.request("PUT", path, { body });
  }

  delete(path) {
    return this.request("DELETE", path);
  }

  /** All items of a list, page by page, at most `most`. */
  async all(path, query = {}, most = 10_000) {
    const items = [];
    let cursor;
    do {
      const page = await this.get(path, { limit: 100, ...query, cursor });
      items.push(...page.items);
      cursor = page.next_cursor;
    } while (cursor && items.length < most);
    return items;
  }

  /** One request for the user who is logged in. Raises ApiError. */
  async request(method, path, { query, body, headers, signal } = {}) {
    // Under the same key a repeat has no second effect.
    const key = method === "POST" ? { "Idempotency-Key": randomId() } : {};
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#withToken((token) =>
          call(this.#fetch, this.url(path, query), {
            method,
            body,
            signal,
            headers: { ...key, ...headers, Authorization: `Bearer ${token}` },
          }),
        );
      } catch (error) {
        const isSafe = method === "GET" || method === "POST";
        const again = isSafe && error.retryable && attempt < ATTEMPTS;
        if (!again) throw error;
        const wait = error.retryAfterMs ?? 250 * 2 ** attempt * (0.5 + Math.random() / 2);
        await new Promise((resolve) => setTimeout(resolve, Math.min(wait, LONGEST_WAIT_MS)));
      }
    }
  }

  /** A file behind the API (with its token) as a Blob. */
  blob(path, { signal } = {}) {
    return this.#withToken(async (token) => {
      const headers = { Authorization: `Bearer ${token}` };
      const response = await this.#fetch(this.url(path), { headers, signal });
      if (!response.ok) throw await problem(response);
      return response.blob();
    });
  }

  /** Absolute addresses are left as they are only when they lead to this API: a token goes nowhere else. */
  url(path, query) {
    const base = new URL(this.#base || globalThis.location.origin);
    const url = new URL(path, base);
    if (url.origin !== base.origin) throw new ApiError({ code: "INVALID_ARGUMENT", message: "not of this server" });
    for (const [name, value] of Object.entries(query ?? {})) {
      if (value !== undefined && value !== null && value !== "") url.searchParams.set(name, value);
    }
    return url.href;
  }

  async #withToken(send) {
    const token = await this.#session.access();
    try {
      return await send(token);
    } catch (error) {
      // A wrong password is no fault of the token, and counts each time.
      if (error.status !== 401 || error.code === "INVALID_CREDENTIALS") throw error;
      if (error.code === "SESSION_REVOKED") {
        await this.#session.end("revoked");
        throw error;
      }
      return send(await this.#session.renew(token));
    }
  }
}
