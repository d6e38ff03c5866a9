"""How a session speaks to a recogniser, and what it expects of its finals: for the tests of STT adapters."""

from __future__ import annotations

from typing import Any

from actors.providers import interface as i
from actors.providers.fake_tones import say
from tests.vendors.live import Ear

__all__ = ["contiguous", "feed", "silence", "speak", "texts"]


def feed(line: Any, pcm: bytes, pos: int, rate_hz: int = 16000) -> int:
    """Audio as a session sends it: 20 ms at a time. Returns the position after it."""
    step = rate_hz // 50 * 2
    for at in range(0, len(pcm), step):
        line.audio(pos + at // 2, pcm[at : at + step])
    return pos + len(pcm) // 2


def silence(seconds: float, rate_hz: int = 16000) -> bytes:
    return bytes(2 * round(rate_hz * seconds))


def speak(line: Any, text: str, pos: int, utt: int, pause_s: float = 0.2, rate_hz: int = 16000) -> int:
    """One utterance with its orders, asked to be finalized after a short pause. Returns the position after it."""
    line.speech_start(utt, pos)
    pos = feed(line, say(text, rate_hz).pcm, pos, rate_hz)
    line.speech_end(utt, pos)
    pos = feed(line, silence(pause_s, rate_hz), pos, rate_hz)
    line.finalize(utt, pos)
    return pos


def texts(ear: Ear) -> str:
    return " ".join(f.text for f in ear.all(i.Final) if f.text)


def contiguous(ear: Ear, begin: int = 0) -> None:
    """Each final begins where the one before it ended; only late words have no span."""
    for final in ear.all(i.Final):
        assert final.from_pos == begin
        assert final.to_pos > begin or final.text
        begin = final.to_pos
