"""The keys that sign access tokens."""

from __future__ import annotations

from pathlib import Path

from im.auth.v1.admin_pb2 import DescribeKeysRequest
from im_admin.config import AdminSettings
from im_admin.operator import Operator
from im_admin.plain import Row, row
from im_common.domain import key_file
from im_common.domain.key_file import KeyFileError
from im_common.errors import AppError, Code


async def list_keys(operator: Operator) -> list[Row]:
    """Those in force at an auth-service, newest first; which of them signs."""
    found = await (await operator.keys()).DescribeKeys(DescribeKeysRequest())
    return [row(key) for key in found.keys]


async def rotate_keys(operator: Operator) -> Row:
    """Adds a key to the file, which signs two seconds later, and drops those whose tokens have all
    expired: nobody is logged out.

    Raises:
        AppError: FAILED_PRECONDITION when the file cannot be changed from here.
    """
    settings = operator.settings
    file = settings.keys.file if isinstance(settings, AdminSettings) else ""
    if not file:
        problem = "Keys.File (IM_KEYS__FILE) must name the file of auth-service's keys"
        raise AppError(Code.FAILED_PRECONDITION, problem)
    # Only auth-service knows for how long an old key is still needed.
    found = await (await operator.keys()).DescribeKeys(DescribeKeysRequest())
    async with operator.deed("keys rotate", ""):
        try:
            key = key_file.rotate(Path(file), token_life_ms=found.token_life * 1000)
        except (KeyFileError, OSError) as error:
            raise AppError(Code.FAILED_PRECONDITION, str(error)) from error
    return {"kid": key.kid, "created_at": key.created_at, "file": file}
