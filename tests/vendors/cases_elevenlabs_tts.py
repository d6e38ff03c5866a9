"""ElevenLabs' voice in the contract of network adapters."""

from __future__ import annotations

import base64

from actors.providers.fake_tones import say
from tests.vendors.contract import VendorCase
from tests.vendors.fake_elevenlabs_tts import FakeElevenLabsTts
from tests.vendors.orders import Message, odd_base64

__all__ = ["CASES"]


def _of_another_context(vendor: FakeElevenLabsTts) -> None:
    vendor.stray = {"audio": base64.b64encode(say("never", 24000).pcm).decode(), "contextId": "somebody-else"}


def _nan(vendor: FakeElevenLabsTts) -> None:
    def change(message: Message) -> list[Message]:
        return [
            message.replace('"charStartTimesMs": [', '"charStartTimesMs": [NaN, ')
            if isinstance(message, str)
            else message
        ]

    vendor.orders.mangle(change)


CASES = [
    VendorCase(
        name="elevenlabs-tts",
        type="elevenlabs-tts",
        fake=FakeElevenLabsTts,
        options={"voice": "JBFqnCBsd6RMkjVDRZzb", "stall_s": 5.0},
        rate_hz=24000,
        skip={"other_rate": "raw audio in JSON: nothing in it says at what rate it is"},
        disturb={
            "other_request": _of_another_context,
            "odd_bytes": lambda vendor: vendor.orders.mangle(odd_base64("audio")),
            "nan": _nan,
        },
    )
]
