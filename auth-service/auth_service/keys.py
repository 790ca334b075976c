"""The keys in force, of the key file; and the commands that make it and change it."""

from __future__ import annotations

import base64
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from auth_service.config import Settings
from im.auth.v1 import auth_pb2
from im_common.domain.key_file import (
    KeyFileError,
    SigningKey,
    ensure_key_file,
    read_keys,
    rotate,
    signing,
)
from im_common.runtime.ed25519 import ALGORITHM

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 0.5


class KeyRing:
    """The keys in force; notices within a second that the file has changed."""

    def __init__(self, path: Path) -> None:
        """Raises KeyFileError."""
        self._path = path
        self._keys = read_keys(path)
        self._seen = _version(path)
        self._looked_at = time.monotonic()

    def all(self) -> Sequence[SigningKey]:
        """Newest first."""
        if time.monotonic() - self._looked_at > LOOK_EVERY_S:
            self._looked_at = time.monotonic()
            self._look()
        return self._keys

    def signing(self) -> SigningKey:
        return signing(self.all())

    def named(self, kid: str) -> SigningKey:
        """The key called ``kid``, or the one that signs now when that is gone."""
        return next((key for key in self.all() if key.kid == kid), None) or self.signing()

    async def find(self, kid: str) -> Any | None:
        """The public key called ``kid``; implements ``access_tokens.PublicKeys``."""
        return next((key.public for key in self.all() if key.kid == kid), None)

    def _look(self) -> None:
        version = _version(self._path)
        if version == self._seen:
            return
        self._seen = version
        try:
            self._keys = read_keys(self._path)
        except KeyFileError as error:
            log.error("the key file cannot be used, the old keys stay", error=str(error))
        else:
            log.info("keys changed", kids=[key.kid for key in self._keys])


def jwk(key: SigningKey) -> auth_pb2.Jwk:
    """What verifies its tokens."""
    x = base64.urlsafe_b64encode(key.public.public_bytes_raw()).decode().rstrip("=")
    return auth_pb2.Jwk(kid=key.kid, kty="OKP", crv="Ed25519", x=x, alg=ALGORITHM, use="sig")


def run_command(what: str, settings: Settings) -> int:
    """`keys init | rotate | list`; returns the exit code."""
    path = Path(settings.keys.file)
    try:
        if what == "init":
            made = ensure_key_file(path)
            print(f"{path}: {'made' if made else 'is there already'}")  # noqa: T201
        elif what == "rotate":
            key = rotate(path, token_life_ms=settings.access_token_life * 1000)
            print(f"{path}: {key.kid} will sign in a moment")  # noqa: T201
        else:
            for key in read_keys(path):
                print(f"{key.kid} {_iso(key.created_at)}")  # noqa: T201
    except (KeyFileError, OSError) as error:
        print(f"auth-service: {error}", file=sys.stderr)  # noqa: T201
        return 2
    return 0


def _version(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds")
