"""What goes wrong, as exceptions that a program can tell apart."""

from __future__ import annotations

_RETRYABLE = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL", "RATE_LIMITED"})


def is_retryable(code: str) -> bool:
    """Whether the same request, or the same message, may succeed later."""
    return code in _RETRYABLE


class ImError(Exception):
    """All that this package raises for other reasons than its wrong use."""


class ApiError(ImError):
    """An answer of the API that is no success, or none (``status`` 0).

    ``code`` is for programs, the text for people; ``field`` names what is wrong in a request.
    """

    def __init__(
        self,
        code: str,
        message: str = "",
        *,
        status: int = 0,
        field: str | None = None,
        retry_after_ms: int | None = None,
    ) -> None:
        super().__init__(message or code)
        self.code = code
        self.status = status
        self.field = field
        self.retry_after_ms = retry_after_ms

    @property
    def is_retryable(self) -> bool:
        return is_retryable(self.code)


class MessageRefused(ImError):
    """A message that the server does not take: sending the same again would not help."""

    def __init__(self, code: str, message: str = "", *, field: str | None = None) -> None:
        super().__init__(message or code)
        self.code = code
        self.field = field


class SessionEnded(ImError):
    """Nobody is logged in any more; ``reason`` is `logout`, `revoked` or what the server said."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the session is over: {reason}")
        self.reason = reason


class StorageInUse(ImError):
    """Another client has the file open."""


def logged_out() -> ApiError:
    return ApiError("UNAUTHENTICATED", "not logged in", status=401)
