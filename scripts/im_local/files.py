"""Files that must never be seen half-written, and secrets that are made once."""

import fcntl
import os
import secrets
from pathlib import Path
from types import TracebackType
from typing import Self

LOG_LIMIT_BYTES = 20 * 1024 * 1024


def write_atomically(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Replace `path` by `text`; a reader sees the old or the new text, never a part of it."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    part.replace(path)


def secret_once(path: Path, *, bytes_of_entropy: int = 48) -> str:
    """Read the secret in `path`; make one there first, readable by its owner alone, if missing."""
    if not path.exists():
        write_atomically(path, secrets.token_urlsafe(bytes_of_entropy) + "\n", mode=0o600)
    return path.read_text(encoding="utf-8").strip()


def rotate(log: Path, *, limit_bytes: int = LOG_LIMIT_BYTES) -> None:
    """Move a log past the limit aside, to `NAME.1`; only done while no process writes to it."""
    if log.exists() and log.stat().st_size > limit_bytes:
        log.replace(log.with_name(log.name + ".1"))


def tail(log: Path, *, lines: int = 20) -> str:
    """The last lines of a log, or an empty text when there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16_384))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


class Taken(Exception):
    """Another process holds the lock."""


class FileLock:
    """A lock that ends with its holder, however that ends, and that children do not inherit."""

    def __init__(self, path: Path, *, wait: bool = False) -> None:
        self._path = path
        self._wait = wait
        self._descriptor = -1

    def take(self) -> None:
        """Take the lock, or raise Taken when someone has it and is not to be waited for."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if self._wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(descriptor)
            raise Taken(str(self._path)) from None
        self._descriptor = descriptor

    def release(self) -> None:
        """Let the next one have it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        self.take()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def is_held(path: Path) -> bool:
    """Whether some process holds the lock at `path`."""
    if not path.exists():
        return False
    try:
        with FileLock(path):
            return False
    except Taken:
        return True
