"""The gateway on a real port, in front of a real gRPC server that answers what a test tells it."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import httpx
import jwt
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf import descriptor_pool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from pydantic import SecretStr
from redis.exceptions import ConnectionError

from api_gateway.config import FilesConf, HttpConf, Settings
from api_gateway.server import serve
from im.auth.v1 import admin_pb2 as auth_admin_pb2
from im.auth.v1 import auth_pb2
from im.chat.v1 import chat_pb2, file_pb2
from im.friend.v1 import friend_pb2
from im.group.v1 import group_pb2
from im.user.v1 import user_pb2
from im_common.domain.access_tokens import ALGORITHM, AUDIENCE, ISSUER, session_key
from im_common.errors import AppError, Code
from im_common.rpc.access import bearer_token
from im_common.rpc.server import RpcServer
from im_common.rpc.service_token import ServiceTokens
from im_common.runtime import context
from im_common.runtime.context import RequestContext
from im_common.runtime.dev_server import DevServer
from im_common.runtime.redis_client import open_redis
from im_common.runtime.resources import Resources
from im_common.runtime.sections import ClientConf, DevServerConf, RedisConf
from im_common.testing.fixtures import valkey
from im_common.testing.ports import free_port
from im_common.testing.services import SECRET
from im_common.testing.valkey import ValkeyServer
from im_common.testing.waiting import eventually

__all__ = ["valkey"]

SERVICES = [
    f"{module.DESCRIPTOR.package}.{name}"
    for module in (auth_admin_pb2, auth_pb2, user_pb2, friend_pb2, group_pb2, chat_pb2, file_pb2)
    for name in module.DESCRIPTOR.services_by_name
]
ME = 1001
_KEY_ID = "test"
_KEY = Ed25519PrivateKey.generate()
_EXPIRES_AT = int(time.time()) + 3600

Behaviour = Callable[[Any], Awaitable[Message]]


@dataclass(frozen=True, slots=True)
class Call:
    """A call that reached a service."""

    method: str
    message: Any
    request: RequestContext


@dataclass
class Services:
    """All services behind the gateway."""

    address: str = ""
    # Method name to what it answers: a message, an error, or a function of the request.
    answers: dict[str, Message | AppError | Behaviour] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)

    @property
    def last(self) -> Call:
        return self.calls[-1]

    async def answer(self, method: str, message: Any) -> Message:
        request = context.current.get()
        assert request is not None
        if method == "GetJwks" and method not in self.answers:
            # The gateway's own question.
            return auth_pb2.GetJwksResponse(keys=[_jwk()])
        self.calls.append(Call(method, message, request))
        answer = self.answers.get(method, AppError(Code.UNIMPLEMENTED, "not available"))
        if isinstance(answer, AppError):
            raise answer
        return answer if isinstance(answer, Message) else await answer(message)

    def register(self, server: grpc.aio.Server) -> None:
        pool = descriptor_pool.Default()
        for service in SERVICES:
            methods = pool.FindServiceByName(service).methods
            handlers = {method.name: self._handler(method) for method in methods}
            generic = grpc.method_handlers_generic_handler(service, handlers)
            server.add_generic_rpc_handlers((generic,))

    def _handler(self, method: Any) -> Any:
        async def behave(message: Any, _: Any) -> Message:
            return await self.answer(method.name, message)

        return grpc.unary_unary_rpc_method_handler(
            behave,
            request_deserializer=GetMessageClass(method.input_type).FromString,
            response_serializer=GetMessageClass(method.output_type).SerializeToString,
        )


class _Door:
    """Admits everybody and keeps what they brought; that a service calls is verified."""

    def __init__(self) -> None:
        self._tokens = ServiceTokens(SECRET, "test")

    async def admit(
        self, _access: object, metadata: dict[str, str], request: RequestContext
    ) -> None:
        request.service = self._tokens.verify(metadata[context.SERVICE_TOKEN])
        request.client_address = metadata.get(context.CLIENT_ADDRESS, "")
        request.user_token = bearer_token(metadata.get(context.AUTHORIZATION, ""))


@dataclass
class Gateway:
    """The gateway, and two clients of it: one is logged in as ME."""

    http: httpx.AsyncClient
    stranger: httpx.AsyncClient
    services: Services
    url: str
    settings: Settings
    resources: Resources
    ended: asyncio.Task[None]

    async def request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        return await self.http.request(method, path, **arguments)

    async def anonymous(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        return await self.stranger.request(method, path, **arguments)


Start = Callable[..., AbstractAsyncContextManager[Gateway]]


def token_of(user_id: int) -> str:
    """The same for the same user; its session is there for ME only."""
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": str(user_id),
        "sid": f"session-{user_id}",
        "did": "device",
        "exp": _EXPIRES_AT,
    }
    return jwt.encode(claims, _KEY, ALGORITHM, headers={"kid": _KEY_ID})


def _jwk() -> auth_pb2.Jwk:
    x = base64.urlsafe_b64encode(_KEY.public_key().public_bytes_raw()).decode().rstrip("=")
    return auth_pb2.Jwk(kid=_KEY_ID, kty="OKP", crv="Ed25519", x=x, alg=ALGORITHM, use="sig")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # One loop for all of these tests, so that one gateway serves them: a server takes its time to end.
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@asynccontextmanager
async def _served(services: Services) -> AsyncIterator[str]:
    """The address at which the services answer until the block ends."""
    server = RpcServer(
        listen_on="127.0.0.1:0",
        services=SERVICES,
        register=services.register,
        gatekeeper=_Door(),  # type: ignore[arg-type]
        timeout_ms=5000,
    )
    await server.start()
    yield f"127.0.0.1:{server.port}"
    await server.stop(0)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def services() -> AsyncIterator[Services]:
    services = Services()
    async with _served(services) as services.address:
        yield services


@pytest.fixture
def one_more(services: Services) -> Callable[[], AbstractAsyncContextManager[ClientConf]]:
    """Another server of the same services, which can end: how it is reached."""

    @asynccontextmanager
    async def one_more() -> AsyncIterator[ClientConf]:
        async with _served(services) as address:
            yield ClientConf(endpoints=[address])

    return one_more


@pytest.fixture(scope="session")
def start(
    services: Services, valkey: ValkeyServer, tmp_path_factory: pytest.TempPathFactory
) -> Start:
    """Starts a gateway of the test's own; arguments are settings of its HTTP server, and whole sections
    of its settings in ``sections``."""

    @asynccontextmanager
    async def start(*, sections: Any = None, **http: Any) -> AsyncIterator[Gateway]:
        listen_on = f"127.0.0.1:{free_port()}"
        conf = HttpConf(listen_on=listen_on, **http)
        files = FilesConf(folder=str(tmp_path_factory.mktemp("files")))
        own = {"redis": valkey.conf, "rate_limits": "off", "files": files}
        more = own | (sections or {})
        settings = _settings(conf, services.address, **more)
        url = f"http://{listen_on}"
        async with AsyncExitStack() as stack:
            dev_server = DevServer(DevServerConf(port=0), "api-gateway")
            await dev_server.start()
            stack.push_async_callback(dev_server.close)
            resources = Resources(settings, dev_server, stack)
            task = asyncio.create_task(serve(settings, resources))
            await _open_session(settings)
            headers = {"Authorization": f"Bearer {token_of(ME)}"}
            me = httpx.AsyncClient(base_url=url, headers=headers, timeout=15, verify=False)
            stranger = httpx.AsyncClient(base_url=url, timeout=15, verify=False)
            for client in (me, stranger):
                await stack.enter_async_context(client)
            await eventually(lambda: task.done() or _is_ready(resources))
            yield Gateway(me, stranger, services, url, settings, resources, task)
            resources.ending.set()
            await task

    return start


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_gateway(start: Start) -> AsyncIterator[Gateway]:
    async with start() as gateway:
        yield gateway


@pytest.fixture(name="token_of")
def token_of_fixture() -> Callable[[int], str]:
    return token_of


@pytest.fixture
def open_session(gateway: Gateway) -> Callable[[int], Awaitable[None]]:
    """Begins the session of the user's token."""

    async def open_session(user_id: int) -> None:
        await _open_session(gateway.settings, user_id)

    return open_session


@pytest.fixture
def redis_at() -> Callable[[int], RedisConf]:
    return lambda port: RedisConf(host=f"127.0.0.1:{port}")


@pytest.fixture(autouse=True)
def _forget(services: Services) -> None:
    services.answers.clear()
    services.calls.clear()


@pytest.fixture
def gateway(shared_gateway: Gateway) -> Gateway:
    return shared_gateway


async def _open_session(settings: Settings, user_id: int = ME) -> None:
    redis = open_redis(settings.redis)
    with suppress(ConnectionError):
        await redis.hset(session_key(f"session-{user_id}"), mapping={"user_id": user_id})
    await redis.aclose()


def _settings(http: HttpConf, backend: str, **sections: Any) -> Settings:
    client = ClientConf(endpoints=[backend])
    names = ("auth_rpc", "user_rpc", "friend_rpc", "group_rpc", "chat_rpc")
    values: dict[str, Any] = dict.fromkeys(names, client) | sections
    return Settings(name="api-gateway", internal_secret=SecretStr(SECRET), http=http, **values)


async def _is_ready(resources: Resources) -> bool:
    return not await resources.dev_server.failing()


@pytest.fixture
def check(gateway: Gateway) -> Callable[..., Awaitable[None]]:
    """Sends one request and compares all of it: the call that it leads to and the answer."""

    async def check(
        route: str,
        method: str,
        asked: Message,
        answered: Message,
        status: int = 200,
        body: Any = None,
        sent: Any = None,
        *,
        path: str = "",
        public: bool = False,
    ) -> None:
        """``route`` is as the API's description spells it, ``path`` as it is in this example."""
        verb, template = route.split(" ")
        gateway.services.answers[method] = answered
        arguments = {} if sent is None else {"json": sent}
        send = gateway.anonymous if public else gateway.request
        response = await send(verb, path or template, **arguments)
        assert response.status_code == status, response.text
        if status == 204:
            assert response.content == b""
        else:
            assert response.json() == body
            _assert_described(await _description(gateway), verb, template, status, body)
        [call] = gateway.services.calls
        assert (call.method, call.message) == (method, asked)
        assert call.request.user_token == ("" if public else token_of(ME))
        if not public:
            assert (await gateway.anonymous(verb, path or template)).status_code == 401
            assert len(gateway.services.calls) == 1

    return check


async def _description(gateway: Gateway) -> Any:
    return (await gateway.anonymous("GET", "/openapi.json")).json()


def _assert_described(api: Any, verb: str, template: str, status: int, body: Any) -> None:
    operation = api["paths"][template][verb.lower()]
    schema = operation["responses"][str(status)]["content"]["application/json"]["schema"]
    assert fits(api, schema, body), f"{body} is not what the description says: {schema}"


def fits(api: Any, schema: Any, value: Any) -> bool:
    """Whether a JSON value is as an OpenAPI schema says, in the terms that ours use; an object may
    have no field that is not described."""
    if "$ref" in schema:
        return fits(api, api["components"]["schemas"][schema["$ref"].rpartition("/")[2]], value)
    if "anyOf" in schema:
        return any(fits(api, one, value) for one in schema["anyOf"])
    if "enum" in schema and value not in schema["enum"]:
        return False
    if schema.get("type") == "array":
        return isinstance(value, list) and all(fits(api, schema["items"], one) for one in value)
    if schema.get("type") != "object":
        kinds = {"string": str, "integer": int, "boolean": bool, "null": type(None)}
        return isinstance(value, kinds[schema["type"]])
    more = schema.get("additionalProperties", False)
    known = schema.get("properties", {})
    return (
        isinstance(value, dict)
        and set(schema.get("required", ())) <= set(value)
        and all(
            fits(api, known[name], one)
            if name in known
            else bool(more) and (more is True or fits(api, more, one))
            for name, one in value.items()
        )
    )
