"""What a message needs besides its text, by its content type."""

from __future__ import annotations

from typing import Any

import pytest

from im_common.domain.content import MAX_EXT_BYTES, build_record
from im_common.domain.frames import CONTENT_TYPES, Chat
from im_common.errors import AppError, Code


def _chat(content_type: str, content: str = "x", **ext: Any) -> Chat:
    return Chat(content=content, to=2, content_type=content_type, ext=ext or None)


@pytest.mark.parametrize(
    "chat",
    [
        _chat("text"),
        _chat("text", anything="goes"),
        _chat("image", "", file_id="f-1"),
        _chat("image", "https://example.org/cat.jpg"),
        _chat("audio", "https://example.org/cat.ogg", duration_ms=1000, file_id=None),
        _chat("file", "", file_id="f-1", name="notes.txt", size=17, more=[1]),
        _chat("audio", "listen", file_id="f-1", duration_ms=1000),
        _chat("video", "", file_id="f-1"),
        _chat("location", "", latitude=39.9, longitude=116),
        _chat("location", "Beijing"),
        _chat("custom", '{"a":1}'),
        _chat("custom", "", a=1),
    ],
)
def test_what_is_complete_is_taken(chat: Chat) -> None:
    record = build_record(1, chat, "h:1")
    assert record.message.content.content_type == chat.content_type
    assert bool(record.message.content.ext_json) == bool(chat.ext)


@pytest.mark.parametrize(
    ("chat", "field"),
    [
        (_chat("image", ""), "ext.file_id"),
        (_chat("video", "", name="x"), "ext.file_id"),
        (_chat("file", file_id=""), "ext.file_id"),
        (_chat("audio", file_id=7), "ext.file_id"),
        (_chat("video", file_id="x" * 129), "ext.file_id"),
        (_chat("file", file_id="f", name=3), "ext.name"),
        (_chat("file", file_id="f", size=-1), "ext.size"),
        (_chat("file", file_id="f", size=True), "ext.size"),
        (_chat("location", ""), "content"),
        (_chat("location", "", latitude=1), "ext.longitude"),
        (_chat("location", "x", latitude=91, longitude=1), "ext.latitude"),
        (_chat("location", "x", latitude="1", longitude=1), "ext.latitude"),
        (_chat("custom", ""), "content"),
    ],
)
def test_what_is_not_names_the_field(chat: Chat, field: str) -> None:
    with pytest.raises(AppError) as caught:
        build_record(1, chat, "h:1")
    assert (caught.value.code, caught.value.field) == (Code.INVALID_ARGUMENT, field)


def test_an_unknown_type_is_told_which_are_known() -> None:
    with pytest.raises(AppError) as caught:
        build_record(1, _chat("smell"), "h:1")
    assert all(known in caught.value.message for known in CONTENT_TYPES)


def test_ext_is_bounded() -> None:
    with pytest.raises(AppError) as caught:
        build_record(1, _chat("custom", a="x" * MAX_EXT_BYTES), "h:1")
    assert (caught.value.code, caught.value.field) == (Code.PAYLOAD_TOO_LARGE, "ext")
