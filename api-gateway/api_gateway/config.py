"""Settings of api-gateway."""

import re
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from im_common.runtime.config import Settings as CommonSettings
from im_common.runtime.http_limits import Guests, HttpLimits, affordable
from im_common.runtime.sections import BusConf, ClientConf, ListenAddress, Names, Section
from im_common.runtime.shared_rate import Allowance

RateClass = Literal["registration", "login", "search", "upload", "write", "read"]

_GATEWAY = re.compile(r"wss?://(\[[0-9a-fA-F:]+\]|[\w.-]+)(:\d{1,5})?(/[\w./~-]*)?", re.ASCII)


class HttpConf(Section):
    # Where clients come.
    listen_on: ListenAddress = "127.0.0.1:8080"
    # Processes that answer there; the bounds below are of each.
    workers: int = Field(default=1, ge=1, le=64)
    # Milliseconds for one request, with all the calls it leads to.
    timeout: int = Field(default=12_000, ge=1)
    # Bytes of a request's header; the answer to more is 431.
    max_header_bytes: int = Field(default=32 * 1024, ge=1024)
    # Milliseconds for a header, for the first request of a connection, and for a body.
    header_timeout: int = Field(default=10_000, ge=1)
    first_request_timeout: int = Field(default=30_000, ge=1)
    body_timeout: int = Field(default=60_000, ge=1)
    # Connections in all (and no more than the process may open files for), and from one address; 0
    # turns the latter off. The one at rest for the longest gives way.
    max_connections: int = Field(default=10_000, ge=1)
    max_connections_per_address: int = Field(default=1_000, ge=0)
    # How many proxies in front append to X-Forwarded-For; with 0 the header is not believed.
    trusted_proxies: int = Field(default=0, ge=0)
    # Origins of web pages that may call; empty turns CORS off.
    cors_origins: Names = Field(default=[])

    @property
    def limits(self) -> HttpLimits:
        return HttpLimits(
            header_bytes=self.max_header_bytes,
            header_timeout_s=self.header_timeout / 1000,
            first_request_timeout_s=self.first_request_timeout / 1000,
            body_timeout_s=self.body_timeout / 1000,
        )

    def guests(self) -> Guests:
        """Behind proxies all connections come from a few addresses, and each of them is for many."""
        by_address = 0 if self.trusted_proxies else self.max_connections_per_address
        return Guests(affordable(self.max_connections), by_address)


class RateConf(Section):
    """A class of routes: requests a second for long, and requests at once, from one user and from one
    address."""

    user_per_second: float = Field(gt=0)
    user_burst: int = Field(ge=1)
    address_per_second: float = Field(gt=0)
    address_burst: int = Field(ge=1)

    def by_user(self, factor: float) -> Allowance:
        return _allowance(self.user_per_second, self.user_burst, factor)

    def by_address(self, factor: float) -> Allowance:
        return _allowance(self.address_per_second, self.address_burst, factor)


def _allowance(per_second: float, burst: int, factor: float) -> Allowance:
    return Allowance(per_second * factor, max(1, round(burst * factor)))


class RegistrationRate(RateConf):
    user_per_second: float = Field(default=0.1, gt=0)
    user_burst: int = Field(default=20, ge=1)
    address_per_second: float = Field(default=0.1, gt=0)
    address_burst: int = Field(default=20, ge=1)


class LoginRate(RateConf):
    user_per_second: float = Field(default=0.5, gt=0)
    user_burst: int = Field(default=20, ge=1)
    address_per_second: float = Field(default=2.0, gt=0)
    address_burst: int = Field(default=60, ge=1)


class SearchRate(RateConf):
    user_per_second: float = Field(default=5.0, gt=0)
    user_burst: int = Field(default=30, ge=1)
    address_per_second: float = Field(default=50.0, gt=0)
    address_burst: int = Field(default=300, ge=1)


class UploadRate(RateConf):
    user_per_second: float = Field(default=1.0, gt=0)
    user_burst: int = Field(default=20, ge=1)
    address_per_second: float = Field(default=10.0, gt=0)
    address_burst: int = Field(default=200, ge=1)


class WriteRate(RateConf):
    user_per_second: float = Field(default=20.0, gt=0)
    user_burst: int = Field(default=200, ge=1)
    address_per_second: float = Field(default=200.0, gt=0)
    address_burst: int = Field(default=2_000, ge=1)


class ReadRate(RateConf):
    user_per_second: float = Field(default=50.0, gt=0)
    user_burst: int = Field(default=500, ge=1)
    address_per_second: float = Field(default=500.0, gt=0)
    address_burst: int = Field(default=5_000, ge=1)


class RatesConf(Section):
    """How many requests are let through, with `RateLimits: on`.

    Many users may share an address, so the bounds of an address are wider where a token is needed.
    """

    # All rates and bursts are multiplied by this: for tests, for a laptop.
    factor: float = Field(default=1.0, gt=0)
    registration: RegistrationRate = RegistrationRate()
    login: LoginRate = LoginRate()
    search: SearchRate = SearchRate()
    upload: UploadRate = UploadRate()
    write: WriteRate = WriteRate()
    read: ReadRate = ReadRate()

    def of(self, kind: RateClass) -> RateConf:
        conf: RateConf = getattr(self, kind)
        return conf


class WebConf(Section):
    """The web client, at `/`."""

    enabled: bool = True
    # WebSocket addresses of the gateways, as browsers reach them (ws://… or wss://…, with the path).
    # Empty: port 8081 of the host that the page came from.
    gateways: Names = Field(default=[])

    @field_validator("gateways")
    @classmethod
    def _are_addresses(cls, gateways: list[str]) -> list[str]:
        # They go into a header of the page as they are.
        for gateway in gateways:
            if not _GATEWAY.fullmatch(gateway):
                raise ValueError(f"{gateway} is no WebSocket address, ws://host:port/path")
        return gateways


class S3Conf(Section):
    """A bucket of S3, or of a server that speaks its protocol."""

    # Files are in the folder when it is empty.
    bucket: str = ""
    # Before the name of each object.
    prefix: str = ""
    region: str = "us-east-1"
    # http(s)://host:port of a server of one's own; empty is Amazon's.
    endpoint: str = ""
    # The same as clients reach it, when that is another address.
    public_endpoint: str = ""
    # Whether the bucket is named by the host, as Amazon has it, or by the path.
    virtual_hosted: bool = False
    # Without them it is found out as Amazon's tools do: variables, profile, role of the machine.
    access_key_id: str = ""
    secret_access_key: SecretStr = SecretStr("")
    # Milliseconds for which a client may fetch a file by the URL that it is sent to; with 0 the bytes
    # go through the gateway.
    presigned_for: int = Field(default=60_000, ge=0)


class FilesConf(Section):
    # Where files are while no bucket is named.
    folder: str = "files"
    s3: S3Conf = S3Conf()
    # Of one file.
    max_bytes: int = Field(default=25 * 1024 * 1024, ge=1)
    # Milliseconds for a file on its way in or out.
    timeout: int = Field(default=600_000, ge=1)
    # Milliseconds between two looks for files that nothing uses.
    remove_unused_every: int = Field(default=600_000, ge=1000)


class PicturesConf(Section):
    """Of the processes that make small pictures; what goes beyond is a file without one."""

    max_pixels: int = Field(default=40_000_000, ge=1)
    # Milliseconds for one picture, and of the processor.
    timeout: int = Field(default=10_000, ge=100)
    # At once.
    processes: int = Field(default=2, ge=1)
    # In pixels, the longer one.
    thumbnail_side: int = Field(default=320, ge=16, le=2048)


class Settings(CommonSettings):
    http: HttpConf = HttpConf()
    rates: RatesConf = RatesConf()
    web: WebConf = WebConf()
    files: FilesConf = FilesConf()
    pictures: PicturesConf = PicturesConf()
    # Log-ins queue for the processor: a password takes a quarter of a second of it.
    auth_rpc: ClientConf = ClientConf(key="auth.rpc", timeout=10_000)
    user_rpc: ClientConf = ClientConf(key="user.rpc")
    friend_rpc: ClientConf = ClientConf(key="friend.rpc")
    group_rpc: ClientConf = ClientConf(key="group.rpc")
    chat_rpc: ClientConf = ClientConf(key="chat.rpc")
    # The rest is for the operators' page alone: what it shows of the log and of the gateways.
    ws_rpc: ClientConf = ClientConf(key="ws.rpc")
    bus: BusConf = BusConf()
    # The groups of chat-mq, as its settings name them.
    group: str = "chat-mq"
    event_group: str = "chat-mq-events"
