"""Settings of user-service."""

from im_common.runtime.config import RpcSettings
from im_common.runtime.sections import BusConf, ClientConf, DbConf


class Settings(RpcSettings):
    db: DbConf
    bus: BusConf = BusConf()
    auth_rpc: ClientConf = ClientConf(key="auth.rpc")
    friend_rpc: ClientConf = ClientConf(key="friend.rpc")
