"""The tones of the fake voice can be read back, whatever happened to the audio on the way."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.providers.fake_tones import hear, say

_WORDS = st.lists(st.text("abcdefghijklmnopqrstuvwxyz0123456789'", min_size=1, max_size=12), min_size=1, max_size=6)


def _texts(pcm: bytes, rate_hz: int) -> list[str]:
    return [word.text for word in hear(pcm, rate_hz)]


@given(words=_WORDS, rate_hz=st.sampled_from((8000, 16000, 24000, 48000)), ahead=st.integers(0, 4000))
@settings(max_examples=60, deadline=None)
def test_what_is_said_is_heard_wherever_it_lies(words: list[str], rate_hz: int, ahead: int) -> None:
    pcm = bytes(2 * ahead) + say(" ".join(words), rate_hz).pcm
    assert _texts(pcm, rate_hz) == words


def test_marks_are_where_the_words_are() -> None:
    spoken = say("Ten, of  clubs!", 16000)
    heard = hear(spoken.pcm, 16000)
    assert [(m.word, m.char_from, m.char_to) for m in spoken.marks] == [("Ten,", 0, 4), ("of", 5, 7), ("clubs!", 9, 15)]
    for mark, word in zip(spoken.marks, heard, strict=True):
        assert abs(mark.from_sample - word.from_sample) <= 32  # two blocks of 2 ms: where a sine passes zero
        assert mark.to_sample - 320 <= word.to_sample <= mark.to_sample


def test_it_survives_a_telephone() -> None:
    samples = np.frombuffer(say("ten of clubs", 8000).pcm, dtype=np.int16).astype(np.float64)
    rng = np.random.default_rng(1)
    companded = np.round(samples / 64) * 64 + rng.normal(0, 100, len(samples))  # coarser than mu-law at this level
    assert _texts(companded.astype(np.int16).tobytes(), 8000) == ["ten", "of", "clubs"]


@pytest.mark.parametrize("lost_ms", [40, 80, 120])
def test_lost_audio_shows(lost_ms: int) -> None:
    pcm = say("illegal", 16000).pcm
    at = 2 * 16000 * 60 // 1000
    cut = pcm[:at] + pcm[at + 2 * 16 * lost_ms :]
    assert _texts(cut, 16000) != ["illegal"]


def test_silence_and_punctuation_are_nothing() -> None:
    assert hear(bytes(32000), 16000) == []
    assert say("... --", 16000).pcm == b""
