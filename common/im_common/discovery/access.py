"""How etcd is spoken to: what of TLS there is, and who logs in."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import grpc
import structlog

from im_common.discovery import etcd_api_pb2 as api
from im_common.discovery.etcd_api_pb2_grpc import AuthStub, KVStub, LeaseStub, WatchStub
from im_common.rpc.target import direct_target
from im_common.runtime.sections import EtcdConf
from im_common.runtime.tls import strict_context

log = structlog.get_logger(__name__)

Metadata = tuple[tuple[str, str], ...]

# A member that has lost its leader must say so at once, and end a stream, not hold it silently.
_METADATA: Metadata = (("hasleader", "true"),)
_OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    # Bounds one attempt to connect: a frozen server accepts and then says nothing.
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # etcd counts more than a ping in 5 s as abuse. With an open watch these notice a frozen etcd.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # What bounds the answer to a ping; keepalive_timeout_ms alone leaves it at a minute.
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
]


@dataclass(frozen=True)
class Access:
    """To any of the hosts that the settings name."""

    conf: EtcdConf

    def __post_init__(self) -> None:
        if not self.conf.hosts:
            raise ValueError("etcd needs at least one host")
        self.check_files()

    def check_files(self) -> None:
        """gRPC would not say which one is wrong. Raises ValueError."""
        conf = self.conf
        files = (conf.ca_cert_file, conf.cert_file, conf.cert_key_file)
        strict_context(*files, setting="Etcd.CACertFile, CertFile, CertKeyFile")

    @property
    def hosts(self) -> list[str]:
        """`host:port`."""
        return [host.removeprefix("https://") for host in self.conf.hosts]

    def channel(self, host: str) -> grpc.aio.Channel:
        """The files are read each time, so that a new connection has new certificates.

        Raises:
            ValueError: one of them cannot be used.
        """
        target = direct_target((host,)) or host
        if not self.conf.tls:
            return grpc.aio.insecure_channel(target, options=_OPTIONS)
        self.check_files()
        credentials = grpc.ssl_channel_credentials(
            root_certificates=_read(self.conf.ca_cert_file),
            private_key=_read(self.conf.cert_key_file),
            certificate_chain=_read(self.conf.cert_file),
        )
        return grpc.aio.secure_channel(target, credentials, options=_OPTIONS)


class Connection:
    """One to one host, and who is logged in on it."""

    def __init__(self, host: str, access: Access) -> None:
        """Raises ValueError when a file of the settings cannot be used."""
        self.host = host
        self.channel = access.channel(host)
        self.kv = KVStub(self.channel)
        self.lease = LeaseStub(self.channel)
        self.watch = WatchStub(self.channel)
        self._auth = AuthStub(self.channel)
        self._conf = access.conf
        self._logging_in = asyncio.Lock()
        self._metadata: Metadata | None = None if access.conf.user else _METADATA

    async def metadata(self, timeout_s: float) -> Metadata:
        """What every call brings; logs in first if need be. Raises grpc.aio.AioRpcError."""
        if self._metadata is None:
            async with self._logging_in:
                if self._metadata is None:
                    self._metadata = await self._log_in(timeout_s)
        return self._metadata

    def is_logged_out(self, error: grpc.aio.AioRpcError) -> bool:
        """Whether that is why the call failed: a token lasts only some minutes, and until its user's
        rights change. The next call logs in again."""
        said = error.details() or ""
        # In the words of a member's face, and in those of what is beneath, which come through at times.
        old = "auth store is old" in said or "revision in header is old" in said
        if not self._conf.user or not (old or error.code() is grpc.StatusCode.UNAUTHENTICATED):
            return False
        self._metadata = None
        return True

    async def _log_in(self, timeout_s: float) -> Metadata:
        request = api.AuthenticateRequest(
            name=self._conf.user, password=self._conf.password.get_secret_value()
        )
        try:
            answer = await self._auth.Authenticate(request, timeout=timeout_s, metadata=_METADATA)
        except grpc.aio.AioRpcError as error:
            if "authentication is not enabled" not in (error.details() or ""):
                raise
            # As etcd's own clients do: it may be enabled later.
            log.warning("etcd asks nobody for a password", host=self.host)
            return _METADATA
        return (*_METADATA, ("token", answer.token))


def _read(file: str) -> bytes | None:
    return Path(file).read_bytes() if file else None
