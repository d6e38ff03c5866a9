"""google-genai and our adapter, against the same fake: the same words, calls, sound and tokens."""

from __future__ import annotations

import base64

from actors.providers import interface as i
from actors.providers.fake_tones import hear, say
from tests.vendors.fake_gemini_live import IN_HZ, OUT_HZ, FakeGeminiLive
from tests.vendors.live import Ear, run
from tests.vendors.sdk.harness import converse, needs_sdk
from tests.vendors.test_gemini_live import STATUS, talk, text, utter


def test_the_sdk_holds_a_conversation_and_the_adapter_has_the_same() -> None:
    needs_sdk()
    pcm = say("call status", IN_HZ).pcm + bytes(IN_HZ)

    async def scene() -> None:
        async with FakeGeminiLive() as vendor:
            told = await converse("run_gemini_live.py", vendor.ws_url, stdin=pcm)
            assert (told["called"], told["heard"]) == (["status", {"of": "it"}], "call status")
            assert (told["said"], told["last"]) == ("The tool says on its way", "I heard stop")
            assert told["interrupted"]
            assert told["unknown"] > 0
            sound = base64.b64decode(told["pcm"])
            assert " ".join(word.text for word in hear(sound, OUT_HZ)) == "the tool says on its way"
            by_sdk = vendor.conversations[0][:3]
            assert vendor.conversations[1] == vendor.conversations[0]
        ear = Ear()
        async with FakeGeminiLive() as vendor, talk(vendor, ear, tools=(STATUS,)) as stream:
            utter(stream, "call status", silence_s=0.5)
            call = await ear.wait(i.ToolCall)
            stream.tool_result(call.id, "on its way", True, True)
            await ear.wait(i.ResponseDone, 2)
            assert [call.name, call.args] == told["called"]
            assert text(ear, 2) == told["said"]
            assert ear.pcm(2) == sound
            assert vendor.conversations[0] == by_sdk
            usage = (await ear.wait(i.Usage)).amounts
            assert sum(usage.values()) == told["usage"]["total_token_count"]

    run(scene(), limit_s=90.0)
