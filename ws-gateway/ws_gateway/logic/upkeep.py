"""What the gateway does at regular times for all its connections together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from im_common.access_tokens import session_key
from im_common.routes import RENEW_EVERY_S
from ws_gateway.svc import ServiceContext

log = structlog.get_logger(__name__)

SESSIONS_EVERY_S = 2.0
PRESENCE_EVERY_S = 0.5
STRANDED_EVERY_S = 0.7


async def renew_routes(svc: ServiceContext) -> None:
    """One pipeline for all. When Redis is away the routes last for two more rounds."""
    connections = svc.connections.all()
    if connections:
        await svc.routes.put((c.user_id, c.route) for c in connections)


async def end_revoked(svc: ServiceContext) -> None:
    """Kicks the connections whose session is over; all sessions are asked for in one pipeline.

    When Redis is away nothing is known: connections stay, and no new one gets in.
    """
    connections = svc.connections.all()
    sessions = list({connection.identity.session_id for connection in connections})
    if not sessions:
        return
    pipeline = svc.redis.pipeline(transaction=False)
    for session_id in sessions:
        pipeline.exists(session_key(session_id))
    alive = dict(zip(sessions, await pipeline.execute(), strict=True))
    for connection in connections:
        if not alive[connection.identity.session_id]:
            connection.kick("the session has ended")


async def send_stranded(svc: ServiceContext) -> None:
    """Looks into the offline lists of all who are connected, in one pipeline.

    A frame gets there although its user is here when the consumer could not reach this instance
    for a moment, and so could not tell it either.
    """
    idle = {c.user_id for c in svc.connections.all() if svc.drains[c.id].idle}
    if not idle:
        return
    for user_id in await svc.offline.waiting(list(idle)):
        for connection in svc.connections.of(user_id):
            svc.drains[connection.id].start()


async def report_presence(svc: ServiceContext) -> None:
    """One call for all who came, one for all who went."""
    await svc.presence.flush()


async def every(
    seconds: float, work: Callable[[ServiceContext], Awaitable[None]], svc: ServiceContext
) -> None:
    """Repeats ``work`` for ever; an outage is logged and waited out."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await work(svc)
        except Exception as error:
            log.warning("upkeep failed", work=work.__name__, error=repr(error))


def start(svc: ServiceContext) -> list[asyncio.Task[None]]:
    return [
        asyncio.create_task(every(RENEW_EVERY_S, renew_routes, svc), name="renew-routes"),
        asyncio.create_task(every(SESSIONS_EVERY_S, end_revoked, svc), name="end-revoked"),
        asyncio.create_task(every(STRANDED_EVERY_S, send_stranded, svc), name="stranded"),
        asyncio.create_task(every(PRESENCE_EVERY_S, report_presence, svc), name="presence"),
        asyncio.create_task(svc.relay.run(), name="relay"),
        asyncio.create_task(svc.answers.expire_forever(), name="expire-answers"),
    ]
