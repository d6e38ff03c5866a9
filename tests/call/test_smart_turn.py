"""Smart Turn on a small model that is made here: what it hears, in which batches, and what it says to the session."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from actors.providers import smart_turn
from actors.providers.interface import Assess, Assessment
from actors.providers.whisper_features import log_mel
from router.errors import ProviderError
from tests import onnx_files
from tests.call.ears import spec

pytestmark = onnx_files.needs_onnxruntime


def made(**options: Any) -> smart_turn.Provider:
    provider = smart_turn.Provider({"model": onnx_files.smart_turn_file(), **options})
    asyncio.run(provider.warm())
    asyncio.run(provider.probe())
    return provider


def attached(*streams: int, **options: Any) -> smart_turn.Provider:
    provider = made(**options)
    for stream in streams or (1,):
        provider.attach(spec(stream))
    return provider


def voice(seconds: float, level: float = 0.2, rate_hz: int = 16000, seed: int = 1) -> bytes:
    wave = np.random.default_rng(seed).normal(0, level, int(seconds * rate_hz))
    return (np.clip(wave, -1, 1) * 32767).astype("<i2").tobytes()


def quiet(seconds: float, rate_hz: int = 16000) -> bytes:
    return bytes(int(seconds * rate_hz) * 2)


def ask(audio: bytes, stream: int = 1, utt: int = 1) -> Assess:
    return Assess(stream=stream, utt=utt, text="", pause_ms=200.0, audio=audio)


def one(provider: smart_turn.Provider, audio: bytes) -> Assessment:
    (answer,) = provider.assess([ask(audio)])
    return answer


def by_hand(audio: bytes) -> float:
    features = log_mel(np.frombuffer(audio, "<i2").astype(np.float32) / 32768.0).astype(np.float64)
    return float(1 / (1 + np.exp(-(features[:, 700:].mean() - features.mean()))))


def test_the_model_hears_the_features_of_the_tail():
    provider = attached()
    for audio in (voice(2.0), voice(7.5) + quiet(0.6), voice(9.0), voice(3.0) + quiet(3.0)):
        assert one(provider, audio).p_complete == pytest.approx(by_hand(audio), abs=1e-4)
    early = voice(5.0) + quiet(8.0)
    assert one(provider, early).p_complete == pytest.approx(0.5, abs=1e-6), "what lies more than 8 s back is gone"


def test_a_batch_is_answered_in_order_as_each_question_alone():
    audios = [voice(0.5 * n, seed=n) + quiet(0.3 * (n % 4)) for n in range(1, 8)]
    alone = [one(attached(), audio).p_complete for audio in audios]
    assert len({round(p, 3) for p in alone}) > 4
    answers = attached(*range(1, 8)).assess([ask(a, stream=n, utt=10 + n) for n, a in enumerate(audios, 1)])
    assert [a.utt for a in answers] == list(range(11, 18))
    assert [a.p_complete for a in answers] == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize("rate_hz", [8000, 24000, 48000])
def test_audio_of_another_rate_is_heard_as_the_same_sound(rate_hz):
    provider = made()
    provider.attach(spec(1, rate_hz=16000))
    provider.attach(spec(2, rate_hz=rate_hz))
    at_s, chance = np.arange(4 * 48000) / 48000, np.random.default_rng(5)
    tones = sum(np.sin(2 * np.pi * (hz * at_s + chance.uniform())) for hz in range(120, 3400, 60))
    swell = tones / 60 * (at_s > 3.0)
    here, there = ((swell[:: 48000 // hz] * 32767).astype("<i2").tobytes() for hz in (16000, rate_hz))
    first, second = provider.assess([ask(here), ask(there, stream=2)])
    assert first.p_complete > 0.55
    assert second.p_complete == pytest.approx(first.p_complete, abs=0.05)


def test_the_threshold_decides_what_the_session_takes_for_complete():
    audio = voice(2.0)
    chance = by_hand(audio)
    assert 0.55 < chance < 0.98
    low, high = attached(threshold=chance - 0.02), attached(threshold=chance + 0.02)
    assert one(low, audio).p_complete >= 0.5
    assert one(high, audio).p_complete < 0.5
    assert one(attached(threshold=0.2), voice(3.0) + quiet(3.0)).p_complete <= 0.5


def test_the_wait_for_an_unfinished_turn_is_an_option():
    provider = made(threshold=0.99, incomplete_wait_s=1.2)
    provider.attach(spec(1))
    provider.attach(spec(2, incomplete_wait_s=2.0))
    first, second = provider.assess([ask(voice(1.0)), ask(voice(1.0), stream=2)])
    assert (first.wait_s, second.wait_s) == (1.2, 2.0)
    assert one(attached(threshold=0.01), voice(1.0)).wait_s is None


def test_a_question_without_audio_is_answered_without_a_word():
    provider = attached()
    answers = provider.assess([ask(b""), ask(voice(2.0)), ask(b"\0")])
    assert [answers[0].p_complete, answers[2].p_complete] == [0.5, 0.5]
    assert answers[1].p_complete == pytest.approx(by_hand(voice(2.0)), abs=1e-4)
    assert provider.unanswered == 2


def test_what_is_no_probability_is_no_answer():
    provider = attached()
    assert provider._model is not None
    provider._model.run = lambda feeds: [np.full((len(feeds["input_features"]), 1), np.nan)]  # type: ignore[method-assign]
    assert [a.p_complete for a in provider.assess([ask(voice(1.0)), ask(voice(1.0))])] == [0.5, 0.5]
    assert provider.unanswered == 2


def test_it_says_that_it_needs_audio_and_no_text():
    capabilities = smart_turn.Provider.capabilities({})
    assert (capabilities.needs_audio, capabilities.needs_text) == (True, False)


@pytest.mark.parametrize("file", ["silero", "missing"])
def test_a_file_that_is_no_smart_turn_is_told_at_once(file, tmp_path):
    path = onnx_files.silero_file() if file == "silero" else str(tmp_path / "none.onnx")
    provider = smart_turn.Provider({"model": path})
    with pytest.raises(ProviderError, match=r"is another one|no such file") as caught:
        asyncio.run(provider.warm())
    assert caught.value.kind == "config"
    with pytest.raises(ProviderError, match="no model is loaded"):
        asyncio.run(provider.probe())


def test_a_rate_or_a_model_of_ones_own_is_refused():
    for wrong in ({"rate_hz": 11025}, {"model": "/another.onnx"}):
        with pytest.raises(ProviderError) as caught:
            made().attach(spec(1, **wrong))
        assert caught.value.kind == "config"
