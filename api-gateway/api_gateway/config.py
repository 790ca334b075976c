"""Settings of api-gateway."""

from pydantic import Field

from im_common.runtime.config import Address, ClientConf, Names, Section
from im_common.runtime.config import Settings as CommonSettings


class HttpConf(Section):
    listen_on: Address = "127.0.0.1:8080"
    # Milliseconds for one request, with all the calls it leads to.
    timeout: int = Field(default=12_000, ge=1)
    # How many proxies in front append to X-Forwarded-For; with 0 the header is not believed.
    trusted_proxies: int = Field(default=0, ge=0)
    # Origins of web pages that may call; empty turns CORS off.
    cors_origins: Names = Field(default=[])


class Settings(CommonSettings):
    http: HttpConf = HttpConf()
    # Log-ins queue for the processor: a password takes a quarter of a second of it.
    auth_rpc: ClientConf = ClientConf(key="auth.rpc", timeout=10_000)
    user_rpc: ClientConf = ClientConf(key="user.rpc")
    friend_rpc: ClientConf = ClientConf(key="friend.rpc")
    group_rpc: ClientConf = ClientConf(key="group.rpc")
    chat_rpc: ClientConf = ClientConf(key="chat.rpc")
