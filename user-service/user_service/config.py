"""Settings of user-service."""

from im_common.runtime.config import ClientConf, DbConf, RpcSettings


class Settings(RpcSettings):
    db: DbConf
    auth_rpc: ClientConf = ClientConf(key="auth.rpc")
    friend_rpc: ClientConf = ClientConf(key="friend.rpc")
