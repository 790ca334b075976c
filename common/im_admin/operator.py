"""Who works on a system, and with what: opened when it is first needed."""

from __future__ import annotations

import asyncio
import getpass
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import structlog

from im.auth.v1 import admin_pb2_grpc, auth_pb2_grpc
from im.auth.v1.admin_pb2 import BeginDeedRequest, EndDeedRequest
from im.chat.v1 import admin_pb2_grpc as chat_admin_pb2_grpc
from im.group.v1 import admin_pb2_grpc as group_admin_pb2_grpc
from im_admin.config import AdminSettings, OperatorSettings
from im_common.bus import Producer
from im_common.errors import AppError
from im_common.rpc.client import AddressChannels, BalancedChannel
from im_common.runtime.dev_server import DevServer
from im_common.runtime.resources import Resources
from im_common.runtime.sections import ClientConf

log = structlog.get_logger(__name__)

OK = "ok"
# What became of a deed that ended by something nobody expected.
_BROKEN = "INTERNAL"


class Ways:
    """To the services and their servers, for as long as the resources; each is opened once."""

    def __init__(self, settings: OperatorSettings, resources: Resources) -> None:
        self.settings = settings
        self.resources = resources
        self._channels: dict[str, BalancedChannel] = {}
        self._producer: Producer | None = None
        self._instances: AddressChannels | None = None
        self._opening = asyncio.Lock()

    async def channel(self, conf: ClientConf) -> BalancedChannel:
        async with self._opening:
            if conf.key not in self._channels:
                self._channels[conf.key] = await self.resources.channel(conf)
            return self._channels[conf.key]

    def instance(self, address: str) -> BalancedChannel:
        """To one particular process."""
        if self._instances is None:
            self._instances = self.resources.address_channels()
        return self._instances.get(address)

    async def producer(self) -> Producer:
        async with self._opening:
            if self._producer is None:
                bus = self.settings.bus
                self._producer = await self.resources.producer(bus, is_vital=False)
            return self._producer


class Operator:
    """A person, by name, and the ways to the services and their servers."""

    def __init__(self, ways: Ways, who: str) -> None:
        self.settings = ways.settings
        self.resources = ways.resources
        self.ways = ways
        self.who = who

    async def channel(self, conf: ClientConf) -> BalancedChannel:
        """The channel to a service."""
        return await self.ways.channel(conf)

    async def auth(self) -> auth_pb2_grpc.AuthServiceAsyncStub:
        return auth_pb2_grpc.AuthServiceStub(await self.channel(self.settings.auth_rpc))

    async def accounts(self) -> admin_pb2_grpc.AccountAdminServiceAsyncStub:
        return admin_pb2_grpc.AccountAdminServiceStub(await self.channel(self.settings.auth_rpc))

    async def groups(self) -> group_admin_pb2_grpc.GroupAdminServiceAsyncStub:
        return group_admin_pb2_grpc.GroupAdminServiceStub(
            await self.channel(self.settings.group_rpc)
        )

    async def keys(self) -> admin_pb2_grpc.KeyAdminServiceAsyncStub:
        return admin_pb2_grpc.KeyAdminServiceStub(await self.channel(self.settings.auth_rpc))

    async def retention(self) -> chat_admin_pb2_grpc.RetentionServiceAsyncStub:
        return chat_admin_pb2_grpc.RetentionServiceStub(await self.channel(self.settings.chat_rpc))

    async def reports(self) -> chat_admin_pb2_grpc.ReportServiceAsyncStub:
        return chat_admin_pb2_grpc.ReportServiceStub(await self.channel(self.settings.chat_rpc))

    async def audit(self) -> admin_pb2_grpc.AuditServiceAsyncStub:
        return admin_pb2_grpc.AuditServiceStub(await self.channel(self.settings.auth_rpc))

    @asynccontextmanager
    async def deed(self, action: str, target: str, reason: str = "") -> AsyncIterator[None]:
        """A block that changes something: noted before, with its outcome afterwards. Nothing is done
        that cannot be noted.

        Raises:
            AppError: UNAVAILABLE when auth-service is away; the block has not begun then.
        """
        audit = await self.audit()
        request = BeginDeedRequest(who=self.who, action=action, target=target, reason=reason)
        deed_id = (await audit.BeginDeed(request)).deed_id
        outcome = _BROKEN
        try:
            yield
            outcome = OK
        except AppError as error:
            outcome = error.code.value
            raise
        finally:
            await _end(audit, deed_id, outcome)


@asynccontextmanager
async def open_operator(settings: AdminSettings, who: str) -> AsyncGenerator[Operator, None]:
    """For as long as the block lasts."""
    async with AsyncExitStack() as stack:
        resources = Resources(settings, DevServer(settings.dev_server, settings.name), stack)
        yield Operator(Ways(settings, resources), who)


def own_name() -> str:
    """Who is logged in, also behind sudo."""
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (OSError, KeyError):
        return f"uid {os.getuid()}"


async def _end(audit: admin_pb2_grpc.AuditServiceAsyncStub, deed_id: int, outcome: str) -> None:
    try:
        await audit.EndDeed(EndDeedRequest(deed_id=deed_id, outcome=outcome))
    except AppError as error:
        # It is done, or has failed, all the same; that it began is noted.
        log.error("the outcome is not in the audit log", outcome=outcome, error=error.message)
