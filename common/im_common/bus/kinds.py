"""Which kinds of log there are. Each is a module with an ``open_bus`` as this one has it, loaded only
where the settings name it; a further one is such a module and an entry here."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from im_common.bus.interface import Bus
    from im_common.runtime.sections import BusConf

KINDS = {"kafka": "im_common.bus.kafka", "redis": "im_common.bus.streams"}


def open_bus(conf: BusConf, redis: Callable[[], Redis]) -> Bus:
    """The bus that the settings name. Nothing connects yet; ``redis`` is asked for by a log that lies
    there."""
    bus: Bus = import_module(KINDS[conf.kind]).open_bus(conf, redis)
    return bus
