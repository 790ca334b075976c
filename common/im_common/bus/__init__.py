"""The message bus: one narrow interface, on Kafka (``bus.kafka``) for production and on Redis
Streams (``bus.streams``) for the embedded default; ``bus.kinds`` opens the one in the settings."""

from im_common.bus.dead_letter import dead_letter
from im_common.bus.interface import (
    Bus,
    BusUnavailable,
    Committed,
    Consumer,
    Finish,
    Handler,
    Lag,
    Linger,
    Producer,
    Record,
    Settled,
    Volume,
    at_once,
)

__all__ = [
    "Bus",
    "BusUnavailable",
    "Committed",
    "Consumer",
    "Finish",
    "Handler",
    "Lag",
    "Linger",
    "Producer",
    "Record",
    "Settled",
    "Volume",
    "at_once",
    "dead_letter",
]
