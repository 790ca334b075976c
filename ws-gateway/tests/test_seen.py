"""What a connection knows of what it has had."""

from __future__ import annotations

import random

from ws_gateway.logic.seen import MOST_EVENTS, WINDOW, Seen, SeenEvents


def test_seen_knows_each_message_and_the_highest() -> None:
    rng = random.Random(7)
    for _ in range(200):
        seen, added = Seen(), set[int]()
        for seq in (rng.randint(1, 60) for _ in range(100)):
            assert seen.has("s:1:2", seq) == (seq in added)
            assert seen.is_newer("s:1:2", seq) == (seq > max(added, default=0))
            seen.add("s:1:2", seq)
            added.add(seq)
    assert not seen.has("s:1:3", 1)


def test_seen_forgets_what_is_long_ago() -> None:
    seen = Seen()
    seen.add("c", 1)
    seen.add("c", WINDOW)
    assert seen.has("c", 1)
    seen.add("c", WINDOW + 1)
    assert not seen.has("c", 1)
    seen.add("c", 1)
    assert [seen.has("c", seq) for seq in (1, WINDOW, WINDOW + 1)] == [False, True, True]
    seen.add("c", 10**15)
    assert [seen.has("c", seq) for seq in (WINDOW, 10**15)] == [False, True]


def test_seen_events_forgets_the_oldest() -> None:
    seen = SeenEvents()
    assert all(seen.add(str(number)) for number in range(MOST_EVENTS + 1))
    assert [str(number) in seen for number in (0, 1, MOST_EVENTS)] == [False, True, True]
    assert not seen.add("1")
