"""OpenAI Realtime in the contract of network adapters."""

from __future__ import annotations

from actors.providers.fake_tones import hear
from tests.vendors.contract import SAID, VendorCase
from tests.vendors.fake_openai_realtime import RATE_HZ, FakeOpenAiRealtime
from tests.vendors.live import Ear

__all__ = ["CASES"]


def _odd(vendor: FakeOpenAiRealtime) -> None:
    vendor.odd = True


def _other_rate(vendor: FakeOpenAiRealtime) -> None:
    vendor.wrong_rate = True


def _stranger(vendor: FakeOpenAiRealtime) -> None:
    vendor.stranger = True


def _right(ear: Ear, number: int) -> bool:
    return " ".join(word.text for word in hear(ear.pcm(1), RATE_HZ)) == f"i heard {SAID}"


CASES = [
    VendorCase(
        name="openai-realtime",
        type="openai-realtime",
        fake=FakeOpenAiRealtime,
        prefix="/v1",
        rate_hz=RATE_HZ,
        options={"silence_ms": 300, "prewarm": 0},
        right=_right,
        disturb={"odd_bytes": _odd, "other_rate": _other_rate, "other_request": _stranger},
    )
]
