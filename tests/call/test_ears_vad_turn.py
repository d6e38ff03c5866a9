"""Voice detectors over recorded and made sound, in batches of many sessions; turn detectors over what was said."""

from __future__ import annotations

import asyncio
import doctest
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.formats import FRAME_MS
from actors.providers import energy, heuristic, registry, silence, webrtc
from actors.providers.interface import Assess
from router.errors import ProviderError
from tests.call.ears import FRAME, RATE_HZ, quiet, recording, spec

VADS = [webrtc, energy]
TURNS = [heuristic, silence]


def frames_of(pcm: bytes, rate_hz: int = RATE_HZ) -> list[bytes]:
    size = rate_hz * FRAME_MS // 1000 * 2
    return [pcm[at : at + size] for at in range(0, len(pcm) - size + 1, size)]


def noise(seconds: float, level_dbfs: float, seed: int = 0, rate_hz: int = RATE_HZ) -> bytes:
    amplitude = 32768 * 10 ** (level_dbfs / 20)
    wave = np.random.default_rng(seed).normal(0, amplitude, int(seconds * rate_hz))
    return np.clip(wave, -32768, 32767).astype("<i2").tobytes()


def verdicts(vad: Any, pcm: bytes, stream: int = 1, rate_hz: int = RATE_HZ) -> list[bool]:
    return [vad.classify((stream,), (frame,))[0] for frame in frames_of(pcm, rate_hz)]


def attached(module: Any, *streams: int, **options: Any) -> Any:
    vad = module.Provider({})
    for stream in streams or (1,):
        vad.attach(spec(stream, **options))
    return vad


@pytest.mark.parametrize("module", [*VADS, *TURNS])
def test_the_registry_takes_each_of_them(module):
    assert registry.find(module.TYPE) is module.Provider
    provider = module.Provider({})

    async def life() -> None:
        await provider.warm()
        await provider.probe()
        await provider.close()

    asyncio.run(life())


@pytest.mark.parametrize("module", VADS)
def test_silence_is_unvoiced_and_speech_is_voiced(module):
    vad = attached(module)
    assert not any(verdicts(vad, quiet(1.0))[10:])
    voiced = verdicts(vad, recording("goforward"))
    assert sum(voiced[40:110]) >= 45, "the words lie between 0.8 and 2.2 s"
    assert not any(verdicts(vad, quiet(2.0))[25:])


@pytest.mark.parametrize("module", VADS)
def test_a_batch_says_what_each_stream_alone_would_say(module):
    """Sessions do not hear each other, and several frames of one stream in a batch are heard in their order."""
    sounds = [recording("goforward")[:64_000], noise(2.0, -30), recording("cards-001")[:64_000], quiet(2.0)]
    alone = [verdicts(attached(module), sound) for sound in sounds]
    together = attached(module, *range(4))
    per_stream: list[list[bool]] = [[] for _ in sounds]
    cut = [frames_of(sound) for sound in sounds]
    for at in range(0, 100, 5):
        streams, frames = [], []
        for k in range(at, at + 5):
            for stream in range(4):
                if k < len(cut[stream]):
                    streams.append(stream)
                    frames.append(cut[stream][k])
        for stream, bit in zip(streams, together.classify(streams, frames), strict=True):
            per_stream[stream].append(bool(bit))
    assert per_stream == alone


@pytest.mark.parametrize("module", VADS)
def test_a_bad_frame_ends_nobody(module):
    vad = attached(module, 1, 2)
    loud = noise(0.02, -20)
    bits = vad.classify((1, 7, 2, 2), (loud[:-2], loud, loud, memoryview(loud)))
    assert list(bits[:2]) == [False, False]
    assert vad.bad_frames == 2
    vad.detach(1)
    vad.detach(1)
    vad.reset(1)
    assert list(vad.classify((1,), (loud,))) == [False]
    assert vad.bad_frames == 3


@pytest.mark.parametrize("module", VADS)
def test_reset_forgets_the_line(module):
    vad, sound = attached(module), noise(2.0, -35, seed=1)
    first = verdicts(vad, sound)
    vad.reset(1)
    assert verdicts(vad, sound) == first


@pytest.mark.parametrize("module", VADS)
@pytest.mark.parametrize("rate_hz", [8000, 16000, 48000])
def test_every_declared_rate_is_heard(module, rate_hz):
    assert rate_hz in module.Provider.capabilities({}).rates_hz
    vad = module.Provider({})
    vad.attach(spec(rate_hz=rate_hz))
    assert len(verdicts(vad, noise(0.2, -30, rate_hz=rate_hz), rate_hz=rate_hz)) == 10
    assert vad.bad_frames == 0


def test_webrtc_refuses_a_rate_that_it_cannot_hear():
    with pytest.raises(ProviderError, match="24000 Hz; 8000, 16000, 32000, 48000 Hz are taken"):
        webrtc.Provider({}).attach(spec(rate_hz=24000))


def test_webrtc_mode_is_an_option_of_the_stream():
    """The strictest mode takes no more for speech than the mildest."""
    mild, strict = webrtc.Provider({"mode": 0}), webrtc.Provider({"mode": 0})
    mild.attach(spec())
    strict.attach(spec(mode=3))
    sound = recording("austen-0880")
    assert 0 < sum(verdicts(strict, sound)) < sum(verdicts(mild, sound))


@pytest.mark.parametrize(
    ("module", "options"), [(webrtc, {"mode": 4}), (webrtc, {"aggressive": 1}), (energy, {"margin_db": -1})]
)
def test_options_that_do_not_hold_are_refused(module, options):
    with pytest.raises(ProviderError) as caught:
        module.Provider(options)
    assert caught.value.kind == "config"


def test_energy_learns_the_noise_of_the_line():
    """A fan 20 dB above the first floor is speech for some seconds at most; a voice 15 dB above it is heard then."""
    vad = attached(energy)
    hum = verdicts(vad, noise(60.0, -30))
    assert hum[0] is True
    assert not any(hum[-50:])
    assert all(verdicts(vad, noise(0.5, -15, seed=2)))


def test_energy_finds_the_pause_after_noise_in_a_few_frames():
    vad = attached(energy)
    verdicts(vad, noise(10.0, -30))
    assert not any(verdicts(vad, noise(1.0, -60)))
    assert all(verdicts(vad, noise(0.2, -35, seed=3))[1:])


def test_energy_gives_a_slot_back_clean():
    vad = attached(energy, *range(40))
    verdicts(vad, noise(30.0, -20), stream=39)
    vad.detach(39)
    vad.attach(spec(99))
    assert verdicts(vad, noise(0.2, -20), stream=99) == verdicts(attached(energy), noise(0.2, -20))


@given(st.lists(st.integers(-32768, 32767), min_size=FRAME, max_size=FRAME))
def test_energy_takes_any_samples(samples):
    (bit,) = attached(energy).classify((1,), (np.array(samples, "<i2").tobytes(),))
    assert bit in (True, False)


@pytest.mark.parametrize(
    ("text", "complete", "wait_s"),
    [
        pytest.param("What time do you open?", True, None, id="a question"),
        pytest.param("go forward ten meters", True, None, id="no punctuation, ordinary words"),
        pytest.param("i would like to order a", False, 2.0, id="an article wants its noun"),
        pytest.param("I want to order and.", False, 2.0, id="a full stop put behind a conjunction"),
        pytest.param("let me see um", False, 3.0, id="a filler"),
        pytest.param("first the red one,", False, 1.5, id="a comma"),
        pytest.param("well...", False, 1.5, id="dots of omission"),
        pytest.param("where are you from", True, None, id="a stranded preposition in a question"),
        pytest.param("it is from", False, 2.0, id="a preposition in a statement"),
        pytest.param("my number is five three", False, 1.0, id="digits being read out"),
        pytest.param("number five", True, None, id="one digit"),
        pytest.param("yes", True, None, id="one word"),
        pytest.param('He said "yes."', True, None, id="a closing quote"),
        pytest.param("", True, None, id="nothing heard yet"),
        pytest.param("  ?! ", True, None, id="no word in it"),
        pytest.param("元気ですか？", True, None, id="another script's mark"),
        pytest.param("It’s", False, 2.0, id="a typographic apostrophe"),
        pytest.param("I think we", False, 2.0, id="a subject wants its verb"),
    ],
)
def test_what_the_text_looks_like(text, complete, wait_s):
    p_complete, wait = heuristic.judge(text)
    assert 0 <= p_complete <= 1
    assert (p_complete >= 0.5, wait) == (complete, wait_s)


@given(st.text(max_size=60))
def test_any_text_is_judged(text):
    p_complete, wait_s = heuristic.judge(text)
    assert 0 <= p_complete <= 1
    assert wait_s is None or 0 < wait_s <= 3.0
    assert (wait_s is None) == (p_complete >= 0.5)


def ask(provider: Any, text: str, stream: int = 1) -> tuple[int, bool, float | None]:
    (answer,) = provider.assess((Assess(stream=stream, utt=5, text=text, pause_ms=200.0),))
    return answer.utt, answer.p_complete >= 0.5, answer.wait_s


def test_a_batch_is_answered_in_order():
    detector = attached(heuristic, 1, 2)
    answers = detector.assess([Assess(stream=s, utt=s * 10, text=t, pause_ms=1.0) for s, t in ((1, "and"), (2, "yes"))])
    assert [(a.utt, a.wait_s) for a in answers] == [(10, 2.0), (20, None)]


def test_english_words_are_not_looked_for_in_other_languages():
    """German `also` and `die`, Dutch `want`: an ordinary word elsewhere."""
    detector = heuristic.Provider({})
    detector.attach(spec(1, language="de-DE"))
    detector.attach(spec(2, language="en-GB"))
    assert ask(detector, "want") == (5, True, None)
    assert ask(detector, "und dann,") == (5, False, 1.5)
    assert ask(detector, "want", stream=2) == (5, False, 2.0)


def test_waits_are_bounded_by_the_option():
    detector = heuristic.Provider({"max_wait_s": 1.2})
    assert ask(detector, "i want to um") == (5, False, 1.2)


def test_silence_calls_every_turn_complete():
    detector = silence.Provider({})
    detector.attach(spec(2, wait_s=0.9))
    assert ask(detector, "i would like a") == (5, True, None)
    assert ask(detector, "i would like a", stream=2) == (5, True, 0.9)


def test_the_examples_hold():
    result = doctest.testmod(heuristic)
    assert result.attempted > 0
    assert result.failed == 0
