"""The gRPC face, as a developer sees it with grpcurl."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from im_people import MakeUser

from im_local.testing import System

BUF = shutil.which("buf", path=str(Path(sys.executable).parent)) or "buf"


def _call(address: str, method: str, body: dict[str, Any], *headers: str) -> dict[str, Any]:
    """One call with `buf curl`, by reflection; the answer, or the error with its reason."""
    more = [part for header in headers for part in ("--header", header)]
    done = subprocess.run(
        [BUF, "curl", "--http2-prior-knowledge", "--protocol", "grpc", *more,
         "--data", json.dumps(body), f"http://{address}/{method}"],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    text = done.stdout or done.stderr
    answer: dict[str, Any] = json.loads(text)
    return answer


@pytest.mark.parametrize(
    ("name", "service"),
    [
        ("user", "im.user.v1.UserService"),
        ("user", "im.user.v1.PresenceService"),
        ("auth", "im.auth.v1.AuthService"),
        ("friend", "im.friend.v1.FriendService"),
        ("group", "im.group.v1.GroupService"),
        ("chat", "im.chat.v1.ChatService"),
        ("ws", "im.gateway.v1.PushService"),
    ],
)
def test_services_are_listed_by_reflection_and_healthy(
    system: System, name: str, service: str
) -> None:
    address = system.ready.grpc[name]
    done = subprocess.run(
        [BUF, "curl", "--http2-prior-knowledge", "--protocol", "grpc", "--list-methods",
         f"http://{address}"],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert f"{service}/" in done.stdout, done.stderr
    health = _call(address, "grpc.health.v1.Health/Check", {"service": service})
    assert health == {"status": "SERVING"}


async def test_who_may_call_is_enforced(system: System, new_user: MakeUser) -> None:
    grpc = system.ready.grpc
    user = await new_user()
    bearer = f"Authorization: Bearer {user.access_token}"

    def code(address: str, method: str, body: dict[str, Any], *headers: str) -> str:
        answer = _call(address, method, body, *headers)
        return str(answer.get("code", "ok"))

    own = _call(grpc["user"], "im.user.v1.UserService/GetProfile", {}, bearer)
    assert own["profile"]["user"]["username"] == user.username
    assert code(grpc["user"], "im.user.v1.UserService/GetProfile", {}) == "unauthenticated"
    internal = [
        (grpc["ws"], "im.gateway.v1.PushService/Push", {}),
        (grpc["friend"], "im.friend.v1.FriendService/IsBlocked", {"userId": 1, "targetId": 2}),
        (grpc["user"], "im.user.v1.PresenceService/UserOnline", {}),
        (grpc["chat"], "im.chat.v1.ChatService/SaveMessage", {}),
    ]
    for address, method, body in internal:
        assert code(address, method, body) == "unauthenticated"
        assert code(address, method, body, bearer) == "permission_denied"
        forged = "x-im-service-token: eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJ4In0.AAAA"
        assert code(address, method, body, forged) == "unauthenticated"


def test_an_error_carries_its_reason(system: System) -> None:
    answer = _call(
        system.ready.grpc["auth"],
        "im.auth.v1.AuthService/Login",
        {"username": "nobody.here", "password": "wrong password"},
    )
    assert answer["code"] == "unauthenticated"
    (detail,) = answer["details"]
    assert detail["type"] == "google.rpc.ErrorInfo"
    value = detail["value"] + "=" * (-len(detail["value"]) % 4)
    info = ErrorInfo.FromString(base64.b64decode(value))
    assert (info.reason, info.domain) == ("INVALID_CREDENTIALS", "im")
