"""The consumer process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import structlog

from chat_service.gateways import Gateways
from chat_service.mq import changes, store
from chat_service.mq import recalls as recalling
from chat_service.mq.blocks import Blocks
from chat_service.mq.config import Settings
from chat_service.mq.deliver import Deliverer
from chat_service.mq.item import ChangeItem, Entry, Item, Poison, RecallItem, decode
from chat_service.mq.policy import Policy
from im.friend.v1.friend_pb2_grpc import FriendServiceStub
from im.group.v1.group_pb2_grpc import GroupServiceStub
from im.user.v1.user_pb2_grpc import UserServiceStub
from im_common.bus import Producer, Record, dead_letter
from im_common.bus.topics import CHAT_TOPIC, DEAD_LETTER_TOPIC
from im_common.domain.missed import MissedLog
from im_common.domain.offline import OfflineList
from im_common.domain.recalls import RecallLog
from im_common.domain.routes import RouteTable
from im_common.errors import AppError, Code
from im_common.runtime.faults import is_outage
from im_common.runtime.process import started
from im_common.runtime.resources import Resources
from im_common.sql.db import Database, is_duplicate_key

log = structlog.get_logger(__name__)


class Consumer:
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
        self._recall_window_ms = recall_window_ms

    async def handle(self, records: Sequence[Record]) -> Callable[[], Awaitable[None]]:
        """Stage one: everything is stored or refused when it returns. An exception means: again."""
        entries: list[Entry] = []
        for record in records:
            try:
                entries.append(decode(record))
            except Poison as poison:
                await self._bury(record, str(poison))
        await self._work_or_bury(entries)
        outgoing = [entry for entry in entries if not isinstance(entry, ChangeItem)]
        return partial(self._deliverer.deliver, outgoing)

    async def _work(self, entries: Sequence[Entry]) -> None:
        """Messages first: of the rest only the delivery depends on the order."""
        items = [entry for entry in entries if isinstance(entry, Item)]
        recalls = [entry for entry in entries if isinstance(entry, RecallItem)]
        for item in items:
            item.place = item.error = None
        refusals = await self._policy.judge(items, recalls)
        refused = [
            (item, refusal) for item, refusal in zip(items, refusals, strict=True) if refusal
        ]
        if refused:
            # What is stored keeps its place, whatever is allowed by now.
            await store.find_places(self._db, [item for item, _ in refused])
            for item, refusal in refused:
                if item.place is None and item.error is None:
                    item.error = refusal
        await self._store(items)
        if recalls:
            await recalling.apply(self._db, recalls, self._recall_window_ms)
        if any(isinstance(entry, ChangeItem) for entry in entries):
            await changes.apply(self._db, entries)

    async def _store(self, items: Sequence[Item]) -> None:
        """Most batches have nothing that is stored already: the unique key tells those that have,
        which are looked up and tried once more."""
        try:
            await store.store(self._db, items)
        except Exception as error:
            if not is_duplicate_key(error):
                raise
            await store.find_places(self._db, [i for i in items if i.error is None])
            await store.store(self._db, items)

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
        if not isinstance(entry, ChangeItem):
            entry.error = AppError(Code.INTERNAL, "it cannot be stored")

    async def _bury(self, record: Record, reason: str) -> None:
        log.error("dead letter", reason=reason, partition=record.partition, at=record.position)
        await dead_letter(self._producer, DEAD_LETTER_TOPIC, record, reason)


async def serve(settings: Settings, resources: Resources) -> None:
    redis = resources.redis()
    blocks = Blocks(FriendServiceStub(await resources.channel(settings.friend_rpc)))
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
        offline_group_members=settings.offline_group_members,
    )
    consumer = Consumer(
        resources.database(settings.db),
        policy,
        deliverer,
        await resources.producer(settings.bus),
        recall_window_ms=settings.recall_window,
    )
    source = resources.consumer(
        settings.bus, topic=CHAT_TOPIC, group=settings.group, max_batch=settings.max_batch
    )
    resources.keep(blocks.keep_leases(), "leases")
    consuming = resources.keep(source.run(consumer.handle), "consumer")
    started(resources)
    await resources.ending.wait()
    resources.dev_server.set_started(False)
    await source.stop()
    await consuming
