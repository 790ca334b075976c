"""Settings of ws-gateway."""

import ssl
from typing import Self

from pydantic import Field, model_validator

from im_common.runtime.config import RpcSettings
from im_common.runtime.sections import BusConf, ClientConf, ListenAddress, Names, Section


class WebSocketConf(Section):
    # Where clients come.
    listen_on: ListenAddress = "127.0.0.1:8081"
    # How often a client should send `ping`, in milliseconds.
    heartbeat: int = Field(default=30_000, ge=1000)
    # Frames that may wait for one slow reader before it is cut off.
    max_queue: int = Field(default=1024, ge=16)
    # Open connections of this instance: in all, of one user, from one address (an IPv6 client is its
    # /64; 0 for no such bound). Handshakes beyond are refused with 429.
    max_connections: int = Field(default=20_000, ge=1)
    max_connections_per_user: int = Field(default=100, ge=1)
    max_connections_per_address: int = Field(default=10_000, ge=0)
    # How many proxies in front append to X-Forwarded-For; with 0 the header is not believed.
    trusted_proxies: int = Field(default=0, ge=0)
    # Origins of web pages that may connect; empty for any. Who sends no Origin is no page.
    allowed_origins: Names = Field(default=[])
    # PEM files of a certificate with its chain, and of its key: then it speaks TLS itself.
    cert_file: str = ""
    cert_key_file: str = ""
    # Messages of one connection: so many a second for long, so many at once.
    messages_per_second: float = Field(default=20.0, gt=0)
    message_burst: int = Field(default=40, ge=1)

    @model_validator(mode="after")
    def _both_files(self) -> Self:
        if bool(self.cert_file) != bool(self.cert_key_file):
            raise ValueError("CertFile and CertKeyFile: both or neither")
        return self

    def tls(self) -> ssl.SSLContext | None:
        """Raises OSError or ssl.SSLError when the files cannot be read, or do not fit."""
        if not self.cert_file:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.cert_file, self.cert_key_file)
        return context


class Settings(RpcSettings):
    web_socket: WebSocketConf = WebSocketConf()
    bus: BusConf = BusConf()
    auth_rpc: ClientConf = ClientConf(key="auth.rpc")
    user_rpc: ClientConf = ClientConf(key="user.rpc")
    chat_rpc: ClientConf = ClientConf(key="chat.rpc")
