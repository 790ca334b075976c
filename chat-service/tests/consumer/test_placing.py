"""What the consumer places and answers: order, cost, retries, refusals and poison."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chat_service.mq import store
from im.chat.v1.record_pb2 import ChatRecord, NewMessage
from im.group.v1 import group_pb2
from im_common.bus import Record
from im_common.errors import AppError, Code
from im_common.testing.queries import counted_queries

# Fixtures' classes, of conftest.py, which tests do not import.
World = Any

A, B, C, GHOST = 1001, 1002, 1003, 9999


async def test_a_batch_is_placed_answered_and_delivered_in_order(world: World) -> None:
    await world.online(B)
    records = [world.record(A, B, f"{i}") for i in range(5)] + [world.record(B, A, "back")]
    await world.handle(records)
    assert await world.stored() == [
        ("s:1001:1002", i + 1, text) for i, text in enumerate(["0", "1", "2", "3", "4", "back"])
    ]
    assert [f["seq"] for f in world.gateway.answers()] == [1, 2, 3, 4, 5, 6]
    assert len(world.gateway.requests) == 1
    received = [f for f in world.gateway.delivered(B) if f["from"] == A]
    assert [f["content"] for f in received] == ["0", "1", "2", "3", "4"]
    # A is on no gateway, and B's own device gets a copy.
    assert [f["content"] for f in await world.offline(A)] == ["back"]
    assert await world.offline(B) == []


async def test_names_that_a_client_gives_are_one_only_when_they_are_the_same(world: World) -> None:
    names = ["c-1", "c-1 ", " c-1", "C-1", "é", "e", "c-1\x00", "語" * 64]
    records = [world.record(A, B, f"{n}", client_msg_id=name) for n, name in enumerate(names)]
    # The second time each is looked up.
    for _ in range(2):
        await world.handle(records)
    assert [text for *_, text in await world.stored()] == [str(n) for n in range(len(names))]
    answers = world.gateway.answers()
    assert [answer["client_msg_id"] for answer in answers] == names * 2
    seqs = list(range(1, len(names) + 1))
    assert [answer.get("seq") for answer in answers] == seqs * 2


async def test_a_batch_of_200_costs_as_many_statements_and_calls_as_one_of_2(
    world: World, placing: Any
) -> None:
    await world.online(B)
    counts = []
    for size in (2, 200):
        for user in range(2000, 2000 + size):
            await world.online(user)
        with counted_queries() as statements:
            calls, pushes = world.owners.calls, len(world.gateway.requests)
            await world.handle([world.record(A, 2000 + i, "x") for i in range(size)])
        kinds = [text.split()[0] for text in statements]
        counts.append((kinds, world.owners.calls - calls, len(world.gateway.requests) - pushes))
    assert counts[0] == counts[1]
    kinds, calls, pushes = counts[1]
    assert [kind for kind in kinds if kind != "BEGIN"] == [
        *await placing(world.db),
        "INSERT",  # messages
        "INSERT",  # members and cursors
    ]
    assert (calls, pushes) == (2, 1)


async def test_a_batch_with_some_that_are_stored_costs_one_look_up_more(
    world: World, placing: Any
) -> None:
    known = [world.record(A, 2000 + i, "known") for i in range(10)]
    await world.handle(known)
    fresh = [world.record(A, 2000 + i, "fresh") for i in range(10)]
    with counted_queries() as statements:
        await world.handle([record for pair in zip(fresh, known, strict=True) for record in pair])
    kinds = [text.split()[0] for text in statements]
    places = await placing(world.db)
    # Places and messages, taken back; MySQL has been sent the cursors with them.
    tried = [*places, *["INSERT"] * (1 if world.db.is_sqlite else 2)]
    assert [kind for kind in kinds if kind != "BEGIN"] == [
        *tried,
        "SELECT",
        *(*places, "INSERT", "INSERT"),  # those that are new
    ]
    assert await world.stored() == [
        (f"s:{A}:{2000 + i}", seq + 1, text)
        for i in range(10)
        for seq, text in enumerate(["known", "fresh"])
    ]


async def test_places_are_the_same_on_a_database_that_gives_nothing_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialect = await world.db.write(lambda connection: connection.dialect)
    monkeypatch.setattr(dialect, "insert_returning", False)
    with counted_queries() as statements:
        for batch in (range(3), range(3, 6)):
            records = [world.record(A, to, f"{n}") for n in batch for to in (B, C)]
            await world.handle(records)
    assert not any("RETURNING" in statement for statement in statements)
    assert await world.stored() == [
        (f"s:{A}:{to}", n + 1, f"{n}") for to in (B, C) for n in range(6)
    ]
    assert [f["seq"] for f in world.gateway.answers()] == [n + 1 for n in range(6) for _ in (B, C)]


async def test_a_record_that_comes_again_is_delivered_but_not_stored_again(world: World) -> None:
    await world.online(B)
    records = [world.record(A, B, "x"), world.record(A, B, "y")]
    await world.handle(records)
    await world.handle(records)
    assert len(await world.stored()) == 2
    assert [f["seq"] for f in world.gateway.answers()] == [1, 2, 1, 2]
    assert [f["seq"] for f in world.gateway.delivered(B)] == [1, 2, 1, 2]


async def test_a_clients_retry_gets_the_first_place_and_is_not_delivered_again(
    world: World,
) -> None:
    await world.online(B)
    await world.handle([world.record(A, B, "x", client_msg_id="c")])
    again = [world.record(A, B, "x", client_msg_id="c") for _ in range(2)]
    await world.handle(again)
    first, *others = world.gateway.answers()
    assert others == [first, first]
    assert len(world.gateway.delivered(B)) == 1
    assert len(await world.stored()) == 1


async def test_equal_client_msg_ids_in_one_batch_are_one_message(world: World) -> None:
    records = [world.record(A, B, "x", client_msg_id="c") for _ in range(3)]
    other = world.record(A, C, "x", client_msg_id="c")
    await world.handle([*records, other])
    answers = world.gateway.answers()
    assert {(f["message_id"], f["seq"]) for f in answers[:3]} == {(answers[0]["message_id"], 1)}
    assert (answers[3]["type"], answers[3]["code"]) == ("error", "ALREADY_EXISTS")
    assert len(await world.stored()) == 1


async def test_refusals_go_to_the_sender_and_take_no_place(world: World) -> None:
    world.owners.blocked = {(A, B)}
    world.owners.groups = {
        5: group_pb2.GroupSendInfo(group_id=5, member_ids=[A, B], muted_member_ids=[B]),
        6: group_pb2.GroupSendInfo(group_id=6, member_ids=[A, B], manager_ids=[B], muted=True),
    }
    await world.handle(
        [
            world.record(A, B, "blocked"),
            world.record(A, GHOST, "nobody"),
            world.record(A, C, "fine"),
            world.record(A, 0, "no group", group_id=4),
            world.record(C, 0, "stranger", group_id=5),
            world.record(B, 0, "muted", group_id=5),
            world.record(A, 0, "all muted", group_id=6),
            world.record(B, 0, "manager", group_id=6),
        ]
    )
    codes = [f.get("code", "sent") for f in world.gateway.answers()]
    # What is refused is told when the batch is committed.
    assert codes == [
        "sent", "sent", "BLOCKED", "NOT_FOUND", "NOT_FOUND", "NOT_GROUP_MEMBER", "MUTED", "MUTED",
    ]  # fmt: skip
    assert await world.stored() == [("g:6", 1, "manager"), ("s:1001:1003", 1, "fine")]


async def test_nobody_is_refused_what_is_stored_when_its_record_comes_again(world: World) -> None:
    world.owners.blocked = {(A, B)}
    records = [world.record(A, B, "refused, by what holds now"), world.record(A, C, "fine")]
    finish = await world.consumer.handle(records)
    # Here the consumer is killed: nothing is committed, and the next one has the batch.
    assert await finish() is not None
    assert [f["type"] for f in world.gateway.answers()] == ["sent"]
    world.owners.blocked = set()
    await world.handle(records)
    assert [f["type"] for f in world.gateway.answers()] == ["sent", "sent", "sent"]
    assert len(await world.stored()) == 2


async def test_what_is_stored_keeps_its_place_when_it_would_be_refused_by_now(world: World) -> None:
    await world.handle([world.record(A, B, "x", client_msg_id="c")])
    world.owners.blocked = {(A, B)}
    await world.handle([world.record(A, B, "x", client_msg_id="c")])
    first, second = world.gateway.answers()
    assert first == second


async def test_the_batch_waits_when_the_owners_of_the_policy_are_away(world: World) -> None:
    world.owners.away = True
    with pytest.raises(AppError) as caught:
        await world.consumer.handle([world.record(A, B, "x")])
    assert caught.value.code is Code.UNAVAILABLE
    assert await world.stored() == []
    assert world.gateway.requests == []


async def test_who_owns_blocks_and_who_owns_groups_are_asked_at_the_same_time(
    world: World,
) -> None:
    await world.make(7, A, B)
    await world.handle([world.record(A, B, "now it is known that they exist")])
    world.owners.together = asyncio.Barrier(2)
    await world.handle([world.record(A, B, "to one"), world.record(A, B, "to all", group_id=7)])
    assert {"to one", "to all"} <= {text for *_, text in await world.stored()}


async def test_poison_goes_to_the_dead_letters_and_the_rest_goes_on(world: World) -> None:
    bad = Record("im-chat-topic", 0, "9", b"s:1:2", b"\xff\xff", {})
    empty = Record("im-chat-topic", 0, "10", b"s:1:2", ChatRecord().SerializeToString(), {})
    await world.handle([bad, world.record(A, B, "fine"), empty])
    assert [content for *_, content in await world.stored()] == ["fine"]
    assert len(world.letters.sent) == 2
    assert b"decoded" in world.letters.sent[0]["dlq-reason"]


async def test_one_message_that_cannot_be_stored_does_not_hold_up_the_others(world: World) -> None:
    # Two records that claim one message_id: no client of ours makes them.
    message = NewMessage.FromString(
        ChatRecord.FromString(world.record(A, B, "first").value).message.SerializeToString()
    )
    await world.handle([world.wrap(message)])
    message.content.client_msg_id = "other"
    await world.handle([world.wrap(message), world.record(A, B, "fine")])
    assert [content for *_, content in await world.stored()] == ["first", "fine"]
    assert [f.get("code", "sent") for f in world.gateway.answers()] == ["sent", "sent", "INTERNAL"]
    assert len(world.letters.sent) == 1


async def test_a_bad_message_is_found_in_a_batch_in_a_few_round_trips(world: World) -> None:
    def record(content: str, message_id: str = "") -> Record:
        parsed = ChatRecord.FromString(world.record(A, B, content).value)
        parsed.message.message_id = message_id or parsed.message.message_id
        return world.wrap(parsed.message)

    await world.handle([record("first", "taken")])
    batch = [record(str(number)) for number in range(128)]
    # The database refuses the whole batch for it.
    batch[77] = record("bad", "taken")
    with counted_queries() as statements:
        await world.handle(batch)
    expected = ["first", *(str(number) for number in range(128) if number != 77)]
    assert [content for *_, content in await world.stored()] == expected
    assert len(world.letters.sent) == 1
    # One by one it was more than a thousand.
    assert len(statements) < 150


async def test_a_lone_message_whose_first_try_fails_oddly_is_no_dead_letter(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver whose connection is cut may raise anything, and the next one works."""
    tries = 0
    real = store.store

    async def cut_once(*args: Any) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise RuntimeError("the connection was cut")
        await real(*args)

    monkeypatch.setattr(store, "store", cut_once)
    await world.handle([world.record(A, B, "hello")])
    assert [content for *_, content in await world.stored()] == ["hello"]
    assert world.letters.sent == []


async def test_what_was_refused_is_committed_at_once(world: World) -> None:
    """After a crash it would be judged anew, by what holds then, and stored though its sender was told
    that it is not."""
    for to, soon in ((B, False), (GHOST, True)):
        finish = await world.consumer.handle([world.record(A, to, "x")])
        assert (await finish() is not None) is soon


async def test_that_somebody_exists_is_asked_once_and_that_nobody_does_each_time(
    world: World,
) -> None:
    counts = []
    for to in (B, B, GHOST, GHOST):
        before = world.owners.calls
        await world.handle([world.record(A, to, "x")])
        counts.append(world.owners.calls - before)
    # Whether one has blocked the other is asked with each batch.
    assert counts == [2, 1, 2, 2]


@pytest.mark.parametrize(
    "wrong",
    [
        {"message_id": ""},
        {"message_id": "m "},
        {"conversation_id": ""},
        {"conversation_id": "s:1001:é"},
        {"sender_id": 0},
        {"sender_id": -1},
        {"to_user_id": None},
        {"client_msg_id": ""},
        {"client_msg_id": "c" * 65},
        {"content_type": "é"},
        {"reply_to": "é"},
    ],
)
async def test_what_no_client_sends_is_a_dead_letter(world: World, wrong: dict[str, Any]) -> None:
    message = ChatRecord.FromString(world.record(A, B, "bad").value).message
    ((name, value),) = wrong.items()
    if value is None:
        message.ClearField(name)
    else:
        of = message if name in message.DESCRIPTOR.fields_by_name else message.content
        setattr(of, name, value)
    await world.handle([world.wrap(message), world.record(A, B, "fine")])
    assert [content for *_, content in await world.stored()] == ["fine"]
    assert len(world.letters.sent) == 1


async def test_a_recall_of_nothing_by_nobody_or_nowhere_is_a_dead_letter(world: World) -> None:
    records = [
        world.recall("", A, f"s:{A}:{B}"),
        world.recall("m-1", 0, f"s:{A}:{B}"),
        world.recall("m-1", -1, f"s:{A}:{B}"),
        world.recall("m-1", A, "nowhere"),
    ]
    await world.handle(records)
    assert len(world.letters.sent) == len(records)
    assert world.gateway.answers() == []
