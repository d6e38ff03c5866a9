"""The demo's judge of voices: the same voice is recognised wherever it stands, another voice and silence are not."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from cli.calllog import Samples
from cli.demo_check import OTHER_VOICE_MARGIN, SAME_VOICE
from cli.voiceprint import likeness, speak

RATE = 16000
WORDS = "We are open from nine to five."


def spoken(voice: str) -> Samples:
    return asyncio.run(speak({"voice": voice}, WORDS, RATE))


@pytest.fixture(scope="module")
def british() -> Samples:
    spoken("en-gb")  # how the first sentence of a process begins differs a little
    return spoken("en-gb")


def test_the_same_voice_is_found_in_the_middle_of_a_recording(british: Samples) -> None:
    heard = np.concatenate([np.zeros(RATE, np.int16), spoken("en-gb"), np.zeros(RATE, np.int16)])
    assert likeness(heard, british, RATE) > SAME_VOICE


@pytest.mark.parametrize("other", ["en-us", "en-us+f3", "de"])
def test_another_voice_of_the_same_words_is_not_taken_for_it(british: Samples, other: str) -> None:
    heard = np.concatenate([np.zeros(3200, np.int16), spoken(other), np.zeros(RATE, np.int16)])
    same = np.concatenate([np.zeros(3200, np.int16), spoken("en-gb"), np.zeros(RATE, np.int16)])
    assert likeness(heard, british, RATE) < likeness(same, british, RATE) - OTHER_VOICE_MARGIN


def test_silence_and_what_is_too_short_are_like_nothing(british: Samples) -> None:
    assert likeness(np.zeros(5 * RATE, np.int16), british, RATE) == 0.0
    assert likeness(british[: RATE // 2], british, RATE) == 0.0
    assert likeness(british, np.zeros(0, np.int16), RATE) == 0.0
