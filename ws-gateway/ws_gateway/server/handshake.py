"""Who may connect: token, device and platform from the handshake."""

from __future__ import annotations

from dataclasses import dataclass, replace
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

from websockets.frames import CloseCode
from websockets.http11 import Request

from im_common.domain.devices import check_device_id, check_platform
from im_common.errors import AppError, Code
from im_common.rpc.access import bearer_token, may_be_token
from im_common.runtime.addresses import client_address
from im_common.runtime.context import Identity
from im_common.runtime.http_limits import affordable
from ws_gateway.logic.connection import KICKED, RATE_IGNORED, TOKEN_INVALID
from ws_gateway.svc import ServiceContext

PATH = "/ws/connect"
SUBPROTOCOL = "bearer"


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
class Applicant:
    """Who shows a token that is signed by us."""

    token: str
    query: dict[str, str]
    # Where from; empty when that is not known.
    address: str
    # Whether the token came as a subprotocol.
    is_page: bool


@dataclass(frozen=True, slots=True)
class Admission:
    """Who connects, from which device."""

    identity: Identity
    device_id: str
    platform: str
    # Whether the client says itself which device it is.
    is_named: bool
    # Where from; empty when that is not known.
    address: str


async def check(svc: ServiceContext, request: Request, socket_address: str) -> Applicant | Refusal:
    """What there is to say of a handshake from ``socket_address`` (empty when that is not known) before
    its session is asked for."""
    forwarded = request.headers.get_all("X-Forwarded-For")
    trusted = svc.settings.web_socket.trusted_proxies
    address = client_address(socket_address, forwarded, trusted)
    is_page = bool(_offered_token(request))
    decision = await _decide(svc, request, address, is_page=is_page)
    return _as_told(decision, is_page=is_page) if isinstance(decision, Refusal) else decision


def admit(
    svc: ServiceContext, applicant: Applicant, identity: Identity | AppError
) -> Admission | Refusal:
    """Decides on one whose token is signed by us, and speaks for ``identity`` or is refused by that
    error."""
    decision = _admit(svc, applicant, identity)
    if isinstance(decision, Refusal):
        return _as_told(decision, is_page=applicant.is_page)
    return decision


def _as_told(refusal: Refusal, *, is_page: bool) -> Refusal:
    if not is_page:
        return refusal
    return replace(refusal, close_code=_CLOSE_CODES.get(refusal.status))


async def _decide(
    svc: ServiceContext, request: Request, address: str, *, is_page: bool
) -> Applicant | Refusal:
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
    if (refusal := _crowded(svc, address)) is not None:
        return refusal
    if not _is_allowed_page(svc, request):
        return Refusal(HTTPStatus.FORBIDDEN, "pages of this origin may not connect")
    token = _token(request, query)
    if not may_be_token(token):
        return Refusal(HTTPStatus.UNAUTHORIZED, "an access token is needed")
    try:
        await svc.tokens.read(token)
    except AppError as error:
        return _refusal(error)
    return Applicant(token, query, address, is_page)


def _crowded(svc: ServiceContext, address: str) -> Refusal | None:
    conf, connections = svc.settings.web_socket, svc.connections
    if len(connections) >= affordable(conf.max_connections):
        return Refusal(HTTPStatus.TOO_MANY_REQUESTS, "too many connections")
    most = conf.max_connections_per_address
    if most and address and connections.at(address) >= most:
        return Refusal(HTTPStatus.TOO_MANY_REQUESTS, "too many connections from this address")
    return None


def _is_allowed_page(svc: ServiceContext, request: Request) -> bool:
    allowed = svc.settings.web_socket.allowed_origins
    origins = request.headers.get_all("Origin")
    return not allowed or all(origin in allowed for origin in origins)


def _admit(
    svc: ServiceContext, applicant: Applicant, identity: Identity | AppError
) -> Admission | Refusal:
    if isinstance(identity, AppError):
        return _refusal(identity)
    query = applicant.query
    try:
        device_id = check_device_id(query.get("device_id", ""))
        platform = check_platform(query.get("platform") or identity.platform)
    except AppError as error:
        return _refusal(error)
    most = svc.settings.web_socket.max_connections_per_user
    of_user = svc.connections.of(identity.user_id)
    # The earlier one of a device that comes back makes room for it.
    others = [one for one in of_user if not device_id or one.route.device_id != device_id]
    if len(others) >= most:
        return Refusal(HTTPStatus.TOO_MANY_REQUESTS, "too many connections of this user")
    return Admission(
        identity if platform == identity.platform else replace(identity, platform=platform),
        device_id or identity.device_id,
        platform,
        is_named=bool(device_id),
        address=applicant.address,
    )


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
