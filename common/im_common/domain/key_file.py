"""The file with the Ed25519 keys that sign access tokens: JSON, newest key first.

A new key is published at once and signs a moment later, when every instance has noticed the file;
otherwise a token could arrive somewhere before its key. An old key stays until the last token that
it signed has expired.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from im_common.domain.ids import now_ms

SIGNS_AFTER_MS = 2_000
# Clocks differ, and a verifier may allow for that.
SLACK_MS = 300_000


class KeyFileError(Exception):
    """The key file cannot be used; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    kid: str
    # Unix milliseconds.
    created_at: int
    private: Ed25519PrivateKey

    @property
    def public(self) -> Ed25519PublicKey:
        return self.private.public_key()


def signing(keys: Sequence[SigningKey]) -> SigningKey:
    """Which of them, newest first, signs now."""
    published_before = now_ms() - SIGNS_AFTER_MS
    return next((key for key in keys if key.created_at <= published_before), keys[-1])


def read_keys(path: Path) -> list[SigningKey]:
    """The keys in the file, newest first. Raises KeyFileError."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["keys"]
        keys = [_decode(entry) for entry in entries]
    except FileNotFoundError:
        raise KeyFileError(
            f"{path}: no such key file (Keys.File, variable IM_KEYS__FILE);"
            " `python -m auth_service keys init` makes it"
        ) from None
    except OSError as error:
        raise KeyFileError(f"{path}: the key file cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, KeyError):
        raise KeyFileError(f"{path}: not a key file") from None
    if not keys:
        raise KeyFileError(f"{path}: the key file holds no key")
    return sorted(keys, key=lambda key: key.created_at, reverse=True)


def ensure_key_file(path: Path) -> bool:
    """Makes the file, with one key, when it is missing. Whether it was.

    Raises:
        KeyFileError: the file is there but no key file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path):
        if path.exists():
            read_keys(path)
            return False
        # Nobody knows the key yet that would sign in the meantime.
        _write(path, [_new_key(now_ms() - SIGNS_AFTER_MS)])
        return True


def rotate(path: Path, *, token_life_ms: int) -> SigningKey:
    """Adds a key that signs from SIGNS_AFTER_MS on; drops those whose tokens have all expired.

    Raises:
        KeyFileError: the file is missing or no key file.
    """
    with _locked(path):
        keys = read_keys(path)
        kept = [key for key in keys if not _is_over(key, keys, token_life_ms)]
        key = _new_key(now_ms())
        _write(path, [key, *kept])
    return key


def _is_over(key: SigningKey, keys: Sequence[SigningKey], token_life_ms: int) -> bool:
    successors = [other.created_at for other in keys if other.created_at > key.created_at]
    if not successors:
        return False
    return min(successors) + SIGNS_AFTER_MS + token_life_ms + SLACK_MS <= now_ms()


def _new_key(created_at: int) -> SigningKey:
    return SigningKey(secrets.token_hex(8), created_at, Ed25519PrivateKey.generate())


def _decode(entry: Any) -> SigningKey:
    seed = base64.b64decode(entry["private_key"], validate=True)
    key = Ed25519PrivateKey.from_private_bytes(seed)
    return SigningKey(str(entry["kid"]), int(entry["created_at"]), key)


def _encode(key: SigningKey) -> dict[str, Any]:
    seed = base64.b64encode(key.private.private_bytes_raw()).decode()
    return {"kid": key.kid, "created_at": key.created_at, "private_key": seed}


def _write(path: Path, keys: Sequence[SigningKey]) -> None:
    text = json.dumps({"keys": [_encode(key) for key in keys]}, indent=2)
    # mkstemp makes the file for its owner alone (0600); the rename shows all of it or nothing.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        if path.exists():
            _keep_readers(path, descriptor)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _keep_readers(path: Path, descriptor: int) -> None:
    """Who could read the keys still can: an operator who is root is not whom the services run as."""
    before = path.stat()
    # For others than root, whose own the file is then.
    with suppress(PermissionError):
        os.fchown(descriptor, before.st_uid, before.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(before.st_mode))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    # On the folder: the file itself is replaced. Two rotations at once would lose one's key.
    try:
        folder = os.open(path.parent, os.O_RDONLY)
    except OSError as error:
        raise KeyFileError(f"{path.parent}: {error.strerror}") from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
