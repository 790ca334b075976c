"""What each end of a connection means for what comes next."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

TOKEN_INVALID = 4001
KICKED = 4002
TOO_SLOW = 4003
BROKEN_PROTOCOL = 4004
RATE_IGNORED = 4008
GOING_AWAY = 1001
TRY_LATER = 1013
NOT_CLOSED = 1006

# The reason of a kick that ends the connection and not the session: another one came under its name.
REPLACED = "this device has connected again"

_FIRST_S = 0.5
_MOST_S = 30.0
# All clients of a gateway that goes away come back at once, unless chance says how long each waits.
_SCATTER_S = 3.0
_PENALTY_S = 5.0
_TOLD = re.compile(r"retry_after_ms=(\d{1,5})\b")

Random = Callable[[], float]


class Action(Enum):
    REFRESH = "renew the token and come back"
    ENDED = "the session is over"
    BACK = "come back"


@dataclass(frozen=True)
class Next:
    """What to do after ``wait_s`` seconds; ``elsewhere``: at another gateway, if one is known."""

    action: Action
    wait_s: float = 0.0
    elsewhere: bool = False


def backoff_s(attempt: int, chance: Random = random.random) -> float:
    """Doubles from half a second to thirty; half of it is chance, so that crowds come apart."""
    most: float = min(_MOST_S, _FIRST_S * 2 ** min(attempt, 10))
    return most * (1 + chance()) / 2


def after_close(
    code: int, attempt: int, *, chance: Random = random.random, reason: str = ""
) -> Next:
    """``attempt`` counts failures in a row, from 0; ``reason`` is the close's, which may say how long
    to wait."""
    wait_s = backoff_s(attempt, chance)
    match code:
        case 4001:
            return Next(Action.REFRESH, wait_s if attempt else 0.0)
        case 4002:
            return Next(Action.ENDED)
        case 1001:
            told = _TOLD.search(reason)
            scattered = int(told[1]) / 1000 if told else chance() * _SCATTER_S
            return Next(Action.BACK, scattered, elsewhere=True)
        case 1013:
            return Next(Action.BACK, _SCATTER_S / 3 + wait_s, elsewhere=True)
        case 4008 | 4004:
            return Next(Action.BACK, _PENALTY_S + wait_s)
        case 4003:
            return Next(Action.BACK, wait_s)
        case _:
            # 1006 and whatever a proxy makes up: that gateway may be gone.
            return Next(Action.BACK, wait_s, elsewhere=True)


def of_status(status: int) -> int:
    """The close code that a refused handshake stands for."""
    return {401: TOKEN_INVALID, 403: KICKED, 429: RATE_IGNORED, 503: TRY_LATER}.get(
        status, NOT_CLOSED
    )
