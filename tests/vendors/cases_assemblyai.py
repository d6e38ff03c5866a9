"""AssemblyAI in the contract of network adapters."""

from __future__ import annotations

from tests.vendors.contract import VendorCase
from tests.vendors.fake_assemblyai import FakeAssemblyAi, turn
from tests.vendors.listener import Word
from tests.vendors.orders import Message

__all__ = ["CASES"]


def _twice(message: Message) -> list[Message]:
    """A turn that was told is told again: it answers to nothing."""
    return [message, message] if isinstance(message, str) and '"end_of_turn": true' in message else [message]


def _before_any_audio(vendor: FakeAssemblyAi) -> None:
    vendor.first = [turn([Word("never", 0.0, 0.2)], 0, settled=True, end=True)]


CASES = [
    VendorCase(
        name="assemblyai",
        type="assemblyai",
        fake=FakeAssemblyAi,
        options={"finalize_s": 2.0},
        expect={"lost": "right"},  # another connection, and the audio again
        disturb={
            "other_request": lambda vendor: vendor.orders.mangle(_twice),
            "final_first": _before_any_audio,
        },
    )
]
