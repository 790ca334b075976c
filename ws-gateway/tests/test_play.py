"""Whatever a client sends, in whatever order: each frame gets what the protocol says, and no other."""

from __future__ import annotations

import asyncio
import json

from hypothesis import given, settings
from hypothesis import strategies as st
from ws_play import play

from im_common.domain.frames import CONTENT_TYPES

TYPES = ["chat", "ack", "read", "recall", "typing", "sync", "offline_ack", "ping", "nope", None, 7]
IDS = st.one_of(st.integers(-2, 3), st.sampled_from([2**63, 2**64, 1.5, "1", None, [], {}]))
TEXTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["c-1", "c-2", "x" * 65, "x" * 20_000, "\x00", "s:1:7", "g:1", "\ud83d"]),
)
VALUES = st.recursive(
    st.one_of(IDS, TEXTS, st.booleans(), st.floats()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
FIELDS = {
    "type": st.sampled_from(TYPES),
    "client_msg_id": st.one_of(TEXTS, VALUES),
    "to": st.one_of(st.sampled_from([2, 3]), IDS),
    "group_id": IDS,
    "content": st.one_of(TEXTS, VALUES),
    "content_type": st.one_of(st.sampled_from([*CONTENT_TYPES, "system"]), VALUES),
    "mentions": st.one_of(st.just("all"), st.lists(IDS, max_size=3), VALUES),
    "ext": VALUES,
    "reply_to": TEXTS,
    "conversation_id": TEXTS,
    "seq": IDS,
    "message_id": TEXTS,
    "cursors": st.dictionaries(TEXTS, IDS, max_size=3),
    "limit": IDS,
    "batch_id": TEXTS,
}
GOOD = st.fixed_dictionaries(
    {"type": st.just("chat"), "content": st.just("x"), "to": st.sampled_from([2, 3])},
    optional={"client_msg_id": st.sampled_from(["c-1", "c-2", "c-3"])},
)
FRAMES = st.one_of(
    st.one_of(st.fixed_dictionaries({}, optional=FIELDS), GOOD, VALUES).map(json.dumps),
    st.text(max_size=30),
    st.binary(max_size=10),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(FRAMES, max_size=40))
def test_each_frame_gets_what_the_protocol_says(texts: list[str | bytes]) -> None:
    asyncio.run(play(texts))


def test_thirty_two_bad_frames_in_a_row_end_it_and_no_more_is_taken() -> None:
    good, bad = '{"type":"ping"}', '{"type":"nope"}'
    asyncio.run(play([*[bad] * 31, good, *[bad] * 32, good]))
