"""One table of errors."""

from __future__ import annotations

import sqlite3

import asyncmy.errors
import grpc
import pytest
from sqlalchemy.exc import OperationalError

from im_common.errors import TABLE, AppError, Code, from_rpc_error, to_trailers
from im_common.runtime.faults import as_unavailable, is_outage


def test_every_code_is_in_the_table() -> None:
    assert set(TABLE) == set(Code)


# Clients are written against these: code, gRPC status, HTTP status, whether to try again.
CONTRACT = """
INVALID_ARGUMENT     INVALID_ARGUMENT    400 -
UNAUTHENTICATED      UNAUTHENTICATED     401 -
TOKEN_EXPIRED        UNAUTHENTICATED     401 -
SESSION_REVOKED      UNAUTHENTICATED     401 -
INVALID_CREDENTIALS  UNAUTHENTICATED     401 -
ACCOUNT_LOCKED       FAILED_PRECONDITION 429 again
PERMISSION_DENIED    PERMISSION_DENIED   403 -
BLOCKED              PERMISSION_DENIED   403 -
NOT_FRIENDS          PERMISSION_DENIED   403 -
NOT_GROUP_MEMBER     PERMISSION_DENIED   403 -
MUTED                PERMISSION_DENIED   403 -
GROUP_FULL           FAILED_PRECONDITION 409 -
NOT_FOUND            NOT_FOUND           404 -
ALREADY_EXISTS       ALREADY_EXISTS      409 -
FAILED_PRECONDITION  FAILED_PRECONDITION 409 -
RECALL_WINDOW_PASSED FAILED_PRECONDITION 409 -
RATE_LIMITED         FAILED_PRECONDITION 429 again
PAYLOAD_TOO_LARGE    INVALID_ARGUMENT    413 -
UNAVAILABLE          UNAVAILABLE         503 again
DEADLINE_EXCEEDED    DEADLINE_EXCEEDED   504 again
UNIMPLEMENTED        UNIMPLEMENTED       501 -
INTERNAL             INTERNAL            500 -
"""


def test_the_table_is_the_contract() -> None:
    assert {
        code.value: (traits.grpc.name, str(traits.http), "again" if traits.retryable else "-")
        for code, traits in TABLE.items()
    } == {code: tuple(rest) for code, *rest in map(str.split, CONTRACT.strip().splitlines())}


@pytest.mark.parametrize("code", list(Code))
def test_a_code_survives_grpc(code: Code) -> None:
    error = AppError(code, "text", field="name", retry_after_ms=1500)
    failed = grpc.aio.AioRpcError(
        TABLE[code].grpc, grpc.aio.Metadata(), grpc.aio.Metadata(*to_trailers(error)), "text"
    )
    back = from_rpc_error(failed)
    assert (back.code, back.message, back.field, back.retry_after_ms) == (
        code,
        "text",
        "name",
        1500,
    )


def test_what_is_said_of_one_caller_never_looks_like_the_state_of_the_server() -> None:
    of_the_server = {
        Code.UNAVAILABLE,
        Code.DEADLINE_EXCEEDED,
        Code.UNIMPLEMENTED,
        Code.INTERNAL,
    }
    # What go-zero's circuit breaker counts against a server, and clients retry.
    counted = {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.DATA_LOSS,
    }
    assert {code for code, traits in TABLE.items() if traits.grpc in counted} == of_the_server
    for code in (Code.ACCOUNT_LOCKED, Code.RATE_LIMITED):
        assert (TABLE[code].http, TABLE[code].retryable) == (429, True)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Code.UNAVAILABLE),
        (grpc.StatusCode.UNAUTHENTICATED, Code.INTERNAL),
        (grpc.StatusCode.PERMISSION_DENIED, Code.INTERNAL),
        (grpc.StatusCode.NOT_FOUND, Code.NOT_FOUND),
    ],
)
def test_a_status_of_somebody_else_is_not_the_users_fault(
    status: grpc.StatusCode, code: Code
) -> None:
    failed = grpc.aio.AioRpcError(status, grpc.aio.Metadata(), grpc.aio.Metadata(), "by a proxy")
    error = from_rpc_error(failed)
    assert error.code is code
    assert "proxy" not in error.message


def test_an_error_without_a_reason_tells_nothing_internal() -> None:
    failed = grpc.aio.AioRpcError(
        grpc.StatusCode.UNAVAILABLE,
        grpc.aio.Metadata(),
        grpc.aio.Metadata(),
        "connect to 10.1.2.3:50051 failed",
    )
    error = from_rpc_error(failed)
    assert error.code is Code.UNAVAILABLE
    assert "10.1.2.3" not in error.message


@pytest.mark.parametrize(
    ("number", "expected"),
    [(2013, True), (1213, True), (1290, True), (1114, True), (1267, False), (1366, False)],
)
def test_an_outage_is_told_by_its_number(number: int, expected: bool) -> None:
    """asyncmy makes all of these the same class."""
    error = OperationalError("SELECT 1", {}, asyncmy.errors.OperationalError(number, "said so"))
    assert is_outage(error) is expected
    assert (as_unavailable(error) is not None) is expected


def test_what_sqlite_says_of_its_file_is_an_outage() -> None:
    assert is_outage(OperationalError("x", {}, sqlite3.OperationalError("database is locked")))
