"""A session's side of its row in the host's table: what the table knows of it, and when its objects know it too.

Before anything of a session runs it is brought up to date (`sync`); after that the table is told up to where it need
not ask (`limit`). Whatever moves its audio by another way takes it off the table first (`leave`). So the rest of the
house does not know the table.

Units    positions in samples of the ear; instants in loop time.
Used by  lanes.py, which puts sessions on the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.ear import CONCEAL_AFTER_S
from actors.link_port import LinkPort
from actors.ports import LocalPort, Port

if TYPE_CHECKING:
    from actors.lanes import Lanes, Streams
    from actors.session_seat import Seat

__all__ = ["Lane"]

_PACE_S = 2.0
"""Before a row's pace stops a caller who keeps it: longer than a quiet session is left alone."""


class Lane:
    """One session's row while it is in step. `session.lane` and the table hold it; `leave` ends it."""

    __slots__ = ("_accepted", "_apart", "_synced", "_table", "judge", "port", "row", "seat")

    def __init__(self, table: Lanes, row: int, seat: Seat, port: LinkPort, judge: Port | None) -> None:
        """`port` is the ear's, `judge` the voice detector's."""
        self._table, self.row, self.seat, self.port, self.judge = table, row, seat, port, judge
        self._apart = judge if isinstance(judge, LinkPort) else None
        """The detector, where it is in a process of its own."""
        session = seat.session
        gate, end = session.listening.gate, session.ear.ring.end
        self._synced = end
        table.end.cells[row], table.next.cells[row] = end, seat.next_sample
        table.last_s.cells[row] = session.ear.last_s
        table.seq.cells[row], table.credited.cells[row] = seat.seq, seat.credited
        self._stand(table.ears, port, end)
        table.vads.link.cells[row] = table.detector.cells[row] = -1
        if isinstance(judge, LocalPort):
            table.detector.cells[row], table.keys[row] = table.index_of_detector(judge.served), judge.number
        self._accepted = 0
        if self._apart is not None:
            self._stand(table.vads, self._apart, end)
            table.vads_used += 1
            self._accepted = table.accepted.cells[row] = self._apart.accepted
            table.heard.cells[row] = session.listening.vad_pos
        table.bits.cells[row], table.mask.cells[row], table.need.cells[row] = gate.bits, gate.mask, gate.need
        table.speaking.cells[row], table.quiet.cells[row] = gate.speaking, gate.stop
        table.voiced.cells[row] = gate.last_voiced
        table.lanes[row] = self
        self.limit()

    def _stand(self, streams: Streams, port: LinkPort, end: int) -> None:
        row = self.row
        assert port.link is not None
        streams.link.cells[row] = self._table.index_of_link(port.link)
        streams.number.cells[row], streams.gen.cells[row] = port.stream, port.epoch
        streams.off.cells[row] = port.sent - end

    def sync(self) -> None:
        """The session's objects as the table has them: before anything of the session runs."""
        table, row = self._table, self.row
        end = table.end.cells[row]
        moved = end - self._synced
        if moved:
            self._moved(end, moved)
        apart = self._apart
        if apart is not None and table.accepted.cells[row] != self._accepted:
            self._accepted = apart.accepted = table.accepted.cells[row]
            listening = self.seat.session.listening
            listening.vad_pos = table.heard.cells[row]
            listening.gate.bits, listening.gate.last_voiced = table.bits.cells[row], table.voiced.cells[row]

    def _moved(self, end: int, moved: int) -> None:
        """Frames were passed on, up to `end`."""
        table, row, seat = self._table, self.row, self.seat
        self._synced = end
        session = seat.session
        listening = session.listening
        session.ear.ring.end = listening.words.sent = end
        session.ear.last_s, session.ear.concealing = table.last_s.cells[row], False
        self.port.sent += moved
        if listening.vad is not None:
            listening.vad.sent = end
            if self._apart is not None:
                self._apart.sent += moved
            else:
                listening.vad_pos = end
                listening.gate.bits, listening.gate.last_voiced = table.bits.cells[row], table.voiced.cells[row]
        seat.next_sample = table.next.cells[row]
        seat.seq, seat.credited = table.seq.cells[row], table.credited.cells[row]

    def limit(self) -> None:
        """Up to where frames may pass without anybody looking: after anything of the session ran."""
        table, row, seat, port = self._table, self.row, self.seat, self.port
        session = seat.session
        ring = session.ear.ring
        end = ring.end
        listening = session.listening
        if seat.ahead_at - seat.next_sample < _PACE_S * seat.audio_in.rate_hz:
            seat.pace()
        room = listening.words.window - port.unaccepted
        if self._apart is not None and listening.vad is not None:
            room = min(room, listening.vad.window - self._apart.unaccepted)
        table.stop.cells[row] = min(
            session.due_pos - 1, end + room, ring.room_end, end + seat.ahead_at - seat.next_sample
        )
        table.wants.cells[row] = session.voiced_at

    def news(self, end: int, change: bool | None) -> None:
        """Its gate opened (True) or shut (False), or a voiced frame counts (None), with the verdict on the frame that
        ends at `end`: the session hears of it."""
        self.sync()
        session = self.seat.session
        gate = session.listening.gate
        if change is not None:
            (gate.open if change else gate.shut)(end)
            table, row = self._table, self.row
            table.speaking.cells[row], table.bits.cells[row] = gate.speaking, gate.bits
            table.voiced.cells[row] = gate.last_voiced
        session.verdict(end, change)

    def leave(self) -> None:
        """Off the table: the session's audio moves another way now."""
        self.sync()
        table, row = self._table, self.row
        table.lanes[row] = None
        if self._apart is not None:
            self._apart.step_down()
            table.vads_used -= 1
        table.next.cells[row], table.stop.cells[row] = -1, 0
        table.last_s.cells[row] = float("inf")
        session = self.seat.session
        session.lane = None
        session.wake_s = min(session.wake_s, session.ear.last_s + CONCEAL_AFTER_S)  # nobody else sees it fall mute now
