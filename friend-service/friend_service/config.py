"""Settings of friend-service."""

from pydantic import Field

from im_common.runtime.config import RpcSettings
from im_common.runtime.sections import BusConf, ClientConf, DbConf


class Settings(RpcSettings):
    db: DbConf
    bus: BusConf = BusConf()
    # How many friend requests of one user may wait for an answer, and for how many days each does.
    max_pending_requests: int = Field(default=100, ge=1, le=10_000)
    request_days: int = Field(default=30, ge=1, le=3650)
    auth_rpc: ClientConf = ClientConf(key="auth.rpc")
    user_rpc: ClientConf = ClientConf(key="user.rpc")
