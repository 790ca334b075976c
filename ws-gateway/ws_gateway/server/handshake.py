"""Who may connect: token, device and platform from the handshake."""

from __future__ import annotations

from dataclasses import dataclass, replace
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

from websockets.frames import CloseCode
from websockets.http11 import Request

from im.auth.v1.auth_pb2 import ValidateTokenRequest
from im_common.domain.names import clean_text
from im_common.errors import AppError, Code
from im_common.rpc.access import bearer_token, may_be_token
from im_common.runtime import context
from im_common.runtime.context import Identity
from im_common.runtime.http_limits import affordable
from ws_gateway.logic.connection import KICKED, RATE_IGNORED, TOKEN_INVALID
from ws_gateway.svc import ServiceContext

PATH = "/ws/connect"
SUBPROTOCOL = "bearer"
PLATFORMS = ("ios", "android", "web", "desktop", "other")
MAX_DEVICE_ID = 64


# What a page's script is told instead of the status, which it never sees.
_CLOSE_CODES = {
    HTTPStatus.UNAUTHORIZED: TOKEN_INVALID,
    HTTPStatus.FORBIDDEN: KICKED,
    HTTPStatus.TOO_MANY_REQUESTS: RATE_IGNORED,
    HTTPStatus.SERVICE_UNAVAILABLE: CloseCode.TRY_AGAIN_LATER,
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """HTTP status and a line of text for a handshake that is not let through."""

    status: HTTPStatus
    text: str
    # It is let through, and closed with this code.
    close_code: int | None = None


@dataclass(frozen=True, slots=True)
class Admission:
    """Who connects, from which device."""

    identity: Identity
    device_id: str
    platform: str


async def check(svc: ServiceContext, request: Request) -> Admission | Refusal:
    """Decides on a handshake; asks auth-service about the token."""
    decision = await _decide(svc, request)
    if isinstance(decision, Refusal) and _offered_token(request):
        return replace(decision, close_code=_CLOSE_CODES.get(decision.status))
    return decision


async def _decide(svc: ServiceContext, request: Request) -> Admission | Refusal:
    try:
        # Bytes that are no ASCII come as halves of surrogate pairs, which nothing else takes.
        url = urlsplit(request.path.encode("ascii").decode())
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
    except ValueError:
        return Refusal(HTTPStatus.BAD_REQUEST, "the request target is no URL")
    if url.path != PATH:
        return Refusal(HTTPStatus.NOT_FOUND, f"connect to {PATH}")
    if svc.is_leaving:
        return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "going away, connect elsewhere")
    if len(svc.connections) >= affordable(svc.settings.web_socket.max_connections):
        return Refusal(HTTPStatus.TOO_MANY_REQUESTS, "too many connections")
    token = _token(request, query)
    if not may_be_token(token):
        return Refusal(HTTPStatus.UNAUTHORIZED, "an access token is needed")
    context.begin()
    try:
        answer = await svc.auth.ValidateToken(ValidateTokenRequest(access_token=token))
        device_id = clean_text("device_id", query.get("device_id", ""), most=MAX_DEVICE_ID)
    except AppError as error:
        return _refusal(error)
    platform = query.get("platform") or answer.platform
    if platform not in PLATFORMS:
        return Refusal(HTTPStatus.BAD_REQUEST, f"platform: one of {', '.join(PLATFORMS)}")
    identity = Identity(
        answer.user_id, answer.session_id, answer.device_id, platform, answer.expires_at
    )
    return Admission(identity, device_id or answer.device_id, platform)


def _token(request: Request, query: dict[str, str]) -> str:
    # Of a header that is there twice, the first one with a token.
    bearers = map(bearer_token, request.headers.get_all("Authorization"))
    return next(filter(None, bearers), "") or query.get("token", "") or _offered_token(request)


def _offered_token(request: Request) -> str:
    """A browser can set no header, but the subprotocols `bearer, <token>`, in one line or in two."""
    lines = request.headers.get_all("Sec-WebSocket-Protocol")
    offered = [part.strip() for part in ",".join(lines).split(",")]
    return offered[1] if len(offered) >= 2 and offered[0] == SUBPROTOCOL else ""


def _refusal(error: AppError) -> Refusal:
    status = HTTPStatus.UNAUTHORIZED
    if error.field is not None:
        status = HTTPStatus.BAD_REQUEST
    elif error.code is Code.SESSION_REVOKED:
        status = HTTPStatus.FORBIDDEN
    elif error.traits.retryable:
        status = HTTPStatus.SERVICE_UNAVAILABLE
    return Refusal(status, f"{error.code}: {error.message}")
