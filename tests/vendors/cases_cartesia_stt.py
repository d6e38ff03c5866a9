"""Cartesia's speech to text in the contract of network adapters: asked for its finals, and with turns of its own."""

from __future__ import annotations

from tests.vendors.contract import VendorCase
from tests.vendors.fake_cartesia_stt import REQUEST_ID, FakeCartesiaStt, transcript
from tests.vendors.orders import Message

__all__ = ["CASES"]


def _and_to_another(message: Message) -> list[Message]:
    """With each final comes one of somebody else's request."""
    if not isinstance(message, str) or not ('"is_final": true' in message or '"turn.end"' in message):
        return [message]
    return [message, message.replace(REQUEST_ID, "somebody-else")]


def _before_any_audio(vendor: FakeCartesiaStt) -> None:
    vendor.first = [
        transcript("never", is_final=True),
        {"type": "turn.end", "transcript": "never", "request_id": REQUEST_ID},
    ]


_DISTURB = {
    "other_request": lambda vendor: vendor.orders.mangle(_and_to_another),
    "final_first": _before_any_audio,
}

CASES = [
    VendorCase(
        name="cartesia-stt",
        type="cartesia-stt",
        fake=FakeCartesiaStt,
        options={"finalize_s": 2.0},
        expect={"lost": "right"},  # another connection, and the audio again
        disturb=_DISTURB,
    ),
    VendorCase(
        name="cartesia-stt-turns",
        type="cartesia-stt",
        fake=lambda: FakeCartesiaStt(end_s=0.15, eager_s=0.1),
        options={"finalize_s": 2.0, "turn_events": True},
        expect={"lost": "right"},
        disturb=_DISTURB,
        skip={"nan": "no message of this interface has a number in it"},
    ),
]
