"""OpenAI's and Azure's voices in the contract of network adapters."""

from __future__ import annotations

from tests.vendors.contract import VendorCase
from tests.vendors.fake_azure_tts import FakeAzureTts
from tests.vendors.fake_openai_tts import FakeOpenAiTts
from tests.vendors.orders import Message

__all__ = ["CASES"]

_OWN_BODY = "an answer is the body of its own request: there is no other in it"
_RAW = "the body is raw audio: there is no JSON in it"


def _at_16000(vendor: FakeOpenAiTts | FakeAzureTts) -> None:
    vendor.content_type = "audio/pcm;rate=16000"


def _bad_event(vendor: FakeOpenAiTts) -> None:
    """The event stays one: only its data ends in the middle."""

    def change(message: Message) -> list[Message]:
        is_event = isinstance(message, str) and message.startswith("data: {")
        return [message[: len(message) // 2] + "\n\n"] if is_event else [message]  # type: ignore[operator]

    vendor.orders.mangle(change)


def _nan(vendor: FakeOpenAiTts) -> None:
    def change(message: Message) -> list[Message]:
        return [
            message.replace('"input_tokens": ', '"input_tokens": NaN, "x": ') if isinstance(message, str) else message
        ]

    vendor.orders.mangle(change)


def _cut_base64(vendor: FakeOpenAiTts) -> None:
    def change(message: Message) -> list[Message]:
        return [message.replace('"}', 'A"}') if isinstance(message, str) and "delta" in message else message]

    vendor.orders.mangle(change)


CASES = [
    VendorCase(
        name="openai-tts",
        type="openai-tts",
        fake=FakeOpenAiTts,
        by="http",
        prefix="/v1",
        options={"stall_s": 5.0},
        rate_hz=24000,
        skip={"other_request": _OWN_BODY, "bad_json": _RAW, "nan": _RAW, "truncated_base64": _RAW},
        disturb={"other_rate": _at_16000},
    ),
    VendorCase(
        name="openai-tts-sse",
        type="openai-tts",
        fake=FakeOpenAiTts,
        by="http",
        prefix="/v1",
        options={"stall_s": 5.0, "stream_format": "sse"},
        rate_hz=24000,
        skip={
            "other_request": _OWN_BODY,
            "other_rate": "events name no rate",
            "odd_bytes": "the raw answer has this row; events are whole, or no base64",
        },
        disturb={"bad_json": _bad_event, "nan": _nan, "truncated_base64": _cut_base64},
    ),
    VendorCase(
        name="azure-tts",
        type="azure-tts",
        fake=FakeAzureTts,
        by="http",
        options={"voice": "en-US-AvaNeural", "stall_s": 5.0},
        rate_hz=24000,
        skip={"other_request": _OWN_BODY, "bad_json": _RAW, "nan": _RAW, "truncated_base64": _RAW},
        disturb={"other_rate": _at_16000},
    ),
]
