"""Settings of ws-gateway."""

from pydantic import Field

from im_common.runtime.config import BusConf, ClientConf, ListenAddress, RpcSettings, Section


class WebSocketConf(Section):
    listen_on: ListenAddress = "127.0.0.1:8081"
    # How often a client should send `ping`, in milliseconds.
    heartbeat: int = Field(default=30_000, ge=1000)
    # Frames that may wait for one slow reader before it is cut off.
    max_queue: int = Field(default=1024, ge=16)
    # Handshakes beyond this are refused with 429.
    max_connections: int = Field(default=20_000, ge=1)
    # Messages of one connection: so many a second for long, so many at once.
    messages_per_second: float = Field(default=20.0, gt=0)
    message_burst: int = Field(default=40, ge=1)


class Settings(RpcSettings):
    web_socket: WebSocketConf = WebSocketConf()
    bus: BusConf = BusConf()
    auth_rpc: ClientConf = ClientConf(key="auth.rpc")
    user_rpc: ClientConf = ClientConf(key="user.rpc")
    chat_rpc: ClientConf = ClientConf(key="chat.rpc")
