"""Ed25519 signatures of tokens, verified by libsodium in half the time that OpenSSL takes: it is the
most of what a token costs that was not seen before. PyJWT reads the token, and checks what it says."""

from __future__ import annotations

from typing import Any, cast

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from jwt.algorithms import OKPAlgorithm
from nacl.exceptions import CryptoError
from nacl.signing import VerifyKey

ALGORITHM = "EdDSA"


def verifier(key: Ed25519PublicKey) -> Any:
    """The key for PyJWT, to verify with."""
    return VerifyKey(key.public_bytes_raw())


class _BySodium(OKPAlgorithm):
    """As PyJWT's, but for keys of ``verifier``."""

    def prepare_key(self, key: Any) -> Any:
        return key if isinstance(key, VerifyKey) else super().prepare_key(key)

    def verify(self, msg: str | bytes, key: Any, sig: str | bytes) -> bool:
        if not isinstance(key, VerifyKey):
            return super().verify(msg, key, sig)
        try:
            key.verify(cast(bytes, msg), cast(bytes, sig))
        except (CryptoError, ValueError):  # the latter for one of another length
            return False
        return True


jwt.unregister_algorithm(ALGORITHM)
jwt.register_algorithm(ALGORITHM, _BySodium())
