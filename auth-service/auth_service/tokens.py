"""The two tokens of a session: how they are made, and what a refresh token proves by itself."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass

import jwt

from auth_service.keys import KeyRing
from auth_service.model.sessions import Pair, Session
from im_common.domain.access_tokens import AUDIENCE, ISSUER
from im_common.domain.ids import now_ms
from im_common.errors import unauthenticated
from im_common.runtime.ed25519 import ALGORITHM

_NONCE_CHARS = 43
_MAC_CHARS = 32
_FORM = re.compile(
    rf"([0-9a-f]{{32}})\.([A-Za-z0-9_-]{{{_NONCE_CHARS}}})([0-9a-f]{{{_MAC_CHARS}}})"
)


def new_session_id() -> str:
    return secrets.token_hex(16)


def new_pair(keys: KeyRing) -> Pair:
    return Pair(pair_id=secrets.token_hex(16), made_at=now_ms(), kid=keys.signing().kid)


def make_access_token(keys: KeyRing, session: Session, pair: Pair, life_s: int) -> str:
    """The same for the same pair."""
    now = pair.made_at // 1000
    key = keys.named(pair.kid)
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": str(session.user_id),
        "sid": session.session_id,
        "did": session.device_id,
        "plt": session.platform,
        "jti": pair.pair_id,
        "iat": now,
        "exp": now + life_s,
    }
    return jwt.encode(claims, key.private, algorithm=ALGORITHM, headers={"kid": key.kid})


@dataclass(frozen=True, slots=True)
class UsedToken:
    """A refresh token that somebody shows."""

    session_id: str
    hash: str
    # Whether it was made here. Only such a one can be a stolen or repeated token; a made-up one
    # must not end the session of somebody whose session id became known.
    genuine: bool


class RefreshTokens:
    """`{session_id}.{nonce}{mac}`: opaque to everyone else. Redis knows its SHA-256 only.

    The nonce of a session's first one is random. That of each next one follows from the one before,
    the pair's id and our secret: so it can be made again without being kept anywhere.
    """

    def __init__(self, secret: str) -> None:
        # A key of its own, so that this MAC can never pass for another use of the secret.
        self._key = hmac.digest(secret.encode(), b"refresh tokens", "sha256")

    def make(self, session_id: str) -> str:
        return self._sealed(session_id, secrets.token_urlsafe(32))

    def next(self, used: str, pair: Pair) -> str:
        """What ``used`` is exchanged for, when that makes ``pair``."""
        session_id = used.partition(".")[0]
        digest = hmac.digest(self._key, f"next {pair.pair_id} {used}".encode(), "sha256")
        return self._sealed(session_id, urlsafe_b64encode(digest).decode().rstrip("="))

    def read(self, token: str) -> UsedToken:
        """Raises UNAUTHENTICATED when it does not look like one."""
        parts = _FORM.fullmatch(token)
        if parts is None:
            raise unauthenticated("the refresh token is not valid")
        session_id, nonce, mac = parts.groups()
        genuine = hmac.compare_digest(self._mac(session_id, nonce), mac)
        return UsedToken(session_id, self.hash(token), genuine)

    @staticmethod
    def hash(token: str) -> str:
        return hashlib.sha256(token.encode()).hexdigest()

    def _sealed(self, session_id: str, nonce: str) -> str:
        return f"{session_id}.{nonce}{self._mac(session_id, nonce)}"

    def _mac(self, session_id: str, nonce: str) -> str:
        text = f"{session_id}.{nonce}".encode()
        return hmac.digest(self._key, text, "sha256").hex()[:_MAC_CHARS]
