"""The Python client on the whole system, with what it needs killed in the middle."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from im_clients import LIMIT_S, People, history, until
from im_people import PASSWORD

from im_client import (
    ApiError,
    MemoryStorage,
    Message,
    MessageRefused,
    SessionEnded,
    SqliteStorage,
    State,
    StorageInUse,
)
from im_local.paths import ROOT
from im_local.testing import System

TOTAL = 150


def contents(messages: list[Message]) -> list[str]:
    return [message.content for message in messages]


async def test_two_people_talk_and_see_how_far_their_messages_are(people: People) -> None:
    ann, bob = await people.new(), await people.new()
    talk = ann.client.conversation_with(bob.id)
    wanted = [f"{number}" for number in range(30)]
    await ann.talk(bob, *wanted)
    await until(bob, lambda: len(bob.shown) == 30)
    await until(ann, lambda: ann.client.waiting == 0 and len(ann.shown) == 30)
    assert contents(ann.shown) == contents(bob.shown) == wanted
    assert [message.seq for message in ann.shown] == list(range(1, 31))
    mine, theirs = ann.client.conversation(talk), bob.client.conversation(talk)
    await until(ann, lambda: mine.state_of(ann.shown[-1]) == "delivered")
    assert theirs.unread == 30
    await bob.client.mark_read(talk, 30)
    assert theirs.unread == 0
    await until(ann, lambda: mine.state_of(ann.shown[-1]) == "read")


async def test_what_is_sent_is_told_its_place_or_why_it_has_none(people: People) -> None:
    ann, bob = await people.new(), await people.new()
    talk = ann.client.conversation_with(bob.id)
    sent = await ann.client.send(talk, "hello", ext={"colour": "green"})
    placed = await sent.placed()
    assert (placed.seq, placed.sender, placed.ext) == (1, ann.id, {"colour": "green"})
    await bob.client.http.put(f"/v1/blocks/{ann.id}")
    refused = await ann.client.send(talk, "let me in")
    with pytest.raises(MessageRefused) as told:
        await refused.placed()
    assert told.value.code == "BLOCKED"
    assert [entry.state for entry in ann.client.pending(talk)] == ["failed"]
    await bob.client.http.delete(f"/v1/blocks/{ann.id}")
    again = await ann.client.retry(refused)
    assert (await again.placed()).content == "let me in"
    assert ann.client.pending(talk) == []
    with pytest.raises(ApiError) as too_long:
        await ann.client.send(talk, "x" * (16 * 1024 + 1))
    assert (too_long.value.code, too_long.value.field) == ("PAYLOAD_TOO_LARGE", "content")


async def test_a_client_that_is_opened_again_has_its_messages_and_gets_what_it_missed(
    people: People, tmp_path: Path
) -> None:
    ann, bob = await people.new(), await people.new(SqliteStorage(tmp_path / "bob.db"))
    talk = ann.client.conversation_with(bob.id)
    await ann.talk(bob, "before")
    await until(bob, lambda: len(bob.shown) == 1)
    await bob.client.set_draft(talk, "half a th")
    await bob.client.close()
    await ann.talk(bob, "while", "away")
    await until(ann, lambda: ann.client.waiting == 0)
    again = await people.at(SqliteStorage(tmp_path / "bob.db"))
    conversation = await again.client.open_conversation(talk)
    assert contents(conversation.messages)[0] == "before"
    await until(again, lambda: len(again.shown) == 2)
    assert contents(conversation.messages) == ["before", "while", "away"]
    assert (conversation.unread, conversation.draft) == (3, "half a th")


async def test_another_device_begins_with_the_list_and_asks_for_the_history(
    people: People,
) -> None:
    ann, bob = await people.new(), await people.new()
    talk = ann.client.conversation_with(bob.id)
    await ann.talk(bob, *(f"{number}" for number in range(60)))
    await until(ann, lambda: ann.client.waiting == 0)
    phone = await people.at(MemoryStorage())
    await phone.client.login(bob.username, PASSWORD)
    await until(phone, lambda: phone.client.state is State.ONLINE)
    conversation = phone.client.conversation(talk)
    assert conversation.last_message
    assert (conversation.unread, conversation.last_message.content) == (60, "59")
    assert [await phone.client.older(talk) for _ in range(3)] == [50, 10, 0]
    await ann.talk(bob, "60")
    await until(phone, lambda: len(phone.shown) == 1)
    assert contents(conversation.messages) == [f"{number}" for number in range(61)]


async def test_what_waited_for_who_had_no_device_is_delivered_when_the_first_one_has_it(
    people: People,
) -> None:
    ann, bob = await people.new(), await people.new()
    await bob.client.close()
    sent = await ann.say(ann.chat_with(bob), "hello")
    phone = await people.at(MemoryStorage())
    await phone.client.login(bob.username, PASSWORD)
    seen = ann.client.conversation(sent.conversation_id)
    await until(ann, lambda: seen.state_of(sent) == "delivered")
    assert phone.client.conversation(sent.conversation_id).unread == 1


async def test_what_was_sent_without_a_connection_goes_out_from_the_next_client(
    people: People, tmp_path: Path
) -> None:
    ann, bob = await people.new(SqliteStorage(tmp_path / "ann.db")), await people.new()
    await ann.client.close()
    # No gateway answers there.
    lonely = await people.at(SqliteStorage(tmp_path / "ann.db"), "ws://127.0.0.1:9/ws/connect")
    await lonely.talk(bob, "one", "two", "three")
    assert lonely.client.waiting == 3
    await lonely.client.close()
    again = await people.at(SqliteStorage(tmp_path / "ann.db"))
    await until(bob, lambda: len(bob.shown) == 3)
    assert contents(bob.shown) == ["one", "two", "three"]
    await until(again, lambda: again.client.waiting == 0)


async def test_a_token_that_has_expired_is_renewed_once_for_all_who_need_it(
    people: People,
) -> None:
    ann = await people.new()
    await until(ann, lambda: ann.client.state is State.ONLINE)
    await ann.client.close()
    session = await ann.storage.get("session")
    await ann.storage.write([("session", {**session, "expires_at": 0})])
    again = await people.at(ann.storage)
    # The connection asks for one, too.
    asked = [again.client.http.get("/v1/users/me") for _ in range(5)]
    assert {one["user_id"] for one in await asyncio.gather(*asked)} == {ann.id}
    await until(again, lambda: again.client.state is State.ONLINE)
    renewed = await ann.storage.get("session")
    assert renewed["refresh_token"] != session["refresh_token"]
    # A second renewal would have made the sessions' list say so by a third pair.
    assert await again.client.http.get("/v1/users/me")
    assert (await ann.storage.get("session")) == renewed


async def test_a_group_and_a_message_that_is_taken_back_look_the_same_to_all(
    people: People,
) -> None:
    ann, bob, eve = [await people.new() for _ in range(3)]
    everybody = (ann, bob, eve)
    for one in everybody:
        await until(one, lambda one=one: one.client.state is State.ONLINE)  # type: ignore[misc]
    body = {"name": "team", "member_ids": [bob.id, eve.id]}
    group_id = (await ann.client.http.post("/v1/groups", body))["group_id"]
    talk = ann.client.conversation_of(group_id)
    await asyncio.gather(*(one.client.send(talk, f"from {one.id}") for one in everybody))
    for one in everybody:
        await until(one, lambda one=one: len(one.shown) == 4)  # type: ignore[misc]
    assert contents(ann.shown) == contents(bob.shown) == contents(eve.shown)
    assert ann.shown[0].ext["event"] == "group_created"
    mine = next(message for message in ann.shown if message.content == f"from {ann.id}")
    await ann.client.recall(mine.message_id)
    place = mine.seq - 1
    for one in everybody:
        messages = one.client.conversation(talk).messages
        await until(one, lambda messages=messages: messages[place].recalled)  # type: ignore[misc]
        assert messages[place].content == ""


async def test_a_session_that_is_ended_elsewhere_ends_the_client_and_keeps_what_was_not_sent(
    people: People,
) -> None:
    ann, bob = await people.new(), await people.new()
    phone = await people.at(MemoryStorage())
    await phone.client.login(ann.username, PASSWORD)
    await until(ann, lambda: ann.client.state is State.ONLINE)
    told: list[object] = []
    ann.client.on.session(told.append)
    await phone.client.http.delete(f"/v1/auth/sessions/{ann.client.session_id}")
    with pytest.raises(SessionEnded):
        async for _ in ann.client.messages():
            pass
    assert [type(one) for one in told] == [SessionEnded]
    assert ann.client.state is State.OFF
    assert await ann.storage.get("session") is None
    with pytest.raises(ApiError) as refused:
        await ann.client.http.get("/v1/users/me")
    assert refused.value.code == "UNAUTHENTICATED"
    await ann.client.login(ann.username, PASSWORD)
    await ann.talk(bob, "back again")
    await until(bob, lambda: contents(bob.shown) == ["back again"])


async def test_a_token_is_taken_to_no_other_server(people: People) -> None:
    ann = await people.new()
    for path in ("http://127.0.0.1:9/v1/users/me", "//127.0.0.1:9/v1/users/me"):
        with pytest.raises(ApiError) as refused:
            await ann.client.http.get(path)
        assert refused.value.code == "INVALID_ARGUMENT"


async def test_one_client_has_a_file_at_a_time(people: People, tmp_path: Path) -> None:
    ann = await people.new(SqliteStorage(tmp_path / "ann.db"))
    assert (tmp_path / "ann.db").stat().st_mode & 0o077 == 0
    with pytest.raises(StorageInUse):
        await people.at(SqliteStorage(tmp_path / "ann.db"))
    await ann.client.close()
    again = await people.at(SqliteStorage(tmp_path / "ann.db"))
    assert again.client.user_id


@pytest.mark.parametrize("name", ["ws-gateway", "chat-mq", "api-gateway"])
async def test_everything_sent_is_shown_once_and_in_order_when_a_process_is_killed(
    system: System, people: People, tmp_path: Path, name: str
) -> None:
    ann = await people.new(SqliteStorage(tmp_path / "ann.db"))
    bob = await people.new(SqliteStorage(tmp_path / "bob.db"))
    wanted = [f"{number}" for number in range(TOTAL)]
    await ann.talk(bob, *wanted)
    await until(bob, lambda: len(bob.shown) > TOTAL / 10)
    # Of several, the first.
    system.kill(next(one for one in system.ready.pids if one.startswith(name)))
    await until(bob, lambda: len(bob.shown) >= TOTAL)
    await until(ann, lambda: ann.client.waiting == 0 and len(ann.shown) >= TOTAL)
    await asyncio.to_thread(system.wait_ready, name)
    assert contents(bob.shown) == contents(ann.shown) == wanted
    assert [message.seq for message in bob.shown] == list(range(1, TOTAL + 1))
    assert contents(await history(ann, ann.client.conversation_with(bob.id))) == wanted


async def test_nothing_is_lost_or_doubled_when_clients_are_closed_and_opened_and_a_gateway_dies(
    system: System, people: People, tmp_path: Path
) -> None:
    ann = await people.new(SqliteStorage(tmp_path / "ann.db"))
    bob = await people.new(SqliteStorage(tmp_path / "bob.db"))
    talk, wanted = ann.client.conversation_with(bob.id), [f"{n}" for n in range(TOTAL)]
    await ann.talk(bob, *wanted)
    await until(bob, lambda: len(bob.shown) > TOTAL / 10)
    await ann.client.close()
    await bob.client.close()
    system.kill(next(one for one in system.ready.pids if one.startswith("ws-gateway")))
    later_ann = await people.at(SqliteStorage(tmp_path / "ann.db"))
    later_bob = await people.at(SqliteStorage(tmp_path / "bob.db"))
    await until(later_bob, lambda: len(bob.shown) + len(later_bob.shown) >= TOTAL)
    await until(later_ann, lambda: later_ann.client.waiting == 0)
    assert contents([*bob.shown, *later_bob.shown]) == wanted
    assert contents(await history(later_ann, talk)) == wanted
    await asyncio.to_thread(system.wait_ready, "ws-gateway")


async def test_what_was_not_handled_comes_again_after_a_restart(
    people: People, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of what was handled so many are kept.
    monkeypatch.setattr("im_client.conversation.KEPT", 10)
    ann = await people.new()
    bob = await people.new(SqliteStorage(tmp_path / "bob.db"))
    await ann.talk(bob, *(f"{number}" for number in range(60)))
    handled = []
    async for message in bob.client.messages():
        handled.append(message.content)
        if len(handled) == 10:
            break
    await until(bob, lambda: len(bob.shown) == 60)
    await bob.client.close()
    again = await people.at(SqliteStorage(tmp_path / "bob.db"))
    # The tenth was not done with: the next one was never asked for.
    async for message in again.client.messages():
        handled.append(message.content)
        if message.content == "59":
            break
    assert handled == [f"{n}" for n in [*range(10), *range(9, 60)]]


EXAMPLE = (
    (ROOT / "docs" / "client.md")
    .read_text(encoding="utf-8")
    .partition("```python\n")[2]
    .partition("```")[0]
)


@asynccontextmanager
async def running_bot(system: System, folder: Path, name: str) -> AsyncIterator[None]:
    """The example of the documentation, once it is online. It is killed at the end."""
    env = {"IM_API": system.ready.api, "BOT_NAME": name, "BOT_PASSWORD": PASSWORD}
    bot = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-u", "-c", EXAMPLE, cwd=folder, env={**os.environ, **env},
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert bot.stdout
    try:
        async with asyncio.timeout(LIMIT_S):
            while (line := await bot.stdout.readline()) != b"online\n":
                assert line, "the bot has ended"
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            bot.kill()
        await bot.wait()


async def test_the_bot_of_the_documentation_answers_each_message_once_though_it_is_killed(
    system: System, people: People, tmp_path: Path
) -> None:
    assert len(EXAMPLE.splitlines()) <= 24
    ann, owner = await people.new(), await people.new()
    talk = ann.client.conversation_with(owner.id)
    # What the bot begins with is what comes from then on.
    await owner.client.close()

    def echoes() -> list[str]:
        return [message.content for message in ann.shown if message.sender == owner.id]

    wanted = [f"{number}" for number in range(60)]
    async with running_bot(system, tmp_path, owner.username):
        await ann.talk(owner, "are you there?")
        await until(ann, lambda: len(echoes()) == 1)
        await ann.talk(owner, *wanted)
        await until(ann, lambda: len(echoes()) > 20)
    async with running_bot(system, tmp_path, owner.username):
        await until(ann, lambda: len(echoes()) > 40)
    system.kill(next(one for one in system.ready.pids if one.startswith("ws-gateway")))
    async with running_bot(system, tmp_path, owner.username):
        await until(ann, lambda: len(echoes()) > len(wanted))
    assert echoes() == ["are you there?", *wanted]
    stored = [m.content for m in await history(ann, talk) if m.sender == owner.id]
    assert stored == echoes()
    await asyncio.to_thread(system.wait_ready, "ws-gateway")
