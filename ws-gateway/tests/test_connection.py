"""What one connection is sent, in which order."""

from __future__ import annotations

import pytest
from ws_parts import connection, event, message, sent

from ws_gateway.logic.connection import TOO_SLOW, UNREAD_MS, Connections


def test_a_delivery_that_is_repeated_neither_doubles_nor_reorders() -> None:
    """A device that connected after 1 and 2 were delivered gets 3; a new consumer repeats them all."""
    one = connection()
    for seq in (3, 1, 2, 3, 4):
        one.deliver(b"%d" % seq, "c", seq)
    one.deliver(b"1 of another", "d", 1)
    assert [item.frame for item in one.outbox.queue] == [b"3", b"4", b"1 of another"]


def test_messages_are_held_while_older_ones_are_sent() -> None:
    one = connection()
    one.hold()
    one.deliver(b"new", "c", 2)
    one.send(b"offline batch")
    assert [item.frame for item in one.outbox.queue] == [b"offline batch"]
    one.release()
    assert [item.frame for item in one.outbox.queue] == [b"offline batch", b"new"]


@pytest.mark.parametrize("held", [False, True])
def test_a_full_queue_ends_the_connection_and_keeps_its_messages(held: bool) -> None:
    one = connection(max_queue=3)
    if held:
        one.hold()
    for seq in range(1, 6):
        one.deliver(b"%d" % seq, "c", seq)
    assert one.ending is not None
    assert one.ending.code == TOO_SLOW
    assert one.unsent_messages() == [b"1", b"2", b"3", b"4", b"5"]


def test_connections_are_found_by_user() -> None:
    all_of_them = Connections()
    one, two, other = connection(), connection(number=2), connection(8)
    for each in (one, two, other):
        all_of_them.add(each)
    assert all_of_them.of(7) == [one, two]
    all_of_them.remove(one)
    all_of_them.remove(one)
    assert (all_of_them.of(7), len(all_of_them)) == ([two], 2)
    assert all_of_them.of(9) == []


def test_what_is_held_back_is_not_dropped_for_something_younger_out_of_the_list() -> None:
    one = connection()
    one.hold()
    one.deliver(message(1), "c", 1)
    one.deliver(message(2), "c", 2)
    one.take_listed(message(3), "c", 3)
    one.release()
    # Its device comes back and syncs; nothing is forgotten.
    assert one.ending is not None
    assert one.unsent_messages() == [message(3), message(1), message(2)]


async def test_a_connection_that_missed_something_gets_no_more() -> None:
    one = connection()
    one.deliver(message(1), "c", 1)
    one.missed()
    one.deliver(message(3), "c", 3)
    assert [f["seq"] for f in sent(one)] == [1]
    assert one.unsent_messages() == [message(1), message(3)]


def test_what_was_sent_just_before_a_device_was_last_heard_of_may_be_unread() -> None:
    one = connection()
    one.heard_at = 100_000
    assert one.read_until() == 0
    one.caught_up_at = 100_000 - UNREAD_MS + 1
    assert one.read_until() == 0
    one.caught_up_at -= 1
    assert one.read_until() == one.caught_up_at
    one.heard_at = 200_000
    assert one.read_until() == 200_000 - UNREAD_MS


def test_a_slow_connection_does_without_receipts_and_keeps_its_messages() -> None:
    one = connection(max_queue=4)
    for seq in range(1, 4):
        one.offer(b"receipt")
        one.deliver(b"%d" % seq, "c", seq)
    assert [item.frame for item in one.outbox.queue] == [b"receipt", b"1", b"2", b"3"]
    # A receipt is of now, and nothing for the list of who is away.
    assert one.unsent_messages() == [b"1", b"2", b"3"]
    assert one.ending is None


def test_an_event_that_is_repeated_or_was_put_into_the_log_twice_is_sent_once_and_in_order() -> (
    None
):
    """A device that connected after 1 and 2 were delivered gets 3; a new consumer repeats them all."""
    one = connection()
    for number, place in ((3, 3), (1, 1), (2, 2), (3, 3), (4, 4), (3, 5), (5, 6)):
        one.deliver(event(number), "events:0", place, f"e{number}")
    assert [f["event_id"] for f in sent(one)] == ["e3", "e4", "e5"]
