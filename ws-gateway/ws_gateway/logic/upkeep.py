"""What the gateway does at regular times for all its connections together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog

from im_common.domain.routes import RENEW_EVERY_S, TTL_MS
from im_common.runtime.faults import report
from im_common.runtime.redis_client import run_of
from ws_gateway.svc import ServiceContext

log = structlog.get_logger(__name__)

ENDED_EVERY_S = 1.0
SESSIONS_EVERY_S = 30.0
PRESENCE_EVERY_S = 0.5
SEEN_EVERY_S = 1.0
STRANDED_EVERY_S = 0.7
REDIS_EVERY_S = 0.5
RETRY_S = 1.0
# Its append-only file is synced every second, and a sync may take another; a master that was cut off
# from its replicas and from us does not know it for longer.
REDIS_LOSES_S = 3.0
FAILOVER_LOSES_S = 15.0
# Routes count as lost so long before they are: nobody's clock is exact.
LAPSE_S = 5.0


async def renew_routes(svc: ServiceContext) -> None:
    """One pipeline for all. When they have run out, as Redis was away or this process stood still, some
    messages were not sent here: the connections end, and their devices come back and sync."""
    began = time.monotonic()
    run_id = await _end_lost(svc)
    if not end_lapsed(svc, began) and len(svc.connections):
        await svc.routes.put((c.user_id, c.route) for c in svc.connections.all())
        await svc.rosters.renew()
    svc.routes_put_at = began
    svc.redis_run_id, svc.redis_seen_at = run_id, began


def end_lapsed(svc: ServiceContext, now: float) -> bool:
    """Ends all connections if their routes may have run out, by ``now`` (time.monotonic() seconds):
    nothing newer is to reach them than what others put into the lists of their users. Who comes next
    writes a route of its own, and its groups are found anew."""
    if now - svc.routes_put_at <= TTL_MS / 1000 - LAPSE_S:
        return False
    if len(svc.connections):
        late_s = round(now - svc.routes_put_at, 1)
        log.warning("routes have run out", connections=len(svc.connections), late_s=late_s)
    for connection in svc.connections.all():
        connection.passed_over()
    svc.rosters.lapse()
    svc.routes_put_at = now
    return True


async def look_at_redis(svc: ServiceContext) -> None:
    """When Redis was started again, the routes of all are written at once."""
    began = time.monotonic()
    run_id = await run_of(svc.redis)
    if svc.redis_run_id and run_id != svc.redis_run_id:
        await renew_routes(svc)
    else:
        svc.redis_run_id, svc.redis_seen_at = run_id, began


async def _end_lost(svc: ServiceContext) -> str:
    """A Redis that was started again may have lost its last seconds, and with them the routes of the
    last who came: these come again. Whose friends were told may be forgotten, too. Gives the run of
    Redis."""
    run_id = await run_of(svc.redis)
    if svc.redis_run_id and run_id != svc.redis_run_id:
        has_replicas = svc.settings.redis.type != "node"
        since = svc.redis_seen_at - (FAILOVER_LOSES_S if has_replicas else REDIS_LOSES_S)
        connections = svc.connections.all()
        young = [c for c in connections if c.opened_at is None or c.opened_at > since]
        kept = await svc.routes.find([connection.user_id for connection in young])
        for connection in young:
            if connection.route not in kept.get(connection.user_id, ()):
                connection.missed()
        for connection in connections:
            svc.presence.touch(connection)
        await svc.rosters.end_those_forgotten(since)
    return run_id


async def end_revoked(svc: ServiceContext) -> None:
    """Of the sessions that are said to end."""
    await svc.sessions.look()


async def end_over(svc: ServiceContext) -> None:
    """Of all sessions, whoever ended them, or lost them."""
    await svc.sessions.look_at_all()


async def tell_seen(svc: ServiceContext) -> None:
    """Which sessions were used to connect."""
    await svc.sessions.tell_seen()


async def send_stranded(svc: ServiceContext) -> None:
    """Looks into the offline lists of all who are connected, in one pipeline, for what the consumer
    could not tell this instance."""
    await svc.missing.look()
    users = {c.user_id for c in svc.connections.all()}
    if not users:
        return
    for user_id in await svc.offline.waiting(list(users)):
        for connection in svc.connections.of(user_id):
            connection.backlog.look()


async def report_presence(svc: ServiceContext) -> None:
    """One call for all who came, one for all who went."""
    await svc.presence.flush()


async def every(
    seconds: float, work: Callable[[ServiceContext], Awaitable[None]], svc: ServiceContext
) -> None:
    """Repeats ``work`` for ever. Whatever it meets is reported and waited out: nobody knows all that
    a server in trouble answers, and the connections outlast it."""
    pause_s = seconds
    while True:
        await asyncio.sleep(pause_s)
        pause_s = seconds
        try:
            await work(svc)
        except Exception as error:
            pause_s = min(seconds, RETRY_S)
            report(error, "upkeep failed", work=work.__name__)


def parts(svc: ServiceContext) -> dict[str, Coroutine[Any, Any, None]]:
    """What runs beside the connections, by name."""
    return {
        "renew-routes": every(RENEW_EVERY_S, renew_routes, svc),
        "redis": every(REDIS_EVERY_S, look_at_redis, svc),
        "end-revoked": every(ENDED_EVERY_S, end_revoked, svc),
        "end-over": every(SESSIONS_EVERY_S, end_over, svc),
        "seen": every(SEEN_EVERY_S, tell_seen, svc),
        "stranded": every(STRANDED_EVERY_S, send_stranded, svc),
        "presence": every(PRESENCE_EVERY_S, report_presence, svc),
        "relay": svc.relay.run(),
        "rosters": svc.rosters.run(),
        "replacing": svc.replacing.run(),
        "in-flight": svc.in_flight.run(),
        "turns": svc.turns.run(),
    }
