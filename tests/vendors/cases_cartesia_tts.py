"""Cartesia's voice in the contract of network adapters."""

from __future__ import annotations

import base64

from actors.providers.fake_tones import say
from tests.vendors.contract import VendorCase
from tests.vendors.fake_cartesia_tts import FakeCartesiaTts
from tests.vendors.orders import odd_base64

__all__ = ["CASES"]


def _of_another_context(vendor: FakeCartesiaTts) -> None:
    data = base64.b64encode(say("never", 24000).pcm).decode()
    vendor.stray = {"type": "chunk", "data": data, "done": False, "status_code": 206, "step_time": 1.0,
                    "context_id": "somebody-else"}  # fmt: skip


CASES = [
    VendorCase(
        name="cartesia-tts",
        type="cartesia-tts",
        fake=FakeCartesiaTts,
        options={"voice": "a0e99841-0000-4000-8000-000000000001", "stall_s": 5.0},
        rate_hz=24000,
        skip={"other_rate": "raw audio in JSON: nothing in it says at what rate it is"},
        disturb={
            "other_request": _of_another_context,
            "odd_bytes": lambda vendor: vendor.orders.mangle(odd_base64("data")),
        },
    )
]
