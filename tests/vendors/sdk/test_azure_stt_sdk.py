"""azure-cognitiveservices-speech and our adapter, against the same fake: what one hears, the other hears."""

from __future__ import annotations

from actors.providers import interface as i
from actors.providers.fake_tones import say
from tests.vendors.fake_azure_stt import FakeAzureStt
from tests.vendors.live import Ear, run, spec
from tests.vendors.sdk.harness import converse, needs_sdk
from tests.vendors.test_azure_stt import feed, provider, texts


def test_the_sdk_holds_a_conversation_and_the_adapter_hears_the_same() -> None:
    needs_sdk()
    pcm = say("ten of clubs", 16000).pcm + bytes(16000) + say("and the queen of hearts", 16000).pcm + bytes(3200)

    async def scene() -> None:
        async with FakeAzureStt() as vendor:
            told = await converse("run_azure_stt.py", vendor.ws_url, stdin=pcm)
            assert told["error"] == ""
            assert told["said"] == ["ten of clubs", "and the queen of hearts"]
            assert told["words"] == ["ten", "of", "clubs", "and", "the", "queen", "of", "hearts"]
            assert told["interims"]
            assert vendor.contexts[0]["dgi"]["Groups"][0]["Items"] == [{"Text": "clubs"}]
        async with FakeAzureStt() as vendor:
            azure, ear = provider(vendor, silence_ms=300), Ear()
            await azure.warm()
            line = await azure.open(spec(), ear)
            line.speech_start(1, 0)
            line.finalize(1, feed(line, pcm, 0))
            await ear.wait(i.Finalized)
            assert [f.text for f in ear.all(i.Final) if f.text] == told["said"]
            assert texts(ear) == " ".join(told["said"])
            await azure.close()

    run(scene(), limit_s=90.0)
