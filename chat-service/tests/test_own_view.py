"""What a user changes for itself, the offline list by RPC, the store step by itself."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from sqlalchemy import update

from chat_service.logic import cursors, history, offline, overview, own_view, save, sync
from chat_service.logic.history import Bounds
from chat_service.model import messages
from chat_service.model.tables import conversation_members
from im.chat.v1.content_pb2 import Content
from im.chat.v1.record_pb2 import NewMessage
from im_common.domain import frames
from im_common.domain.offline import OfflineList
from im_common.domain.recalls import RecallLog
from im_common.errors import Code
from im_common.testing.queries import counted_queries
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
    assert listed.last_message is not None
    assert listed.last_message.content == "1"
    (delta,), _ = await sync.sync(desk.svc, B, {}, 0)
    assert [row.content for row in delta.messages] == ["1"]
    denied = await refusal(own_view.delete_message(desk.svc, C, places[0].message_id))
    assert denied.code is Code.PERMISSION_DENIED
    assert (await refusal(own_view.delete_message(desk.svc, A, "none"))).code is Code.NOT_FOUND


async def test_the_list_shows_the_newest_message_that_is_there(desk: Any) -> None:
    """Of many conversations, each as far down as its reader has deleted."""
    for i in range(5):
        places = await desk.say(A, 2000 + i, *map(str, range(1, 5)))
        for place in places[4 - i :]:
            await own_view.delete_message(desk.svc, A, place.message_id)
    await desk.say(B, A, "cleared", "and deleted")
    await own_view.clear_conversation(desk.svc, A, AB)
    (place,) = await desk.say(B, A, "after")
    await own_view.delete_message(desk.svc, A, place.message_id)
    with counted_queries() as statements:
        listed, _ = await overview.list_conversations(desk.svc, A, limit=0, cursor="")
    assert {
        item.standing.conversation_id: item.last_message and item.last_message.content
        for item in listed
    } == {AB: None, **{f"s:1001:{2000 + i}": str(4 - i) if i < 4 else None for i in range(5)}}
    assert len([text for text in statements if text.startswith("SELECT")]) == 3


async def _unread(desk: Any, user_id: int) -> tuple[int, list[str]]:
    """The number, the same wherever it is said, and the messages."""
    counted = (await overview.get_unread_count(desk.svc, user_id)).get(AB, 0)
    listed, _ = await overview.list_conversations(desk.svc, user_id, limit=0, cursor="")
    deltas, _ = await sync.sync(desk.svc, user_id, {}, 0)
    assert {item.standing.unread for item in listed} == {counted}
    assert {delta.standing.unread for delta in deltas} <= {counted}
    rows = await overview.get_unread_messages(desk.svc, user_id, AB, 0)
    assert len(rows) == counted
    return counted, [row.content for row in rows]


async def test_what_was_deleted_or_recalled_is_not_unread(desk: Any) -> None:
    places = await desk.say(A, B, "1", "2", "3", "4", "5")
    assert await _unread(desk, B) == (5, ["1", "2", "3", "4", "5"])
    await own_view.delete_message(desk.svc, B, places[4].message_id)
    await own_view.delete_message(desk.svc, B, places[1].message_id)
    # What another deletes stays.
    await own_view.delete_message(desk.svc, A, places[0].message_id)
    assert await _unread(desk, B) == (3, ["1", "3", "4"])
    for _ in range(2):
        await _recall(desk, (AB, 3), (AB, 2))
    assert await _unread(desk, B) == (2, ["1", "4"])
    await cursors.mark_as_read(desk.svc, B, AB, 3)
    assert await _unread(desk, B) == (1, ["4"])
    await _recall(desk, (AB, 4))
    assert await _unread(desk, B) == (0, [])
    # The history shows where it was.
    assert await _history(desk, B, A) == ["1", "", ""]
    await desk.say(A, B, "6")
    assert await _unread(desk, B) == (1, ["6"])


async def test_what_is_gone_is_counted_within_what_a_member_sees(desk: Any) -> None:
    desk.groups.make(5, A, B)
    await desk.say(A, 0, "1", "2", "3", "4", group=5)
    await _recall(desk, ("g:5", 1), ("g:5", 4))
    t = conversation_members.c
    mine = (t.user_id == B) & (t.conversation_id == "g:5")
    change = update(conversation_members).where(mine).values(min_seq=2)
    await desk.svc.db.write(lambda connection: connection.execute(change).close())
    assert await overview.get_unread_count(desk.svc, B) == {"g:5": 1}


async def _recall(desk: Any, *places: tuple[str, int]) -> None:
    await desk.svc.db.write(messages.empty, places)


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


async def test_a_recalled_message_leaves_the_list_empty(desk: Any) -> None:
    offline_list, log = OfflineList(desk.svc.redis), RecallLog(desk.svc.redis)

    def message(message_id: str) -> bytes:
        return frames.encode(
            frames.Message(
                message_id=message_id,
                conversation_id=AB,
                seq=1,
                from_=B,
                content_type="text",
                content="secret",
                timestamp=1,
                to=A,
                mentions=[A],
                ext=msgspec.Raw(b'{"a":"secret"}'),
            )
        )

    recalled = [frames.encode(frames.Recalled(AB, 1, name, B)) for name in ("m-1", "m-2")]
    waiting = [message("m-1"), message("m-2"), message("m-3"), recalled[1]]
    await offline_list.append([(A, waiting)])
    # One is known by the log alone (its frame is on its way), one by the list.
    await log.add([(A, recalled[:1])])
    batch = await offline.pull_offline_messages(desk.svc, A, "", 0)
    shown = [msgspec.json.decode(frame) for frame in batch.frames]
    assert [(one["message_id"], one.get("content"), one.get("recalled")) for one in shown] == [
        ("m-1", "", True),
        ("m-2", "", True),
        ("m-3", "secret", None),
        ("m-2", None, None),
    ]
    assert b"secret" not in b"".join(batch.frames[:2])
    # What is confirmed is what is in the list.
    assert (await offline.pull_offline_messages(desk.svc, A, batch.batch_id, 0)).frames == []


@pytest.mark.parametrize("confirmed", ["9" * 5_000 + ".x", "٣.x", "1", ".", "-1.x", "0.x", "101.x"])
async def test_a_batch_that_never_was_takes_nothing_away(desk: Any, confirmed: str) -> None:
    await OfflineList(desk.svc.redis).append([(A, [b"{}"])])
    batch = await offline.pull_offline_messages(desk.svc, A, confirmed, 0)
    assert batch.frames == [b"{}"]


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
        {"sender_id": A, "to_user_id": B, "message_id": "m "},
    ],
)
async def test_a_message_that_cannot_be_is_not_saved(desk: Any, wrong: dict[str, Any]) -> None:
    error = await refusal(save.save_message(desk.svc, NewMessage(**wrong)))
    assert error.code is Code.INVALID_ARGUMENT


async def test_a_fault_in_saving_is_no_refusal_of_the_message(
    desk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("chat_service.mq.store.store", fail)
    one = NewMessage(sender_id=A, to_user_id=B, content=Content(content="x"))
    with pytest.raises(RuntimeError):
        await save.save_message(desk.svc, one)


async def test_a_group_message_is_saved_for_its_members(desk: Any) -> None:
    await desk.make(5, A, B)
    await save.save_message(
        desk.svc, NewMessage(sender_id=A, group_id=5, content=Content(content="x"))
    )
    assert await overview.get_unread_count(desk.svc, B) == {"g:5": 1}
    unknown = NewMessage(sender_id=A, group_id=6, content=Content(content="x"))
    assert (await refusal(save.save_message(desk.svc, unknown))).code is Code.NOT_FOUND
