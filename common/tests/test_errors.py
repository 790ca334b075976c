"""One table of errors."""

from __future__ import annotations

import grpc
import pytest

from im_common.errors import TABLE, AppError, Code, from_rpc_error, to_trailers


def test_every_code_is_in_the_table() -> None:
    assert set(TABLE) == set(Code)


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
