"""Deepgram's voice in the contract of network adapters."""

from __future__ import annotations

from tests.vendors.contract import VendorCase
from tests.vendors.fake_deepgram_tts import FakeDeepgramTts

__all__ = ["CASES"]


def _of_nobody(vendor: FakeDeepgramTts) -> None:
    vendor.stray = [{"type": "Flushed", "sequence_id": 0}, {"type": "Cleared", "sequence_id": 7}]


CASES = [
    VendorCase(
        name="deepgram-tts",
        type="deepgram-tts",
        fake=FakeDeepgramTts,
        options={"stall_s": 5.0},
        rate_hz=24000,
        skip={
            "other_rate": "raw audio in binary frames: nothing says at what rate it is",
            "truncated_base64": "audio comes in binary frames, not in base64",
        },
        disturb={"other_request": _of_nobody},
    )
]
