"""A client that hands nothing out is noticed, and one that is only slow is not."""

from __future__ import annotations

import pytest

from im_common.bus.kafka.standstill import Standstill, Stuck


def test_who_waits_at_one_place_before_the_end_is_stuck() -> None:
    standstill: Standstill[str] = Standstill(3)
    for _ in range(2):
        standstill.check({"a": 7, "b": 9}, {"a": 8, "b": 9})
    with pytest.raises(Stuck, match="a at 7, the end is 8"):
        standstill.check({"a": 7, "b": 9}, {"a": 8, "b": 9})


@pytest.mark.parametrize(
    ("places", "end"),
    [
        pytest.param([7, 7, 8, 8, 9, 9], 10, id="it moves"),
        pytest.param([7, 7, None, 7, 7], 10, id="nobody waits in between"),
        pytest.param([7] * 6, 7, id="there is nothing"),
    ],
)
def test_who_gets_on_is_not(places: list[int | None], end: int) -> None:
    standstill: Standstill[str] = Standstill(3)
    for place in places:
        standstill.check({} if place is None else {"a": place}, {"a": end})
