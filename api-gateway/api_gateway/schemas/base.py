"""What the schemas share."""

from __future__ import annotations

import math
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from im_common.ids import MAX_ID

# How deep an application's own object may be nested.
MAX_DEPTH = 16

T = TypeVar("T")


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("must be valid Unicode") from None
    return value


def _object(value: dict[str, Any]) -> dict[str, Any]:
    _check_json(value, MAX_DEPTH)
    return value


def _check_json(value: Any, depth: int) -> None:
    # Python reads more than JSON has (NaN, numbers without end), and protobuf takes no deep nesting.
    if depth < 0:
        raise ValueError(f"may be nested {MAX_DEPTH} levels deep")
    if isinstance(value, str):
        _text(value)
    elif isinstance(value, int) and abs(value) > MAX_ID:
        raise ValueError("has a number beyond 64 bits")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("has a number that is none")
    elif isinstance(value, dict):
        for key, inner in value.items():
            _text(key)
            _check_json(inner, depth - 1)
    elif isinstance(value, list):
        for inner in value:
            _check_json(inner, depth - 1)


def _is_none(value: object) -> bool:
    return value is None


# JSON lets half of a surrogate pair through; nothing behind the gateway can take it.
Text = Annotated[str, AfterValidator(_text)]
JsonObject = Annotated[dict[str, Any], AfterValidator(_object)]
Id = Annotated[int, Field(ge=1, le=MAX_ID)]
Seq = Annotated[int, Field(ge=0, le=MAX_ID)]
Millis = Annotated[int, Field(description="Unix milliseconds.")]
# A field of an answer that is left out when it has no value.
Absent = Annotated[T | SkipJsonSchema[None], Field(default=None, exclude_if=_is_none)]


class Body(BaseModel):
    """A request: wrong types are refused, unknown fields are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore")


class View(BaseModel):
    """An answer."""


class Page(View, Generic[T]):
    items: list[T]
    next_cursor: str | None = Field(description="Null on the last page.")


class Problem(View):
    """An error, as RFC 9457 has it."""

    type: str
    title: str
    status: int
    detail: str = Field(description="A sentence for people.")
    code: str = Field(description="The reason for programs, such as BLOCKED.")
    request_id: str
    field: Absent[str] = Field(default=None, description="The field at fault.")
    retry_after_ms: Absent[int] = Field(default=None, description="When to try again.")
