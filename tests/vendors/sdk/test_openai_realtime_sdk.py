"""openai and our adapter, against the same fake: the same words, calls, sound and tokens."""

from __future__ import annotations

import base64

from actors.providers import interface as i
from actors.providers.fake_tones import hear, say
from tests.vendors.fake_openai_realtime import RATE_HZ, FakeOpenAiRealtime
from tests.vendors.live import Ear, run
from tests.vendors.sdk.harness import converse, needs_sdk
from tests.vendors.test_openai_realtime import STATUS, talk, text, utter


def test_the_sdk_holds_a_conversation_and_the_adapter_has_the_same() -> None:
    needs_sdk()
    pcm = say("call status", RATE_HZ).pcm + bytes(RATE_HZ)

    async def scene() -> None:
        async with FakeOpenAiRealtime() as vendor:
            told = await converse("run_openai_realtime.py", f"{vendor.ws_url}/v1", stdin=pcm)
            assert (told["called"], told["heard"]) == (["status", "{}"], "call status")
            assert told["said"] == "The tool says on its way"
            sound = base64.b64decode(told["pcm"])
            assert " ".join(word.text for word in hear(sound, RATE_HZ)) == "the tool says on its way"
            assert told["last"] == ["cancelled", "client_cancelled"]
            assert {"SomethingNew", "rate_limits.updated", "conversation.item.truncated"} <= set(told["kinds"])
            by_sdk = [(item.type, item.role, item.text) for item in vendor.conversations[0]]
        ear = Ear()
        async with FakeOpenAiRealtime() as vendor, talk(vendor, ear, tools=(STATUS,)) as stream:
            utter(stream, "call status", silence_s=0.5)
            await ear.wait(i.ResponseDone)
            (call,) = ear.all(i.ToolCall)
            stream.tool_result(call.id, "on its way", True, True)
            await ear.wait(i.ResponseDone, 2)
            assert [call.name] == told["called"][:1]
            assert text(ear, 2) == told["said"]
            assert ear.pcm(2) == sound
            assert [(item.type, item.role, item.text) for item in vendor.conversations[0]] == by_sdk[:-1]
            made, given = told["usage"]["output_token_details"], told["usage"]["input_token_details"]
            assert ear.all(i.Usage)[1].amounts == {
                "tokens_in": given["text_tokens"] - given["cached_tokens_details"]["text_tokens"],
                "audio_tokens_in": given["audio_tokens"] - given["cached_tokens_details"]["audio_tokens"],
                "tokens_cached": given["cached_tokens"],
                "tokens_out": made["text_tokens"],
                "audio_tokens_out": made["audio_tokens"],
            }

    run(scene(), limit_s=90.0)
