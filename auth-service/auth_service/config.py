"""Settings of auth-service."""

from typing import Literal

from pydantic import Field

from im_common.runtime.config import RpcSettings
from im_common.runtime.sections import BusConf, ClientConf, DbConf, Section


class KeysConf(Section):
    """The file with the private keys that sign access tokens."""

    file: str = "auth_keys.json"


class GuessingConf(Section):
    """Failed logins of an account or from an address make the next ones wait, longer each time."""

    account_failures: int = Field(default=5, ge=1)
    address_failures: int = Field(default=20, ge=1)
    # Milliseconds; doubled by each further failure.
    first_wait: int = Field(default=5_000, ge=1)
    longest_wait: int = Field(default=900_000, ge=1)
    # Failures are forgotten this many milliseconds after the last of them.
    forget_after: int = Field(default=3_600_000, ge=1)


class Settings(RpcSettings):
    db: DbConf
    bus: BusConf = BusConf()
    keys: KeysConf = KeysConf()
    user_rpc: ClientConf = ClientConf(key="user.rpc")
    # Only for the end of an account, with all that hangs on it.
    friend_rpc: ClientConf = ClientConf(key="friend.rpc", timeout=10_000)
    group_rpc: ClientConf = ClientConf(key="group.rpc", timeout=10_000)
    # What a new login ends: nothing, the user's sessions of the same platform, or all others.
    multi_login: Literal["allow", "one_per_platform", "single"] = "allow"
    # Of one user; beyond it the oldest end.
    max_sessions: int = Field(default=100, ge=1, le=1000)
    # Seconds.
    access_token_life: int = Field(default=900, ge=1)
    # Seconds that a session lasts without a refresh.
    refresh_token_life: int = Field(default=30 * 86_400, ge=1)
    # Seconds that a log-in at the operators' page lasts.
    admin_session_life: int = Field(default=8 * 3600, ge=1)
    # Of the hashes of passwords: one more doubles the time that a check takes.
    bcrypt_cost: int = Field(default=12, ge=4, le=16)
    # Logins that may wait for a thread that checks passwords; the next ones are refused.
    max_waiting_logins: int = Field(default=200, ge=1)
    guessing: GuessingConf = GuessingConf()
