"""Speech that a program can read back: one tone per letter, silence between words.

    say("ten of clubs", 16000) -> Spoken       hear(pcm, 16000) -> [Heard("ten", 0, 1760), ...]

What a fake voice speaks can be found again in a recording, and a fake ear decodes it, so that a test sees words that
were lost, doubled or spoken over a barge-in, in the audio itself.

Form     a letter lasts `LETTER_MS`: `TONE_MS` of a sine, then silence; a space is `LETTER_MS` of silence. Letters a-z,
         digits and the apostrophe are known, upper case becomes lower, anything else is not voiced.
Range    500 to 2,660 Hz, 60 Hz apart: inside a telephone's band, and two bins apart for a window of 30 ms.
Units    positions are samples at `rate_hz`, characters are offsets into the text given.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

__all__ = ["LETTER_MS", "Heard", "Spoken", "hear", "say"]

LETTER_MS = 40
"""25 letters a second: near the 15 of brisk speech, and short enough that tests stay small."""
TONE_MS = 30
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789'"
_LOWEST_HZ = 500.0
_STEP_HZ = 60.0
_PEAK = 9000
_BLOCK_MS = 2
_AUDIBLE = 1500
"""Above the steps of G.711 and resampling ripples, far below the tone."""
_WORD_GAP_MS = 25
"""Silence within a word is 10 ms, between words 50."""
_SHORTEST_MS = 12
"""A tone cut shorter than this cannot be told from its neighbour."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One word of a text and where it sounds."""

    word: str
    from_sample: int
    to_sample: int
    char_from: int
    char_to: int


@dataclass(frozen=True, slots=True)
class Spoken:
    pcm: bytes
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class Heard:
    """One word found in audio."""

    text: str
    from_sample: int
    to_sample: int


@lru_cache(maxsize=256)
def say(text: str, rate_hz: int) -> Spoken:
    """`text` as tones, and where each word of it lies. Empty where nothing in it can be voiced."""
    letter = rate_hz * LETTER_MS // 1000
    parts: list[npt.NDArray[np.int16]] = []
    marks: list[Mark] = []
    at = 0
    for word, char_from in _words(text):
        voiced = [c for c in word.lower() if c in _LETTERS]
        if not voiced:
            continue
        begin = at
        parts += [_tone(c, rate_hz) for c in voiced]
        parts.append(np.zeros(letter, dtype=np.int16))
        at += letter * (len(voiced) + 1)
        marks.append(Mark(word, begin, at - letter, char_from, char_from + len(word)))
    pcm = np.concatenate(parts).tobytes() if parts else b""
    return Spoken(pcm, tuple(marks))


def hear(pcm: bytes, rate_hz: int) -> list[Heard]:
    """The words in `pcm`; a letter that was cut is heard as `?` or not at all."""
    samples = np.frombuffer(pcm[: len(pcm) & ~1], dtype=np.int16)
    block = rate_hz * _BLOCK_MS // 1000
    count = len(samples) // block
    if not count:
        return []
    loud = np.abs(samples[: count * block].astype(np.int32)).reshape(count, block).max(axis=1) > _AUDIBLE
    edges = np.flatnonzero(np.diff(np.concatenate(([0], loud.view(np.int8), [0]))))
    words: list[Heard] = []
    text, begin, end = "", 0, 0
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        a, b = int(first) * block, int(last) * block
        if text and (a - end) * 1000 >= _WORD_GAP_MS * rate_hz:
            words.append(Heard(text, begin, end))
            text = ""
        if not text:
            begin = a
        text += _letter(samples[a:b], rate_hz)
        end = b
    if text:
        words.append(Heard(text, begin, end))
    return words


def _words(text: str) -> list[tuple[str, int]]:
    found, at = [], 0
    for word in text.split():
        at = text.index(word, at)
        found.append((word, at))
        at += len(word)
    return found


@lru_cache(maxsize=512)
def _tone(letter: str, rate_hz: int) -> npt.NDArray[np.int16]:
    n, sounding = rate_hz * LETTER_MS // 1000, rate_hz * TONE_MS // 1000
    hz = _LOWEST_HZ + _STEP_HZ * _LETTERS.index(letter)
    wave = np.zeros(n, dtype=np.int16)
    wave[:sounding] = np.round(_PEAK * np.sin(2 * np.pi * hz * np.arange(sounding) / rate_hz)).astype(np.int16)
    return wave


def _letter(tone: npt.NDArray[np.int16], rate_hz: int) -> str:
    if len(tone) * 1000 < _SHORTEST_MS * rate_hz:
        return "?"
    size = rate_hz // 5  # zero-padded to bins of 5 Hz, a twelfth of the step
    spectrum = np.abs(np.fft.rfft(tone * np.hanning(len(tone)), n=max(size, len(tone))))
    hz = int(spectrum.argmax()) * rate_hz / max(size, len(tone))
    index = round((hz - _LOWEST_HZ) / _STEP_HZ)
    return _LETTERS[index] if 0 <= index < len(_LETTERS) else "?"
