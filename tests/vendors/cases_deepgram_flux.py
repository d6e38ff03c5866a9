"""Deepgram Flux in the contract of network adapters."""

from __future__ import annotations

from tests.vendors.contract import VendorCase
from tests.vendors.fake_flux import FakeFlux, turn_info
from tests.vendors.listener import Word

__all__ = ["CASES"]

_NEVER = [Word("never", 0.0, 0.2)]


def _of_another_request(vendor: FakeFlux) -> None:
    vendor.first = [{**turn_info(_NEVER, 0.0, 0.3, "EndOfTurn", 0), "request_id": "somebody-else"}]


def _before_any_audio(vendor: FakeFlux) -> None:
    vendor.first = [turn_info(_NEVER, 0.0, 0.3, "EndOfTurn", 0)]


CASES = [
    VendorCase(
        name="deepgram-flux",
        type="deepgram-flux",
        fake=FakeFlux,
        options={"finalize_s": 2.0},
        expect={"lost": "right"},  # another connection, and the audio again
        disturb={"other_request": _of_another_request, "final_first": _before_any_audio},
    )
]
