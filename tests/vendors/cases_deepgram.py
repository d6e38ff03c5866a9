"""Deepgram in the contract of network adapters."""

from __future__ import annotations

from tests.vendors.contract import VendorCase
from tests.vendors.fake_deepgram import FakeDeepgram, results
from tests.vendors.listener import Word

__all__ = ["CASES"]

_NEVER = [Word("never", 0.0, 0.2)]


def _of_another_channel(vendor: FakeDeepgram) -> None:
    told = results(_NEVER, 0.0, 0.3, True, True, False)
    vendor.beside = {**told, "channel_index": [1, 2]}


def _before_any_audio(vendor: FakeDeepgram) -> None:
    vendor.first = results(_NEVER, 0.0, 0.3, True, True, False)


CASES = [
    VendorCase(
        name="deepgram",
        type="deepgram",
        fake=lambda: FakeDeepgram(interim_s=0.3),
        options={"finalize_s": 2.0},
        expect={"lost": "right"},  # another connection, and the audio again
        disturb={"other_request": _of_another_channel, "final_first": _before_any_audio},
    )
]
