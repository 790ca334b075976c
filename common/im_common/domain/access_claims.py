"""What an access token says: an Ed25519 JWT (RFC 7519, 8037) of auth-service.

Read in one step, as it is what a handshake costs most: by libsodium, which verifies in half the time of
OpenSSL, and without a general JWT library, whose checks of what cannot be take as long again. The
signature comes first. It covers the header and the claims as they stand: what is under a key of ours,
we wrote.
"""

from __future__ import annotations

import time
from base64 import urlsafe_b64decode, urlsafe_b64encode

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from nacl.exceptions import CryptoError
from nacl.signing import VerifyKey

from im_common.runtime.signed_claims import CLOCK_LEEWAY_S

ISSUER = "im-auth"
AUDIENCE = "im"
ALGORITHM = "EdDSA"


class InvalidToken(Exception):
    """It is none of ours."""


class ExpiredToken(Exception):
    """It is right but for its end."""


class Claims(msgspec.Struct, frozen=True):
    """Times are Unix seconds."""

    iss: str
    aud: str
    # The user's id, the session's, the device's.
    sub: str
    sid: str
    did: str
    exp: int
    iat: int = 0
    nbf: int = 0
    # The platform, and the id of the pair of tokens.
    plt: str = "other"
    jti: str = ""


class _Header(msgspec.Struct):
    alg: str
    kid: str = ""


_claims = msgspec.json.Decoder(Claims)
_header = msgspec.json.Decoder(_Header)


def read_key_id(token: str) -> str:
    """Which key it says that it was signed with. Raises InvalidToken."""
    try:
        header = _header.decode(_decoded(token.partition(".")[0]))
    except (ValueError, msgspec.MsgspecError):
        raise InvalidToken from None
    if header.alg != ALGORITHM:
        raise InvalidToken
    return header.kid


def read_access_token(token: str, key: Ed25519PublicKey) -> Claims:
    """What was signed with ``key``. Raises InvalidToken, ExpiredToken."""
    signed, _, signature = token.rpartition(".")
    try:
        VerifyKey(key.public_bytes_raw()).verify(signed.encode(), _decoded(signature))
        claims = _claims.decode(_decoded(signed.partition(".")[2]))
        int(claims.sub)
    except (CryptoError, ValueError, msgspec.MsgspecError):
        raise InvalidToken from None
    now = time.time()
    if (claims.iss, claims.aud) != (ISSUER, AUDIENCE):
        raise InvalidToken
    if max(claims.iat, claims.nbf) > now + CLOCK_LEEWAY_S:
        raise InvalidToken
    if claims.exp <= now:
        raise ExpiredToken
    return claims


def _decoded(part: str) -> bytes:
    """Of base64url without padding, in the only form that there is of it. Raises ValueError."""
    found = urlsafe_b64decode(part + "=" * (-len(part) % 4))
    if urlsafe_b64encode(found).decode().rstrip("=") != part:
        raise ValueError
    return found
