"""What each field of a profile must look like."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from im_common.domain import free_json
from im_common.domain.names import MAX_NICKNAME, clean_text
from im_common.errors import invalid
from user_service.model.users import nickname_key

GENDERS = range(4)
MAX_AVATAR = 512
MAX_SIGNATURE = 256
MAX_EXT_BYTES = 4096
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
# It is tomorrow already on some islands.
_EARLIEST_ZONE = timedelta(hours=14)


def columns(fields: Iterable[str], values: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that a change of the named ``fields`` to ``values`` sets.

    Raises:
        AppError: INVALID_ARGUMENT for a field that cannot be changed, or a value that cannot be.
    """
    changed: dict[str, Any] = {}
    for field in fields:
        if field not in _RULES:
            raise invalid("update_mask", f"must name only {', '.join(_RULES)}")
        changed |= _RULES[field](values[field])
    return changed


def _nickname(value: str) -> dict[str, Any]:
    nickname = clean_text("nickname", value, least=1, most=MAX_NICKNAME)
    return {"nickname": nickname, "nickname_key": nickname_key(nickname)}


def _avatar(value: str) -> dict[str, Any]:
    return {"avatar": clean_text("avatar", value, most=MAX_AVATAR)}


def _gender(value: int) -> dict[str, Any]:
    if value not in GENDERS:
        raise invalid("gender", "is not one that is known")
    return {"gender": value}


def _signature(value: str) -> dict[str, Any]:
    return {"signature": clean_text("signature", value, most=MAX_SIGNATURE, lines=True)}


def _birthday(value: str) -> dict[str, Any]:
    if value:
        try:
            day = date.fromisoformat(value) if _DATE.fullmatch(value) else None
        except ValueError:
            day = None
        if day is None:
            raise invalid("birthday", "must be a date like 1999-12-31")
        if day > (datetime.now(UTC) + _EARLIEST_ZONE).date():
            raise invalid("birthday", "is in the future")
    return {"birthday": value}


def _ext(value: Mapping[str, Any]) -> dict[str, Any]:
    if said := free_json.problem(value, largest=free_json.MAX_DOUBLE):
        raise invalid("ext", said)
    text = json.dumps(
        _whole_numbers(value), ensure_ascii=False, allow_nan=False, separators=(",", ":")
    )
    if len(text.encode()) > MAX_EXT_BYTES:
        raise invalid("ext", f"must be at most {MAX_EXT_BYTES} bytes of JSON")
    return {"ext": text}


def _whole_numbers(value: Any) -> Any:
    # A protobuf Struct knows floating-point numbers only; a 5 comes as 5.0.
    if isinstance(value, dict):
        return {key: _whole_numbers(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(inner) for inner in value]
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return int(value) if abs(value) < 2**53 else value
    return value


_RULES: dict[str, Callable[[Any], dict[str, Any]]] = {
    "nickname": _nickname,
    "avatar": _avatar,
    "gender": _gender,
    "signature": _signature,
    "birthday": _birthday,
    "ext": _ext,
    "presence_hidden": lambda value: {"presence_hidden": bool(value)},
}
