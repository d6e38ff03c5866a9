"""Where the audio of one connection lies in the session.

A vendor counts the audio that was sent on this connection, in seconds from its start. The session counts samples from
the session's beginning. Between the two lie what a reconnect shifts, audio that was let go, and silence that the
adapter put in to keep the connection alive: a track holds all of them as runs.

    track.sent(pos, n)       n samples of the session, from pos on, went out
    track.silence(n)         n samples that the session has not
    track.position(at_s)     the session's position of a time of the vendor

Pure: no clock, no I/O. Positions in samples.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

__all__ = ["Track"]

_RUNS_MAX = 256
"""Runs kept; times before the oldest are taken to be its beginning."""


@dataclass(slots=True)
class _Run:
    at: int
    """Sample of the connection that it begins with."""
    pos: int
    """Position in the session."""
    samples: int
    real: bool
    """False: silence of the adapter, all of it at `pos`."""


class Track:
    def __init__(self, rate_hz: int, pos: int) -> None:
        self.rate_hz = rate_hz
        self.samples = 0
        """Sent on this connection, silence too."""
        self._runs = [_Run(0, pos, 0, True)]

    @property
    def end(self) -> int:
        """Position after the last sample that was sent."""
        last = self._runs[-1]
        return last.pos + (last.samples if last.real else 0)

    def sent(self, pos: int, samples: int) -> None:
        last = self._runs[-1]
        if last.real and last.pos + last.samples == pos:
            last.samples += samples
        else:
            self._add(_Run(self.samples, pos, samples, True))
        self.samples += samples

    def silence(self, samples: int) -> None:
        last = self._runs[-1]
        if not last.real:
            last.samples += samples
        else:
            self._add(_Run(self.samples, self.end, samples, False))
        self.samples += samples

    def position(self, at_s: float) -> int:
        """Never beyond what was sent, never before what the track began with."""
        at = min(max(0, round(at_s * self.rate_hz)), self.samples)
        run = self._runs[max(0, bisect_right(self._runs, at, key=lambda r: r.at) - 1)]
        return run.pos + (min(max(0, at - run.at), run.samples) if run.real else 0)

    def holds(self, at_s: float, slack_s: float) -> bool:
        """Whether a time can be: it lies in what was sent, or not more than `slack_s` beyond."""
        return 0.0 <= at_s <= self.samples / self.rate_hz + slack_s

    def _add(self, run: _Run) -> None:
        if self._runs[-1].samples == 0:
            self._runs.pop()
        self._runs.append(run)
        if len(self._runs) > _RUNS_MAX:
            del self._runs[0]
