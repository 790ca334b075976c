"""The one table of error codes, and the exception that carries one.

A logic function raises an :class:`AppError` where its rule lives; the gRPC server, the HTTP gateway
and the WebSocket gateway each translate it in one place. Whatever is not an ``AppError`` is a fault
of ours: it is logged, and the caller learns no more than INTERNAL.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

import grpc
from grpc import StatusCode


class Code(StrEnum):
    """Machine-readable reasons, the same over gRPC, HTTP and WebSocket."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    TOKEN_EXPIRED = "TOKEN_EXPIRED"
    SESSION_REVOKED = "SESSION_REVOKED"
    INVALID_CREDENTIALS = "INVALID_CREDENTIALS"
    ACCOUNT_LOCKED = "ACCOUNT_LOCKED"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    BLOCKED = "BLOCKED"
    NOT_FRIENDS = "NOT_FRIENDS"
    NOT_GROUP_MEMBER = "NOT_GROUP_MEMBER"
    MUTED = "MUTED"
    GROUP_FULL = "GROUP_FULL"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    RECALL_WINDOW_PASSED = "RECALL_WINDOW_PASSED"
    RATE_LIMITED = "RATE_LIMITED"
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
    UNAVAILABLE = "UNAVAILABLE"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    UNIMPLEMENTED = "UNIMPLEMENTED"
    INTERNAL = "INTERNAL"


@dataclass(frozen=True, slots=True)
class Traits:
    """How a code shows on each transport, and whether the same request may succeed later."""

    grpc: StatusCode
    http: int
    retryable: bool = False


# A gRPC client (its retries, its circuit breaker) takes UNAVAILABLE or RESOURCE_EXHAUSTED for the
# state of the server. So what is said of one caller alone is never one of these.
TABLE: dict[Code, Traits] = {
    Code.INVALID_ARGUMENT: Traits(StatusCode.INVALID_ARGUMENT, 400),
    Code.UNAUTHENTICATED: Traits(StatusCode.UNAUTHENTICATED, 401),
    Code.TOKEN_EXPIRED: Traits(StatusCode.UNAUTHENTICATED, 401),
    Code.SESSION_REVOKED: Traits(StatusCode.UNAUTHENTICATED, 401),
    Code.INVALID_CREDENTIALS: Traits(StatusCode.UNAUTHENTICATED, 401),
    Code.ACCOUNT_LOCKED: Traits(StatusCode.FAILED_PRECONDITION, 429, retryable=True),
    Code.PERMISSION_DENIED: Traits(StatusCode.PERMISSION_DENIED, 403),
    Code.BLOCKED: Traits(StatusCode.PERMISSION_DENIED, 403),
    Code.NOT_FRIENDS: Traits(StatusCode.PERMISSION_DENIED, 403),
    Code.NOT_GROUP_MEMBER: Traits(StatusCode.PERMISSION_DENIED, 403),
    Code.MUTED: Traits(StatusCode.PERMISSION_DENIED, 403),
    Code.GROUP_FULL: Traits(StatusCode.FAILED_PRECONDITION, 409),
    Code.NOT_FOUND: Traits(StatusCode.NOT_FOUND, 404),
    Code.ALREADY_EXISTS: Traits(StatusCode.ALREADY_EXISTS, 409),
    Code.FAILED_PRECONDITION: Traits(StatusCode.FAILED_PRECONDITION, 409),
    Code.RECALL_WINDOW_PASSED: Traits(StatusCode.FAILED_PRECONDITION, 409),
    Code.RATE_LIMITED: Traits(StatusCode.FAILED_PRECONDITION, 429, retryable=True),
    Code.PAYLOAD_TOO_LARGE: Traits(StatusCode.INVALID_ARGUMENT, 413),
    Code.UNAVAILABLE: Traits(StatusCode.UNAVAILABLE, 503, retryable=True),
    Code.DEADLINE_EXCEEDED: Traits(StatusCode.DEADLINE_EXCEEDED, 504, retryable=True),
    Code.UNIMPLEMENTED: Traits(StatusCode.UNIMPLEMENTED, 501),
    Code.INTERNAL: Traits(StatusCode.INTERNAL, 500),
}

# A proxy, gRPC itself or somebody else's server speaks of our call, not of the user's: who is told that
# the user is not signed in logs the user out.
_GRPC_DEFAULTS: dict[StatusCode, Code] = {
    StatusCode.INVALID_ARGUMENT: Code.INVALID_ARGUMENT,
    StatusCode.NOT_FOUND: Code.NOT_FOUND,
    StatusCode.ALREADY_EXISTS: Code.ALREADY_EXISTS,
    StatusCode.FAILED_PRECONDITION: Code.FAILED_PRECONDITION,
    StatusCode.RESOURCE_EXHAUSTED: Code.UNAVAILABLE,
    StatusCode.UNAVAILABLE: Code.UNAVAILABLE,
    StatusCode.DEADLINE_EXCEEDED: Code.DEADLINE_EXCEEDED,
    StatusCode.UNIMPLEMENTED: Code.UNIMPLEMENTED,
}


class AppError(Exception):
    """An error that the caller may know about.

    ``message`` is shown to the caller as it is; ``field`` names the offending field of the request;
    ``retry_after_ms`` says when trying again makes sense.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        field: str | None = None,
        retry_after_ms: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field
        self.retry_after_ms = retry_after_ms

    @property
    def traits(self) -> Traits:
        return TABLE[self.code]

    def respelled(self, names: Mapping[str, str]) -> AppError:
        """The same for a caller who knows the field by another name (our name to theirs)."""
        ours, dot, inner = (self.field or "").partition(".")
        if ours not in names:
            return self
        field = names[ours] + dot + inner
        message = self.message
        if message.startswith((f"{self.field} ", f"{self.field}:")):
            message = field + message[len(self.field or "") :]
        return AppError(self.code, message, field=field, retry_after_ms=self.retry_after_ms)


def invalid(field: str, problem: str) -> AppError:
    """INVALID_ARGUMENT for one field: ``invalid("limit", "must be at most 100")``."""
    return AppError(Code.INVALID_ARGUMENT, f"{field} {problem}", field=field)


@contextmanager
def spelling(**names: str) -> Iterator[None]:
    """A block whose errors name their fields as the caller spells them: our name = theirs."""
    try:
        yield
    except AppError as error:
        raise error.respelled(names) from None


def unauthenticated(message: str) -> AppError:
    return AppError(Code.UNAUTHENTICATED, message)


def not_found(what: str) -> AppError:
    return AppError(Code.NOT_FOUND, f"{what} not found")


def unavailable(message: str) -> AppError:
    return AppError(Code.UNAVAILABLE, message)


def code_of_status(status: StatusCode) -> Code:
    """The code for a gRPC status that came without a reason of ours."""
    return _GRPC_DEFAULTS.get(status, Code.INTERNAL)


_DOMAIN = "im"


def to_trailers(error: AppError) -> tuple[tuple[str, bytes], ...]:
    """Trailing metadata with the ErrorInfo that carries ``error``'s reason and field.

    Source: google/rpc/error_details.proto and the `grpc-status-details-bin` convention.
    """
    # Imported here: clients of this module that speak no gRPC errors need not load them.
    from google.protobuf.any_pb2 import Any
    from google.rpc.error_details_pb2 import ErrorInfo
    from google.rpc.status_pb2 import Status

    metadata: dict[str, str] = {}
    if error.field:
        metadata["field"] = error.field
    if error.retry_after_ms is not None:
        metadata["retry_after_ms"] = str(error.retry_after_ms)
    detail = Any()
    detail.Pack(ErrorInfo(reason=error.code.value, domain=_DOMAIN, metadata=metadata))
    status_number: int = error.traits.grpc.value[0]
    status = Status(code=status_number, message=error.message, details=[detail])
    return (("grpc-status-details-bin", status.SerializeToString()),)


def from_rpc_error(error: grpc.aio.AioRpcError) -> AppError:
    """What a failed call of one of our services means to its caller."""
    from google.rpc.error_details_pb2 import ErrorInfo
    from google.rpc.status_pb2 import Status

    for key, value in error.trailing_metadata() or ():
        if key != "grpc-status-details-bin":
            continue
        status = Status.FromString(value if isinstance(value, bytes) else value.encode())
        for detail in status.details:
            info = ErrorInfo()
            if detail.Unpack(info) and info.domain == _DOMAIN and info.reason in Code.__members__:
                retry = info.metadata.get("retry_after_ms")
                return AppError(
                    Code(info.reason),
                    status.message,
                    field=info.metadata.get("field") or None,
                    retry_after_ms=int(retry) if retry else None,
                )
    code = code_of_status(error.code())
    return AppError(code, _plain_message(code))


def _plain_message(code: Code) -> str:
    # gRPC's own texts name addresses and internals; a client gets none of that.
    return {
        Code.UNAVAILABLE: "a service that is needed does not answer",
        Code.DEADLINE_EXCEEDED: "the request took too long",
        Code.UNIMPLEMENTED: "not available",
    }.get(code, code.value.replace("_", " ").lower())
