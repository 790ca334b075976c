"""What becomes of records between a reader and a handler, whatever happens in whatever order."""

from __future__ import annotations

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from im_common.bus import Record
from im_common.bus.flow import OWN_BATCH, Batch, Flow, Hold, Stage, Track
from im_common.bus.interface import NO_HEADERS, Committed, at_once

MAX_BATCH = 60


def records(track: Track, first: int, count: int) -> list[Record]:
    return [
        Record(track.topic, track.number, f"{n:09}", b"", b"%d" % n, NO_HEADERS)
        for n in range(first, first + count)
    ]


def numbers(track: Track, batch: Batch) -> list[int]:
    return [int(record.value) for record in batch.parts[track]]


class Life:
    """What the world outside knows of a partition."""

    def __init__(self, track: Track) -> None:
        self.track = track
        self.fed = 0
        # Records whose second stage has ended, and records committed.
        self.finished = self.committed = 0
        # Where it stood when it ended: nothing behind what was in hand may be finished after it.
        self.most: int | None = None


class Consuming(RuleBasedStateMachine):
    """Partitions that come and go, stages that end in any order, commits that succeed, fail, or find
    that a partition is another's."""

    def __init__(self) -> None:
        super().__init__()
        self.flow = Flow(max_batch=MAX_BATCH)
        self.lives: dict[Track, Life] = {}
        # What is at work, as the tasks around the machine are.
        self.ones: list[Batch] = []
        self.twos: list[Batch] = []
        self.commit: dict[Track, str] | None = None
        self.revoking = False
        # What is to be done when a batch is committed.
        self.awaiting: dict[Committed, Batch] = {}

    def ours(self) -> list[Track]:
        return [track for track in self.lives if track.hold is Hold.OURS]

    # --- what may happen ----------------------------------------------------------------------

    @precondition(lambda self: len(self.ours()) < 5)
    @rule()
    def a_partition_comes(self) -> None:
        track = self.flow.add("t", len(self.lives))
        self.lives[track] = Life(track)

    @precondition(lambda self: self.ours())
    @rule(data=st.data(), count=st.sampled_from([1, 2, 7, OWN_BATCH, 3 * MAX_BATCH]))
    def records_are_read(self, data: st.DataObject, count: int) -> None:
        track = data.draw(st.sampled_from(self.ours()))
        life = self.lives[track]
        if not track.full:
            self.flow.feed(track, records(track, life.fed, count))
            life.fed += count

    @rule()
    def batches_begin(self) -> None:
        for batch in self.flow.begin():
            assert not self.revoking
            if batch.stage is Stage.ONE:
                self.check_new(batch)
                self.ones.append(batch)
            else:
                assert batch.stage is Stage.TWO
                assert batch not in self.ones
                self.twos.append(batch)
        if not self.revoking:
            self.check_nobody_waits_in_vain()

    @precondition(lambda self: self.ones)
    @rule(data=st.data())
    def a_first_stage_ends(self, data: st.DataObject) -> None:
        batch = data.draw(st.sampled_from(self.ones))
        self.ones.remove(batch)
        self.flow.stored(batch, None)

    @precondition(lambda self: self.twos)
    @rule(data=st.data(), wants_more=st.booleans())
    def a_second_stage_ends(self, data: st.DataObject, wants_more: bool) -> None:
        self.finish(data.draw(st.sampled_from(self.twos)), wants_more=wants_more)

    def finish(self, batch: Batch, *, wants_more: bool = False) -> None:
        self.twos.remove(batch)
        if batch.stage is Stage.TWO:
            for track in batch.parts:
                life = self.lives[track]
                part = numbers(track, batch)
                # Each record once, in order, none left out.
                assert part == list(range(life.finished, life.finished + len(part)))
                life.finished += len(part)
        then = None
        if wants_more:

            async def then() -> None:
                """One of a kind."""

            if batch.stage is Stage.TWO:
                self.awaiting[then] = batch
        self.flow.finished(batch, then)

    @precondition(lambda self: self.flow.shared is not None)
    @rule()
    def a_turn_ends(self) -> None:
        assert self.flow.shared is not None
        self.flow.release_turn(self.flow.shared)

    @precondition(lambda self: self.ours())
    @rule(data=st.data())
    def a_partition_ends(self, data: st.DataObject) -> None:
        track = data.draw(st.sampled_from(self.ours()))
        self.flow.end(track)
        life = self.lives[track]
        life.most = life.finished + sum(len(batch.parts[track]) for batch in track.batches)
        self.flow.feed(track, records(track, life.fed, 1))

    @precondition(lambda self: any(t.hold is not Hold.LOST for t in self.lives))
    @rule(data=st.data())
    def a_partition_is_lost(self, data: st.DataObject) -> None:
        track = data.draw(st.sampled_from([t for t in self.lives if t.hold is not Hold.LOST]))
        self.flow.lose(track)
        self.revoke()

    def revoke(self) -> None:
        self.flow.revoke()
        self.revoking = any(track.batches for track in self.lives)

    @precondition(lambda self: self.revoking)
    @rule()
    def revoked_work_is_put_back(self) -> None:
        self.ones, self.twos = [], []
        self.flow.put_back()
        self.revoking = False

    @precondition(lambda self: self.commit is None)
    @rule()
    def a_commit_begins(self) -> None:
        self.commit = self.flow.commit_begins()

    @precondition(lambda self: self.commit is not None)
    @rule(data=st.data())
    def a_commit_succeeds(self, data: st.DataObject) -> None:
        assert self.commit is not None
        lost = (
            data.draw(st.sets(st.sampled_from(sorted(self.commit, key=id))))
            if self.commit
            else set()
        )
        for track, position in self.commit.items():
            if track not in lost:
                self.lives[track].committed = int(position) + 1
        self.done_after(self.flow.committed(self.commit, lost))
        self.commit = None
        if lost:
            self.revoke()

    def done_after(self, thens: list[Committed]) -> None:
        """Once for each batch, when all of it is committed, and not if a part of it was lost."""
        for then in thens:
            batch = self.awaiting.pop(then)
            for track in batch.parts:
                assert track.hold is not Hold.LOST
                assert numbers(track, batch)[-1] < self.lives[track].committed

    @precondition(lambda self: self.commit is not None)
    @rule()
    def a_commit_fails(self) -> None:
        self.commit = None

    # --- what is always so --------------------------------------------------------------------

    def check_new(self, batch: Batch) -> None:
        assert 1 <= len(batch.records()) <= MAX_BATCH
        for track in batch.parts:
            assert track.hold is Hold.OURS
            # Behind all that is in hand of it, with nothing left out.
            before = sum(len(b.parts[track]) for b in track.batches if b is not batch)
            assert numbers(track, batch)[0] == self.lives[track].finished + before
        if len(batch.parts) > 1:
            assert batch is self.flow.shared

    def check_nobody_waits_in_vain(self) -> None:
        for track in self.ours():
            if track.buffer and not track.is_storing():
                assert self.flow.shared is not None
                assert len(track.buffer) < OWN_BATCH

    @invariant()
    def a_commit_follows_the_effect(self) -> None:
        for track, position in self.flow.due().items():
            assert track.hold is not Hold.LOST
            assert int(position) + 1 == self.lives[track].finished
        for life in self.lives.values():
            assert life.committed <= life.finished

    @invariant()
    def each_stage_has_one_batch_of_a_partition_at_most(self) -> None:
        for track in self.lives:
            stages = [batch.stage for batch in track.batches]
            assert len(stages) <= 2
            assert len(set(stages)) == len(stages) or stages == [Stage.REVOKED] * 2
            assert stages.count(Stage.TWO) == 0 or stages[0] is Stage.TWO

    @invariant()
    def nothing_is_lost(self) -> None:
        for life in self.lives.values():
            in_hand = sum(len(batch.parts[life.track]) for batch in life.track.batches)
            if life.track.hold is Hold.OURS:
                assert life.finished + in_hand + len(life.track.buffer) == life.fed
                assert len(life.track.buffer) < (4 + 3 + 2) * MAX_BATCH
            elif life.most is not None:
                assert life.finished + in_hand <= life.most
                assert not life.track.buffer

    @invariant()
    def a_partition_has_settled_when_nothing_more_comes_of_it(self) -> None:
        for life in self.lives.values():
            hold, in_hand = life.track.hold, bool(life.track.batches)
            finished_all = hold is Hold.ENDING and life.committed == life.finished and not in_hand
            assert life.track.is_settled() == (finished_all or (hold is Hold.LOST and not in_hand))

    @invariant()
    def who_ends_or_has_never_committed_is_in_a_hurry(self) -> None:
        for track in self.flow.due():
            if track.hold is Hold.ENDING or self.lives[track].committed == 0:
                assert self.flow.is_urgent()

    def teardown(self) -> None:
        """When no more comes, and nothing goes wrong, all ends."""
        if self.revoking:
            self.revoked_work_is_put_back()
        for _ in range(1_000):
            self.batches_begin()
            if not self.ones and not self.twos:
                break
            for batch in list(self.ones):
                self.ones.remove(batch)
                self.flow.stored(batch, None)
            for batch in list(self.twos):
                self.finish(batch)
        due = self.flow.commit_begins()
        for track, position in due.items():
            self.lives[track].committed = int(position) + 1
        self.done_after(self.flow.committed(due, set()))
        for batch in self.awaiting.values():
            assert any(track.hold is Hold.LOST for track in batch.parts)
        for track, life in self.lives.items():
            if track.hold is Hold.OURS:
                assert life.fed == 0 or track.committed == f"{life.fed - 1:09}"
        assert not self.flow.due()
        assert not self.flow.is_urgent()


# To find a shorter story of a failure takes minutes: pytest takes it for a test that hangs.
Consuming.TestCase.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, phases=[Phase.generate]
)
TestConsuming = Consuming.TestCase


@pytest.fixture
def flow() -> Flow:
    return Flow(max_batch=MAX_BATCH)


def test_who_has_few_records_shares_and_who_has_many_does_not(flow: Flow) -> None:
    few, many, some = (flow.add("t", n) for n in range(3))
    flow.feed(few, records(few, 0, OWN_BATCH - 1))
    flow.feed(some, records(some, 0, 2))
    flow.feed(many, records(many, 0, OWN_BATCH))
    own, shared = flow.begin()
    assert set(own.parts) == {many}
    # Each as much of the batch as the others.
    assert {t: len(part) for t, part in shared.parts.items()} == {few: MAX_BATCH // 2, some: 2}
    assert shared is flow.shared


def test_the_next_is_shared_when_the_one_before_is_stored_or_its_turn_is_over(flow: Flow) -> None:
    first, second, third = (flow.add("t", n) for n in range(3))
    flow.feed(first, records(first, 0, 1))
    (shared,) = flow.begin()
    flow.feed(second, records(second, 0, 1))
    assert flow.begin() == []
    flow.release_turn(shared)
    (after,) = flow.begin()
    assert set(after.parts) == {second}
    # That of an earlier one is over anyway.
    flow.release_turn(shared)
    flow.feed(third, records(third, 0, 1))
    assert flow.begin() == []
    flow.stored(after, None)
    assert [set(batch.parts) for batch in flow.begin()] == [{second}, {third}]


def test_with_more_partitions_than_a_batch_has_room_for_none_is_left_out(flow: Flow) -> None:
    tracks = [flow.add("t", n) for n in range(MAX_BATCH + 5)]
    seen: set[Track] = set()
    for turn in range(2):
        for track in tracks:
            flow.feed(track, records(track, turn, 1))
        (batch,) = (batch for batch in flow.begin() if batch.stage is Stage.ONE)
        flow.stored(batch, None)
        seen |= set(batch.parts)
        # Before the next begins those of this one have something again.
        flow.release_turn(batch)
    assert seen == set(tracks)


def test_a_reader_pauses_at_four_batches_and_goes_on_at_two(flow: Flow) -> None:
    track = flow.add("t", 0)
    flow.feed(track, records(track, 0, 4 * MAX_BATCH - 1))
    assert not track.full
    flow.feed(track, records(track, 4 * MAX_BATCH - 1, 1))
    for in_the_buffer in (3, 2):
        assert track.full
        (batch,) = (batch for batch in flow.begin() if batch.stage is Stage.ONE)
        assert len(track.buffer) == in_the_buffer * MAX_BATCH
        flow.stored(batch, None)
    assert not track.full


def test_more_than_a_batch_of_finished_records_is_committed_at_once(flow: Flow) -> None:
    track = flow.add("t", 0)

    def finish(first: int, count: int) -> None:
        flow.feed(track, records(track, first, count))
        (batch,) = flow.begin()
        flow.stored(batch, None)
        flow.begin()
        flow.finished(batch)

    finish(0, 1)
    assert flow.is_urgent()
    flow.committed(flow.commit_begins(), set())
    finish(1, MAX_BATCH - 1)
    assert not flow.is_urgent()
    finish(MAX_BATCH, 1)
    assert flow.is_urgent()
    # Even if it fails: the next attempt has the same, and is no more urgent than that.
    flow.commit_begins()
    assert flow.due() == {track: f"{MAX_BATCH:09}"}
    assert not flow.is_urgent()


def test_a_batch_that_wants_it_is_committed_at_once(flow: Flow) -> None:
    track = flow.add("t", 0)
    for number, soon in enumerate((False, False, True, False)):
        flow.feed(track, records(track, number, 1))
        (batch,) = flow.begin()
        flow.stored(batch, None)
        flow.begin()
        flow.finished(batch, at_once if soon else None)
        # A partition's first is, too.
        assert flow.is_urgent() is (soon or number == 0)
        flow.committed(flow.commit_begins(), set())
        assert not flow.is_urgent()


def test_what_was_revoked_is_first_again_in_its_order(flow: Flow) -> None:
    track, other = flow.add("t", 0), flow.add("t", 1)
    flow.feed(track, records(track, 0, 2 * MAX_BATCH + 1))
    flow.feed(other, records(other, 0, 1))
    first, shared = flow.begin()
    flow.stored(first, None)
    delivering, behind = flow.begin()
    assert delivering is first
    flow.lose(other)
    flow.revoke()
    # Its handler overheard the cancellation.
    flow.stored(behind, None)
    flow.finished(first)
    flow.finished(shared)
    assert (track.finished, flow.due(), flow.begin()) == ("", {}, [])
    flow.put_back()
    (again,) = flow.begin()
    assert numbers(track, again) == list(range(MAX_BATCH))
    assert not other.buffer


def test_a_batch_that_is_said_to_have_ended_twice_counts_once(flow: Flow) -> None:
    track = flow.add("t", 0)
    flow.feed(track, records(track, 0, 1))
    (batch,) = flow.begin()
    for _ in range(2):
        flow.stored(batch, None)
        flow.begin()
        flow.finished(batch)
    assert flow.commit_begins() == {track: f"{0:09}"}
    flow.committed({track: f"{0:09}"}, set())
    flow.finished(batch)
    assert flow.due() == {}
