"""The audio that no final covers yet, and how far of it was sent: what a reconnect must send again.

    ledger.add(pos, pcm)              audio of the session; what came before is not taken twice, a hole stays a hole
    ledger.take(n, flush=False)       the next n samples to send, or fewer with `flush`; None where they are not there
    ledger.settle(pos)                a final covers everything before
    ledger.rewind(pos)                send again from there, on another connection
    ledger.skip(pos)                  what lies before `pos` and was not sent never will be: a hole

Pure. Positions in samples of 16 bits. Bounded: the oldest goes, counted, whether it was sent or not.
"""

from __future__ import annotations

from collections import deque

__all__ = ["Ledger"]


class Ledger:
    def __init__(self, pos: int, samples_max: int) -> None:
        self.cursor = pos
        """The next sample to send."""
        self.end = pos
        """The next sample to come."""
        self.overlaps = self.dropped = 0
        """Samples that came twice; samples let go before a final covered them."""
        self._max = samples_max
        self._held = 0
        self._runs: deque[tuple[int, bytearray]] = deque()
        """Contiguous audio and where it begins, in order, holes between."""

    @property
    def begin(self) -> int:
        """Position of the oldest sample held."""
        return self._runs[0][0] if self._runs else self.end

    @property
    def held(self) -> int:
        """Samples held."""
        return self._held

    @property
    def behind(self) -> int:
        """Samples held that are still to be sent."""
        return sum(max(0, min(len(pcm) // 2, pos + len(pcm) // 2 - self.cursor)) for pos, pcm in self._runs)

    @property
    def next_pos(self) -> int:
        """Position of the next sample that `take` gives: the cursor's, or beyond a hole."""
        stops = (pos for pos, pcm in self._runs if pos + len(pcm) // 2 > self.cursor)
        return max(self.cursor, next(stops, self.end))

    def add(self, pos: int, pcm: bytes) -> None:
        if len(pcm) & 1:
            raise ValueError(f"{len(pcm)} bytes are no whole number of samples")
        if pos < self.end:
            self.overlaps += min(self.end - pos, len(pcm) // 2)
            pcm = pcm[2 * (self.end - pos) :]
            pos = self.end
        if not pcm:
            return
        if self._runs and pos == self._runs[-1][0] + len(self._runs[-1][1]) // 2:
            self._runs[-1][1].extend(pcm)
        else:
            self._runs.append((pos, bytearray(pcm)))
        self.end = pos + len(pcm) // 2
        self._held += len(pcm) // 2
        if self._held > self._max:
            over = self._held - self._max
            self.dropped += over
            self._let_go(over)

    def take(self, samples: int, *, flush: bool = False) -> tuple[int, bytes] | None:
        """(position, audio), contiguous; the cursor is after it. Before a hole it may be shorter."""
        for pos, pcm in self._runs:
            stop = pos + len(pcm) // 2
            if stop <= self.cursor:
                continue
            start = max(pos, self.cursor)
            there = stop - start
            if there < samples and not flush and stop == self.end:
                return None
            taken = min(there, samples)
            self.cursor = start + taken
            return start, bytes(pcm[2 * (start - pos) : 2 * (start - pos + taken)])
        return None

    def settle(self, pos: int) -> None:
        """Audio before `pos` is of no more use; nothing is let go that was not sent."""
        pos = min(pos, self.cursor)
        while self._runs and self._runs[0][0] < pos:
            first, pcm = self._runs[0]
            self._let_go(min(pos - first, len(pcm) // 2))

    def rewind(self, pos: int) -> None:
        self.cursor = max(pos, self.begin)

    def skip(self, pos: int) -> None:
        pos = min(pos, self.end)
        if pos <= self.cursor:
            return
        runs, self._runs, self._held = self._runs, deque(), 0
        for begin, pcm in runs:
            sent = 2 * max(0, self.cursor - begin)
            for at, part in ((begin, pcm[:sent]), (max(begin, pos), pcm[max(sent, 2 * (pos - begin)) :])):
                if part:
                    self._runs.append((at, part))
                    self._held += len(part) // 2
        self.cursor = pos

    def _let_go(self, samples: int) -> None:
        while samples > 0:
            pos, pcm = self._runs.popleft()
            gone = min(samples, len(pcm) // 2)
            samples -= gone
            self._held -= gone
            if gone * 2 < len(pcm):
                del pcm[: 2 * gone]
                self._runs.appendleft((pos + gone, pcm))
