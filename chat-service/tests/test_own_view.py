"""What a user changes for itself, the offline list by RPC, the store step by itself."""

from __future__ import annotations

from typing import Any

import pytest

from chat_service.logic import history, offline, overview, own_view, save, sync
from chat_service.logic.history import Bounds
from im.chat.v1.content_pb2 import Content
from im.chat.v1.record_pb2 import NewMessage
from im_common.domain.offline import OfflineList
from im_common.errors import Code
from im_common.testing.services import refusal

A, B, C = 1001, 1002, 1003
AB = "s:1001:1002"


async def _history(desk: Any, reader: int, other: int) -> list[str]:
    rows, _ = await history.get_chat_history(desk.svc, reader, other, Bounds())
    return [row.content for row in rows]


async def test_a_deleted_message_is_hidden_from_who_deleted_it_alone(desk: Any) -> None:
    places = await desk.say(A, B, "1", "2", "3")
    for _ in range(2):
        await own_view.delete_message(desk.svc, B, places[1].message_id)
    assert await _history(desk, B, A) == ["1", "3"]
    assert await _history(desk, A, B) == ["1", "2", "3"]
    await own_view.delete_message(desk.svc, B, places[2].message_id)
    (listed,), _ = await overview.list_conversations(desk.svc, B, limit=0, cursor="")
    assert listed.last_message is None
    (delta,), _ = await sync.sync(desk.svc, B, {}, 0)
    assert [row.content for row in delta.messages] == ["1"]
    denied = await refusal(own_view.delete_message(desk.svc, C, places[0].message_id))
    assert denied.code is Code.PERMISSION_DENIED
    assert (await refusal(own_view.delete_message(desk.svc, A, "none"))).code is Code.NOT_FOUND


async def test_a_cleared_conversation_begins_anew(desk: Any) -> None:
    await desk.say(A, B, "1", "2")
    assert await own_view.clear_conversation(desk.svc, B, AB) == 2
    assert await _history(desk, B, A) == []
    assert await overview.get_unread_count(desk.svc, B) == {}
    (listed,), _ = await overview.list_conversations(desk.svc, B, limit=0, cursor="")
    assert listed.last_message is None
    await desk.say(A, B, "3")
    assert await _history(desk, B, A) == ["3"]
    assert await _history(desk, A, B) == ["1", "2", "3"]
    assert await overview.get_unread_count(desk.svc, B) == {AB: 1}


async def test_pins_and_mutes(desk: Any) -> None:
    await desk.say(A, B, "1")
    await own_view.pin_conversation(desk.svc, B, AB, True)
    await own_view.mute_conversation(desk.svc, B, AB, True)
    await own_view.pin_conversation(desk.svc, B, AB, False)
    (listed,), _ = await overview.list_conversations(desk.svc, B, limit=0, cursor="")
    assert (listed.standing.pinned, listed.standing.muted) == (False, True)
    for conversation_id, code in (
        ("s:1001:1003", Code.NOT_FOUND),
        ("s:1001:1004", Code.PERMISSION_DENIED),
    ):
        error = await refusal(own_view.pin_conversation(desk.svc, C, conversation_id, True))
        assert error.code is code


async def test_the_offline_list_is_pulled_batch_by_batch(desk: Any) -> None:
    frames = [b'{"n":%d}' % n for n in (1, 2, 2, 3)]
    await OfflineList(desk.svc.redis).append([(A, frames)])

    async def pull(confirmed: str = "") -> offline.Batch:
        return await offline.pull_offline_messages(desk.svc, A, confirmed, 3)

    first = await pull()
    assert (first.frames, first.remaining) == ([b'{"n":1}', b'{"n":2}'], 1)
    assert await pull("nonsense") == first
    assert await pull("3.0000") == first
    second = await pull(first.batch_id)
    assert (second.frames, second.remaining) == ([b'{"n":3}'], 0)
    # The first one's confirmation a second time takes nothing away.
    assert await pull(first.batch_id) == second
    assert await pull(second.batch_id) == offline.Batch("", [], 0)


async def test_long_frames_make_small_batches(desk: Any) -> None:
    long = [b"%03d" % n + b"x" * 60_000 for n in range(40)]
    await OfflineList(desk.svc.redis).append([(A, long)])
    frames, remaining = await OfflineList(desk.svc.redis).head(A)
    assert 10 <= len(frames) <= 15
    assert remaining == 40 - len(frames)


async def test_a_saved_message_has_its_place_and_keeps_it(desk: Any) -> None:
    await desk.say(A, B, "1")

    given = Content(content="x", client_msg_id="c")

    def message(**more: Any) -> NewMessage:
        return NewMessage(sender_id=A, to_user_id=B, content=given, **more)

    place = await save.save_message(desk.svc, message())
    assert (place.conversation_id, place.seq) == (AB, 2)
    assert await save.save_message(desk.svc, message()) == place
    other = NewMessage(sender_id=A, to_user_id=C, content=given)
    assert (await refusal(save.save_message(desk.svc, other))).code is Code.ALREADY_EXISTS
    taken = message(message_id=place.message_id)
    taken.content.client_msg_id = "d"
    assert (await refusal(save.save_message(desk.svc, taken))).code is Code.ALREADY_EXISTS
    assert await _history(desk, B, A) == ["1", "x"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"sender_id": 0, "to_user_id": B},
        {"sender_id": A},
        {"sender_id": A, "to_user_id": B, "conversation_id": "s:1001:1003"},
        {"sender_id": A, "to_user_id": B, "content": Content(client_msg_id="c" * 65)},
    ],
)
async def test_a_message_that_cannot_be_is_not_saved(desk: Any, wrong: dict[str, Any]) -> None:
    error = await refusal(save.save_message(desk.svc, NewMessage(**wrong)))
    assert error.code is Code.INVALID_ARGUMENT


async def test_a_group_message_is_saved_for_its_members(desk: Any) -> None:
    desk.groups.make(5, A, B)
    await save.save_message(
        desk.svc, NewMessage(sender_id=A, group_id=5, content=Content(content="x"))
    )
    assert await overview.get_unread_count(desk.svc, B) == {"g:5": 1}
    unknown = NewMessage(sender_id=A, group_id=6, content=Content(content="x"))
    assert (await refusal(save.save_message(desk.svc, unknown))).code is Code.NOT_FOUND
