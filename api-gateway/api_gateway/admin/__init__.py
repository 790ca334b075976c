"""The operators' page: `/admin` on the operator's port, for accounts with the admin role.

What it shows and does are the functions of `im_admin`, in the name of who is logged in.
"""

from __future__ import annotations

from api_gateway.admin.app import PREFIX, build_page
from api_gateway.config import Settings
from api_gateway.rates import RateLimiter
from im.auth.v1.auth_pb2_grpc import AuthServiceStub
from im_admin.operator import Ways
from im_common.domain.access_tokens import AccessTokens, RemoteKeys
from im_common.runtime.resources import Resources
from im_common.runtime.shared_rate import SharedBuckets

__all__ = ["PREFIX", "mount"]


async def mount(settings: Settings, resources: Resources) -> None:
    """Puts the page on the operator's port of this process."""
    ways = Ways(settings, resources)
    limiter = None
    if settings.rate_limits == "on":
        redis = resources.redis(is_vital=False)
        tokens = AccessTokens(
            RemoteKeys(AuthServiceStub(await ways.channel(settings.auth_rpc))), redis
        )
        limiter = RateLimiter(settings.rates, SharedBuckets(redis), tokens)
    resources.dev_server.mount(PREFIX, build_page(ways, limiter))
