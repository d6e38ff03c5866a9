"""Audio at the door: G.711 by its vectors, any chunking, no drift, and nothing said twice or lost."""

from __future__ import annotations

import doctest
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors import audio, g711, resample
from actors.audio import Decoder, Encoder
from actors.formats import AudioFormat
from actors.resample import Resampler
from router.errors import AudioError

ALL_SAMPLES = np.arange(-32768, 32768, dtype="<i2").tobytes()


def samples(pcm: bytes) -> np.ndarray:
    return np.frombuffer(pcm, "<i2").astype(int)


def tone(rate_hz: int, seconds: float, hz: float = 1000.0) -> bytes:
    t = np.arange(int(rate_hz * seconds)) / rate_hz
    return (10_000 * np.sin(2 * np.pi * hz * t)).astype("<i2").tobytes()


@pytest.mark.parametrize(
    ("decode", "code", "sample"),
    [
        pytest.param(g711.mulaw_decode, 0xFF, 0, id="mu-law plus zero"),
        pytest.param(g711.mulaw_decode, 0x7F, 0, id="mu-law minus zero"),
        pytest.param(g711.mulaw_decode, 0xFE, 8, id="mu-law smallest step"),
        pytest.param(g711.mulaw_decode, 0x80, 32124, id="mu-law loudest, decoder value 8031 of 14 bits"),
        pytest.param(g711.mulaw_decode, 0x00, -32124, id="mu-law loudest negative"),
        pytest.param(g711.alaw_decode, 0xD5, 8, id="A-law smallest positive"),
        pytest.param(g711.alaw_decode, 0x55, -8, id="A-law smallest negative"),
        pytest.param(g711.alaw_decode, 0xAA, 32256, id="A-law loudest, decoder value 4032 of 13 bits"),
        pytest.param(g711.alaw_decode, 0x2A, -32256, id="A-law loudest negative"),
    ],
)
def test_a_code_decodes_to_the_value_of_the_recommendation(decode, code, sample):
    assert samples(decode(bytes([code]))).tolist() == [sample]


def test_the_milliwatt_of_the_recommendation_is_a_kilohertz_tone():
    """G.711 tables 5 and 6: eight codes that are 0 dBm0 (3.17 dB below full scale for mu-law) at 1 kHz."""
    mu = samples(g711.mulaw_decode(bytes.fromhex("1e0b0b1e9e8b8b9e")))
    a = samples(g711.alaw_decode(bytes.fromhex("34212134b4a1a1b4")))
    for eight, below_full_scale_db in ((mu, 3.17), (a, 3.14)):
        assert eight.sum() == 0
        power = 20 * math.log10(math.sqrt(np.mean(eight**2)) / (32767 / math.sqrt(2)))
        assert power == pytest.approx(-below_full_scale_db, abs=0.2)


@pytest.mark.parametrize("law", ["mulaw", "alaw"])
def test_every_code_survives_decoding_and_encoding(law):
    codes = bytes(range(256))
    again = getattr(g711, f"{law}_encode")(getattr(g711, f"{law}_decode")(codes))
    moved = [c for c in codes if again[c] != c]
    assert moved == ([0x7F] if law == "mulaw" else [])  # the one code of mu-law's minus zero


@pytest.mark.parametrize(("law", "name"), [("mulaw", "ulaw"), ("alaw", "alaw")])
def test_every_sample_is_coded_as_audioop_did(law, name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        audioop = pytest.importorskip("audioop", reason="gone from Python 3.13")
    assert getattr(g711, f"{law}_encode")(ALL_SAMPLES) == getattr(audioop, f"lin2{name}")(ALL_SAMPLES, 2)
    assert getattr(g711, f"{law}_decode")(bytes(range(256))) == getattr(audioop, f"{name}2lin")(bytes(range(256)), 2)


def cuts(data: bytes, sizes: list[int]) -> list[bytes]:
    chunks, at = [], 0
    for size in sizes:
        chunks.append(data[at : at + size])
        at += size
    return [*chunks, data[at:]]


@given(st.binary(max_size=4000), st.lists(st.integers(0, 900), max_size=20))
def test_any_chunking_gives_the_same_samples(data, sizes):
    door = Decoder(AudioFormat("pcm16", 16000), 16000)
    chunks = cuts(data, sizes)
    out = b"".join(door.feed(chunk) for chunk in chunks) + door.flush()
    assert out == data[: len(data) // 2 * 2]
    ends = np.cumsum([len(c) for c in chunks])
    assert door.repairs == sum(int(end) % 2 for end, chunk in zip(ends, chunks, strict=True) if chunk)
    assert door.empty == sum(not chunk for chunk in chunks)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([AudioFormat("mulaw", 8000), AudioFormat("pcm16", 8000), AudioFormat("pcm16", 48000)]),
    st.lists(st.integers(1, 3000), min_size=1, max_size=15),
)
def test_resampling_does_not_depend_on_the_chunks(format, sizes):
    sound = Encoder(format, format.rate_hz).feed(tone(format.rate_hz, 0.5))
    whole, parts = Decoder(format, 16000), Decoder(format, 16000)
    at_once = whole.feed(sound) + whole.flush()
    in_parts = b"".join(parts.feed(c) for c in cuts(sound, sizes)) + parts.flush()
    assert len(in_parts) == len(at_once) == 16000
    assert np.abs(samples(in_parts) - samples(at_once)).max() <= 2  # soxr dithers by block when it rounds to 16 bits


@pytest.mark.parametrize(("from_hz", "to_hz"), [(8000, 16000), (16000, 8000), (24000, 16000), (22050, 16000)])
def test_no_drift_over_an_hour(from_hz, to_hz):
    """An hour in random chunks ends within one frame while it runs, and exactly once it is flushed."""
    rng = np.random.default_rng(7)
    line, n_in, n_out = Resampler(from_hz, to_hz), 0, 0
    silence = bytes(2 * from_hz)
    while n_in < 3600 * from_hz:
        n = min(int(rng.integers(1, from_hz)), 3600 * from_hz - n_in)
        n_out += len(line.feed(silence[: 2 * n])) // 2
        n_in += n
        behind = n_in * to_hz / from_hz - n_out
        assert -1 <= behind <= 0.065 * to_hz  # what the filter holds, see the module's page
    n_out += len(line.flush()) // 2
    assert n_out == 3600 * to_hz


@pytest.mark.parametrize(("from_hz", "to_hz"), [(8000, 16000), (16000, 8000), (48000, 16000), (16000, 24000)])
def test_an_instant_keeps_its_position(from_hz, to_hz):
    """A click at 0.5 s is at 0.5 s: word times need no shift."""
    click = np.zeros(from_hz, "<i2")
    click[from_hz // 2] = 20_000
    line = Resampler(from_hz, to_hz)
    out = b"".join(line.feed(c) for c in cuts(click.tobytes(), [from_hz // 25] * 25)) + line.flush()
    assert int(np.argmax(samples(out))) == to_hz // 2


def test_a_tone_stays_a_tone():
    line = Resampler(8000, 16000)
    out = samples(line.feed(tone(8000, 1.0)) + line.flush())[4000:12000]
    error = out - samples(tone(16000, 1.0))[4000:12000]
    assert 10 * math.log10(np.mean(error**2) / np.mean(out.astype(float) ** 2)) < -70


def test_the_same_rate_costs_nothing():
    chunk = tone(16000, 0.02)
    assert Resampler(16000, 16000).feed(chunk) is chunk
    assert Decoder(AudioFormat("pcm16", 16000), 16000).feed(chunk) is chunk
    assert Encoder(AudioFormat("pcm16", 16000), 16000).feed(chunk) is chunk


def test_a_reply_ends_whole_and_the_next_begins_anew():
    mouth = Encoder(AudioFormat("mulaw", 8000), 24000)
    first = mouth.feed(tone(24000, 0.5)) + mouth.flush()
    second = mouth.feed(tone(24000, 0.5)) + mouth.flush()
    assert len(first) == 4000
    assert first == second


@pytest.mark.parametrize(
    ("call", "field"),
    [
        pytest.param(lambda: Decoder(AudioFormat("mulaw", 8000), 16000).feed(bytes(8001)), "chunk", id="over a second"),
        pytest.param(lambda: Decoder(AudioFormat(), 16000).feed(bytes(32001)), "chunk", id="over a second of pcm16"),
        pytest.param(lambda: Encoder(AudioFormat(), 16000).feed(b"abc"), "pcm", id="half a sample from us"),
        pytest.param(lambda: Resampler(0, 16000), "from_hz", id="no rate"),
        pytest.param(lambda: Resampler(16000, -1), "to_hz", id="negative rate"),
    ],
)
def test_what_cannot_be_taken_is_named(call, field):
    with pytest.raises(AudioError) as caught:
        call()
    assert caught.value.field == field


def test_a_second_at_once_is_taken():
    assert len(Decoder(AudioFormat("alaw", 8000), 8000).feed(bytes(8000))) == 16000


def test_half_a_sample_at_the_end_is_dropped():
    door = Decoder(AudioFormat(), 16000)
    assert (door.feed(b"abc"), door.flush(), door.feed(b"de")) == (b"ab", b"", b"de")


@pytest.mark.parametrize("module", [audio, resample])
def test_the_examples_hold(module):
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0
