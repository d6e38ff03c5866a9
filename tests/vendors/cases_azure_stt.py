"""Azure's recogniser in the contract of network adapters."""

from __future__ import annotations

from tests.vendors.contract import VendorCase
from tests.vendors.fake_azure_stt import FakeAzureStt

__all__ = ["CASES"]

_NEVER = {
    "RecognitionStatus": "Success", "DisplayText": "never", "Offset": 0, "Duration": 3_000_000,
    "NBest": [{"Confidence": 0.9, "Lexical": "never", "ITN": "never", "MaskedITN": "never", "Display": "never"}],
}  # fmt: skip


def _of_another_turn(vendor: FakeAzureStt) -> None:
    vendor.stray = [("0123456789abcdef0123456789abcdef", _NEVER)]


def _before_any_audio(vendor: FakeAzureStt) -> None:
    vendor.stray = [("", _NEVER)]


CASES = [
    VendorCase(
        name="azure-stt",
        type="azure-stt",
        fake=lambda: FakeAzureStt(hypothesis_s=0.3),
        options={"finalize_s": 2.0},
        expect={"lost": "right"},  # another connection, and the audio again
        disturb={"other_request": _of_another_turn, "final_first": _before_any_audio},
    )
]
