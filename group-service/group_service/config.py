"""Settings of group-service."""

from pydantic import Field

from im_common.runtime.config import ClientConf, DbConf, RpcSettings


class Settings(RpcSettings):
    db: DbConf
    auth_rpc: ClientConf = ClientConf(key="auth.rpc")
    user_rpc: ClientConf = ClientConf(key="user.rpc")
    # Most members of a group, its owner included.
    max_members: int = Field(default=500, ge=1, le=100_000)
