"""Gemini Live in the contract of network adapters."""

from __future__ import annotations

from actors.providers.fake_tones import hear
from tests.vendors.contract import SAID, VendorCase
from tests.vendors.fake_gemini_live import IN_HZ, OUT_HZ, FakeGeminiLive
from tests.vendors.live import Ear

__all__ = ["CASES"]


def _odd(vendor: FakeGeminiLive) -> None:
    vendor.odd = True


def _other_rate(vendor: FakeGeminiLive) -> None:
    vendor.wrong_rate = True


def _right(ear: Ear, number: int) -> bool:
    return " ".join(word.text for word in hear(ear.pcm(1), OUT_HZ)) == f"i heard {SAID}"


CASES = [
    VendorCase(
        name="gemini-live",
        type="gemini-live",
        fake=FakeGeminiLive,
        rate_hz=IN_HZ,
        options={"model": "gemini-2.5-flash-native-audio", "silence_ms": 300},
        right=_right,
        skip={"other_request": "the vendor numbers nothing: what it says is said to what was asked last"},
        disturb={"odd_bytes": _odd, "other_rate": _other_rate},
    )
]
