"""What goes out to a client, when its socket takes it and when it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from ws_gateway.logic import outbox as outbox_module
from ws_gateway.logic.outbox import BURST, Ending, Outbox, Queued


class Outlet:
    """A socket that takes so many writes at once."""

    def __init__(self, takes: int = 1_000_000) -> None:
        self.takes = takes
        self.writes: list[list[bytes]] = []
        self.closed: tuple[int, str] | None = None
        self.ended = asyncio.Event()

    @property
    def writable(self) -> bool:
        return self.takes > 0

    def write(self, texts: Iterable[bytes]) -> None:
        assert self.writable
        self.takes -= 1
        self.writes.append(list(texts))

    def close(self, code: int, reason: str) -> None:
        self.closed = code, reason
        self.ended.set()

    def abort(self) -> None:
        self.closed = 0, "aborted"
        self.ended.set()


def put(box: Outbox, *frames: bytes, is_message: bool = True) -> None:
    for frame in frames:
        assert box.put(Queued(frame, is_message))


@pytest.fixture
def slow() -> list[str]:
    """Not empty when a client was found too slow."""
    return []


@pytest.fixture
def box(slow: list[str]) -> Outbox:
    return Outbox(100, lambda: slow.append("slow"))


async def test_what_is_put_in_in_one_turn_goes_out_in_one_write(box: Outbox) -> None:
    outlet = Outlet()
    put(box, b"1")
    box.attach(outlet)
    put(box, b"2", b"3")
    await asyncio.sleep(0)
    put(box, b"4")
    await asyncio.sleep(0)
    assert outlet.writes == [[b"1", b"2", b"3"], [b"4"]]
    assert not len(box)


async def test_what_the_socket_has_not_taken_is_known(box: Outbox, slow: list[str]) -> None:
    outlet = Outlet(takes=1)
    box.attach(outlet)
    put(box, b"1", b"2")
    put(box, b"answer", is_message=False)
    await asyncio.sleep(0)
    put(box, b"3")
    await asyncio.sleep(0)
    assert (outlet.writes, box.unsent()) == ([[b"1", b"2", b"answer"]], [b"1", b"2", b"3"])
    outlet.takes = 2
    box.flush()
    assert (outlet.writes[1:], box.unsent(), slow) == ([[b"3"]], [], [])


async def test_much_goes_out_in_bursts(box: Outbox) -> None:
    outlet = Outlet(takes=1)
    box.attach(outlet)
    frames = [b"%d" % number for number in range(BURST + 5)]
    put(box, *frames)
    await asyncio.sleep(0)
    assert (outlet.writes, box.unsent()) == ([frames[:BURST]], frames)
    outlet.takes = 1
    box.flush()
    assert (outlet.writes[1:], box.unsent()) == ([frames[BURST:]], frames[BURST:])


async def test_who_takes_nothing_for_long_is_too_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "SEND_TIMEOUT_S", 0.01)
    found = asyncio.Event()
    box, outlet = Outbox(100, found.set), Outlet(takes=1)
    box.attach(outlet)
    put(box, b"1")
    async with asyncio.timeout(20):
        await found.wait()
    box.finish(Ending(4003, "too slow", flush=False))
    await asyncio.sleep(0)
    assert (outlet.closed, box.unsent()) == ((4003, "too slow"), [b"1"])


async def test_one_too_many_is_said_and_kept(slow: list[str]) -> None:
    box = Outbox(2, lambda: slow.append("slow"))
    assert [box.put(Queued(frame, True)) for frame in (b"1", b"2", b"3")] == [True, True, False]
    assert box.unsent() == [b"1", b"2", b"3"]


async def test_what_was_queued_is_sent_before_the_end_and_what_comes_later_is_kept(
    box: Outbox,
) -> None:
    outlet = Outlet(takes=1)
    box.attach(outlet)
    put(box, b"1")
    await asyncio.sleep(0)
    put(box, b"2")
    box.finish(Ending(1001, "going away"))
    await asyncio.sleep(0)
    assert outlet.closed is None
    outlet.takes = 2
    box.flush()
    assert (outlet.writes, outlet.closed) == ([[b"1"], [b"2"]], (1001, "going away"))
    put(box, b"3")
    await asyncio.sleep(0)
    assert (len(outlet.writes), box.unsent()) == (2, [b"3"])


async def test_the_end_does_not_wait_for_ever(box: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "FINISH_TIMEOUT_S", 0.01)
    outlet = Outlet(takes=1)
    box.attach(outlet)
    put(box, b"1")
    await asyncio.sleep(0)
    box.finish(Ending(1001, "going away"))
    async with asyncio.timeout(20):
        await outlet.ended.wait()
    assert (outlet.closed, box.unsent()) == ((0, "aborted"), [b"1"])


async def test_who_has_too_many_bytes_waiting_is_too_slow_before_there_are_too_many_frames(
    box: Outbox,
) -> None:
    big = b"x" * 60_000
    taken = 0
    while taken < 100 and box.put(Queued(big, True)):
        taken += 1
    assert outbox_module.MOST_BYTES // len(big) <= taken < outbox_module.MOST_BYTES // len(big) + 16
    assert len(box.unsent()) == taken + 1


async def test_answers_do_not_count_as_bytes_that_wait(box: Outbox) -> None:
    for _ in range(90):
        assert box.put(Queued(b"x" * 60_000, False))


async def test_messages_that_come_together_count_in_bytes_as_well(box: Outbox) -> None:
    assert box.put_all([Queued(b"x" * 60_000, True)] * 50)
    assert not box.put_all([Queued(b"x" * 60_000, True)] * 40)
