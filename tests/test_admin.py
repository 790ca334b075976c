"""`im-admin` on the running system, as an operator types it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
import uuid_utils
from im_clients import People, make_group
from im_operator import bury, message
from im_people import PASSWORD, Connect, MakeUser, User, single

from im_common.bus.topics import CHAT_TOPIC
from im_common.domain.ids import now_ms
from im_local.paths import ROOT
from im_local.testing import System

AWAY = {"IM_INTERNAL_SECRET": "x" * 32, "IM_AUTH_RPC__ENDPOINTS": "127.0.0.1:9"}


class Refused(Exception):
    """Exit code and what it said."""


class Admin:
    """Calls `scripts/im-admin`."""

    def __init__(self, data: Path) -> None:
        self._data = data

    async def text(self, *words: str) -> str:
        """What a person sees. Raises Refused."""
        process = await asyncio.create_subprocess_exec(
            ROOT / "scripts" / "im-admin",
            *("--data", str(self._data), "--as", "tester"),
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        said, errors = await process.communicate()
        if process.returncode:
            raise Refused(process.returncode, errors.decode())
        return said.decode()

    async def json(self, *words: str) -> Any:
        return json.loads(await self.text(*words, "--json"))

    async def refusal(self, *words: str) -> tuple[int, str]:
        """The exit code, and the error."""
        with pytest.raises(Refused) as refused:
            await self.text(*words)
        exit_code, error = refused.value.args
        return exit_code, error


@pytest.fixture
def admin(system: System) -> Admin:
    return Admin(system.data)


async def _log_in(http: httpx.AsyncClient, user: User) -> httpx.Response:
    body = {"username": user.username, "password": PASSWORD}
    return await http.post("/v1/auth/login", json=body)


async def test_a_disabled_users_connection_ends_and_nobody_gets_in_until_he_is_enabled(
    http: httpx.AsyncClient, new_user: MakeUser, online: Connect, admin: Admin
) -> None:
    user, other = await new_user(), await new_user()
    device = await online(user)

    answer = await admin.json("users", "disable", user.username)
    assert (answer["user_id"], answer["disabled"]) == (user.user_id, True)
    assert await device.wait_closed(limit_s=5) == 4002
    assert (await user.request("GET", "/v1/users/me")).status_code == 401
    assert (await _log_in(http, user)).status_code == 403
    found = await other.get("/v1/users", q=user.username)
    assert found["items"] == []

    await admin.text("users", "enable", str(user.user_id))
    assert (await _log_in(http, user)).status_code == 200
    assert [u["user_id"] for u in (await other.get("/v1/users", q=user.username))["items"]]

    deeds = await admin.json("audit", "list", "--target", f"user {user.user_id}")
    assert [(d["who"], d["action"], d["outcome"]) for d in deeds] == [
        ("tester", "users enable", "ok"),
        ("tester", "users disable", "ok"),
    ]


async def test_a_deleted_user_is_gone_and_only_with_yes(
    http: httpx.AsyncClient, new_user: MakeUser, admin: Admin
) -> None:
    user = await new_user()

    exit_code, error = await admin.refusal("users", "delete", user.username)
    assert exit_code == 2
    assert "--yes" in error
    assert (await _log_in(http, user)).status_code == 200

    await admin.text("users", "delete", user.username, "--yes")
    assert (await _log_in(http, user)).status_code == 401
    exit_code, error = await admin.refusal("users", "show", user.username)
    assert exit_code == 1
    assert user.username in error
    exit_code, _ = await admin.refusal("users", "enable", str(user.user_id))
    assert exit_code == 1
    (last, _) = await admin.json("audit", "list", "--target", f"user {user.user_id}")
    assert (last["action"], last["outcome"]) == ("users enable", "NOT_FOUND")


async def test_a_user_is_shown_with_sessions_and_connections_and_one_session_is_ended(
    http: httpx.AsyncClient, new_user: MakeUser, online: Connect, admin: Admin
) -> None:
    user = await new_user()
    phone = User.of(http, user.username, (await _log_in(http, user)).json())
    device, on_phone = await online(user), await online(phone)

    shown = await admin.json("users", "show", user.username)
    assert {s["session_id"] for s in shown["sessions"]} == {user.session_id, phone.session_id}
    assert len(shown["connections"]) == 2
    assert user.session_id in await admin.text("users", "show", user.username)

    ended = await admin.json("sessions", "end", user.username, phone.session_id)
    assert ended["ended"] == 1
    assert await on_phone.wait_closed(limit_s=5) == 4002
    (left,) = await admin.json("sessions", "list", user.username)
    assert left["session_id"] == user.session_id
    exit_code, error = await admin.refusal("sessions", "end", user.username, phone.session_id)
    assert (exit_code, "session" in error) == (1, True)
    await admin.text("sessions", "end", user.username, "--all")
    assert await device.wait_closed(limit_s=5) == 4002


async def test_a_dead_letter_is_listed_shown_and_replayed_exactly_once(
    system: System, new_user: MakeUser, online: Connect, admin: Admin
) -> None:
    ann, bob = await new_user(), await new_user()
    on_bob = await online(bob)
    conversation_id, message_id = single(ann, bob), str(uuid_utils.uuid7())
    await bury(system, message(ann, bob, message_id, now_ms()))

    (letter,) = [
        one
        for one in await admin.json("dead-letters", "list", "--most", "10000")
        if _is_of(one, ann, bob)
    ]
    assert (letter["reason"], letter["replayed"]) == ("a test", False)
    name = letter["letter"]
    (shown,) = await admin.json("dead-letters", "show", name)
    assert message_id in shown["record"]
    assert message_id in await admin.text("dead-letters", "show", name)

    await admin.text("dead-letters", "replay", name)
    frame = await on_bob.wait_for(lambda f: f["type"] == "message")
    assert (frame["message_id"], frame["seq"], frame["content"]) == (message_id, 1, "late")
    (letter,) = [
        one
        for one in await admin.json("dead-letters", "list", "--most", "10000")
        if _is_of(one, ann, bob)
    ]
    assert letter["replayed"]
    exit_code, error = await admin.refusal("dead-letters", "replay", name)
    assert (exit_code, name in error) == (1, True)
    # There may be letters of others.
    assert name not in [one["letter"] for one in await admin.json("dead-letters", "replay", "all")]

    # On purpose: it has its place already.
    await admin.text("dead-letters", "replay", name, "--again")
    on_ann = await online(ann)
    assert (await on_ann.ask(to=bob.user_id, content="next"))["seq"] == 2
    assert [m["content"] for m in await bob.history(conversation_id)] == ["late", "next"]
    exit_code, error = await admin.refusal("dead-letters", "show", "7/none")
    assert (exit_code, "7/none" in error) == (1, True)


async def test_lag_says_what_consumers_that_stand_still_have_left(
    system: System, new_user: MakeUser, online: Connect, admin: Admin
) -> None:
    ann, bob = await new_user(), await new_user()
    on_ann = await online(ann)
    consumers = [name for name in system.ready.pids if name.startswith("chat-mq")]
    for name in consumers:
        system.kill(name, signal.SIGSTOP)
    try:
        for n in range(7):
            await on_ann.send(type="chat", to=bob.user_id, content="?", client_msg_id=f"lag-{n}")
        # The gateway answers a ping after what came before is on its way to the log.
        await on_ann.send(type="ping")
        await on_ann.wait_for(lambda f: f["type"] == "pong")
        await until(lambda: _left(admin), 7)
    finally:
        for name in consumers:
            system.kill(name, signal.SIGCONT)
    # Also those that had waited for too long, and were answered so.
    await until(lambda: _left(admin), 0)
    assert len(await ann.history(single(ann, bob))) == 7


async def test_what_waits_for_a_user_is_shown_without_what_was_written(
    new_user: MakeUser, online: Connect, admin: Admin
) -> None:
    ann, bob = await new_user(), await new_user()
    on_ann = await online(ann)
    for n in range(3):
        await on_ann.ask(to=bob.user_id, content=f"secret {n}")

    await until(lambda: _frames_of(admin, bob), [1, 2, 3])
    text = await admin.text("offline", "show", bob.username, "--most", "2")
    assert "secret" not in text
    assert len(text.splitlines()) == 1 + 2
    lists = await admin.json("offline", "list", "--most", "1000")
    assert {"user_id": bob.user_id, "frames": 3, "online": False} in lists
    assert (await admin.json("users", "show", bob.username))["offline_frames"] == 3


async def test_the_outbox_of_each_service_is_told(admin: Admin) -> None:
    backlogs = await admin.json("outbox", "show")
    assert [one["service"] for one in backlogs] == ["auth", "friend", "group", "user"]
    assert all(one["records"] >= 0 for one in backlogs)


async def test_a_group_is_found_shown_and_dismissed_in_its_owners_name(
    people: People, admin: Admin
) -> None:
    ann, bob = await people.new(), await people.new()
    group_id = await make_group(ann, bob)

    (found,) = await admin.json("groups", "find", "--of", bob.username)
    assert (found["group_id"], found["name"], found["member_count"]) == (group_id, "team", 2)
    assert group_id in [g["group_id"] for g in await admin.json("groups", "find", "eam")]
    shown = await admin.json("groups", "show", str(group_id))
    assert {m["user_id"]: m["role"] for m in shown["members"]} == {
        ann.id: "owner",
        bob.id: "member",
    }
    assert "owner" in await admin.text("groups", "show", str(group_id))

    exit_code, error = await admin.refusal("groups", "dismiss", str(group_id))
    assert (exit_code, "--yes" in error) == (2, True)
    await admin.text("groups", "dismiss", str(group_id), "--yes")
    assert await bob.told("GroupDismissed") == {"group_id": group_id, "by": ann.id}
    assert await admin.json("groups", "find", "--of", bob.username) == []
    exit_code, error = await admin.refusal("groups", "show", str(group_id))
    assert (exit_code, str(group_id) in error) == (1, True)


async def test_reported_messages_are_read_with_a_reason_that_is_noted_before(
    people: People, admin: Admin
) -> None:
    ann, bob = await people.new(), await people.new()
    on = ann.chat_with(bob)
    for n in range(3):
        await ann.say(on, f"threat {n}")
    both = f"{bob.username} {ann.username}"

    exit_code, error = await admin.refusal("messages", "read", both, "--reason", " ")
    assert (exit_code, "reason" in error) == (1, True)
    page = await admin.json("messages", "read", both, "--reason", "report 17", "--most", "2")
    assert [m["content"] for m in page["messages"]] == ["threat 1", "threat 2"]
    assert page["has_more"]
    words = ("messages", "read", on, "--reason", "the rest", "--before", "2")
    assert "threat 0" in await admin.text(*words)
    deeds = await admin.json("audit", "list", "--target", f"conversation {on}")
    assert [(d["action"], d["reason"], d["outcome"]) for d in deeds] == [
        ("messages read", "the rest", "ok"),
        ("messages read", "report 17", "ok"),
    ]
    exit_code, error = await admin.refusal("messages", "read", "ann", "--reason", "x")
    assert (exit_code, "CONVERSATION" in error) == (1, True)


async def test_rotated_keys_sign_soon_and_log_nobody_out(
    http: httpx.AsyncClient, new_user: MakeUser, admin: Admin
) -> None:
    user = await new_user()
    before = await admin.json("keys", "list")
    assert [key["signs"] for key in before].count(True) == 1

    new = (await admin.json("keys", "rotate"))["kid"]

    async def signing() -> str:
        return next(str(key["kid"]) for key in await admin.json("keys", "list") if key["signs"])

    await until(signing, new)
    assert {key["kid"] for key in before} < {key["kid"] for key in await admin.json("keys", "list")}
    token = (await _log_in(http, user)).json()["access_token"]
    assert jwt.get_unverified_header(token)["kid"] == new
    assert (await user.request("GET", "/v1/users/me")).status_code == 200
    (last, *_) = await admin.json("audit", "list")
    assert (last["action"], last["outcome"]) == ("keys rotate", "ok")


async def test_messages_that_are_too_old_are_removed_when_days_are_given(
    system: System, new_user: MakeUser, online: Connect, admin: Admin
) -> None:
    ann, bob = await new_user(), await new_user()
    on_ann = await online(ann)
    month_ago = now_ms() - 30 * 24 * 3600 * 1000
    await bury(system, message(ann, bob, str(uuid_utils.uuid7()), month_ago))
    letters = await admin.json("dead-letters", "list", "--most", "10000")
    (letter,) = [one["letter"] for one in letters if _is_of(one, ann, bob)]
    await admin.text("dead-letters", "replay", letter)
    await on_ann.wait_for(lambda f: f["type"] == "message")
    await on_ann.ask(to=bob.user_id, content="young")

    assert await admin.json("retention", "show") == {"retention_days": 0, "is_for_ever": True}
    exit_code, error = await admin.refusal("retention", "run", "--yes")
    assert (exit_code, "--days" in error) == (1, True)
    assert (await admin.json("retention", "run", "--days", "31", "--yes"))["removed"] == 0
    assert (await admin.json("retention", "run", "--days", "29", "--yes"))["removed"] == 1
    assert [(m["seq"], m["content"]) for m in await bob.history(single(ann, bob))] == [(2, "young")]


async def test_a_system_that_is_away_is_told_by_an_exit_code_of_its_own() -> None:
    """As in a container: by variables, among them those of another process."""
    variables = AWAY | {"IM_DB__DATA_SOURCE": "of another process"}
    told = await _told_that_it_is_away("users", "disable", "ann", "--json", **variables)
    assert json.loads(told)["error"]["code"] in ("UNAVAILABLE", "DEADLINE_EXCEEDED")


async def test_where_nothing_runs_it_is_said_what_starts_it(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "im-admin.json").write_text(json.dumps(AWAY))
    command = ("users", "find", "--data", str(tmp_path))
    assert f"`scripts/up --data {tmp_path}` starts it" in await _told_that_it_is_away(*command)
    (tmp_path / "ready.json").touch()
    assert "scripts/up" not in await _told_that_it_is_away(*command)


async def _told_that_it_is_away(*arguments: str, **variables: str) -> str:
    mine = {name: text for name, text in os.environ.items() if not name.startswith("IM_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "im_admin", *arguments),
        env=mine | variables,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, errors = await process.communicate()
    assert (process.returncode, said) == (3, b"")
    return errors.decode()


async def _frames_of(admin: Admin, user: User) -> list[int]:
    return [frame["seq"] for frame in await admin.json("offline", "show", user.username)]


async def _left(admin: Admin) -> int:
    lag = await admin.json("lag", "show")
    return sum(one["records"] for one in lag if one["topic"] == CHAT_TOPIC)


def _is_of(letter: dict[str, Any], a: User, b: User) -> bool:
    return bool(letter["key"] == single(a, b))


async def until(ask: Callable[[], Awaitable[Any]], wanted: Any, limit_s: float = 30) -> None:
    """Asks again until the answer is what is wanted; each time is a process, which is pause enough."""
    deadline = time.monotonic() + limit_s
    while (answer := await ask()) != wanted:
        assert time.monotonic() < deadline, answer


async def test_wrong_words_are_refused_by_name(admin: Admin, tmp_path: Path) -> None:
    exit_code, error = await admin.refusal("users", "find", "--most", "none")
    assert (exit_code, "--most" in error) == (2, True)
    exit_code, error = await admin.refusal("sessions", "end", "ann")
    assert (exit_code, "SESSION" in error) == (2, True)
    exit_code, error = await admin.refusal("--json", "keys", "list", "--nothing")
    told = json.loads(error)["error"]
    assert (exit_code, told["code"], "--nothing" in told["message"]) == (
        2,
        "INVALID_ARGUMENT",
        True,
    )
    exit_code, error = await admin.refusal("users", "show", "--json", "nobody-has-this")
    assert exit_code == 1
    assert json.loads(error)["error"]["code"] == "NOT_FOUND"
    exit_code, error = await admin.refusal("audit", "list", "--data", str(tmp_path))
    assert (exit_code, f"--data {tmp_path}" in error) == (2, True)
