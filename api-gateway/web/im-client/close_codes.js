// What each end of a connection means for what comes next.

export const TOKEN_INVALID = 4001;
export const KICKED = 4002;
export const TOO_SLOW = 4003;
export const BROKEN_PROTOCOL = 4004;
export const RATE_IGNORED = 4008;
export const GOING_AWAY = 1001;
export const TRY_LATER = 1013;

// The reason of a kick that ends the connection and not the session: another one came under its name.
export const REPLACED = "this device has connected again";

const FIRST_MS = 500;
const MOST_MS = 30_000;
// All clients of a gateway that goes away come back at once, unless each waits for as long as chance says.
const SCATTER_MS = 3_000;
const PENALTY_MS = 5_000;

/** Doubles from half a second to thirty; half of it is chance, so that crowds come apart. */
export function backoff(attempt, random = Math.random) {
  const most = Math.min(MOST_MS, FIRST_MS * 2 ** Math.min(attempt, 10));
  return most / 2 + (random() * most) / 2;
}

/**
 * What to do after a close: `refresh` the token and come back, treat the session as `ended`, or come
 * `back` after `waitMs`, to another gateway when `elsewhere`. `attempt` counts failures in a row, from 0;
 * the `reason` of a close may say how long to wait.
 */
export function afterClose(code, attempt, random = Math.random, reason = "") {
  switch (code) {
    case TOKEN_INVALID:
      return { action: "refresh", waitMs: attempt ? backoff(attempt, random) : 0, elsewhere: false };
    case KICKED:
      return { action: "ended", waitMs: 0, elsewhere: false };
    case GOING_AWAY:
      return { action: "back", waitMs: told(reason) ?? random() * SCATTER_MS, elsewhere: true };
    case TRY_LATER:
      return { action: "back", waitMs: SCATTER_MS / 3 + backoff(attempt, random), elsewhere: true };
    case RATE_IGNORED:
    case BROKEN_PROTOCOL:
      return { action: "back", waitMs: PENALTY_MS + backoff(attempt, random), elsewhere: false };
    case TOO_SLOW:
      return { action: "back", waitMs: backoff(attempt, random), elsewhere: false };
    default:
      // 1006 and whatever a proxy makes up: that gateway may be gone.
      return { action: "back", waitMs: backoff(attempt, random), elsewhere: true };
  }
}

function told(reason) {
  const found = /retry_after_ms=(\d{1,5})\b/.exec(reason);
  return found ? Number(found[1]) : undefined;
}
