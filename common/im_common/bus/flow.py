"""What becomes of the records that a consumer has read: a machine without tasks or I/O.

A record is fetched, then in stage one, then in stage two, finished, and committed. Calls tell the
machine what has happened, and ``begin`` says what may happen now. An attempt of a stage or of a
commit that fails is no event here: it is made again where it stands.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import chain

from im_common.bus.interface import Committed, Finish, Record

# A partition with so many records makes batches of its own, in parallel with the others. Those with
# fewer share one batch, and the next gathers while it is in stage one: what a batch costs however
# small it is would be most of the work.
OWN_BATCH = 50


class Stage(Enum):
    ONE = auto()
    # Stage one has ended; stage two of what was before it has not.
    BETWEEN = auto()
    TWO = auto()
    FINISHED = auto()
    # Cancelled; its records come again, here or at another consumer.
    REVOKED = auto()


class Hold(Enum):
    """Whether a partition is ours."""

    OURS = auto()
    # What a stage has begun is finished and committed; the rest is the next owner's.
    ENDING = auto()
    # Somebody else's: nothing of it is committed any more.
    LOST = auto()


@dataclass(eq=False, slots=True)
class Batch:
    """Records of one partition or of several, those of each in order."""

    parts: Mapping[Track, Sequence[Record]]
    stage: Stage = Stage.ONE
    # What stage two does, by then.
    finish: Finish | None = None

    def records(self) -> list[Record]:
        return list(chain.from_iterable(self.parts.values()))


@dataclass(eq=False, slots=True)
class Track:
    """How far the records of one partition are."""

    topic: str
    number: int
    hold: Hold = Hold.OURS
    # What was fetched and is in no batch.
    buffer: deque[Record] = field(default_factory=deque, repr=False)
    # What is in hand, the oldest first: at most one in stage two and one behind it.
    batches: deque[Batch] = field(default_factory=deque, repr=False)
    # Positions of the last record that went through both stages, and of the last committed one;
    # empty before the first.
    finished: str = ""
    committed: str = ""
    # The reader should pause. It stays so until half of the buffer is used up.
    full: bool = False

    def is_storing(self) -> bool:
        return bool(self.batches) and self.batches[-1].stage in (Stage.ONE, Stage.BETWEEN)

    def is_hungry(self) -> bool:
        """Whether it waits for records."""
        return not self.buffer and not self.is_storing()

    def is_settled(self) -> bool:
        """Whether nothing more will become of it."""
        if self.hold is Hold.OURS or self.batches:
            return False
        return self.hold is Hold.LOST or self.committed == self.finished


class Flow:
    def __init__(self, *, max_batch: int) -> None:
        self._max_batch = max_batch
        # Those that are not lost. Who was in a batch last comes last.
        self._tracks: dict[Track, None] = {}
        # In the order in which they began.
        self._in_hand: list[Batch] = []
        self._revoked: list[Batch] = []
        # The batch of several partitions whose turn it is.
        self.shared: Batch | None = None
        # Finished, and not committed: up to where.
        self._due: dict[Track, str] = {}
        # Records that went through both stages since the last commit.
        self._uncommitted = 0
        # Finished batches with what is to be done when they are committed, ours in all their parts.
        self._awaiting: dict[Batch, Committed] = {}
        # Those that the commit in hand has, and whether another one waits.
        self._covered: list[Batch] = []
        self._soon = False

    # --- partitions ----------------------------------------------------------------------------

    def add(self, topic: str, number: int) -> Track:
        track = Track(topic, number)
        self._tracks[track] = None
        return track

    def feed(self, track: Track, records: Sequence[Record]) -> None:
        """Adds what was read next. Ignored once it ends: the next owner reads it again."""
        if track.hold is Hold.OURS:
            track.buffer.extend(records)
            self._measure(track)

    def end(self, track: Track) -> None:
        """From now on it settles."""
        if track.hold is Hold.OURS:
            track.hold = Hold.ENDING
            self._empty(track)

    def lose(self, track: Track) -> None:
        """What is in hand of it is still to be revoked."""
        track.hold = Hold.LOST
        self._empty(track)
        self._tracks.pop(track, None)
        self._due.pop(track, None)
        for batch in [batch for batch in self._awaiting if track in batch.parts]:
            del self._awaiting[batch]

    # --- batches -------------------------------------------------------------------------------

    def begin(self) -> list[Batch]:
        """The batches that enter a stage now. None while some are revoked and not put back."""
        if self._revoked:
            return []
        entering = [batch for batch in self._in_hand if self._may_enter_two(batch)]
        for batch in entering:
            batch.stage = Stage.TWO
            self.release_turn(batch)
        # While their second stages run the next batches go through the first.
        while (new := self._next_batch()) is not None:
            for track in new.parts:
                track.batches.append(new)
            self._in_hand.append(new)
            entering.append(new)
        return entering

    def stored(self, batch: Batch, finish: Finish | None) -> None:
        """Stage one has ended, and gave ``finish``."""
        if batch.stage is Stage.ONE:
            batch.stage, batch.finish = Stage.BETWEEN, finish

    def finished(self, batch: Batch, committed: Committed | None = None) -> None:
        """Stage two has ended, and may want something done when its records will not come again."""
        if batch.stage is not Stage.TWO:
            return  # revoked, and the handler overheard it
        batch.stage = Stage.FINISHED
        if committed is not None and all(t.hold is not Hold.LOST for t in batch.parts):
            self._soon = True
            self._awaiting[batch] = committed
        self._in_hand.remove(batch)
        for track, part in batch.parts.items():
            track.batches.remove(batch)
            track.finished = part[-1].position
            self._uncommitted += len(part)
            if track.hold is not Hold.LOST:
                self._due[track] = track.finished

    def release_turn(self, batch: Batch) -> None:
        """Another batch may be shared, too, by the partitions that are not in this one."""
        if self.shared is batch:
            self.shared = None

    def revoke(self) -> None:
        """Takes all back that is in hand; ``put_back`` follows when no stage works on it any more."""
        for batch in self._in_hand:
            batch.stage = Stage.REVOKED
        self._revoked += self._in_hand
        self._in_hand = []
        self.shared = None

    def put_back(self) -> None:
        """What was revoked is in front of what waits, but for partitions that end."""
        revoked, self._revoked = self._revoked, []
        for batch in reversed(revoked):
            for track, part in batch.parts.items():
                track.batches.remove(batch)
                if track.hold is Hold.OURS:
                    track.buffer.extendleft(reversed(part))

    def _may_enter_two(self, batch: Batch) -> bool:
        return batch.stage is Stage.BETWEEN and all(t.batches[0] is batch for t in batch.parts)

    def _next_batch(self) -> Batch | None:
        free = [t for t in self._tracks if t.buffer and not t.is_storing()]
        for track in free:
            if len(track.buffer) >= OWN_BATCH:
                return Batch({track: self._take(track, self._max_batch)})
        if self.shared is not None or not free:
            return None
        free = free[: self._max_batch]
        most = self._max_batch // len(free)
        self.shared = Batch({track: self._take(track, most) for track in free})
        return self.shared

    def _take(self, track: Track, most: int) -> list[Record]:
        records = [track.buffer.popleft() for _ in range(min(len(track.buffer), most))]
        self._measure(track)
        self._tracks[track] = self._tracks.pop(track)
        return records

    def _empty(self, track: Track) -> None:
        track.buffer.clear()
        self._measure(track)

    def _measure(self, track: Track) -> None:
        if len(track.buffer) >= 4 * self._max_batch:
            track.full = True
        elif len(track.buffer) <= 2 * self._max_batch:
            track.full = False

    # --- commits -------------------------------------------------------------------------------

    def due(self) -> dict[Track, str]:
        """What is to be committed."""
        return dict(self._due)

    def is_urgent(self) -> bool:
        """Whether a commit is due at once: of a batch that wants it; of a partition that ends; of a
        partition's first batch, so that who is killed again and again gets on all the same; and of more
        than a batch of records, as those who drop what they had already remember so much only."""
        return (
            self._soon
            or self._uncommitted >= self._max_batch
            or any(track.hold is Hold.ENDING or not track.committed for track in self._due)
        )

    def commit_begins(self) -> dict[Track, str]:
        self._uncommitted, self._soon = 0, False
        self._covered = list(self._awaiting)
        return self.due()

    def committed(self, positions: Mapping[Track, str], lost: Collection[Track]) -> list[Committed]:
        """``lost`` are those of them that somebody else owns now. Gives what is to be done: not for a
        batch that was lost in part, which may come again."""
        for track, position in positions.items():
            if track in lost:
                self.lose(track)
                continue
            track.committed = position
            if self._due.get(track) == position:
                del self._due[track]
        covered, self._covered = self._covered, []
        return [self._awaiting.pop(batch) for batch in covered if batch in self._awaiting]
