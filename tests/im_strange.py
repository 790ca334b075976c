"""Texts, numbers and messages as no client should send them, and some that one would."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

LARGEST = 2**63 - 1
_TEXTS = [
    "", " ", "x", "0", "01044", "+1044", "1_044", "é", "語" * 12, "\x00", "a\x00b", "\ufffe", "x" * 300,
    "%", "_", "\\", "'", "s:1001:1002", "s:1001:1002é", "g:1001", "g:é", "g:9223372036854775808",
    "0" * 32, "00000000-0000-7000-8000-000000000000", "text", "9" * 5000 + ".x", "../..", "\U0001f600",
]  # fmt: skip
_CURSORS = [
    "[]", "[1]", "[1,2]", "[1,1]", "[-1,1]", "[9223372036854775807,1]", '[1,"é",2]', '["é",1,""]',
    '["",1,"é"]', '[false,1,"é"]', '[true,1,"\\u0000"]', '[0,"é",1]', '[1,"\\ud83d",1]', "[null,null]",
    "[0,0]", '[0,"",9223372036854775808]', "{}", "1e999", "[1e5,2]",
]  # fmt: skip
TEXTS = st.one_of(
    st.sampled_from(_TEXTS),
    st.sampled_from([base64.urlsafe_b64encode(c.encode()).decode().rstrip("=") for c in _CURSORS]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
)
NUMBERS = st.one_of(
    st.sampled_from([0, 1, 2, 50, 100, 101, 1001, 1002, 1003, 999_999_999, LARGEST]),
    st.sampled_from([-1, -(2**63), 2**31, 2**53]),
    st.integers(-(2**63), LARGEST),
)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.floats() | TEXTS | st.sampled_from(["\ud83d", 10**30]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


def messages(full_name: str) -> st.SearchStrategy[Message]:
    """Any message of a type."""
    return _message(descriptor_pool.Default().FindMessageTypeByName(full_name), 3)


def _message(kind: Descriptor, depth: int) -> st.SearchStrategy[Message]:
    fields = {field.name: _field(field, depth) for field in kind.fields}
    return st.fixed_dictionaries({}, optional=fields).map(lambda found: _build(kind, found))


def _field(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        keys, values = (_scalar(kind.fields_by_name[name], depth) for name in ("key", "value"))
        return st.dictionaries(keys, values, max_size=4)
    one = _scalar(field, depth)
    return st.lists(one, max_size=4) if field.is_repeated else one


def _scalar(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        return _message(field.message_type, depth - 1) if depth else st.nothing()
    if field.enum_type is not None:
        return st.integers(-1, 5)
    if field.cpp_type in (FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64):
        is_signed = field.cpp_type == FieldDescriptor.CPPTYPE_INT64
        return NUMBERS if is_signed else st.integers(0, 2**64 - 1)
    if field.cpp_type == FieldDescriptor.CPPTYPE_INT32:
        return st.sampled_from([0, 1, 2, 100, 101, -1, 2**31 - 1, -(2**31)])
    if field.cpp_type == FieldDescriptor.CPPTYPE_UINT32:
        return st.integers(0, 2**32 - 1)
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return st.booleans()
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        is_bytes = field.type == FieldDescriptor.TYPE_BYTES
        return st.binary(max_size=30) if is_bytes else TEXTS
    return st.floats(width=32)


def _build(kind: Descriptor, found: Mapping[str, Any]) -> Message:
    message = GetMessageClass(kind)()
    for name, value in found.items():
        if isinstance(value, Message):
            getattr(message, name).CopyFrom(value)
        elif isinstance(value, dict):
            _put_all(getattr(message, name), value)
        elif isinstance(value, list):
            getattr(message, name).extend(value)
        else:
            setattr(message, name, value)
    return message


def _put_all(entries: Any, values: Mapping[Any, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, Message):
            entries[key].CopyFrom(value)
        else:
            entries[key] = value


def json_of(api: Mapping[str, Any], schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """A value as an OpenAPI schema says, or some other one."""
    return st.one_of(_as_described(api, schema), _as_described(api, schema), ANY_JSON)


def _as_described(api: Mapping[str, Any], schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    if "$ref" in schema:
        return _as_described(api, api["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    if "anyOf" in schema:
        return st.one_of([json_of(api, one) for one in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "const" in schema:
        return st.just(schema["const"])
    match schema.get("type"):
        case "object":
            return _object(api, schema)
        case "array":
            return st.lists(json_of(api, schema.get("items", {})), max_size=3)
        case "integer" | "number":
            return NUMBERS
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
        case "string":
            return TEXTS
    return ANY_JSON


def _object(api: Mapping[str, Any], schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    fields = {name: json_of(api, one) for name, one in schema.get("properties", {}).items()}
    required: Sequence[str] = schema.get("required", ())
    if not fields:
        more = schema.get("additionalProperties")
        values = json_of(api, more) if isinstance(more, dict) else ANY_JSON
        return st.dictionaries(TEXTS, values, max_size=3)
    # Mostly with all that is required, so that it gets past the first check.
    return st.fixed_dictionaries(
        {name: fields[name] for name in required},
        optional={name: one for name, one in fields.items() if name not in required},
    )
