"""The consumer process: what is done with a batch."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import structlog

from chat_service.gateways import Gateways
from chat_service.mq import traces
from chat_service.mq.blocks import Blocks
from chat_service.mq.config import Settings
from chat_service.mq.deliver import Deliverer
from chat_service.mq.entry import Entry, Kind, Poison
from chat_service.mq.events import EventWorker
from chat_service.mq.group_change import Changes
from chat_service.mq.groups import Groups
from chat_service.mq.message import Messages
from chat_service.mq.policy import Policy
from chat_service.mq.recall import Recalls
from im.chat.v1.record_pb2 import ChatRecord
from im.friend.v1.friend_pb2_grpc import FriendServiceStub
from im.group.v1.group_pb2_grpc import GroupServiceStub
from im.user.v1.user_pb2_grpc import UserServiceStub
from im_common.bus import Finish, Handler, Producer, Record, dead_letter
from im_common.bus.topics import CHAT_TOPIC, DEAD_LETTER_TOPIC, EVENT_TOPIC
from im_common.domain.group_gateways import GroupGateways
from im_common.domain.missed import MissedLog
from im_common.domain.offline import OfflineList
from im_common.domain.recalls import RecallLog
from im_common.domain.routes import RouteTable
from im_common.errors import AppError, Code
from im_common.runtime import process
from im_common.runtime.context import TRACEPARENT
from im_common.runtime.faults import is_outage
from im_common.runtime.resources import Resources
from im_common.sql.db import Database

log = structlog.get_logger(__name__)


class Worker:
    """Places a batch, then hands out the delivery of it as the second stage."""

    def __init__(
        self,
        db: Database,
        policy: Policy,
        deliverer: Deliverer,
        producer: Producer,
        *,
        recall_window_ms: int = 120_000,
    ) -> None:
        self._db = db
        self._policy = policy
        self._deliverer = deliverer
        self._producer = producer
        # By name of ``ChatRecord.body``. Messages first: of the rest only the delivery depends on the
        # order.
        self._kinds: dict[str, Kind] = {
            "message": Messages(db),
            "recall": Recalls(db, recall_window_ms),
            "group_change": Changes(),
        }

    async def handle(self, records: Sequence[Record]) -> Finish:
        """Stage one: everything is stored or refused when it returns. An exception means: again."""
        with traces.stage("place", records):
            entries: list[Entry] = []
            for record in records:
                try:
                    entries.append(self._decode(record))
                except Poison as poison:
                    await self._bury(record, str(poison))
            await self._work_or_bury(entries)
        return traces.delivered(entries, partial(self._deliverer.deliver, entries))

    def _decode(self, record: Record) -> Entry:
        """Raises Poison."""
        try:
            parsed = ChatRecord.FromString(record.value)
        except Exception as error:  # protobuf raises its own DecodeError, and others
            raise Poison(f"cannot be decoded: {error}") from None
        body = parsed.WhichOneof("body")
        if body not in self._kinds:
            raise Poison(f"nobody works on a {body or 'record without a body'}")
        return self._kinds[body].decode(record, parsed)

    async def _work(self, entries: Sequence[Entry]) -> None:
        facts = await self._policy.learn(entries)
        for kind in self._kinds.values():
            await kind.apply(entries, facts)

    async def _work_or_bury(self, entries: Sequence[Entry], *, again: bool = False) -> None:
        """Works on all but those that fail for a reason of their own: they are found by halving, and
        become dead letters when they fail alone and ``again``. Raises what another try may cure."""
        if not entries:
            return
        try:
            await self._work(entries)
        except Exception as error:
            if is_outage(error) or isinstance(error, AppError):
                raise
            # A driver whose server dies under it may raise anything.
            await self._db.ping()
            if len(entries) == 1 and again:
                await self._bury_entry(entries[0], error)
                return
            log.exception("a batch fails for a reason of its own: halving it", size=len(entries))
            middle = len(entries) // 2
            await self._work_or_bury(entries[:middle])
            await self._work_or_bury(entries[middle:], again=len(entries) == 1)

    async def _bury_entry(self, entry: Entry, error: Exception) -> None:
        await self._bury(entry.record, repr(error))
        entry.error = AppError(Code.INTERNAL, "it cannot be stored")

    async def _bury(self, record: Record, reason: str) -> None:
        log.error(
            "dead letter",
            reason=reason,
            partition=record.partition,
            at=record.position,
            # Of the request or connection that it came by.
            traceparent=record.headers.get(TRACEPARENT, b"").decode(errors="replace"),
        )
        await dead_letter(self._producer, DEAD_LETTER_TOPIC, record, reason)


async def serve(settings: Settings, resources: Resources) -> None:
    redis, db = resources.redis(), resources.database(settings.db)
    blocks = Blocks(
        FriendServiceStub(await resources.channel(settings.friend_rpc)),
        require_friendship=settings.require_friendship,
    )
    policy = Policy(
        UserServiceStub(await resources.channel(settings.user_rpc)),
        blocks,
        GroupServiceStub(await resources.channel(settings.group_rpc)),
    )
    gateways = Gateways(resources.address_channels())
    deliverer = Deliverer(
        RouteTable(redis),
        OfflineList(redis),
        RecallLog(redis),
        MissedLog(redis),
        gateways,
        Groups(db, GroupGateways(redis), most_members=settings.offline_group_members),
    )
    producer = await resources.producer(settings.bus)
    worker = Worker(
        db,
        policy,
        deliverer,
        producer,
        recall_window_ms=settings.recall_window,
    )
    events = EventWorker(deliverer, producer)
    resources.keep(blocks.keep_leases(), "leases")
    consuming = [
        _consume(settings, resources, CHAT_TOPIC, settings.group, worker.handle),
        _consume(settings, resources, EVENT_TOPIC, settings.event_group, events.handle),
    ]

    async def drain() -> None:
        await asyncio.gather(*(stop() for stop in consuming))

    await process.serve(settings, resources, drain=drain)


def _consume(
    settings: Settings, resources: Resources, topic: str, group: str, handler: Handler
) -> Callable[[], Awaitable[None]]:
    """Begins; what it gives ends it, when what is in hand is finished."""
    source = resources.consumer(
        settings.bus, topic=topic, group=group, max_batch=settings.max_batch
    )
    running = resources.keep(source.run(handler), f"consumer of {topic}")

    async def stop() -> None:
        await source.stop()
        await running

    return stop
