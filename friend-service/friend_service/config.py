"""Settings of friend-service."""

from im_common.runtime.config import BusConf, ClientConf, DbConf, RpcSettings


class Settings(RpcSettings):
    db: DbConf
    bus: BusConf = BusConf()
    auth_rpc: ClientConf = ClientConf(key="auth.rpc")
    user_rpc: ClientConf = ClientConf(key="user.rpc")
