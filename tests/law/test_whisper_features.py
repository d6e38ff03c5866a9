"""Log-mel features: shape, bounds and known sounds; one frame worked out by hand against the whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.providers.whisper_features import FRAMES, MELS, RATE_HZ, SAMPLES, log_mel, mel_bands, normalised

SILENCE = (np.log10(1e-10) + 4) / 4


def tone(hz: float, seconds: float = 8.0, level: float = 0.3) -> np.ndarray:
    return level * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE_HZ)) / RATE_HZ)


def noise(seconds: float, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, int(seconds * RATE_HZ))


def test_silence_is_the_floor_everywhere():
    for n in (0, 1, 16_000, SAMPLES):
        picture = log_mel(np.zeros(n))
        assert (picture.shape, picture.dtype) == ((MELS, FRAMES), np.float32)
        assert np.allclose(picture, SILENCE)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2 * SAMPLES), st.integers(0, 2**32 - 1), st.floats(1e-3, 1.0))
def test_any_sound_gives_finite_features_within_eight_decades(n, seed, level):
    picture = log_mel(np.random.default_rng(seed).uniform(-level, level, n))
    assert picture.shape == (MELS, FRAMES)
    assert np.isfinite(picture).all()
    assert picture.max() - picture.min() <= 8 / 4 + 1e-6


def test_loudness_does_not_matter():
    sound = noise(8.0)
    assert np.allclose(log_mel(sound), log_mel(sound * 0.05), atol=1e-3)
    assert normalised(sound).mean() == pytest.approx(0, abs=1e-6)
    assert normalised(sound).var() == pytest.approx(1, abs=1e-3)


def test_only_the_last_eight_seconds_count_and_shorter_sound_stands_at_the_end():
    sound = noise(11.0)
    assert np.array_equal(log_mel(sound), log_mel(sound[-SAMPLES:]))
    short = log_mel(noise(1.0))
    assert np.array_equal(short, log_mel(np.concatenate([np.zeros(7 * RATE_HZ), noise(1.0)])))
    assert short[:, :690].max() < short[:, 710:].min()


def test_a_delay_of_ten_milliseconds_moves_the_picture_by_one_column():
    sound = noise(8.0)
    later = np.concatenate([np.zeros(160), sound[:-160]])
    here, there = log_mel(sound), log_mel(later)
    assert np.allclose(here[:, 10:780], there[:, 11:781], atol=2e-3)


@pytest.mark.parametrize("hz", [150, 440, 1000, 2500, 6000])
def test_a_tone_is_loudest_in_the_band_that_holds_it(hz):
    picture = log_mel(tone(hz))
    weights = mel_bands()[:, round(hz / (RATE_HZ / 400))]
    assert weights[np.bincount(picture[:, 100:700].argmax(axis=0)).argmax()] > 0


def test_bands_have_one_area_and_cover_everything_between_the_ends():
    bands, bin_hz = mel_bands(), RATE_HZ / 400
    assert bands.shape == (MELS, 201)
    assert (bands >= 0).all()
    assert (bands[:, 1:-1].sum(axis=0) > 0).all()
    assert np.allclose(bands[50:].sum(axis=1) * bin_hz, 1.0, atol=0.02), "wide bands, of many bins"
    peaks = bands.argmax(axis=1)
    assert (np.diff(peaks) >= 0).all()


def test_the_mel_scale_has_its_knee_at_one_kilohertz():
    """Below it bands are as wide as each other, above each is wider than the one before by the same factor."""
    bands, hz = mel_bands(), np.arange(201) * RATE_HZ / 400
    centres = (bands * hz).sum(axis=1) / bands.sum(axis=1)
    low, high = np.diff(centres[centres < 900]), centres[centres > 2000]
    assert np.allclose(low.mean(), 45.2456 / 81 * 200 / 3, rtol=0.02)
    assert np.allclose(high[1:] / high[:-1], 6.4 ** (45.2456 / 81 / 27), rtol=0.01)


def test_a_frame_is_what_the_definition_says():
    """Frame 400, worked out sample by sample: the window around sample 64,000, its transform by definition."""
    sound = normalised(noise(8.0, seed=7)).astype(np.float64)
    piece = sound[400 * 160 - 200 : 400 * 160 + 200]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    turns = np.exp(-2j * np.pi * np.outer(np.arange(201), np.arange(400)) / 400)
    power = np.abs(turns @ (piece * window)) ** 2
    wanted = (np.log10(np.maximum(mel_bands() @ power, 1e-10)) + 4) / 4
    assert np.allclose(log_mel(noise(8.0, seed=7))[:, 400], wanted, atol=1e-4)
