"""Who is logged in at the page: a cookie with the token of a session that auth-service keeps.

Nothing is kept here, so every gateway knows every session, and each request asks whether it lasts.
"""

from __future__ import annotations

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from api_gateway.admin.guard import came_by_tls
from api_gateway.admin.pages import PREFIX, page, see
from api_gateway.rates import RateLimiter, refusal_of
from im.auth.v1 import admin_pb2 as pb
from im.auth.v1 import admin_pb2_grpc
from im_admin.operator import Operator, Ways
from im_common.errors import AppError, Code
from im_common.runtime import context

COOKIE = "im_admin"
_OVER = (Code.UNAUTHENTICATED, Code.SESSION_REVOKED, Code.PERMISSION_DENIED)


class NotSignedIn(Exception):
    """There is nobody, or nobody who may be here; ``error`` says why, if there was a session."""

    def __init__(self, error: AppError | None = None) -> None:
        super().__init__(error)
        self.error = error


class Sessions:
    def __init__(self, ways: Ways, limiter: RateLimiter | None) -> None:
        self._ways = ways
        self._limiter = limiter

    async def operator(self, request: Request) -> Operator:
        """Who asks, by the name of the account. Raises NotSignedIn, or AppError UNAVAILABLE."""
        token = request.cookies.get(COOKIE, "")
        if not token:
            raise NotSignedIn
        try:
            found = await (await self._stub()).CheckAdminSession(
                pb.CheckAdminSessionRequest(token=token)
            )
        except AppError as error:
            if error.code in _OVER:
                raise NotSignedIn(error) from error
            raise
        return Operator(self._ways, found.session.username)

    async def log_in(self, username: str, password: str) -> str:
        """The token of a new session, which is noted.

        Raises:
            AppError: INVALID_CREDENTIALS, PERMISSION_DENIED, ACCOUNT_LOCKED, RATE_LIMITED, UNAVAILABLE.
        """
        await self._count()
        stub = await self._stub()
        opened = await stub.OpenAdminSession(
            pb.OpenAdminSessionRequest(username=username, password=password)
        )
        operator = Operator(self._ways, opened.session.username)
        try:
            async with operator.deed("page log in", f"user {opened.session.user_id}"):
                return opened.token
        except AppError:
            await stub.EndAdminSession(pb.EndAdminSessionRequest(token=opened.token))
            raise

    async def log_out(self, request: Request) -> None:
        token = request.cookies.get(COOKIE, "")
        await (await self._stub()).EndAdminSession(pb.EndAdminSessionRequest(token=token))

    async def _count(self) -> None:
        if self._limiter is None:
            return
        current = context.current.get()
        address = current.client_address if current else ""
        refused = refusal_of(await self._limiter.count("login", "", address))
        if refused is not None:
            raise refused

    async def _stub(self) -> admin_pb2_grpc.AdminSessionServiceAsyncStub:
        channel = await self._ways.channel(self._ways.settings.auth_rpc)
        return admin_pb2_grpc.AdminSessionServiceStub(channel)


def signed_in(request: Request, token: str) -> Response:
    """On to the page, with the cookie."""
    answer = see("")
    answer.set_cookie(
        COOKIE,
        token,
        path=PREFIX,
        secure=came_by_tls(request),
        httponly=True,
        samesite="strict",
    )
    return answer


def signed_out(request: Request, why: NotSignedIn) -> Response:
    """The log-in, without the cookie that is good for nothing any more."""
    if why.error is None:
        return see("/login")
    forbidden = why.error.code is Code.PERMISSION_DENIED
    status = HTTPStatus.FORBIDDEN if forbidden else HTTPStatus.UNAUTHORIZED
    answer = page("login", status, error=why.error.message, username="")
    forget(request, answer)
    return answer


def forget(request: Request, answer: Response) -> None:
    secure = came_by_tls(request)
    answer.delete_cookie(COOKIE, path=PREFIX, secure=secure, httponly=True, samesite="strict")
