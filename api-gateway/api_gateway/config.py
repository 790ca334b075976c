"""Settings of api-gateway."""

from pydantic import Field

from im_common.runtime.config import ClientConf, ListenAddress, Names, Section
from im_common.runtime.config import Settings as CommonSettings
from im_common.runtime.http_limits import Guests, HttpLimits, affordable


class HttpConf(Section):
    listen_on: ListenAddress = "127.0.0.1:8080"
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


class Settings(CommonSettings):
    http: HttpConf = HttpConf()
    # Log-ins queue for the processor: a password takes a quarter of a second of it.
    auth_rpc: ClientConf = ClientConf(key="auth.rpc", timeout=10_000)
    user_rpc: ClientConf = ClientConf(key="user.rpc")
    friend_rpc: ClientConf = ClientConf(key="friend.rpc")
    group_rpc: ClientConf = ClientConf(key="group.rpc")
    chat_rpc: ClientConf = ClientConf(key="chat.rpc")
