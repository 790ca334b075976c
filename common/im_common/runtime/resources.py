"""What a process holds while it runs, opened once and closed in reverse order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
import structlog
from redis.asyncio import Redis

from im_common.bus import Bus, Consumer, Producer
from im_common.bus.kinds import open_bus
from im_common.bus.topics import CHAT_TOPIC, DEAD_LETTER_TOPIC, EVENT_TOPIC, make_topics
from im_common.discovery import EtcdClient
from im_common.rpc.access import Gatekeeper, UserTokens
from im_common.rpc.client import AddressChannels, BalancedChannel, connect
from im_common.rpc.peer_tls import PeerTls
from im_common.rpc.server import RpcServer
from im_common.rpc.service_token import ServiceTokens
from im_common.runtime import metrics
from im_common.runtime.config import RpcSettings, Settings
from im_common.runtime.dev_server import DevServer
from im_common.runtime.redis_client import answers, open_redis
from im_common.runtime.sections import BusConf, ClientConf, DbConf
from im_common.runtime.tasks import background, end, on_failure

if TYPE_CHECKING:
    from im_common.sql.db import Database
    from im_common.sql.outbox import Outbox

log = structlog.get_logger(__name__)


class Resources:
    """Opens the parts that a service asks for, watches their health and closes them at the end."""

    def __init__(self, settings: Settings, dev_server: DevServer, stack: AsyncExitStack) -> None:
        self.settings = settings
        self.dev_server = dev_server
        self.service_tokens = ServiceTokens(
            settings.internal_secret.get_secret_value(), settings.name
        )
        self.ending = asyncio.Event()
        # Names of parts that are no more, though nobody ended them.
        self.failed: list[str] = []
        self._stack = stack
        self._etcd: EtcdClient | None = None
        self._redis: Redis | None = None
        self._peer_tls: PeerTls | None = None
        on_failure(self._end_because_of)

    def on_close(self, close: Callable[[], Awaitable[object]]) -> None:
        """``close`` runs at the end, before what was opened earlier is closed."""
        self._stack.push_async_callback(close)

    def keep(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Runs a part of the process for as long as the process: from here on, and until the end is
        asked for and ``work`` returns, or is cancelled before what was opened earlier is closed.

        A part that ends in another way, by a bug, ends the process: in order, after a traceback, and
        with an exit code that says so. The task never raises.
        """
        task = background(work, name, may_return=self.ending.is_set)

        self.on_close(partial(end, task))
        return task

    def _end_because_of(self, name: str) -> None:
        self.failed.append(name)
        self.ending.set()

    def redis(self, *, is_vital: bool = True) -> Redis:
        """One client for all of the process. It is not ready while Redis is away, unless that is not
        vital for who asks first."""
        if self._redis is None:
            redis = self._redis = open_redis(self.settings.redis)
            self.on_close(redis.aclose)
            if is_vital:
                self.dev_server.add_check("redis", partial(answers, redis))
        return self._redis

    def peer_tls(self) -> PeerTls | None:
        """What goes for all gRPC of the process; None where the settings have no TLS."""
        if self._peer_tls is None and self.settings.rpc_tls.ca_cert_file:
            self._peer_tls = PeerTls(self.settings.rpc_tls)
            self.keep(self._peer_tls.follow(), "certificates")
        return self._peer_tls

    def etcd(self) -> EtcdClient:
        if self._etcd is None:
            self._etcd = EtcdClient(self.settings.etcd)
            self.on_close(self._etcd.close)
        return self._etcd

    def database(self, conf: DbConf) -> Database:
        # Loaded only where there is a database: SQLAlchemy takes 20 MB.
        from im_common.sql.db import Database

        database = Database(conf)
        self.on_close(database.close)
        self.dev_server.add_check("database", database.ping)
        return database

    def rpc_server(
        self,
        tokens: UserTokens,
        *,
        services: Sequence[str],
        register: Callable[[grpc.aio.Server], None],
    ) -> RpcServer:
        """The gRPC server of the process, as its settings have it; ``process.serve`` starts and stops
        it. ``tokens`` says whom users' tokens speak for; the rest is as of RpcServer."""
        settings = self.settings
        assert isinstance(settings, RpcSettings)
        return RpcServer(
            listen_on=settings.listen_on,
            services=services,
            register=register,
            gatekeeper=Gatekeeper(tokens, self.service_tokens),
            timeout_ms=settings.timeout,
            tls=self.peer_tls(),
        )

    async def channel(self, conf: ClientConf) -> BalancedChannel:
        """A channel to another service, for its generated stub."""
        etcd = None if conf.endpoints else self.etcd()
        channel = connect(conf, etcd, self.service_tokens, self.peer_tls())
        await channel.start()
        self.on_close(channel.close)
        return channel

    def address_channels(self) -> AddressChannels:
        """Channels to particular instances, by their addresses. A call may take a minute: that a peer
        stands still is noticed after some 3 s."""
        channels = AddressChannels(
            self.service_tokens, tls=self.peer_tls(), timeout_ms=60_000, ping_every_ms=1_500
        )
        self.on_close(channels.close)
        return channels

    def bus(self, conf: BusConf) -> Bus:
        return open_bus(conf, self.redis)

    async def producer(self, conf: BusConf, *, is_vital: bool = True) -> Producer:
        """Connects in the background; makes the topics when they are missing. The process is not ready
        while the log is away, unless it is not vital."""
        bus = self.bus(conf)
        producer = bus.producer(self.settings.name)
        topics = {CHAT_TOPIC: conf.partitions, EVENT_TOPIC: conf.partitions, DEAD_LETTER_TOPIC: 1}
        making = asyncio.create_task(make_topics(bus, topics), name="make-topics")
        await producer.start()

        async def close() -> None:
            await end(making)
            await producer.close()

        self.on_close(close)
        if is_vital:
            self.dev_server.add_check("bus", producer.ping)
        return producer

    async def outbox(self, conf: BusConf, outbox: Outbox) -> Outbox:
        """The outbox, with a relay to the bus for as long as the process."""
        from im_common.sql.outbox_relay import OutboxRelay

        relay = OutboxRelay(outbox, await self.producer(conf, is_vital=False))
        self.keep(relay.run(), "outbox")
        # Before it is cancelled: what the last requests changed is told.
        self.on_close(relay.stop)
        return outbox

    def consumer(self, conf: BusConf, *, topic: str, group: str, max_batch: int) -> Consumer:
        """Whoever runs it stops it."""
        consumer = self.bus(conf).consumer(
            self.settings.name, group=group, topics=[topic], max_batch=max_batch
        )

        async def check() -> None:
            if not consumer.ready():
                raise ConnectionError(f"not in the group of {topic}")

        self.dev_server.add_check(f"consumer of {topic}", check)
        metrics.BUS_LAG.labels(topic, group).set_function(consumer.lag)
        # So that the first one is a step up, too.
        metrics.DEAD_LETTERS.labels(topic)
        return consumer
