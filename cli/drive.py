"""A caller made of a file: what it sends next, and what it hears meanwhile.

    half duplex (default)   the file stands still while the agent thinks or speaks; silence is sent in its place
    full duplex             the file goes on as recorded, so that it can barge in

Both wait for `session.opened`; half duplex then listens for half a second, in case the agent greets first.
Thinking is bounded: an agent that never answers holds the file for 10 s of media time, not for ever.

Pure: `step` is the clock, one frame of 20 ms for each call; nothing here knows whether time is real or lock-step.

Used by  cli/run.py; tested in tests/law/test_cli_drive.py.
"""

from __future__ import annotations

from actors.events import (
    AgentText,
    Event,
    SessionClosed,
    SessionOpened,
    TurnEnded,
    VoiceAudio,
    VoiceClear,
    VoiceStarted,
    VoiceStopped,
)
from actors.formats import FRAME_MS, AudioFormat
from cli.calllog import CallLog, Samples
from cli.speaker import Heard, Speaker

__all__ = ["GREETING_MS", "THINKING_MS", "FileCaller"]

GREETING_MS = 500
"""A greeting's first audio leaves within some ten milliseconds of the opening; half a second is polite."""
THINKING_MS = 10_000
"""Longer than the agent's own first-text deadline of 5 s and one fall-back."""


class FileCaller:
    """One call's caller. `on_event` is told everything; `step` gives the next frame to send."""

    def __init__(self, samples: Samples, audio: AudioFormat, log: CallLog, *, full_duplex: bool) -> None:
        self.log, self.full_duplex = log, full_duplex
        self._file = samples.astype("<i2").tobytes()
        self._frame_bytes = audio.frame_bytes
        self._at = 0
        self._speaker = Speaker(audio.rate_hz)
        self._opened = self._closed = False
        self._greeting_ms = 0 if full_duplex else GREETING_MS
        self._thinking_ms = 0
        self._speaking: set[int] = set()

    @property
    def file_ended(self) -> bool:
        return self._at >= len(self._file)

    @property
    def hears_nothing(self) -> bool:
        """No reply audio waits to be played."""
        return self._speaker.is_idle

    @property
    def is_over(self) -> bool:
        """The session is closed and all that came has been heard."""
        return self._closed and self._speaker.is_idle

    @property
    def is_held(self) -> bool:
        """The file stands still now."""
        if not self._opened:
            return True
        if self.full_duplex:
            return False
        return bool(self._greeting_ms or self._thinking_ms or self._speaking or not self._speaker.is_idle)

    def on_event(self, event: Event) -> None:
        self.log.add(event)
        match event:
            case SessionOpened():
                self._opened = True
            case TurnEnded():
                self._thinking_ms = THINKING_MS
            case AgentText():
                self._thinking_ms = max(self._thinking_ms, 1000)  # it is at work: give the voice its time
            case VoiceStarted(reply_id=reply_id):
                self._thinking_ms = self._greeting_ms = 0
                self._speaking.add(reply_id)
            case VoiceAudio(reply_id=reply_id, offset_ms=offset_ms, pcm=pcm):
                self._speaker.add(reply_id, offset_ms, pcm)
            case VoiceClear(reply_id=reply_id):
                self._speaker.clear(reply_id)
            case VoiceStopped(reply_id=reply_id):
                self._speaking.discard(reply_id)
                self._thinking_ms = 0
            case SessionClosed():
                self._closed = True

    def step(self) -> tuple[bytes, list[Heard]]:
        """20 ms go by: the frame to send (silence after the file's end), and what has been heard."""
        held = self.is_held
        frame = b"" if held else self._file[self._at : self._at + self._frame_bytes]
        if not held:
            self._at += self._frame_bytes
            if self.file_ended and self.log.input_end_s is None:
                self.log.input_end_s = self.log.now_s + FRAME_MS / 1000
        frame += bytes(self._frame_bytes - len(frame))
        self.log.frame(frame, self._speaker.advance(self._frame_bytes), held=held and not self.file_ended)
        if self._opened:
            self._greeting_ms = max(0, self._greeting_ms - FRAME_MS)
        self._thinking_ms = max(0, self._thinking_ms - FRAME_MS)
        return frame, self._speaker.reports()
