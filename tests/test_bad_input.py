"""Bad input gets a clear answer and hurts nobody else."""

from __future__ import annotations

import base64
import json

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from im_people import Connect, Device, MakeUser, User
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from im_local.testing import System

REFUSED_EXT = ("INVALID_ARGUMENT", "ext")


async def _answer(device: Device, text: str) -> dict[str, object]:
    device.frames.clear()
    await device.socket.send(text)
    return await device.wait_for(lambda f: f["type"] == "error")


async def test_bad_frames_are_answered_and_the_connection_stays(
    new_user: MakeUser, online: Connect
) -> None:
    a, b = await new_user(), await new_user()
    device, device_b = await online(a), await online(b)
    to = b.user_id
    cases = [
        ("{", "INVALID_ARGUMENT", None),
        ("[1]", "INVALID_ARGUMENT", None),
        ("7", "INVALID_ARGUMENT", None),
        ('{"type":"shout"}', "INVALID_ARGUMENT", "type"),
        ('{"content":"x"}', "INVALID_ARGUMENT", "type"),
        (f'{{"type":"chat","to":{to}}}', "INVALID_ARGUMENT", "content"),
        ('{"type":"chat","content":"x"}', "INVALID_ARGUMENT", "to"),
        (f'{{"type":"chat","to":{to},"group_id":1,"content":"x"}}', "INVALID_ARGUMENT", "to"),
        ('{"type":"chat","to":"bob","content":"x"}', "INVALID_ARGUMENT", "to"),
        ('{"type":"chat","to":-1,"content":"x"}', "INVALID_ARGUMENT", "to"),
        (f'{{"type":"chat","to":{a.user_id},"content":"x"}}', "INVALID_ARGUMENT", "to"),
        (f'{{"type":"chat","to":{to},"content":""}}', "INVALID_ARGUMENT", "content"),
        (
            f'{{"type":"chat","to":{to},"content":"x","content_type":"smell"}}',
            "INVALID_ARGUMENT",
            "content_type",
        ),
        (
            json.dumps({"type": "chat", "to": to, "content": "x" * 20_480}),
            "PAYLOAD_TOO_LARGE",
            "content",
        ),
        (
            json.dumps({"type": "chat", "to": to, "content": "語" * 6000}),
            "PAYLOAD_TOO_LARGE",
            "content",
        ),
        (f'{{"type":"chat","to":{to},"content":"\\ud83d"}}', "INVALID_ARGUMENT", "content"),
        *(
            (f'{{"type":"chat","to":{to},"content":"x","ext":{{"a":{value}}}}}', *REFUSED_EXT)
            for value in ("[" * 255 + "]" * 255, "[" * 20_000 + "]" * 20_000, "9" * 400)
        ),
        ('{"type":"chat","to":999999999,"content":"x"}', "NOT_FOUND", None),
        ('{"type":"chat","group_id":999999999,"content":"x"}', "NOT_FOUND", None),
    ]
    for text, code, field in cases:
        error = await _answer(device, text)
        assert error["code"] == code, (text[:80], error)
        assert error.get("field") == field, (text[:80], error)
    error = await _answer(device, '{"type":"chat","to":"bob","content":"x","client_msg_id":"mine"}')
    assert error["client_msg_id"] == "mine"
    # Nothing of that hurt the two.
    assert (await device.ask(to=to, content="x" * 16_384))["type"] == "sent"
    await device_b.wait_for(lambda f: f["type"] == "message")


async def test_a_frame_of_100_kib_ends_its_own_connection_only(
    new_user: MakeUser, online: Connect
) -> None:
    a, b = await new_user(), await new_user()
    device, device_b = await online(a), await online(b)
    await device.socket.send(json.dumps({"type": "chat", "content": "x" * 102_400}))
    assert await device.wait_closed() == 1009
    assert (await device_b.ask(to=a.user_id, content="still here"))["type"] == "sent"


async def test_one_bad_frame_after_another_ends_the_connection(
    new_user: MakeUser, online: Connect
) -> None:
    device = await online(await new_user())
    for _ in range(40):
        await device.socket.send("no json")
    assert await device.wait_closed() == 4004


async def _status(url: str, **arguments: object) -> int:
    with pytest.raises(InvalidStatus) as refused:
        await connect(url, compression=None, **arguments)  # type: ignore[arg-type]
    return refused.value.response.status_code


async def test_a_handshake_needs_a_good_token(system: System, new_user: MakeUser) -> None:
    url = system.ready.ws
    assert await _status(url) == 401
    assert await _status(url + "?token=nonsense") == 401
    user = await new_user()
    head, body, signature = user.access_token.split(".")
    forged = f"{head}.{body}.{signature[:-4]}AAAA"
    assert await _status(url, additional_headers={"Authorization": f"Bearer {forged}"}) == 401
    assert await _status(url.replace("/ws/connect", "/other")) == 404


def _expired(system: System, user: User) -> str:
    """What the user's token will be when its time has come: signed with the system's own key."""
    file = json.loads((system.data / "secrets" / "auth_keys.json").read_text())
    newest = max(file["keys"], key=lambda key: key["created_at"])
    private = Ed25519PrivateKey.from_private_bytes(base64.b64decode(newest["private_key"]))
    claims = jwt.decode(user.access_token, options={"verify_signature": False})
    claims |= {"iat": claims["iat"] - 1000, "exp": claims["iat"] - 100}
    return jwt.encode(claims, private, algorithm="EdDSA", headers={"kid": newest["kid"]})


async def test_an_expired_token_is_told_from_a_bad_one(system: System, new_user: MakeUser) -> None:
    user = await new_user()
    header = {"Authorization": f"Bearer {_expired(system, user)}"}
    assert await _status(system.ready.ws, additional_headers=header) == 401
    response = await user.http.get("/v1/users/me", headers=header)
    assert (response.status_code, response.json()["code"]) == (401, "TOKEN_EXPIRED")


async def test_the_token_may_come_in_three_ways(system: System, new_user: MakeUser) -> None:
    user: User = await new_user()
    url, token = system.ready.ws, user.access_token
    async with connect(url, additional_headers=user.bearer) as socket:
        assert json.loads(await socket.recv())["user_id"] == user.user_id
    async with connect(f"{url}?token={token}&device_id=d1&platform=ios") as socket:
        assert json.loads(await socket.recv())["device_id"] == "d1"
    async with connect(url, subprotocols=["bearer", token]) as socket:  # type: ignore[list-item]
        assert socket.subprotocol == "bearer"
        assert json.loads(await socket.recv())["type"] == "hello"


async def test_logging_out_ends_the_open_connection(new_user: MakeUser, online: Connect) -> None:
    user = await new_user()
    device = await online(user)
    assert (await user.request("POST", "/v1/auth/logout")).status_code == 204
    assert await device.wait_closed(limit_s=5) == 4002
    assert device.frames[-1]["type"] == "kick"


async def test_http_needs_a_good_token_and_good_input(new_user: MakeUser) -> None:
    user = await new_user()
    response = await user.http.get("/v1/users/me")
    assert (response.status_code, response.json()["code"]) == (401, "UNAUTHENTICATED")
    response = await user.http.get("/v1/users/me", headers={"Authorization": "Bearer x"})
    assert (response.status_code, response.json()["code"]) == (401, "UNAUTHENTICATED")
    response = await user.request("GET", "/v1/users/999999999")
    assert (response.status_code, response.json()["code"]) == (404, "NOT_FOUND")
    response = await user.request("POST", "/v1/messages", content=b"{")
    assert (response.status_code, response.json()["code"]) == (400, "INVALID_ARGUMENT")
    assert response.headers["content-type"] == "application/problem+json"
    body = {"to": 999_999_999, "content": "x"}
    response = await user.request("POST", "/v1/messages", json=body)
    assert (response.status_code, response.json()["code"]) == (404, "NOT_FOUND")
    response = await user.request("GET", "/v1/conversations/s:1:2/messages")
    assert (response.status_code, response.json()["code"]) == (403, "PERMISSION_DENIED")
