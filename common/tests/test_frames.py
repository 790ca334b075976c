"""Client frames: decoded and checked in one pass, errors name the field."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from im_common.domain import frames
from im_common.domain.content import Given, build_record
from im_common.domain.ids import parse_conversation
from im_common.errors import AppError, Code


def test_a_chat_frame_is_decoded() -> None:
    frame = frames.decode('{"type":"chat","to":1002,"content":"hé","ext":{"a":[1]}}')
    assert isinstance(frame, frames.Chat)
    assert (frame.to, frame.content, frame.ext) == (1002, "hé", {"a": [1]})


def _nested(levels: int) -> str:
    return "[" * levels + "]" * levels


DEEP = _nested(5_000)


def _chat(more: str) -> str:
    return f'{{"type":"chat","to":2,"client_msg_id":"c",{more}}}'


@pytest.mark.parametrize(
    ("text", "field", "client_msg_id"),
    [
        ("", None, None),
        ("nonsense", None, None),
        ("[]", None, None),
        ("{}", "type", None),
        ('{"type":"nope","client_msg_id":"c"}', "type", "c"),
        ('{"type":"chat","to":1,"client_msg_id":"c"}', "content", "c"),
        ('{"type":"chat","to":"1","content":"x"}', "to", None),
        ('{"type":"chat","to":1,"content":"x","ext":[1]}', "ext", None),
        ('{"type":"chat","to":1.5,"content":"x"}', "to", None),
        ('{"type":"ack","conversation_id":"s:1:2"}', "seq", None),
        ('{"type":"ack","conversation_id":"\\ud83d","seq":1}', "conversation_id", None),
        ('{"type":"read","conversation_id":null,"seq":1}', "conversation_id", None),
        ('{"type":"recall","message_id":"\\ud83d","client_msg_id":"c"}', "message_id", "c"),
        ('{"type":"offline_ack","batch_id":"\\ud83d"}', "batch_id", None),
        ('{"type":"sync","cursors":{"\\ud83d":1}}', "cursors", None),
        ('{"type":"sync","cursors":{"s:1:2":"1"}}', "cursors", None),
        ('{"type":"ping","client_msg_id":7}', "client_msg_id", 7),
        ('{"type":"chat","client_msg_id":false,"content":"x"}', "client_msg_id", False),
        ('{"type":"chat","to":1,"content":"x","client_msg_id":[7]}', "client_msg_id", None),
        (f'{{"type":"chat","to":1,"content":"x","client_msg_id":{2**63}}}', "client_msg_id", None),
        ('{"type":null}', "type", None),
        (_chat('"content":"\\ud83d"'), "content", "c"),
        (_chat('"content":"x","ext":{"a":["\\ude00"]}'), "ext", "c"),
        (_chat('"content":"x","ext":{"\\ud83d":1}'), "ext", "c"),
        (_chat('"content":"x","\\ud83d":1'), None, "c"),
        (_chat('"content":"x","ext":{"a":NaN}'), "ext", "c"),
        (_chat(f'"content":"x","ext":{{"a":{DEEP}}}'), "ext", "c"),
        (_chat(f'"content":"x","unknown":{DEEP}'), "unknown", "c"),
        (_chat(f'"content":{DEEP}'), "content", "c"),
        (f'{{"type":"sync","cursors":{{"a":{DEEP}}}}}', "cursors", None),
        ('{"type":"chat","to":1,"content":"x","client_msg_id":7}', "client_msg_id", 7),
        ('{"type":"chat","to":1,"content":"x","client_msg_id":"\\ud83d"}', "client_msg_id", None),
        (DEEP, None, None),
        ("[" * 60_000, None, None),
    ],
)
def test_what_is_wrong_with_a_frame_is_named(
    text: str, field: str | None, client_msg_id: frames.Scalar | None
) -> None:
    with pytest.raises(frames.BadFrame) as caught:
        frames.decode(text)
    assert caught.value.field == field
    assert caught.value.client_msg_id == client_msg_id
    assert caught.value.code is Code.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "value",
    [
        *(_nested(17), _nested(255), "9" * 19, "9" * 400, "-" + "9" * 5_000),
        *("9223372036854775808", "-9223372036854775809"),
    ],
)
def test_free_json_that_few_readers_take_is_refused_by_name(value: str) -> None:
    refused = _refusal(_chat(f'"content":"x","ext":{{"a":{value}}}'))
    assert refused is not None
    assert (refused.code, refused.field) == (Code.INVALID_ARGUMENT, "ext")


@pytest.mark.parametrize("value", [_nested(16), "-9223372036854775808", '"\\u0000"'])
def test_free_json_that_everybody_takes_is_kept(value: str) -> None:
    frame = frames.decode(_chat(f'"content":"x","ext":{{"a":{value}}}'))
    assert isinstance(frame, frames.Chat)
    assert build_record(1, frame, "h:1").message.content.ext_json == f'{{"a":{value}}}'


@pytest.mark.parametrize(
    ("text", "as_if"),
    [
        (_chat('"content":"x","content_type":null,"mentions":null'), _chat('"content":"x"')),
        (_chat('"content":"x","reply_to":null,"ext":null,"group_id":null'), _chat('"content":"x"')),
        (
            _chat('"content":"x","mentions":null,"ext":{"a":null}'),
            _chat('"content":"x","ext":{"a":null}'),
        ),
        ('{"type":"sync","cursors":null,"limit":null}', '{"type":"sync"}'),
        ('{"type":"sync","cursors":{"a":null,"b":0}}', '{"type":"sync","cursors":{"b":0}}'),
        ('{"type":"typing","to":2,"group_id":null}', '{"type":"typing","to":2}'),
    ],
)
def test_null_is_absent(text: str, as_if: str) -> None:
    assert frames.decode(text) == frames.decode(as_if)


FIELDS = ["content", "seq", "conversation_id", "message_id", "cursors", "limit", "batch_id", "to"]


@given(
    st.sampled_from(
        ["ack", "read", "recall", "typing", "sync", "offline_ack", "ping", "chat", "x"]
    ),
    st.dictionaries(
        st.sampled_from(FIELDS),
        st.none()
        | st.integers()
        | st.floats()
        | st.text(st.characters(), max_size=5)
        | st.dictionaries(st.text(max_size=3), st.none() | st.integers() | st.text(max_size=2)),
    ),
)
def test_any_frame_is_taken_or_refused_by_name(kind: str, fields: dict[str, object]) -> None:
    text = json.dumps({"type": kind, "client_msg_id": "c", **fields})
    refused = _bad(text)
    if refused is None:
        assert frames.decode(text).client_msg_id == "c"
    else:
        assert refused.field in (*FIELDS, "type"), refused.message
        assert refused.client_msg_id == "c"


def _bad(text: str) -> frames.BadFrame | None:
    try:
        frames.decode(text)
    except frames.BadFrame as error:
        return error
    return None


def _refusal(text: str) -> AppError | None:
    """By the decoder, or before the log."""
    try:
        frame = frames.decode(text)
        assert isinstance(frame, frames.Chat)
        build_record(1, frame, "h:1").SerializeToString()
    except AppError as error:
        return error
    return None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    ),
    st.sampled_from(["content", "ext", "to", "mentions", "reply_to", "content_type", "other"]),
)
def test_an_object_of_a_client_is_taken_or_refused_by_its_name(value: object, field: str) -> None:
    text = json.dumps({"type": "chat", "to": 2, "content": "x", "client_msg_id": "c", field: value})
    refused = _refusal(text)
    if refused is not None:
        assert (refused.field or "").startswith(field)
        assert not isinstance(refused, frames.BadFrame) or refused.client_msg_id == "c"


def test_an_answer_survives_the_way_through_a_frame() -> None:
    sent = frames.Sent("c", "m", "s:1:2", 7, 8)
    assert frames.decode_answer(frames.encode(sent)) == sent
    error = AppError(Code.RATE_LIMITED, "slow down", field="to", retry_after_ms=50)
    back = frames.decode_answer(frames.error_frame(error, "c"))
    assert isinstance(back, AppError)
    assert (back.code, back.message, back.field, back.retry_after_ms) == (
        Code.RATE_LIMITED,
        "slow down",
        "to",
        50,
    )


@pytest.mark.parametrize(
    ("chat", "code", "field"),
    [
        (frames.Chat(content="x"), Code.INVALID_ARGUMENT, "to"),
        (frames.Chat(content="x", to=2, group_id=3), Code.INVALID_ARGUMENT, "to"),
        (frames.Chat(content="x", to=1), Code.INVALID_ARGUMENT, "to"),
        (frames.Chat(content="x", to=2**63), Code.INVALID_ARGUMENT, "to"),
        (frames.Chat(content="x", group_id=0), Code.INVALID_ARGUMENT, "group_id"),
        (frames.Chat(content="", to=2), Code.INVALID_ARGUMENT, "content"),
        (frames.Chat(content="é" * 8193, to=2), Code.PAYLOAD_TOO_LARGE, "content"),
        (frames.Chat(content="x", to=2, client_msg_id=""), Code.INVALID_ARGUMENT, "client_msg_id"),
        (
            frames.Chat(content="x", to=2, client_msg_id="c" * 65),
            Code.INVALID_ARGUMENT,
            "client_msg_id",
        ),
        (frames.Chat(content="x", to=2, content_type="odd"), Code.INVALID_ARGUMENT, "content_type"),
        (frames.Chat(content="x", to=2, mentions=[0]), Code.INVALID_ARGUMENT, "mentions"),
        (frames.Chat(content="x", to=2, mentions=[3] * 101), Code.INVALID_ARGUMENT, "mentions"),
        (frames.Chat(content="x", to=2, mentions="all"), Code.INVALID_ARGUMENT, "mentions"),
        (frames.Chat(content="x", to=2, reply_to=""), Code.INVALID_ARGUMENT, "reply_to"),
        (frames.Chat(content="x", to=2, reply_to="é"), Code.INVALID_ARGUMENT, "reply_to"),
        (frames.Chat(content="x", to=2, reply_to="\x00"), Code.INVALID_ARGUMENT, "reply_to"),
    ],
)
def test_what_is_wrong_with_a_message_is_named(chat: frames.Chat, code: Code, field: str) -> None:
    with pytest.raises(AppError) as caught:
        build_record(1, chat, "h:1")
    assert (caught.value.code, caught.value.field) == (code, field)


def test_a_record_has_its_place_in_the_world() -> None:
    record = build_record(9, frames.Chat(content="é" * 8192, to=2), "h:1")
    message = record.message
    assert message.conversation_id == "s:2:9"
    assert len(message.message_id) == 36
    assert message.content.client_msg_id
    assert record.origin.address == "h:1"
    group = build_record(9, frames.Chat(content="x", group_id=5), "h:1").message
    assert group.conversation_id == "g:5"


@pytest.mark.parametrize(
    ("given", "all_of_them", "users", "shown"),
    [
        ("[]", False, [], None),
        ("[3, 2, 3]", False, [3, 2], [3, 2]),
        ('"all"', True, [], ["all"]),
        ('["all"]', True, [], ["all"]),
        ('[3, "all", 2, "all"]', True, [3, 2], ["all", 3, 2]),
    ],
)
def test_mentions_are_users_or_all(
    given: str, all_of_them: bool, users: list[int], shown: list[Any] | None
) -> None:
    text = f'{{"type":"chat","group_id":5,"content":"x","mentions":{given}}}'
    frame = frames.decode(text)
    assert isinstance(frame, frames.Chat)
    content = build_record(9, frame, "h:1").message.content
    assert (content.mentions_all, list(content.mentions)) == (all_of_them, users)
    assert (Given.of(content).named() or None) == shown


@pytest.mark.parametrize(
    "text", ["", "s:2:1", "s:1:1", "s:1", "g:", "g:x", "g:01", "x:1", "g:1:2", "g:-1"]
)
def test_what_is_no_conversation_id_is_told(text: str) -> None:
    assert parse_conversation(text) is None


def test_conversation_ids_are_read() -> None:
    assert parse_conversation("s:1:22") == (1, 22)
    assert parse_conversation("g:7") == 7
