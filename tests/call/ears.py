"""A session's ear in small: 20 ms frames through the voice detector, orders to the recogniser as a session gives them.

Speech starts when 3 of 5 frames are voiced, 300 ms before belong to it; 200 ms unvoiced stop it and ask for `finalize`.
"""

from __future__ import annotations

import asyncio
import wave
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from actors.providers import webrtc
from actors.providers.interface import Final, Finalized, Partial, ProviderEvent, StreamSpec
from actors.providers.pocketsphinx_decoder import PIECE_SAMPLES, Ear

FRAME = 320
RATE_HZ = 16_000
RECORDINGS = Path(__file__).resolve().parents[2].parent / "shared" / "speech"


def spec(stream: int = 1, pos: int = 0, rate_hz: int = RATE_HZ, **options: Any) -> StreamSpec:
    return StreamSpec(
        stream=stream, epoch=1, session_id=f"s{stream}", tenant_id="acme", rate_hz=rate_hz, pos=pos, options=options
    )


def recording(name: str) -> bytes:
    """Recorded human speech, which is not part of the repository: such tests skip where it is missing."""
    path = RECORDINGS / f"{name}.wav"
    if not path.exists():
        pytest.skip(f"no recordings of human speech beside the repository ({name}.wav)")
    return wav(path)


def wav(path: Path) -> bytes:
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE_HZ, 1, 2)
        return file.readframes(file.getnframes())


def quiet(seconds: float) -> bytes:
    return bytes(int(seconds * RATE_HZ) * 2)


def fresh(pcm: bytes) -> str:
    """What a decoder that has heard nothing before makes of it, in pieces of 20 ms."""
    ear = Ear()
    ear.begin()
    for at in range(0, len(pcm), 2 * PIECE_SAMPLES):
        ear.feed(pcm[at : at + 2 * PIECE_SAMPLES])
    return ear.end().text


@dataclass
class Heard:
    """Everything a stream said."""

    events: list[ProviderEvent] = field(default_factory=list)

    @property
    def finals(self) -> list[Final]:
        return [e for e in self.events if isinstance(e, Final)]

    @property
    def partials(self) -> list[Partial]:
        return [e for e in self.events if isinstance(e, Partial)]

    @property
    def finalized(self) -> list[Finalized]:
        return [e for e in self.events if isinstance(e, Finalized)]

    @property
    def text(self) -> str:
        return " ".join(f.text for f in self.finals if f.text)


async def settle(stream: Any, limit: int = 100_000) -> None:
    """Let the stream do all the work it has."""
    for _ in range(limit):
        if stream._idle.is_set():
            return
        await asyncio.sleep(0)
    raise AssertionError("the stream never came to rest")


async def listen(stream: Any, pcm: bytes, after_frame: Callable[[int], None] | None = None) -> list[tuple[int, int]]:
    """Play `pcm` to a stream as a session would. Returns (start, stop) of each utterance."""
    detector = webrtc.Provider({})
    detector.attach(spec())
    window: deque[bool] = deque(maxlen=5)
    utt, start, last_voiced, spans, is_speaking = 0, 0, 0, [], False
    for at in range(0, len(pcm) // 2 - FRAME + 1, FRAME):
        frame, pos = pcm[2 * at : 2 * (at + FRAME)], at + FRAME
        stream.audio(at, frame)
        voiced = detector.classify((1,), (frame,))[0]
        last_voiced = pos if voiced else last_voiced
        if not is_speaking:
            window.append(voiced)
            if sum(window) >= 3:
                utt, is_speaking, start = utt + 1, True, max(0, pos - 3 * FRAME - int(0.3 * RATE_HZ))
                window.clear()
                stream.speech_start(utt, start)
        elif pos - last_voiced >= int(0.2 * RATE_HZ):
            is_speaking = False
            stream.speech_end(utt, last_voiced)
            stream.finalize(utt, pos)
            spans.append((start, pos))
        await settle(stream)
        if after_frame is not None:
            after_frame(pos)
    if is_speaking:
        stream.finalize(utt, len(pcm) // 2)
        await settle(stream)
        spans.append((start, len(pcm) // 2))
    return spans
