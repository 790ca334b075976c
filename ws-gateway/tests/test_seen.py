"""What a connection knows of what it has had."""

from __future__ import annotations

import random

import pytest

from ws_gateway.logic import seen as seen_module
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


def test_what_comes_together_is_known_as_if_it_came_alone() -> None:
    rng = random.Random(7)
    for _ in range(300):
        together, alone = Seen(), Seen()
        for _ in range(5):
            first = rng.randint(1, 30)
            seqs = sorted({first + rng.randint(0, 5) for _ in range(rng.randint(1, 6))})
            newer = [seq for seq in seqs if alone.is_newer("c", seq)]
            for seq in newer:
                alone.add("c", seq)
            assert together.add_new("c", seqs) == len(newer)
            assert [together.has("c", n) for n in range(40)] == [
                alone.has("c", n) for n in range(40)
            ]


@pytest.mark.parametrize("seqs", [[1], [1, 2], [1, 3]])
def test_of_too_many_conversations_the_oldest_is_forgotten(
    seqs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seen_module, "MOST_CONVERSATIONS", 2)
    seen = Seen()
    for name in ("a", "b", "a", "c"):
        seen.add_new(name, [seqs[-1] * 4 + n for n in seqs] if seen.has(name, seqs[0]) else seqs)
    assert [seen.is_newer(name, 1) for name in ("a", "b", "c")] == [False, True, False]
