"""OpenAI's file transcription in the contract of network adapters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actors.providers.fake_tones import say
from tests.vendors.contract import VendorCase
from tests.vendors.fake_openai_transcribe import FakeOpenAiTranscribe
from tests.vendors.orders import Message

__all__ = ["CASES"]


def _bad_json(vendor: FakeOpenAiTranscribe) -> None:
    """The event stays one: only its data ends in the middle."""

    def change(message: Message) -> list[Message]:
        return [message[: len(message) // 2] + "\n\n"] if isinstance(message, str) else [message]

    vendor.orders.mangle(change)


def _speech_to_the_end(stream: Any, number: int) -> None:
    pcm = say("all work and no play makes jack a dull boy", 16000).pcm
    stream.speech_start(number, 0)
    stream.audio(0, pcm)
    stream.speech_end(number, len(pcm) // 2)
    stream.finalize(number, len(pcm) // 2)


def _case(model: str, disturb: Mapping[str, Any]) -> VendorCase:
    return VendorCase(
        name=f"openai-transcribe {model}",
        type="openai-transcribe",
        fake=FakeOpenAiTranscribe,
        by="http",
        prefix="/v1",
        options={"model": model},
        begin=_speech_to_the_end,
        disturb=disturb,
        skip={
            "other_request": "an answer is the body of its own request: there is no other in it",
            "final_first": "nothing is answered before an utterance was sent",
        },
    )


CASES = [_case("gpt-transcribe", {"bad_json": _bad_json}), _case("whisper-1", {})]
