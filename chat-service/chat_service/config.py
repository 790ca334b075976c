"""Settings of chat-service."""

from pydantic import Field

from im_common.runtime.config import RpcSettings
from im_common.runtime.sections import BusConf, ClientConf, DbConf


class Settings(RpcSettings):
    db: DbConf
    # What `im-admin retention run` removes when it is not told; 0 keeps messages for ever.
    retention_days: int = Field(default=0, ge=0)
    # Whether two users must be friends to write to each other: as the consumer has it.
    require_friendship: bool = False
    bus: BusConf = BusConf()
    auth_rpc: ClientConf = ClientConf(key="auth.rpc")
    user_rpc: ClientConf = ClientConf(key="user.rpc")
    group_rpc: ClientConf = ClientConf(key="group.rpc")
    friend_rpc: ClientConf = ClientConf(key="friend.rpc")
