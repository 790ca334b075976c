"""What protects the page in a browser."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

from starlette.requests import Request

from im_common.errors import AppError, Code, invalid

MOST_FORM_BYTES = 16 * 1024
_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
)
SECURITY = [
    (name.encode(), value.encode())
    for name, value in {
        "content-security-policy": _POLICY,
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        # With no-referrer a browser would say of its own forms, too, that their origin is null.
        "referrer-policy": "same-origin",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "cache-control": "no-store",
    }.items()
]


def is_from_elsewhere(request: Request) -> bool:
    """Whether something that may change anything was not sent by the page itself. A browser always says
    where a form came from; who says nothing is none of ours."""
    if request.method in ("GET", "HEAD"):
        return False
    # Only told to addresses that a browser trusts: https and localhost.
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site != "same-origin"
    origin = urlsplit(request.headers.get("origin", ""))
    return origin.netloc == "" or origin.netloc != request.headers.get("host")


def came_by_tls(request: Request) -> bool:
    """Also by a proxy that says so; who lies gets a cookie that no browser sends back."""
    forwarded = request.headers.get("x-forwarded-proto", "")
    return request.url.scheme == "https" or forwarded.lower() == "https"


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form as browsers send it; of two with one name the last.

    Raises:
        AppError: PAYLOAD_TOO_LARGE; INVALID_ARGUMENT when it is no form.
    """
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_FORM_BYTES:
            raise AppError(
                Code.PAYLOAD_TOO_LARGE, f"a form may have at most {MOST_FORM_BYTES} bytes"
            )
    try:
        return dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict"))
    except ValueError:
        raise invalid("form", "must be sent as application/x-www-form-urlencoded") from None
