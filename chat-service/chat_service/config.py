"""Settings of chat-service."""

from im_common.config import BusConf, ClientConf, DbConf, RpcSettings


class Settings(RpcSettings):
    db: DbConf
    bus: BusConf = BusConf()
    auth_rpc: ClientConf = ClientConf(key="auth.rpc")
    group_rpc: ClientConf = ClientConf(key="group.rpc")
    friend_rpc: ClientConf = ClientConf(key="friend.rpc")
