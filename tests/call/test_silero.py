"""Silero's detector on small models that are made here: windows, context, state, hysteresis, batches, bad files."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from actors.providers import silero
from router.errors import ProviderError
from tests import onnx_files
from tests.call.ears import spec

pytestmark = onnx_files.needs_onnxruntime

FRAME = {16000: 320, 8000: 160}


def made(file: str | None = None, **options: Any) -> silero.Provider:
    provider = silero.Provider({"model": file or onnx_files.silero_file(), **options})
    asyncio.run(provider.warm())
    asyncio.run(provider.probe())
    return provider


def attached(*streams: int, file: str | None = None, **options: Any) -> silero.Provider:
    provider = made(file, **options)
    for stream in streams or (1,):
        provider.attach(spec(stream))
    return provider


def level(value: float, rate_hz: int = 16000) -> bytes:
    """A frame of one amplitude, -1 to 1."""
    return np.full(FRAME[rate_hz], round(value * 32768), "<i2").tobytes()


def verdicts(provider: silero.Provider, frames: list[bytes], stream: int = 1) -> list[bool]:
    return [provider.classify((stream,), (frame,))[0] for frame in frames]


def sound(seed: int, frames: int = 60) -> list[bytes]:
    """Loud and quiet by turns, as speech is."""
    chance = np.random.default_rng(seed)
    loud = np.repeat(chance.uniform(0, 0.3, frames // 4 + 1), 4)[:frames]
    return [(chance.uniform(-a, a, 320) * 32767).astype("<i2").tobytes() for a in loud]


def by_hand(frames: list[bytes], threshold: float = 0.5, release: float = 0.35) -> list[bool]:
    """What the small model makes of a stream, worked out without one."""
    samples = np.frombuffer(b"".join(frames), "<i2") / 32768
    padded, state, voiced, said = np.concatenate([np.zeros(64), samples]), 0.0, False, []
    for n in range(1, len(frames) + 1):
        done = n * 320 // 512
        if done > (n - 1) * 320 // 512:
            loud = np.abs(padded[(done - 1) * 512 : done * 512 + 64]).mean()
            chance = min(1.0, 4 * (loud + state / 2))
            state = state / 2 + loud
            voiced = chance >= (release if voiced else threshold)
        said.append(voiced)
    return said


def test_a_verdict_is_that_of_the_last_whole_window():
    for seed in range(5):
        frames = sound(seed)
        wanted = by_hand(frames)
        assert 5 < sum(wanted) < 55, "the sound is a test only if it has both"
        assert verdicts(attached(), frames) == wanted


def test_speech_ends_below_its_release_and_not_at_its_threshold():
    """0.1 is p = 0.4 at first, and twice that when the state has risen."""
    provider = attached(threshold=0.7, release=0.3)
    rising = verdicts(provider, [level(0.1)] * 20)
    assert rising[1] is False
    assert rising[-1] is True
    falling = verdicts(provider, [level(0.05)] * 20)  # p = 0.4: below the threshold, above the release
    assert all(falling)
    assert not any(verdicts(provider, [level(0.0)] * 10)[5:])
    assert not any(verdicts(provider, [level(0.05)] * 20)), "0.4 does not begin speech"


def test_a_window_is_given_with_the_samples_before_it():
    """The model hears the context alone: the first window has none, the second has the end of the first."""
    provider = attached(file=onnx_files.silero_file("context"), threshold=0.3, release=0.3)
    assert verdicts(provider, [level(0.2)] * 2) == [False, False], "the first window's context is silence"
    assert verdicts(provider, [level(0.0)] * 2) == [False, True], "the second one's is loud"
    assert verdicts(provider, [level(0.0)]) == [False], "the third one's is silence again"


def test_a_batch_says_what_each_stream_alone_would_say():
    """Several frames of one stream in a batch are heard in their order; streams do not hear each other."""
    sounds = {stream: sound(stream) for stream in range(1, 8)}
    alone = {stream: verdicts(attached(), frames) for stream, frames in sounds.items()}
    provider, together = attached(*sounds), {stream: [] for stream in sounds}
    chance = np.random.default_rng(3)
    while any(len(together[stream]) < 60 for stream in sounds):
        batch = [s for s in sounds for _ in range(chance.integers(0, 4)) if len(together[s]) < 60]
        at = {s: len(together[s]) for s in sounds}
        frames, streams = [], []
        for stream in batch:
            if at[stream] < 60:
                frames.append(sounds[stream][at[stream]])
                streams.append(stream)
                at[stream] += 1
        for stream, bit in zip(streams, provider.classify(streams, frames), strict=True):
            together[stream].append(bit)
    assert together == alone
    assert provider.bad_frames == provider.bad_windows == 0


def test_both_rates_are_heard_in_one_batch():
    provider = made()
    provider.attach(spec(1, rate_hz=16000))
    provider.attach(spec(2, rate_hz=8000))
    for _ in range(10):
        bits = provider.classify((2, 1), (level(0.3, 8000), level(0.0)))
    assert list(bits) == [True, False]
    assert provider.bad_frames == 0


def test_a_stream_that_ends_leaves_nothing_to_the_next():
    provider, quiet = attached(1), [level(0.04)] * 30
    wanted = verdicts(attached(1), quiet)
    verdicts(provider, [level(0.9)] * 31)
    provider.detach(1)
    provider.detach(1)
    assert list(provider.classify((1,), (level(0.9),))) == [False]
    assert provider.bad_frames == 1
    provider.attach(spec(9))
    assert verdicts(provider, quiet, stream=9) == wanted, "the row is used again, its state is not"
    verdicts(provider, [level(0.9)] * 31, stream=9)
    provider.reset(9)
    assert verdicts(provider, quiet, stream=9) == wanted


def test_a_bad_frame_ends_nobody():
    provider = attached(1, 2)
    bits = provider.classify((1, 7, 2), (level(0.9)[:-2], level(0.9), memoryview(level(0.9))))
    assert list(bits) == [False, False, False]
    assert provider.bad_frames == 2


def test_a_window_without_an_answer_is_unvoiced_and_its_stream_begins_anew():
    provider, whole = attached(1, 2), attached(1)
    assert provider._model is not None
    run = provider._model.run
    provider._model.run = lambda feeds: _spoilt(run(feeds))  # type: ignore[method-assign]
    for _ in range(2):
        assert list(provider.classify((1, 2), (level(0.9), level(0.9)))) in ([False, False], [False, True])
    assert provider.bad_windows == 1
    provider._model.run = run  # type: ignore[method-assign]
    assert verdicts(provider, [level(0.04)] * 30) == verdicts(whole, [level(0.04)] * 30)
    assert list(provider.classify((2,), (level(0.9),))) == [True]


def _spoilt(found: Any) -> Any:
    """No number for the first stream of a run."""
    found[0][0] = found[1][:, 0] = np.nan
    return found


def test_a_model_without_a_rate_is_for_sixteen_kilohertz():
    provider = made(onnx_files.silero_file(sr=False))
    provider.attach(spec(1))
    with pytest.raises(ProviderError, match="8000 Hz; this model takes 16000 Hz") as caught:
        provider.attach(spec(2, rate_hz=8000))
    assert caught.value.kind == "config"
    with pytest.raises(ProviderError, match="24000 Hz"):
        made().attach(spec(1, rate_hz=24000))


def test_another_model_cannot_be_had_by_a_stream():
    with pytest.raises(ProviderError, match="the model is the pool's"):
        made().attach(spec(1, model="/elsewhere/silero.onnx"))
    made().attach(spec(1, model=onnx_files.silero_file(), threshold=0.8))


def test_the_threshold_is_an_option_of_the_stream():
    provider = made()
    provider.attach(spec(1, threshold=0.9))
    provider.attach(spec(2, threshold=0.2))
    for _ in range(3):
        bits = provider.classify((1, 2), (level(0.1), level(0.1)))
    assert list(bits) == [False, True]


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("missing", "there is no such file"),
        ("folder", "there is no such file"),
        ("garbage", "onnxruntime does not load it"),
        ("smart turn", "is another one: no input input"),
        ("version 4", "an input h that nothing is known of"),
        ("small state", r"input state is tensor\(float\)\[2, 'n', 64\], not float\[2, n, 128\]"),
    ],
)
def test_a_file_that_is_no_silero_is_told_at_once(file, said, tmp_path):
    with pytest.raises(ProviderError, match=said) as caught:
        made(_wrong_file(file, tmp_path))
    assert caught.value.kind == "config"
    assert not caught.value.retryable


def _wrong_file(which: str, folder: Any) -> str:
    path = folder / "model.onnx"
    if which == "folder":
        path.mkdir()
    elif which == "garbage":
        path.write_bytes(b"\x08\x07not a model" * 50)
    elif which == "smart turn":
        return onnx_files.smart_turn_file()
    elif which in ("version 4", "small state"):
        model = onnx.load(onnx_files.silero_file())
        if which == "version 4":
            model.graph.input.append(helper.make_tensor_value_info("h", TensorProto.FLOAT, [2, "n", 64]))
        else:
            model.graph.input[1].type.tensor_type.shape.dim[2].dim_value = 64
            del model.graph.output[1].type.tensor_type.shape.dim[2:]
            model.graph.output[1].type.tensor_type.shape.dim.add().dim_value = 64
        onnx.save(model, str(path))
    return str(path)


def test_the_extra_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ProviderError, match=r"patchbay\[onnx\]") as caught:
        made()
    assert caught.value.kind == "config"


@pytest.mark.parametrize(
    "options", [{}, {"model": "silero.onnx"}, {"model": "/m.onnx", "threshold": 1.5}, {"model": "/m.onnx", "mode": 1}]
)
def test_options_that_do_not_hold_are_refused(options):
    with pytest.raises(ProviderError) as caught:
        silero.Provider(options)
    assert caught.value.kind == "config"


def test_before_it_is_warm_and_after_it_is_closed_it_serves_nobody():
    provider = silero.Provider({"model": onnx_files.silero_file()})
    with pytest.raises(ProviderError, match="no model is loaded"):
        asyncio.run(provider.probe())
    with pytest.raises(ProviderError, match="takes no Hz"):
        provider.attach(spec(1))
    provider = attached(1)
    asyncio.run(provider.close())
    assert list(provider.classify((1,), (level(0.9),))) == [False]
