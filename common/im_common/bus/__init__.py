"""The message bus: one narrow interface, on Kafka (``bus.kafka``) for production and on Redis
Streams (``bus.redis_streams``) for the embedded default."""

from im_common.bus.dead_letter import dead_letter
from im_common.bus.interface import BusUnavailable, Consumer, Finish, Handler, Producer, Record

__all__ = ["BusUnavailable", "Consumer", "Finish", "Handler", "Producer", "Record", "dead_letter"]
