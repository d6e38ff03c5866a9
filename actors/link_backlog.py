"""What waits while the peer does not read: bounded, audio goes oldest-first, control never.

The rule when full. Audio: the stream whose frame does not fit loses its own oldest if it holds more than its share of
the bound, else the stream that has waited longest loses its oldest; so one that pours cannot push out the others.
Control and verdicts: never dropped; past their own bound the link has failed, and False says so. Credit: the newest
of each stream, which needs no bound besides the number of streams.

Pure: no socket, no clock. Order is kept within a stream.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from actors.link_codec import Batch, Numbers

__all__ = ["Backlog"]

_Audio = tuple[int, int, int, bytes]  # gen, seq, pos, pcm
_ROW_BYTES = 64  # what an entry costs besides its body: many small ones are bounded too


class Backlog:
    """Entries of a link that cannot write; `drain` gives them to a batch when it can again."""

    def __init__(self, *, audio_bytes_max: int, control_bytes_max: int) -> None:
        self.audio_bytes_max, self.control_bytes_max = audio_bytes_max, control_bytes_max
        self.audio_bytes = self.control_bytes = self.peak_bytes = 0
        self.dropped_frames = self.dropped_bytes = 0
        self._dropped: dict[int, tuple[int, int]] = {}
        self._waiting: dict[int, deque[_Audio | bytes]] = {}
        self._held: dict[int, int] = {}
        self._verdicts: deque[tuple[Sequence[int], Sequence[int], bytes]] = deque()
        self._credit: dict[int, int] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting or self._verdicts or self._credit)

    def audio(self, stream: int, gen: int, seq: int, pos: int, pcm: bytes | memoryview) -> None:
        """Keep a frame; others, or this one, go where the bound wants it."""
        n = len(pcm) + _ROW_BYTES
        if n > self.audio_bytes_max:
            self._count(stream, len(pcm))
            return
        while self.audio_bytes + n > self.audio_bytes_max:
            held = self._held.get(stream, 0)
            over_share = held and (held + n) * max(1, len(self._held)) > self.audio_bytes_max
            self._drop_oldest(stream if over_share else next(iter(self._held)))
        self._waiting.setdefault(stream, deque()).append((gen, seq, pos, bytes(pcm)))
        self._held[stream] = self._held.get(stream, 0) + n
        self.audio_bytes += n
        self.peak_bytes = max(self.peak_bytes, self.audio_bytes + self.control_bytes)

    def control(self, stream: int, body: bytes) -> bool:
        """Keep a body. False: the bound is reached, and the link cannot go on."""
        if not self._fits(len(body) + _ROW_BYTES):
            return False
        self._waiting.setdefault(stream, deque()).append(body)
        return True

    def bits(self, streams: Numbers, poss: Numbers, bits: Sequence[int] | Sequence[bool] | bytes) -> bool:
        """As `control`."""
        if not self._fits(9 * len(streams) + _ROW_BYTES):
            return False
        self._verdicts.append((tuple(streams), tuple(poss), bytes(bits)))
        return True

    def credit(self, stream: int, seq: int) -> None:
        self._credit[stream] = seq

    def drain(self, batch: Batch, n_bytes: int) -> None:
        """Move whole streams to `batch`, up to about `n_bytes`; the credit when nothing else waits."""
        while self._verdicts and batch.bytes < n_bytes:
            streams, poss, bits = self._verdicts.popleft()
            self.control_bytes -= 9 * len(streams) + _ROW_BYTES
            batch.bits(streams, poss, bits)
        while self._waiting and batch.bytes < n_bytes:
            stream = next(iter(self._waiting))
            entries = self._waiting[stream]
            while entries and batch.bytes < n_bytes:
                entry = entries.popleft()
                if isinstance(entry, bytes):
                    self.control_bytes -= len(entry) + _ROW_BYTES
                    batch.control(stream, entry)
                else:
                    self._release(stream, entry)
                    batch.audio(stream, *entry)
            if not entries:
                del self._waiting[stream]
        if not self._waiting and not self._verdicts:
            for stream, seq in self._credit.items():
                batch.credit(stream, seq)
            self._credit.clear()

    def take_dropped(self) -> dict[int, tuple[int, int]]:
        """Per stream: (frames, bytes of PCM) dropped since the last call."""
        dropped, self._dropped = self._dropped, {}
        return dropped

    def _fits(self, n_bytes: int) -> bool:
        if self.control_bytes + n_bytes > self.control_bytes_max:
            return False
        self.control_bytes += n_bytes
        self.peak_bytes = max(self.peak_bytes, self.audio_bytes + self.control_bytes)
        return True

    def _drop_oldest(self, stream: int) -> None:
        entries = self._waiting[stream]
        at = next(i for i, entry in enumerate(entries) if not isinstance(entry, bytes))
        entry = entries[at]
        del entries[at]
        if not entries:
            del self._waiting[stream]
        assert not isinstance(entry, bytes)
        self._release(stream, entry)
        self._count(stream, len(entry[3]))

    def _release(self, stream: int, entry: _Audio) -> None:
        n = len(entry[3]) + _ROW_BYTES
        self.audio_bytes -= n
        self._held[stream] -= n
        if not self._held[stream]:
            del self._held[stream]

    def _count(self, stream: int, n_bytes: int) -> None:
        frames, total = self._dropped.get(stream, (0, 0))
        self._dropped[stream] = (frames + 1, total + n_bytes)
        self.dropped_frames += 1
        self.dropped_bytes += n_bytes
