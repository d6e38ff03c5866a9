"""Audio and messages are taken strictly: what does not hold is a protocol fault, and is not repeated."""

from __future__ import annotations

import base64
import json

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.providers.vendor_counts import VendorCounts
from actors.providers.vendor_faults import Vendor
from actors.providers.vendor_json import decode, kind_of
from actors.providers.vendor_pcm import FloatSamples, WholeSamples, check_rate, from_base64
from router.errors import ProviderError

VENDOR = Vendor(name="acme")


@given(st.lists(st.binary(max_size=9), max_size=20))
def test_pieces_of_any_length_make_the_same_audio(pieces: list[bytes]) -> None:
    whole = WholeSamples(VendorCounts())
    made = [whole.take(piece) for piece in pieces]
    assert all(len(piece) % 2 == 0 for piece in made)
    joined = b"".join(pieces)
    assert b"".join(made) == joined[: len(joined) & ~1]
    assert whole.is_whole is (len(joined) % 2 == 0)


@given(st.binary(max_size=64))
def test_base64_is_taken_whole_or_not_at_all(data: bytes) -> None:
    text = base64.b64encode(data).decode()
    assert from_base64(VENDOR, text) == data
    broken = [text[:-1]] if text else []
    for bad in (*broken, text + "!", text + "AAAAA", "=" + text, text + "\n", "é"):
        with pytest.raises(ProviderError) as caught:
            from_base64(VENDOR, bad)
        assert caught.value.kind == "protocol"


def test_floats_become_samples_and_what_is_no_number_becomes_silence() -> None:
    counts = VendorCounts()
    floats = FloatSamples(VENDOR, counts)
    data = np.array([0.0, 1.0, -1.0, 2.0, np.nan, np.inf, 0.5], dtype="<f4").tobytes()
    made = floats.take(data[:5]) + floats.take(data[5:])  # cut in the middle of a sample
    assert np.frombuffer(made, dtype="<i2").tolist() == [0, 32767, -32767, 32767, 0, 0, 16384]
    assert counts.bad_samples == 2
    with pytest.raises(ProviderError) as caught:
        floats.take(np.full(100, np.nan, dtype="<f4").tobytes())
    assert caught.value.kind == "protocol"


@pytest.mark.parametrize(
    ("content_type", "holds"),
    [
        ("audio/l16;rate=24000", True), ("audio/L16; Rate=24000; channels=1", True), ("audio/pcm", True),
        ('audio/pcm; rate="24000"', True), ("audio/l16;rate=16000", False), ("audio/mulaw;rate=8000", False),
    ],
)  # fmt: skip
def test_another_rate_than_asked_for_is_refused(content_type: str, holds: bool) -> None:
    if holds:
        check_rate(VENDOR, content_type, 24000)
    else:
        with pytest.raises(ProviderError) as caught:
            check_rate(VENDOR, content_type, 24000)
        assert caught.value.kind == "protocol"


class _Words(msgspec.Struct):
    text: str
    start: float = 0.0


@pytest.mark.parametrize(
    "data",
    [
        '{"type": "Words", "text": "canary', '{"type": "Words", "text": 7}', '{"type": "Words"}', "[]", "null", "",
        '{"text": "canary", "start": NaN}', '{"text": "canary", "start": Infinity}', '{"text": "canary", "start": "1"}',
        b'{"text": "\xff\xfe"}', '{"text": "canary"}{"text": "canary"}', "[" * 100_000,
    ],
    ids=range(12),
)  # fmt: skip
def test_a_message_that_does_not_hold_is_not_repeated(data: str | bytes) -> None:
    with pytest.raises(ProviderError) as caught:
        decode(VENDOR, data, _Words)
    assert caught.value.kind == "protocol"
    assert "canary" not in str(caught.value)


def test_a_message_says_its_type_and_may_say_more_than_we_know() -> None:
    assert kind_of(VENDOR, '{"type": "Words", "new": {"a": 1}}') == "Words"
    assert kind_of(VENDOR, "{}") == ""
    assert decode(VENDOR, json.dumps({"text": "x", "new": 1}), _Words) == _Words("x")
