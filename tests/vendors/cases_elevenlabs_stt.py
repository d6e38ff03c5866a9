"""ElevenLabs Scribe in the contract of network adapters."""

from __future__ import annotations

from tests.vendors.contract import VendorCase
from tests.vendors.fake_elevenlabs_stt import FakeElevenLabsStt

__all__ = ["CASES"]


def _before_the_session(vendor: FakeElevenLabsStt) -> None:
    vendor.first = [{"message_type": kind, "text": "never"} for kind in ("partial_transcript", "committed_transcript")]


CASES = [
    VendorCase(
        name="elevenlabs-stt",
        type="elevenlabs-stt",
        fake=lambda: FakeElevenLabsStt(partial_s=0.3),
        options={"finalize_s": 2.0, "word_times": True},
        expect={"lost": "right"},  # another connection, and the audio again
        disturb={"final_first": _before_the_session},
        skip={"other_request": "nothing in its messages names what they answer: one socket is one stream"},
    )
]
