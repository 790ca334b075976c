"""Settings of the consumer process."""

from pydantic import Field

from im_common.runtime.config import Settings as BaseSettings
from im_common.runtime.sections import BusConf, ClientConf, DbConf


class Settings(BaseSettings):
    db: DbConf
    bus: BusConf = BusConf()
    # Consumers of one group share the partitions between them.
    group: str = "chat-mq"
    # The same, of events.
    event_group: str = "chat-mq-events"
    # Most records in a batch.
    max_batch: int = Field(default=500, ge=1, le=1000)
    # A group with more members gets no copies in the offline list; its members sync.
    offline_group_members: int = Field(default=500, ge=0)
    # How long its sender can take a message back, in milliseconds; group managers always can.
    recall_window: int = Field(default=120_000, ge=0)
    # Whether two users must be friends to write to each other.
    require_friendship: bool = False
    user_rpc: ClientConf = ClientConf(key="user.rpc")
    friend_rpc: ClientConf = ClientConf(key="friend.rpc")
    group_rpc: ClientConf = ClientConf(key="group.rpc")
