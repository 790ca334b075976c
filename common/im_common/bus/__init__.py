"""The message bus: one narrow interface, on Kafka (``bus.kafka``) for production and on Redis
Streams (``bus.streams``) for the embedded default; ``bus.kinds`` opens the one in the settings."""

from im_common.bus.dead_letter import dead_letter
from im_common.bus.interface import (
    Bus,
    BusUnavailable,
    Consumer,
    Finish,
    Handler,
    Lag,
    Producer,
    Record,
    Volume,
)

__all__ = [
    "Bus",
    "BusUnavailable",
    "Consumer",
    "Finish",
    "Handler",
    "Lag",
    "Producer",
    "Record",
    "Volume",
    "dead_letter",
]
