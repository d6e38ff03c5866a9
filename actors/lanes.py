"""The usual way of a caller's frame: sessions in step stand as rows of a table, and a batch moves them all at once.

    batch ──► which rows are in step? ──► ring ──► ear's link, one message ──► detector ──► gates ──► news to sessions
                     │                                 └──► the detector's link, one message      ▲
                     └──► the others, one by one, the long way (`Seat.audio`)        verdicts ────┘

A session has a row while its caller is live and its frames are of 20 ms in the ear's own format, its ear is an actor
behind a link, and its voice detector, if any, runs in this process or is an actor too. The verdicts of an actor come
later than their frames, as rows of their own, and move gates at the position of their frame. Positions, gate and credit
of a session are then columns, and a batch costs some thirty operations on whole columns, whatever number of frames it
holds. `stop` says up to which position nothing but passing on has to happen: the law's next deadline, the credit of ear
and detector, the room of the replay ring, the pace of real time. A frame beyond it, out of order or of another length
takes the long way, and so does every frame of a small batch: below `MANY` frames thirty operations cost more than they
save.

A session's side of its row is `lane.py`.

Why      300 sessions touch a thousand cold objects in every 20 ms: the long way costs 16 us a frame, of which half is
         waiting for memory; a table is a few pages that stay warm (docs/performance.md has both, measured).
Units    positions in samples of the ear; instants in loop time.
Bounds   `rows` sessions (more take the long way); a row's ring holds `RING_S`; longer replay has a ring of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from actors.column import Array, Column
from actors.ear import CONCEAL_AFTER_S
from actors.formats import FRAME_MS
from actors.lane import Lane
from actors.link_port import LinkPort
from actors.logs import get_logger
from actors.ports import LocalPort
from actors.session_seat import CREDIT_FRAMES

if TYPE_CHECKING:
    from actors.link_codec import AudioBatch
    from actors.link_end import Link
    from actors.session_seat import Seat
    from actors.stream_rows import StreamRows

__all__ = ["MANY", "RATE_HZ", "RING_S", "Lanes"]

log = get_logger("lanes")

RATE_HZ = 16_000
"""Rate of the ears that the table serves: what nearly every vendor takes. Others go the long way."""
MANY = 8
RING_S = 10.24
"""Finals come within seconds; a caller whose ear owes one for longer has a ring of its own."""
ROWS_MAX = 2_048
_SAMPLES = RATE_HZ * FRAME_MS // 1000
_BYTES = 2 * _SAMPLES
_FRAME = f"V{_BYTES}"
_SLOTS = round(RING_S * 1000 / FRAME_MS)
_AT_ONCE = 128
"""So many frames leave for their ear before their verdicts are made: what those take (some 4 us a frame) is more than
what a write of its own costs."""


class Streams:
    """Of every row its stream of one stage: the link (index; below 0: none), number, epoch, and what makes a position
    of the ear the frame's number on the link."""

    __slots__ = ("gen", "link", "number", "off")

    def __init__(self, rows: int) -> None:
        self.link, self.number = Column("q", rows), Column("q", rows)
        self.gen, self.off = Column("q", rows), Column("q", rows)


class Lanes:
    """The table of one host. `failed(seat, error)` ends a session whose own code raised."""

    def __init__(self, rows: int, failed: Callable[[Seat, Exception], None]) -> None:
        self.rows = rows = min(rows, ROWS_MAX) + 1  # row 0 is nobody's: it is never in step
        self._failed = failed
        self.lanes: list[Lane | None] = [None] * rows
        self.end, self.stop, self.next = Column("q", rows), Column("q", rows), Column("q", rows)
        self.seq, self.credited = Column("q", rows), Column("q", rows)
        self.last_s = Column("d", rows)
        self.ears, self.vads = Streams(rows), Streams(rows)
        self.vads_used = 0
        """Lanes whose detector is behind a link."""
        self.accepted, self.heard = Column("q", rows), Column("q", rows)
        """Of those: samples that the detector took, and up to where it has spoken."""
        self.detector, self.mark = Column("q", rows), Column("q", rows)
        self.bits, self.mask, self.need = Column("q", rows), Column("q", rows), Column("q", rows)
        self.speaking, self.wants, self.quiet = Column("b", rows), Column("q", rows), Column("q", rows)
        self.voiced = Column("q", rows)
        self.keys = [0] * rows
        self._links: list[Link | None] = []
        self._detectors: list[Any] = []
        self._spare = list(range(rows - 1, 0, -1))
        self._used = 0
        self._audio: Array | None = None
        self.next.of[0] = -1
        self.last_s.of[:] = np.inf

    # ------------------------------------------------------------------------------------------------ a session's

    def ring(self) -> tuple[int, memoryview] | None:
        """A row, and the memory of its ring; None: the table is full. Given back with `free`.

        The whole block is reserved once and touched row by row: what nobody used costs no memory.
        """
        if not self._spare:
            return None
        if self._audio is None:
            self._audio = np.empty((self.rows, _SLOTS, _BYTES), dtype=np.uint8)
        row = self._spare.pop()
        self._used = max(self._used, row + 1)
        return row, memoryview(self._audio[row].reshape(-1))

    def free(self, row: int) -> None:
        self._spare.append(row)

    def enter(self, seat: Seat, row: int) -> Lane | None:
        """Put a session on the table; None where its way is not the usual one, or not now."""
        session = seat.session
        if not session.is_straight or seat.audio_in.encoding != "pcm16" or seat.audio_in.rate_hz != RATE_HZ:
            return None
        listening, ear = session.listening, session.ear
        port, vad = listening.words.slot.port, listening.vad
        at = ear.ring.end
        if (
            ear.rate_hz != RATE_HZ
            or not isinstance(port, LinkPort)
            or port.link is None
            or not ear.ring.is_lent
            or ear.rest
            or at % _SAMPLES
            or not listening.words.is_straight
            or listening.words.sent != at
        ):
            return None
        judge = None if vad is None else vad.slot.port
        if vad is not None:
            if not vad.is_straight or vad.sent != at:
                return None
            if isinstance(judge, LinkPort):
                if judge.link is None or not judge.stand(self, row):
                    return None
            elif not isinstance(judge, LocalPort):
                return None
        return Lane(self, row, seat, port, judge)

    def index_of_link(self, link: Link) -> int:
        return _index(self._links, link)

    def index_of_detector(self, provider: Any) -> int:
        return _index(self._detectors, provider)

    def mute(self, now_s: float) -> list[Lane]:
        """Lanes whose callers have sent nothing for so long that silence has to fill in."""
        (found,) = (self.last_s.of[: self._used] <= now_s - CONCEAL_AFTER_S + 1e-6).nonzero()
        return [lane for row in found.tolist() if (lane := self.lanes[row]) is not None]

    # --------------------------------------------------------------------------------------------------- a batch

    def take(self, link: Link, rows: Array, batch: AudioBatch, now_s: float) -> Array | None:
        """Pass on what is in step; the indices of the rest, in order (None: nothing is left).

        `rows[stream]` is the row of a stream of this link, 0 where it has none. A session with several frames in the
        batch is passed on as often as it can be.
        """
        matrix = batch.matrix()
        streams, seqs, poss = matrix[0], matrix[2].astype(np.int64), matrix[3].astype(np.int64)
        row = rows[np.minimum(streams, len(rows) - 1)]
        fits = (matrix[4] == _BYTES) & (streams < len(rows))
        fit = np.count_nonzero(fits)
        if not fit:
            return np.arange(len(streams))
        frames = _frames(batch, matrix[4])
        left = np.arange(len(streams))
        if fit == len(streams) and self._in_step(row, left, poss):  # nearly always
            self._pass(link, row, streams, seqs, frames, batch.payload, now_s)
            return None
        left, others = left[fits], left[~fits]
        while len(left):
            r = row[left]
            good = (self.next.of[r] == poss[left]) & (self.end.of[r] + _SAMPLES <= self.stop.of[r])
            taken = left[good]
            if not len(taken):
                break
            r = r[good]
            self.mark.of[r] = taken  # the same frame twice: one of them
            once = self.mark.of[r] == taken
            if not _all(once):
                taken, r = taken[once], r[once]
            some = frames[taken]
            self._pass(link, r, streams[taken], seqs[taken], some, some.tobytes(), now_s)
            if len(taken) == len(left):
                left = left[:0]
            else:
                gone = np.zeros(len(streams), dtype=bool)
                gone[taken] = True
                left = left[~gone[left]]
        if len(others):
            left = np.sort(np.concatenate((left, others)))
        return left if len(left) else None

    def _in_step(self, r: Array, numbers: Array, poss: Array) -> bool:
        """Every one of these rows, none of which is there twice, may take its frame."""
        if not _all((self.next.of[r] == poss) & (self.end.of[r] + _SAMPLES <= self.stop.of[r])):
            return False
        self.mark.of[r] = numbers
        return _all(self.mark.of[r] == numbers)

    def _pass(
        self,
        link: Link,
        r: Array,
        streams: Array,
        seqs: Array,
        frames: Array,
        pcm: bytes | memoryview,
        now_s: float,
    ) -> None:
        """One frame of each of these rows; `pcm` is that of `frames`."""
        assert self._audio is not None
        at = self.end.of[r]
        end = at + _SAMPLES
        self._audio[r, at // _SAMPLES % _SLOTS] = frames
        self.end.of[r] = end
        self.next.of[r] += _SAMPLES
        self.last_s.of[r] = now_s
        self.seq.of[r] = seqs + 1
        self._give(self.ears, r, at, end, pcm)
        if self.vads_used:
            self._give(self.vads, r, at, end, pcm)
        owed = seqs - self.credited.of[r] >= CREDIT_FRAMES
        if np.count_nonzero(owed):
            self.credited.of[r[owed]] = seqs[owed] + 1
            link.owe_credits(streams[owed].tolist(), (seqs[owed] + 1).tolist())
        detector = self.detector.of[r]
        first = int(detector[0])
        if _all(detector == first):
            if first >= 0:
                self._judge(first, r, end, pcm)
            return
        for one in np.unique(detector).tolist():
            if one >= 0:
                some = np.flatnonzero(detector == one)
                self._judge(one, r[some], end[some], frames[some].tobytes())

    def _give(self, to: Streams, r: Array, at: Array, end: Array, pcm: bytes | memoryview) -> None:
        """One message of these frames to each link of a stage."""
        columns = np.empty((5, len(r)), dtype="<u4")
        columns[0], columns[1] = to.number.of[r], to.gen.of[r]
        columns[2], columns[3], columns[4] = (end + to.off.of[r]) & 0xFFFFFFFF, at, _BYTES
        link = to.link.of[r]
        first = int(link[0])
        if _all(link == first):
            self._send(first, columns, pcm)
            return
        for one in np.unique(link[link >= 0]).tolist():
            some = np.flatnonzero(link == one)
            parts = b"".join([pcm[i * _BYTES : (i + 1) * _BYTES] for i in some.tolist()])
            self._send(one, np.ascontiguousarray(columns[:, some]), parts)

    def _send(self, link: int, columns: Array, pcm: bytes | memoryview) -> None:
        found = self._links[link] if link >= 0 else None
        if found is not None:
            found.send_audio_block(columns, pcm)
            if columns.shape[1] >= _AT_ONCE:
                found.flush()

    def _judge(self, detector: int, r: Array, end: Array, pcm: bytes | memoryview) -> None:
        """Verdicts of one detector on a frame of each row, and what they change."""
        rows = r.tolist()
        keys = list(map(self.keys.__getitem__, rows))
        frames = np.frombuffer(pcm, _FRAME).tolist()
        provider = self._detectors[detector]
        try:
            verdicts = np.array(provider.classify(keys, frames), dtype=bool)
        except Exception:
            verdicts = self._judge_singly(provider, rows, keys, frames)
        self._gates(r, end, verdicts)

    def _gates(self, r: Array, end: Array, verdicts: Array) -> None:
        """A verdict on the frame of each row that ends at `end`: who hears of a change."""
        speaking = self.speaking.of[r] != 0
        bits = ((self.bits.of[r] << 1) | verdicts) & self.mask.of[r]
        self.bits.of[r] = bits
        starts = ~speaking & verdicts & (np.bitwise_count(bits) >= self.need.of[r])
        stops = speaking & ~verdicts & (end - self.voiced.of[r] >= self.quiet.of[r])
        spoken = speaking & verdicts
        if np.count_nonzero(spoken):
            self.voiced.of[r[spoken]] = end[spoken]
        news = starts | stops | (verdicts & (end >= self.wants.of[r]))
        for i in news.nonzero()[0].tolist():
            lane = self.lanes[r[i]]
            if lane is None:
                continue
            try:
                lane.news(int(end[i]), True if starts[i] else False if stops[i] else None)
            except Exception as error:
                self._failed(lane.seat, error)

    def _judge_singly(self, provider: Any, rows: list[int], keys: list[int], frames: list[bytes]) -> Array:
        """Which of them was it? Its stage has failed, and its session takes the next candidate."""
        verdicts = np.zeros(len(rows), dtype=bool)
        for i, row in enumerate(rows):
            try:
                verdicts[i] = bool(provider.classify((keys[i],), (frames[i],))[0])
            except Exception as error:
                log.error("inline.failed", provider=type(provider).__module__, error=type(error).__name__)
                lane = self.lanes[row]
                if lane is not None and isinstance(lane.judge, LocalPort):
                    lane.judge.fail(error)
        return verdicts

    # --------------------------------------------------------------------------------- verdicts of another process

    def judged(self, rows: StreamRows, streams: memoryview, poss: memoryview, bits: bytes) -> Array | None:
        """Verdicts of a detector's actor, in order; the indices of those for whom `rows` has none (None: nothing is
        left). `poss` are the ends of their frames. A verdict is its frame's credit too.
        """
        numbers, ends = np.frombuffer(streams, np.uint32), np.frombuffer(poss, np.uint32).astype(np.int64)
        verdicts = np.frombuffer(bits, np.uint8) != 0
        left, todo = [], np.arange(len(numbers))
        while len(todo):
            r = rows.of(numbers[todo])  # each time: what a session heard may have taken it off the table
            here = r > 0
            if not _all(here):
                left.append(todo[~here])
                todo, r = todo[here], r[here]
            self.mark.of[r[::-1]] = todo[::-1]
            first = self.mark.of[r] == todo  # several of one session: one after the other
            some, r, todo = todo[first], r[first], todo[~first]
            self.accepted.of[r] += _SAMPLES
            self.heard.of[r] = ends[some]
            self._gates(r, ends[some], verdicts[some])
        if not left:
            return None
        return left[0] if len(left) == 1 else np.sort(np.concatenate(left))


def _all(these: Array) -> bool:
    """As `these.all()`, in a fifth of its time: a batch asks eight times."""
    return bool(np.count_nonzero(these) == len(these))


def _frames(batch: AudioBatch, lens: Array) -> Array:
    """(frames, bytes of a frame); rows of another length hold no meaning."""
    payload = np.frombuffer(batch.payload, dtype=np.uint8)
    if len(payload) == len(lens) * _BYTES and _all(lens == _BYTES):
        return payload.reshape(-1, _BYTES)
    offsets = np.concatenate(([0], np.cumsum(lens[:-1], dtype=np.int64)))
    index = np.minimum(offsets[:, None] + np.arange(_BYTES), max(0, len(payload) - 1))
    return payload[index]


def _index(known: list[Any], one: Any) -> int:
    """Where `one` stands among the few that there are; a closed link's place is taken again."""
    for i, other in enumerate(known):
        if other is one:
            return i
    for i, other in enumerate(known):
        if other is None or getattr(other, "closed", False) is True:
            known[i] = one
            return i
    known.append(one)
    return len(known) - 1
