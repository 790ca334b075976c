"""Which events have come before: by other ways than one they come twice."""

from __future__ import annotations

from im_client.parts import Frame

_REMEMBERED = 2_048


class EventIds:
    def __init__(self) -> None:
        # A dict for its order.
        self._seen: dict[str, None] = {}

    def is_new(self, frame: Frame) -> bool:
        """Everything but an event is."""
        if frame["type"] != "event":
            return True
        event_id = frame["event_id"]
        is_new = event_id not in self._seen
        self._seen[event_id] = None
        if len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]
        return is_new
