"""Cursors and typing on their way to chat-service."""

from __future__ import annotations

import pytest
from ws_parts import Chat, connection, sent

from im.chat.v1 import chat_pb2 as pb
from im_common.domain.frames import Ack, Read
from im_common.errors import AppError
from ws_gateway.logic.relay import Relay


async def test_acks_are_collected_the_highest_counts_and_none_is_lost() -> None:
    chat, one, two = Chat(), connection(7), connection(8)
    relay = Relay(chat)  # type: ignore[arg-type]
    for seq in (3, 9, 5):
        relay.advance(one, Ack(conversation_id="s:7:8", seq=seq))
    relay.advance(one, Read(conversation_id="s:7:8", seq=4))
    relay.advance(two, Ack(conversation_id="g:5", seq=1))
    chat.away = True
    with pytest.raises(AppError):
        await relay.flush()
    relay.advance(one, Ack(conversation_id="s:7:8", seq=6))
    chat.away = False
    await relay.flush()
    moves = {
        m.user_id: (m.conversation_id, m.delivered_seq, m.read_seq) for m in chat.calls[1].moves
    }
    assert moves == {7: ("s:7:8", 9, 4), 8: ("g:5", 1, 0)}
    await relay.flush()
    assert len(chat.calls) == 2


async def test_a_cursor_that_is_refused_is_an_error_frame() -> None:
    one = connection(7)
    refusal = pb.CursorRefusal(user_id=7, conversation_id="g:5", code="NOT_GROUP_MEMBER")
    relay = Relay(Chat(refusal))  # type: ignore[arg-type]
    relay.advance(one, Read(conversation_id="g:5", seq=1))
    relay.advance(one, Ack(conversation_id="g:5", seq=1, client_msg_id="c-1"))
    await relay.flush()
    [refused] = sent(one)
    assert (refused["code"], refused["client_msg_id"]) == ("NOT_GROUP_MEMBER", "c-1")


async def test_typing_is_passed_on_at_a_bounded_rate_and_never_again() -> None:
    chat, one = Chat(), connection(7)
    relay = Relay(chat)  # type: ignore[arg-type]
    for to in range(100, 150):
        relay.typing(one, to, None)
    await relay.flush()
    assert [typing.to_user_id for typing in chat.typing] == [100, 101, 102, 103, 104]
    other = connection(8, number=2)
    relay.typing(other, None, 5)
    relay.typing(other, None, 5)
    chat.away = True
    await relay.flush()
    await relay.flush()
    assert [typing.group_id for typing in chat.typing[5:]] == [5]
    for to, group_id in ((None, None), (1, 2), (7, None), (-1, None)):
        with pytest.raises(AppError):
            relay.typing(one, to, group_id)
