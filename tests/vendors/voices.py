"""What the tests of voices share: a reply as a session gives it, and what was heard of it."""

from __future__ import annotations

from typing import Any

import pytest

from actors.providers import interface as i
from actors.providers.fake_tones import hear
from tests.vendors.live import Ear

__all__ = ["aligned", "say", "words"]


def say(line: Any, reply: int, *sentences: str) -> str:
    """Sentence by sentence, each flushed, and ended. Returns the text of the reply."""
    line.begin(reply, {})
    whole = ""
    for number, sentence in enumerate(sentences):
        piece = sentence if number == 0 else f" {sentence}"
        line.text(reply, piece)
        line.flush(reply)
        whole += piece
    line.end(reply)
    return whole


def words(ear: Ear, reply: int, rate_hz: int) -> str:
    """What is in the reply's audio."""
    return " ".join(word.text for word in hear(ear.pcm(reply), rate_hz))


def aligned(ear: Ear, reply: int, text: str, rate_hz: int, abs_ms: float = 3.0) -> None:
    """Fails unless every word of the text was told where it lies in text and audio."""
    told = [a for a in ear.all(i.Align) if a.reply == reply]
    assert [a.word for a in told] == text.split()
    assert [text[a.char_from : a.char_to] for a in told] == text.split()
    found = hear(ear.pcm(reply), rate_hz)
    to_ms = 1000 / rate_hz
    assert [a.start_ms for a in told] == pytest.approx([w.from_sample * to_ms for w in found], abs=abs_ms)
