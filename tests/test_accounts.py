"""Accounts over HTTP and WebSocket: sessions, devices, profiles, presence, guessing."""

from __future__ import annotations

import asyncio
import signal
import time

import httpx
from im_people import PASSWORD, Connect, MakeUser, User, register

from im_local.testing import System


async def _login(http: httpx.AsyncClient, user: User, **more: str) -> User:
    body = {"username": user.username, "password": PASSWORD, **more}
    response = await http.post("/v1/auth/login", json=body)
    assert response.status_code == 200, response.text
    return User.of(http, user.username, response.json())


async def _refused_within(user: User, seconds: float) -> None:
    """HTTP with the user's access token is refused, soon."""
    deadline = time.monotonic() + seconds
    while True:
        response = await user.request("GET", "/v1/users/me")
        if response.status_code == 401:
            assert response.json()["code"] == "SESSION_REVOKED"
            return
        assert time.monotonic() < deadline, "the session goes on"
        await asyncio.sleep(0.1)


async def _refresh(http: httpx.AsyncClient, token: str) -> httpx.Response:
    return await http.post("/v1/auth/refresh", json={"refresh_token": token})


async def test_a_revoked_session_ends_everywhere_within_five_seconds(
    http: httpx.AsyncClient, new_user: MakeUser, online: Connect
) -> None:
    laptop = await new_user()
    phone = await _login(http, laptop, device_id="phone", platform="ios")
    on_phone, on_laptop = await online(phone), await online(laptop)
    sessions = (await laptop.get("/v1/auth/sessions"))["items"]
    assert {s["session_id"] for s in sessions} == {laptop.session_id, phone.session_id}
    (current,) = [s for s in sessions if s["current"]]
    assert current["session_id"] == laptop.session_id
    (other,) = [s for s in sessions if not s["current"]]
    assert (other["device_id"], other["platform"]) == ("phone", "ios")
    assert other["address"] == "127.0.0.1"

    response = await laptop.request("DELETE", f"/v1/auth/sessions/{phone.session_id}")
    assert response.status_code == 204
    assert await on_phone.wait_closed(limit_s=5) == 4002
    assert on_phone.frames[-1]["type"] == "kick"
    await _refused_within(phone, 5)
    assert (await _refresh(http, phone.refresh_token)).status_code == 401
    # The other device goes on.
    await on_laptop.send(type="ping")
    await on_laptop.wait_for(lambda f: f["type"] == "pong")
    assert (await laptop.request("GET", "/v1/users/me")).status_code == 200


async def test_all_others_end_by_the_button_and_by_a_new_password(
    http: httpx.AsyncClient, new_user: MakeUser
) -> None:
    first = await new_user()
    second = await _login(http, first)
    assert (await first.request("DELETE", "/v1/auth/sessions")).status_code == 204
    await _refused_within(second, 5)
    third = await _login(http, first)
    body = {"old_password": PASSWORD, "new_password": "another password"}
    assert (await third.request("POST", "/v1/auth/password", json=body)).status_code == 204
    await _refused_within(first, 5)
    assert (await third.request("GET", "/v1/users/me")).status_code == 200
    old = {"username": first.username, "password": PASSWORD}
    response = await http.post("/v1/auth/login", json=old)
    assert (response.status_code, response.json()["code"]) == (401, "INVALID_CREDENTIALS")


async def test_a_refresh_token_used_once_more_after_its_pair_ends_the_session(
    http: httpx.AsyncClient, new_user: MakeUser
) -> None:
    user = await new_user()
    answer = await _refresh(http, user.refresh_token)
    assert answer.status_code == 200
    renewed = answer.json()
    assert renewed["session_id"] == user.session_id
    assert renewed["refresh_token"] != user.refresh_token
    assert (await _refresh(http, user.refresh_token)).json() == renewed
    headers = {"Authorization": f"Bearer {renewed['access_token']}"}
    assert (await http.get("/v1/users/me", headers=headers)).status_code == 200
    assert (await _refresh(http, user.refresh_token)).status_code == 401
    assert (await _refresh(http, renewed["refresh_token"])).status_code == 401
    await _refused_within(user, 5)


async def test_names_are_unique_whatever_their_case(
    http: httpx.AsyncClient, new_user: MakeUser
) -> None:
    user = await new_user()
    body = {"username": user.username.upper(), "password": PASSWORD}
    response = await http.post("/v1/auth/register", json=body)
    assert (response.status_code, response.json()["code"]) == (409, "ALREADY_EXISTS")
    login = await http.post("/v1/auth/login", json=body)
    assert login.json()["user_id"] == user.user_id
    for bad in ("ab", "a" * 33, "has space", "émile"):
        body = {"username": bad, "password": PASSWORD}
        response = await http.post("/v1/auth/register", json=body)
        assert (response.status_code, response.json()["field"]) == (400, "username")
    body = {"username": "fine.name", "password": "short"}
    response = await http.post("/v1/auth/register", json=body)
    assert (response.status_code, response.json()["field"]) == (400, "password")


async def test_a_profile_is_changed_field_by_field_and_found(http: httpx.AsyncClient) -> None:
    ann = await register(http, nickname="安娜😀", email=f"a{time.time_ns()}@example.org")
    bob = await register(http)
    change = {"signature": "hi", "gender": "female", "ext": {"team": 7}}
    response = await ann.request("PATCH", "/v1/users/me", json=change)
    assert response.status_code == 200, response.text
    me = await ann.get("/v1/users/me")
    assert (me["nickname"], me["signature"], me["gender"]) == ("安娜😀", "hi", "female")
    assert me["ext"] == {"team": 7}
    assert me["email"].endswith("@example.org")
    seen = await bob.get(f"/v1/users/{ann.user_id}")
    assert seen["nickname"] == "安娜😀"
    assert "email" not in seen
    for query in ("安", "安娜😀", ann.username, str(ann.user_id)):
        found = (await bob.get("/v1/users", q=query, limit=100))["items"]
        assert ann.user_id in [u["user_id"] for u in found], query
    for query in ("安娜😁", me["email"]):
        found = (await bob.get("/v1/users", q=query))["items"]
        assert ann.user_id not in [u["user_id"] for u in found], query


async def test_who_is_online_is_seen_until_they_go(new_user: MakeUser, online: Connect) -> None:
    ann, bob = await new_user(), await new_user()

    async def presence() -> list[dict[str, object]]:
        ids = f"{ann.user_id},{bob.user_id},999999999"
        items: list[dict[str, object]] = (await bob.get("/v1/users/online", ids=ids))["items"]
        return items

    assert [p["online"] for p in await presence()] == [False, False, False]
    device = await online(ann, query="?platform=ios")
    first, *_ = await presence()
    assert (first["user_id"], first["online"]) == (ann.user_id, True)
    assert first["platforms"] == ["ios"]
    await device.close()
    deadline = time.monotonic() + 5
    while True:
        first, *_ = await presence()
        if not first["online"] and first["last_seen"]:
            break
        assert time.monotonic() < deadline, first
        await asyncio.sleep(0.05)
    assert abs(int(str(first["last_seen"])) - time.time() * 1000) < 10_000


async def test_tokens_are_verified_with_the_published_keys(
    system: System, new_user: MakeUser
) -> None:
    import jwt

    user = await new_user()
    keys = (await user.http.get("/.well-known/jwks.json")).json()
    kid = jwt.get_unverified_header(user.access_token)["kid"]
    (key,) = [k for k in keys["keys"] if k["kid"] == kid]
    claims = jwt.decode(
        user.access_token, jwt.PyJWK(key), algorithms=["EdDSA"], audience="im", issuer="im-auth"
    )
    assert claims["sub"] == str(user.user_id)
    assert (claims["sid"], claims["exp"] - claims["iat"]) == (user.session_id, 900)


async def test_a_profile_that_could_not_be_made_is_made_by_the_next_login(
    system: System, http: httpx.AsyncClient
) -> None:
    name = f"late.{time.time_ns()}"
    body = {"username": name, "password": PASSWORD, "nickname": "Late"}
    # Frozen, not dead: so it is away for as long as the registration takes.
    system.kill("user", signal.SIGSTOP)
    try:
        response = await http.post("/v1/auth/register", json=body)
        assert response.status_code in (503, 504), response.text
    finally:
        system.kill("user", signal.SIGKILL)
    await asyncio.to_thread(system.wait_ready, "user")
    # Whoever has not the password does not get the account.
    taken = await http.post("/v1/auth/register", json=body | {"password": "somebody else's"})
    assert taken.status_code in (401, 409)
    login = await http.post("/v1/auth/login", json=body)
    assert login.status_code == 200, login.text
    again = await http.post("/v1/auth/register", json=body)
    assert again.status_code in (201, 409)
    user = User.of(http, name, login.json())
    me = await user.get("/v1/users/me")
    assert (me["user_id"], me["username"], me["nickname"]) == (user.user_id, name, "Late")
    found = (await user.get("/v1/users", q=name))["items"]
    assert [u["user_id"] for u in found] == [user.user_id]
