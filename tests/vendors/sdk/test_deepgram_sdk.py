"""deepgram-sdk and our adapter, against the same fake: what one hears, the other hears."""

from __future__ import annotations

from actors.providers import interface as i
from actors.providers.fake_tones import say
from tests.vendors.fake_deepgram import FakeDeepgram
from tests.vendors.live import Ear, run, spec
from tests.vendors.sdk.harness import converse, needs_sdk
from tests.vendors.test_deepgram import feed, provider, texts


def test_the_sdk_holds_a_conversation_and_the_adapter_hears_the_same() -> None:
    needs_sdk()
    pcm = say("ten of clubs and the queen of hearts", 16000).pcm + bytes(16000)

    async def scene() -> None:
        async with FakeDeepgram() as vendor:
            told = await converse("run_deepgram.py", vendor.ws_url, stdin=pcm)
            assert told["said"] == "ten of clubs and the queen of hearts"
            assert {"Results", "SpeechStarted", "Metadata", "ConfigureSuccess", "SomethingNew"} <= set(told["kinds"])
            assert vendor.keyterms == [["clubs"], ["hearts"]]
        async with FakeDeepgram() as vendor:
            deepgram, ear = provider(vendor), Ear()
            await deepgram.warm()
            line = await deepgram.open(spec(), ear)
            line.speech_start(1, 0)
            line.finalize(1, feed(line, pcm, 0))
            await ear.wait(i.Finalized)
            assert texts(ear) == told["said"]
            await line.close(drain=False)
            await deepgram.close()

    run(scene(), limit_s=90.0)
