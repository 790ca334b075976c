"""Who may connect: token, device and platform from the handshake."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

from websockets.http11 import Request

from im.auth.v1.auth_pb2 import ValidateTokenRequest
from im_common.errors import AppError, Code
from im_common.rpc.access import bearer_token
from im_common.runtime import context
from im_common.runtime.context import Identity
from im_common.runtime.http_limits import affordable
from ws_gateway.svc import ServiceContext

PATH = "/ws/connect"
SUBPROTOCOL = "bearer"
PLATFORMS = ("ios", "android", "web", "desktop", "other")
MAX_DEVICE_ID = 64


@dataclass(frozen=True, slots=True)
class Refusal:
    """HTTP status and a line of text for a handshake that is not let through."""

    status: HTTPStatus
    text: str


@dataclass(frozen=True, slots=True)
class Admission:
    """Who connects, from which device."""

    identity: Identity
    device_id: str
    platform: str


async def check(svc: ServiceContext, request: Request) -> Admission | Refusal:
    """Decides on a handshake; asks auth-service about the token."""
    url = urlsplit(request.path)
    if url.path != PATH:
        return Refusal(HTTPStatus.NOT_FOUND, f"connect to {PATH}")
    if svc.is_leaving:
        return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "going away, connect elsewhere")
    if len(svc.connections) >= affordable(svc.settings.web_socket.max_connections):
        return Refusal(HTTPStatus.TOO_MANY_REQUESTS, "too many connections")
    query = {name: values[-1] for name, values in parse_qs(url.query).items()}
    token = _token(request, query)
    if not token:
        return Refusal(HTTPStatus.UNAUTHORIZED, "an access token is needed")
    context.begin()
    try:
        answer = await svc.auth.ValidateToken(ValidateTokenRequest(access_token=token))
    except AppError as error:
        return _refusal(error)
    device_id = query.get("device_id") or answer.device_id
    platform = query.get("platform") or answer.platform
    if len(device_id) > MAX_DEVICE_ID:
        return Refusal(HTTPStatus.BAD_REQUEST, f"device_id: at most {MAX_DEVICE_ID} characters")
    if platform not in PLATFORMS:
        return Refusal(HTTPStatus.BAD_REQUEST, f"platform: one of {', '.join(PLATFORMS)}")
    identity = Identity(
        answer.user_id, answer.session_id, answer.device_id, platform, answer.expires_at
    )
    return Admission(identity, device_id, platform)


def _token(request: Request, query: dict[str, str]) -> str:
    header = request.headers.get("Authorization")
    if header:
        return bearer_token(header)
    if query.get("token"):
        return query["token"]
    # A browser can set no header, but the subprotocols `bearer, <token>`.
    offered = [
        part.strip() for part in request.headers.get("Sec-WebSocket-Protocol", "").split(",")
    ]
    if len(offered) >= 2 and offered[0] == SUBPROTOCOL:
        return offered[1]
    return ""


def _refusal(error: AppError) -> Refusal:
    if error.code is Code.SESSION_REVOKED:
        return Refusal(HTTPStatus.FORBIDDEN, f"{error.code}: {error.message}")
    if error.traits.retryable:
        return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, f"{error.code}: {error.message}")
    return Refusal(HTTPStatus.UNAUTHORIZED, f"{error.code}: {error.message}")
