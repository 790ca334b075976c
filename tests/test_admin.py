"""`im-admin` on the running system, as an operator types it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from im_people import PASSWORD, Connect, MakeUser, User

from im_local.paths import ROOT
from im_local.testing import System


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


async def test_wrong_words_are_refused_by_name(admin: Admin, tmp_path: Path) -> None:
    exit_code, error = await admin.refusal("users", "find", "--most", "none")
    assert (exit_code, "--most" in error) == (2, True)
    exit_code, error = await admin.refusal("sessions", "end", "ann")
    assert (exit_code, "SESSION" in error) == (2, True)
    exit_code, error = await admin.refusal("users", "show", "--json", "nobody-has-this")
    assert exit_code == 1
    assert json.loads(error)["error"]["code"] == "NOT_FOUND"
    exit_code, error = await admin.refusal("audit", "list", "--data", str(tmp_path))
    assert (exit_code, f"--data {tmp_path}" in error) == (2, True)
