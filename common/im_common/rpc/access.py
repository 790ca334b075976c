"""What each method demands of its caller, read from the protos."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from google.protobuf import descriptor_pool

from im.common.v1 import access_pb2
from im_common.errors import AppError, Code, unauthenticated
from im_common.rpc.service_token import ServiceTokens
from im_common.runtime import context
from im_common.runtime.context import Identity, RequestContext

Access = access_pb2.Access
# gRPC refuses metadata of more than 8 KiB in all.
MAX_TOKEN = 4096


class UserTokens(Protocol):
    """Verifies access tokens."""

    async def verify(self, token: str) -> Identity:
        """Raises AppError UNAUTHENTICATED, TOKEN_EXPIRED, SESSION_REVOKED or UNAVAILABLE."""
        ...


class UndeclaredAccess(RuntimeError):
    """A method does not say who may call it; the server must not start."""


def access_table(services: Iterable[str]) -> dict[str, access_pb2.Access.ValueType]:
    """``/package.Service/Method`` to its declared access, for all methods of ``services``."""
    pool = descriptor_pool.Default()
    table: dict[str, access_pb2.Access.ValueType] = {}
    for service in services:
        for method in pool.FindServiceByName(service).methods:
            access = method.GetOptions().Extensions[access_pb2.access]
            path = f"/{service}/{method.name}"
            if access == access_pb2.ACCESS_UNSPECIFIED:
                raise UndeclaredAccess(f"{path} declares no access")
            table[path] = access
    return table


class Gatekeeper:
    """Lets a call pass, or raises; fills in who calls."""

    def __init__(self, user_tokens: UserTokens, service_tokens: ServiceTokens) -> None:
        self._user_tokens = user_tokens
        self._service_tokens = service_tokens

    async def admit(
        self,
        access: access_pb2.Access.ValueType,
        metadata: dict[str, str],
        request: RequestContext,
    ) -> None:
        service_token = metadata.get(context.SERVICE_TOKEN)
        bearer = bearer_token(metadata.get(context.AUTHORIZATION, ""))
        if service_token:
            request.service = self._service_tokens.verify(service_token)
            # Only our own gateways may say where a client is.
            request.client_address = metadata.get(context.CLIENT_ADDRESS, "")
        if access == access_pb2.ACCESS_USER:
            if not bearer:
                raise unauthenticated("an access token is needed")
            request.identity = await self._user_tokens.verify(bearer)
            request.user_token = bearer
        elif access == access_pb2.ACCESS_INTERNAL and request.service is None:
            if not bearer:
                raise unauthenticated("a service token is needed")
            await self._user_tokens.verify(bearer)
            raise AppError(Code.PERMISSION_DENIED, "only services may call this method")


def may_be_token(text: str) -> bool:
    """Whether it can be sent on as one; that it is genuine is for auth-service to say."""
    return bool(text) and text.isascii() and text.isprintable() and len(text) <= MAX_TOKEN


def bearer_token(header: str) -> str:
    """The token of an `Authorization: Bearer …` value, or an empty string."""
    scheme, _, token = header.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
