"""What the schemas share."""

from __future__ import annotations

from typing import Annotated, Any, Generic, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from im_common.domain import free_json
from im_common.domain.ids import MAX_ID

T = TypeVar("T")


def _text(value: str) -> str:
    if said := free_json.text_problem(value):
        raise ValueError(said)
    return value


def _object(value: dict[str, Any]) -> dict[str, Any]:
    if said := free_json.problem(value):
        raise ValueError(said)
    return value


def _struct(value: dict[str, Any]) -> dict[str, Any]:
    if said := free_json.problem(value, largest=free_json.MAX_DOUBLE):
        raise ValueError(said)
    return value


def _is_none(value: object) -> bool:
    return value is None


# JSON lets half of a surrogate pair through; nothing behind the gateway can take it.
Text = Annotated[str, AfterValidator(_text)]
JsonObject = Annotated[dict[str, Any], AfterValidator(_object)]
# One that is kept as a protobuf Struct.
JsonStruct = Annotated[dict[str, Any], AfterValidator(_struct)]
Id = Annotated[int, Field(ge=1, le=MAX_ID)]
Seq = Annotated[int, Field(ge=0, le=MAX_ID)]
Millis = Annotated[int, Field(description="Unix milliseconds.")]
# A field of an answer that is left out when it has no value.
Absent = Annotated[T | SkipJsonSchema[None], Field(default=None, exclude_if=_is_none)]


class Body(BaseModel):
    """A request: wrong types are refused, unknown fields are ignored, null is the same as absent."""

    model_config = ConfigDict(strict=True, extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, fields: Any) -> Any:
        return free_json.without_nulls(fields) if isinstance(fields, dict) else fields


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
