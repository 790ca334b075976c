"""The consumer process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import structlog

from chat_service.mq import store
from chat_service.mq.config import Settings
from chat_service.mq.deliver import Deliverer
from chat_service.mq.item import Item, Poison, decode
from chat_service.mq.policy import Policy
from im.friend.v1.friend_pb2_grpc import FriendServiceStub
from im.group.v1.group_pb2_grpc import GroupServiceStub
from im.user.v1.user_pb2_grpc import UserServiceStub
from im_common.bus import Producer, Record, dead_letter
from im_common.db import Database, is_duplicate_key
from im_common.errors import AppError, Code
from im_common.faults import is_outage
from im_common.offline import OfflineList
from im_common.resources import Resources
from im_common.routes import RouteTable
from im_common.topics import CHAT_TOPIC, DEAD_LETTER_TOPIC

log = structlog.get_logger(__name__)


class Consumer:
    """Places a batch, then hands out the delivery of it as the second stage."""

    def __init__(
        self, db: Database, policy: Policy, deliverer: Deliverer, producer: Producer
    ) -> None:
        self._db = db
        self._policy = policy
        self._deliverer = deliverer
        self._producer = producer

    async def handle(self, records: Sequence[Record]) -> Callable[[], Awaitable[None]]:
        """Stage one: everything is stored or refused when it returns. An exception means: again."""
        items: list[Item] = []
        for record in records:
            try:
                items.append(decode(record))
            except Poison as poison:
                await self._bury(record, str(poison))
        try:
            await self._place(items)
        except Exception as error:
            if is_outage(error) or isinstance(error, AppError):
                raise
            log.exception("a batch fails for a reason of its own: taking it record by record")
            await self._place_each(items)
        return partial(self._deliverer.deliver, items)

    async def _place(self, items: Sequence[Item]) -> None:
        if not items:
            return
        for item in items:
            item.place = item.error = None
        _, refusals = await asyncio.gather(
            store.recall_places(self._db, items), self._policy.judge(items)
        )
        for item, refusal in zip(items, refusals, strict=True):
            # What is stored keeps its place, whatever is allowed by now.
            if item.place is None and item.error is None:
                item.error = refusal
        await self._store(items)

    async def _store(self, items: Sequence[Item]) -> None:
        try:
            await store.store(self._db, items)
        except Exception as error:
            if not is_duplicate_key(error):
                raise
            # Another consumer stored some of these while a partition changed hands.
            await store.recall_places(self._db, [i for i in items if i.error is None])
            await store.store(self._db, items)

    async def _place_each(self, items: Sequence[Item]) -> None:
        for item in items:
            try:
                await self._place([item])
            except Exception as error:
                if is_outage(error) or isinstance(error, AppError):
                    raise
                await self._bury(item.record, repr(error))
                item.error = AppError(Code.INTERNAL, "the message cannot be stored")

    async def _bury(self, record: Record, reason: str) -> None:
        log.error("dead letter", reason=reason, partition=record.partition, at=record.position)
        await dead_letter(self._producer, DEAD_LETTER_TOPIC, record, reason)


async def serve(settings: Settings, resources: Resources) -> None:
    redis = resources.redis()
    policy = Policy(
        UserServiceStub(await resources.channel(settings.user_rpc)),
        FriendServiceStub(await resources.channel(settings.friend_rpc)),
        GroupServiceStub(await resources.channel(settings.group_rpc)),
    )
    gateways = resources.address_channels()
    deliverer = Deliverer(
        RouteTable(redis),
        OfflineList(redis),
        gateways,
        offline_group_members=settings.offline_group_members,
    )
    consumer = Consumer(
        resources.database(settings.db),
        policy,
        deliverer,
        await resources.producer(settings.bus),
    )
    source = resources.consumer(
        settings.bus, topic=CHAT_TOPIC, group=settings.group, max_batch=settings.max_batch
    )
    task = asyncio.create_task(source.run(consumer.handle), name="consumer")
    resources.dev_server.set_started(True)
    await resources.ending.wait()
    resources.dev_server.set_started(False)
    await source.stop()
    await task
