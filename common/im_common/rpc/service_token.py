"""Service tokens: how one of our processes proves to another that it belongs here."""

from __future__ import annotations

import time
from collections.abc import Callable

import jwt

from im_common.errors import AppError, unauthenticated
from im_common.runtime.config import MIN_SECRET_BYTES
from im_common.runtime.signed_claims import read_claims

AUDIENCE = "im-internal"
ALGORITHM = "HS256"
LIFETIME_S = 60
# A token is replaced while it still has this long to live.
RENEW_BEFORE_S = 30
_CACHED = 1024


class ServiceTokens:
    """Makes this service's own token and verifies those of others, with one shared secret."""

    def __init__(
        self, secret: str, service: str, *, clock: Callable[[], float] = time.time
    ) -> None:
        """``service`` is the name that others see; ``clock`` gives Unix seconds.

        Raises:
            ValueError: the secret has less than 32 bytes, which HS256 must not be used with.
        """
        self._secret = secret.encode()
        if len(self._secret) < MIN_SECRET_BYTES:
            raise ValueError(f"the secret must have at least {MIN_SECRET_BYTES} bytes")
        self._service = service
        self._clock = clock
        self._own = ""
        self._renew_at = 0.0
        # token -> the service that it names, and when it ends (Unix seconds).
        self._verified: dict[str, tuple[str, float]] = {}

    def current(self) -> str:
        """A token of ours that lives for 30 seconds or more."""
        now = self._clock()
        # A clock that was set back must not leave others with a token from their future.
        if not self._renew_at - LIFETIME_S <= now < self._renew_at:
            self._own = self._make(int(now))
            self._renew_at = int(now) + LIFETIME_S - RENEW_BEFORE_S
        return self._own

    def verify(self, token: str) -> str:
        """The name of the service that made ``token``.

        Raises:
            AppError: UNAUTHENTICATED, whatever is wrong with the token.
        """
        known = self._verified.get(token)
        if known is None:
            known = self._check(token)
            self._remember(token, known)
        service, ends_at = known
        if self._clock() >= ends_at:
            del self._verified[token]
            raise _refusal()
        return service

    def _make(self, now: int) -> str:
        claims = {"iss": self._service, "aud": AUDIENCE, "iat": now, "exp": now + LIFETIME_S}
        return jwt.encode(claims, self._secret, algorithm=ALGORITHM)

    def _check(self, token: str) -> tuple[str, float]:
        try:
            claims = read_claims(
                token,
                self._secret,
                algorithm=ALGORITHM,
                audience=AUDIENCE,
                require=("iss", "aud", "iat", "exp"),
            )
        except (jwt.PyJWTError, ValueError):
            raise _refusal() from None
        service = claims["iss"]
        if not isinstance(service, str) or not service:
            raise _refusal()
        return service, float(claims["exp"])

    def _remember(self, token: str, known: tuple[str, float]) -> None:
        if len(self._verified) >= _CACHED:
            # The oldest half goes: dicts keep the order of insertion.
            for old in list(self._verified)[: _CACHED // 2]:
                del self._verified[old]
        self._verified[token] = known


def _refusal() -> AppError:
    return unauthenticated("the service token is not valid")
