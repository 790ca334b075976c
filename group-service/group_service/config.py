"""Settings of group-service."""

from pydantic import Field

from im_common.runtime.config import RpcSettings
from im_common.runtime.sections import BusConf, ClientConf, DbConf


class Settings(RpcSettings):
    db: DbConf
    bus: BusConf = BusConf()
    auth_rpc: ClientConf = ClientConf(key="auth.rpc")
    user_rpc: ClientConf = ClientConf(key="user.rpc")
    friend_rpc: ClientConf = ClientConf(key="friend.rpc")
    chat_rpc: ClientConf = ClientConf(key="chat.rpc")
    # Most members of a group, its owner included.
    max_members: int = Field(default=500, ge=1, le=100_000)
