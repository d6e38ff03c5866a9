"""Events on their way to the application: nothing that was said is lost, audio gives way.

An application that does not read must not grow this process without bound. Two rules, one for each kind:

    audio     more than 10 s unread: the oldest goes and is counted (`dropped_audio_ms`)
    the rest  never dropped; more than 10,000 unread and `put` raises: the call closes with that error

Order    as they were put, audio among the rest.
Raises   SessionGone from `put` when the bound of events is reached.
Used by  actors/call.py. Pure: waiting for an event is the caller's business.
"""

from __future__ import annotations

from collections import deque

from actors.events import Event, VoiceAudio
from actors.formats import AudioFormat
from router.errors import SessionGone

__all__ = ["AUDIO_MAX_MS", "EVENTS_MAX", "Inbox"]

AUDIO_MAX_MS = 10_000
"""The mouth sends at most 500 ms ahead of real time, so 10 s unread means nobody listens."""
EVENTS_MAX = 10_000
"""A busy turn makes about 50 events; 10,000 is a call's worth, some megabytes."""


class Inbox:
    """Bounded, ordered. `pop` gives the oldest event or None."""

    def __init__(self, audio: AudioFormat, *, events_max: int = EVENTS_MAX, audio_max_ms: float = AUDIO_MAX_MS) -> None:
        self.dropped_audio_ms = 0.0
        self._bytes_per_ms = audio.rate_hz * audio.sample_bytes / 1000
        self._events_max, self._audio_max_bytes = events_max, int(audio_max_ms * self._bytes_per_ms)
        self._order = 0
        self._events: deque[tuple[int, Event]] = deque()
        self._audio: deque[tuple[int, VoiceAudio]] = deque()
        self._audio_bytes = 0

    def __len__(self) -> int:
        return len(self._events) + len(self._audio)

    def put(self, event: Event) -> None:
        self._order += 1
        if isinstance(event, VoiceAudio):
            self._audio.append((self._order, event))
            self._audio_bytes += len(event.pcm)
            while self._audio_bytes > self._audio_max_bytes:
                self._drop_oldest_audio()
            return
        if len(self._events) >= self._events_max:
            raise SessionGone(event.session_id, f"{self._events_max} events were not read: the application has stopped")
        self._events.append((self._order, event))

    def pop(self) -> Event | None:
        if not self._audio or (self._events and self._events[0][0] < self._audio[0][0]):
            return self._events.popleft()[1] if self._events else None
        event = self._audio.popleft()[1]
        self._audio_bytes -= len(event.pcm)
        return event

    def _drop_oldest_audio(self) -> None:
        _, event = self._audio.popleft()
        self._audio_bytes -= len(event.pcm)
        self.dropped_audio_ms += len(event.pcm) / self._bytes_per_ms
