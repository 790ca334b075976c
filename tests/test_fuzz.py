"""Whatever a client says to whatever route, RPC or socket, it is no fault of ours.

Bounded in number, and the same inputs each time: a change is not refused for what another one did.
With IM_TEST_FUZZ=N it is N times as many, and others in each run; one that fails is made small, and
kept in `.hypothesis` for the next.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode

import grpc
import httpx
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from im_people import User, make_group, register
from im_strange import ANY_JSON, NUMBERS, TEXTS, json_of, messages
from websockets.sync.client import connect

from im_common.rpc.service_token import ServiceTokens
from im_common.testing.protos import every_service
from im_local.testing import System

# Which service has the RPCs of a package; of those that several have, one.
AREAS = {
    "im.auth.v1": "auth",
    "im.chat.v1": "chat",
    "im.common.v1": "friend",
    "im.friend.v1": "friend",
    "im.gateway.v1": "ws",
    "im.group.v1": "group",
    "im.user.v1": "user",
}
FAULTS = {
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}
# These end what the next call needs, or cost a quarter of a second each.
NOT_CALLED = {"Logout", "RevokeSession", "ChangePassword", "EndSessions"}
NOT_ASKED = {"logout", "change_password", "revoke_session", "revoke_other_sessions"}
TIMES = int(os.environ.get("IM_TEST_FUZZ", "0"))


def bounded(examples: int) -> settings:
    return settings(
        max_examples=examples * (TIMES or 1),
        derandomize=not TIMES,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )


@dataclass(frozen=True)
class World:
    """Somebody who has a group and messages; and the ways in."""

    api: httpx.Client
    # Where the token is in the URL.
    socket: str
    channels: dict[str, grpc.Channel]
    access_token: str
    services: ServiceTokens

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (
            ("authorization", f"Bearer {self.access_token}"),
            ("x-im-service-token", self.services.current()),
        )

    def stands(self) -> bool:
        """Whether what was asked so far has left the account and its group."""
        answer = self.api.get("/v1/groups")
        return answer.status_code == HTTPStatus.OK and bool(answer.json()["items"])


@pytest.fixture(scope="module")
def worlds(system: System) -> Iterator[Callable[[], World]]:
    """Gives the world that all share, and a new one when it was brought to an end."""
    with ExitStack() as stack:
        known: list[World] = []

        def current() -> World:
            if not known or not known[-1].stands():
                known.append(stack.enter_context(_world(system)))
            return known[-1]

        yield current


@pytest.fixture
def world(worlds: Callable[[], World]) -> World:
    return worlds()


@contextmanager
def _world(system: System) -> Iterator[World]:
    user = asyncio.run(_inhabitant(system))
    secret = (system.data / "secrets" / "internal_secret").read_text().strip()
    channels = {
        name: grpc.insecure_channel(system.ready.grpc[name]) for name in set(AREAS.values())
    }
    with httpx.Client(base_url=system.ready.api, headers=user.bearer, timeout=15) as api:
        socket = f"{system.ready.ws}?token={user.access_token}"
        yield World(api, socket, channels, user.access_token, ServiceTokens(secret, "test"))
    for channel in channels.values():
        channel.close()


async def _inhabitant(system: System) -> User:
    async with httpx.AsyncClient(base_url=system.ready.api, timeout=15) as http:
        user, other = await register(http), await register(http)
        await make_group(user, other)
        for _ in range(3):
            body = {"to": other.user_id, "content": "hello"}
            assert (await user.request("POST", "/v1/messages", json=body)).status_code == 201
        return user


def _methods() -> Iterator[tuple[str, str, str]]:
    """Area, service and name of each RPC."""
    for service in every_service():
        for method in service.methods:
            if method.name not in NOT_CALLED:
                yield AREAS[service.file.package], service.full_name, method.name


METHODS = sorted(_methods())


@pytest.mark.parametrize("method", METHODS, ids=[f"{area}-{name}" for area, _, name in METHODS])
def test_no_rpc_fails_because_of_what_it_is_asked(
    world: World, method: tuple[str, str, str]
) -> None:
    area, service, name = method
    found = descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]
    channel = world.channels[area]
    make: Any = channel.stream_stream if found.client_streaming else channel.unary_unary
    call = make(
        f"/{service}/{name}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=GetMessageClass(found.output_type).FromString,
    )

    @bounded(10)
    @given(messages(found.input_type.full_name))
    def asked(message: Any) -> None:
        if found.client_streaming:
            answer = call(iter([message]), metadata=world.metadata, timeout=10)
            with suppress(grpc.RpcError):
                # How it ends is known when all that it answers was read.
                list(answer)
        else:
            answer = call.future(message, metadata=world.metadata, timeout=10)
        assert answer.code() not in FAULTS, (answer.code(), answer.details())

    asked()


def test_no_route_fails_because_of_what_it_is_sent(world: World) -> None:
    openapi = world.api.get("/openapi.json").json()
    routes = [
        (path, verb, operation)
        for path, verbs in openapi["paths"].items()
        for verb, operation in verbs.items()
        if operation["operationId"] not in NOT_ASKED
    ]

    @bounded(200)
    @given(st.data())
    def sent(data: st.DataObject) -> None:
        path, verb, operation = data.draw(st.sampled_from(routes))
        target, arguments = data.draw(_request(openapi, path, operation))
        response = world.api.request(verb, target, **arguments)
        # What is not there yet says so.
        assert response.status_code < 500 or response.status_code == HTTPStatus.NOT_IMPLEMENTED, (
            verb, target, arguments, response.text,
        )  # fmt: skip
        if response.status_code >= HTTPStatus.BAD_REQUEST:
            assert response.headers["content-type"] == "application/problem+json"
            assert response.json()["code"]

    sent()


@st.composite
def _request(draw: Any, api: Any, path: str, operation: Any) -> tuple[str, dict[str, Any]]:
    """Target and arguments of one request: as the description has it, more or less."""
    query = []
    for parameter in operation.get("parameters", ()):
        value = draw(st.one_of(NUMBERS.map(str), TEXTS, json_of(api, parameter["schema"]).map(str)))
        value = value.encode(errors="surrogatepass")
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", quote(value, safe="") or "x")
        elif draw(st.booleans()) or parameter.get("required"):
            query.append((parameter["name"], value))
    arguments: dict[str, Any] = {}
    if "requestBody" in operation:
        content = operation["requestBody"]["content"]
        schema = content.get("application/json", {}).get("schema", {})
        arguments["content"] = json.dumps(draw(json_of(api, schema)))
        arguments["headers"] = {"Content-Type": "application/json"}
    return path + ("?" + urlencode(query) if query else ""), arguments


FRAMES = [
    "chat",
    "ack",
    "read",
    "recall",
    "typing",
    "sync",
    "offline_ack",
    "ping",
    "shout",
    "",
    None,
]
FIELDS = [
    "to",
    "group_id",
    "content",
    "client_msg_id",
    "content_type",
    "reply_to",
    "mentions",
    "ext",
]
FIELDS += ["conversation_id", "seq", "message_id", "cursors", "limit", "batch_id", "other"]


def test_no_frame_is_a_fault(world: World) -> None:
    fields = st.dictionaries(st.sampled_from(FIELDS), ANY_JSON | NUMBERS | TEXTS, max_size=6)
    one = st.tuples(st.sampled_from(FRAMES), fields)

    with connect(world.socket) as socket:

        @bounded(60)
        @given(st.lists(one, min_size=1, max_size=10))
        def sent(frames: list[tuple[Any, dict[str, Any]]]) -> None:
            for kind, more in frames:
                socket.send(json.dumps({"type": kind, **more}))
            # What is right in between keeps it from being sent away.
            socket.send('{"type":"ping"}')
            answer: dict[str, Any] = {}
            while answer.get("type") != "pong":
                answer = json.loads(socket.recv(timeout=20))
                assert answer.get("code") != "INTERNAL", answer

        sent()
