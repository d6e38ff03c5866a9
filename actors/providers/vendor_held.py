"""What waits while a conversation changes its connection: audio and messages, in order, bounded.

    held = Held(audio_bytes_max=96_000)
    held.audio(pos, piece)             bytes that had to go for it: the oldest audio
    held.message(text)                 False: too many wait
    for thing, pos in held.items(): ...        a message where `pos` is None

Pure: no clock, no I/O.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

__all__ = ["MESSAGES_MAX", "Held"]

MESSAGES_MAX = 256


class Held:
    def __init__(self, audio_bytes_max: int) -> None:
        self._max = audio_bytes_max
        self._things: deque[tuple[str | bytes, int | None]] = deque()
        self._audio_bytes = self._messages = 0

    def audio(self, pos: int, piece: bytes) -> int:
        """Bytes of older audio that are let go."""
        self._things.append((piece, pos))
        self._audio_bytes += len(piece)
        gone = 0
        while self._audio_bytes - gone > self._max:
            at = next(n for n, (_, where) in enumerate(self._things) if where is not None)
            gone += len(self._things[at][0])
            del self._things[at]
        self._audio_bytes -= gone
        return gone

    def message(self, message: str | bytes) -> bool:
        if self._messages >= MESSAGES_MAX:
            return False
        self._messages += 1
        self._things.append((message, None))
        return True

    def items(self) -> Iterator[tuple[str | bytes, int | None]]:
        yield from self._things
