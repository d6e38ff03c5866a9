"""Chat completions in the contract of network adapters."""

from __future__ import annotations

from tests.vendors.contract import VendorCase
from tests.vendors.fake_openai_chat import FakeOpenAiChat
from tests.vendors.orders import Message

__all__ = ["CASES"]


def _nan(vendor: FakeOpenAiChat) -> None:
    def change(message: Message) -> list[Message]:
        return [message.replace('"index": 0', '"index": NaN') if isinstance(message, str) else message]

    vendor.orders.mangle(change)


def _bad_json(vendor: FakeOpenAiChat) -> None:
    """The event stays one: only its data ends in the middle."""

    def change(message: Message) -> list[Message]:
        if isinstance(message, str) and message.startswith("data: {"):
            return [message[: len(message) // 2] + "\n\n"]
        return [message]

    vendor.orders.mangle(change)


CASES = [
    VendorCase(
        name="openai-chat",
        type="openai-chat",
        fake=FakeOpenAiChat,
        by="http",
        prefix="/v1",
        options={"model": "test-1", "retries": 0, "first_text_s": 5.0, "stall_s": 3.0},
        stall_options={"first_text_s": 0.3},
        skip={"other_request": "an answer is the body of its own request: there is no other in it"},
        disturb={"nan": _nan, "bad_json": _bad_json},
    )
]
