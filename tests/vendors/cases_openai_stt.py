"""OpenAI's realtime transcription in the contract of network adapters."""

from __future__ import annotations

from typing import Any

from actors.providers.fake_tones import say
from tests.vendors.contract import VendorCase
from tests.vendors.fake_openai_stt import FakeOpenAiStt

__all__ = ["CASES"]

_COMPLETED = {
    "type": "conversation.item.input_audio_transcription.completed", "event_id": "event_x", "item_id": "item_of_nobody",
    "content_index": 0, "transcript": "never", "usage": {"type": "duration", "seconds": 1.0},
}  # fmt: skip
_DELTA = {
    "type": "conversation.item.input_audio_transcription.delta", "event_id": "event_x", "item_id": "item_of_nobody",
    "content_index": 0, "delta": "never",
}  # fmt: skip


def _of_another_item(vendor: FakeOpenAiStt) -> None:
    vendor.first = [_COMPLETED]


def _before_any_audio(vendor: FakeOpenAiStt) -> None:
    vendor.first = [_DELTA, _COMPLETED]


def _speech_to_the_end(stream: Any, number: int) -> None:
    """One that writes after the commit says nothing before it."""
    pcm = say("all work and no play makes jack a dull boy", 24000).pcm
    stream.speech_start(number, 0)
    stream.audio(0, pcm)
    stream.speech_end(number, len(pcm) // 2)
    stream.finalize(number, len(pcm) // 2)


def _case(model: str, **more: Any) -> VendorCase:
    return VendorCase(
        name=f"openai-stt {model}",
        type="openai-stt",
        fake=lambda: FakeOpenAiStt(delta_s=0.3),
        options={"model": model, "finalize_s": 2.0},
        prefix="/v1",
        rate_hz=24000,
        expect={"lost": "right"},  # another connection, and the audio again
        disturb={"other_request": _of_another_item, "final_first": _before_any_audio},
        **more,
    )


CASES = [
    _case("gpt-live-transcribe"),
    _case("gpt-4o-mini-transcribe", begin=_speech_to_the_end),
]
