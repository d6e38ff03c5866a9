"""openai and our adapter, against the same fake: the same words, calls and tokens."""

from __future__ import annotations

from actors.providers import interface as i
from tests.vendors.fake_openai_chat import FakeOpenAiChat
from tests.vendors.live import Ear, run, spec
from tests.vendors.sdk.harness import converse, needs_sdk
from tests.vendors.test_openai_chat import provider, said

STATUS = i.Tool(
    name="status", description="What became of it.",
    schema={"type": "object", "properties": {"order": {"type": "string"}}},
)  # fmt: skip
ASKED = i.Item(role="user", said="call status")


def test_the_sdk_holds_a_conversation_and_the_adapter_hears_the_same() -> None:
    needs_sdk()

    async def scene() -> None:
        async with FakeOpenAiChat() as vendor:
            told = await converse("run_openai_chat.py", vendor.base_url)
            assert (told["models"], told["refused"]) == (["test-1"], "invalid_api_key")
            assert told["said"] == "Let me see. The tool says: on its way"
            assert told["called"] == {"name": "status", "arguments": "{}"}
            by_sdk = [asked["messages"] for asked in vendor.asked]
        async with FakeOpenAiChat() as vendor:
            chat, ear = provider(vendor, instructions="You are a telephone."), Ear()
            await chat.warm()
            stream = await chat.open(spec(), ear)
            stream.reply(1, 0, (ASKED,), (STATUS,), "user")
            await ear.wait(i.Usage)
            (call,) = ear.all(i.ToolCall)
            result = i.Item(
                role="tool", said="on its way", call_id=call.id, name=call.name, args=call.args, ok=True,
                before=said(ear),
            )  # fmt: skip
            stream.reply(1, 0, (ASKED, result), (STATUS,), "tool")
            usage = await ear.wait(i.Usage, 2)
            assert said(ear) == told["said"]
            assert [asked["messages"] for asked in vendor.asked] == by_sdk
            prompt, made, cached = told["usage"]
            assert usage.amounts == {"tokens_in": prompt - cached, "tokens_cached": cached, "tokens_out": made}
            await chat.close()

    run(scene(), limit_s=90.0)
