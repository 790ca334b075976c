"""What a signed token (JWT) says, checked in one way for users' and services' tokens.

Clocks of hosts differ. A token whose making lies up to CLOCK_LEEWAY_S in the future is taken: else one
made on a host that is ahead would be refused by all others. Its end is exact, so nothing lives longer
than it says; whoever holds a token gets a new one before that.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import jwt

CLOCK_LEEWAY_S = 5


def read_claims(
    token: str,
    key: Any,
    *,
    algorithm: str,
    audience: str,
    require: Sequence[str],
    issuer: str | None = None,
) -> dict[str, Any]:
    """The claims of ``token``; those in ``require`` must be there.

    Raises:
        jwt.ExpiredSignatureError: it is right but for its end.
        jwt.PyJWTError, ValueError: anything else is wrong with it.
    """
    claims: dict[str, Any] = jwt.decode(
        token,
        key,
        algorithms=[algorithm],
        audience=audience,
        issuer=issuer,
        # It would move the end too.
        leeway=CLOCK_LEEWAY_S,
        options={"require": [*require]},
    )
    if int(claims["exp"]) <= time.time():
        raise jwt.ExpiredSignatureError("the token has expired")
    return claims
