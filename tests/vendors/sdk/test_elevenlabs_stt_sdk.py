"""elevenlabs' realtime client and our adapter, against the same fake: what one hears, the other hears."""

from __future__ import annotations

from actors.providers import interface as i
from actors.providers.fake_tones import say
from tests.vendors.fake_elevenlabs_stt import FakeElevenLabsStt
from tests.vendors.live import Ear, run, spec
from tests.vendors.sdk.harness import converse, needs_sdk
from tests.vendors.test_elevenlabs_stt import feed, provider, texts


def test_the_sdk_transcribes_and_the_adapter_hears_the_same() -> None:
    needs_sdk()
    pcm = say("ten of clubs and the queen of hearts", 16000).pcm + bytes(16000)

    async def scene() -> None:
        async with FakeElevenLabsStt() as vendor:
            told = await converse("run_elevenlabs_stt.py", vendor.ws_url, stdin=pcm)
            assert told["said"] == "ten of clubs and the queen of hearts"
            assert told["words"] == told["said"].split()
            assert {"session_started", "partial_transcript", "commit_throttled"} <= set(told["kinds"])
            assert ("keyterms", "clubs") in vendor.queries[0]
        async with FakeElevenLabsStt() as vendor:
            scribe, ear = provider(vendor, word_times=True, keyterms=["clubs"]), Ear()
            await scribe.warm()
            line = await scribe.open(spec(), ear)
            line.speech_start(1, 0)
            line.finalize(1, feed(line, pcm, 0))
            await ear.wait(i.Finalized)
            assert texts(ear) == told["said"]
            assert [w.text for w in ear.all(i.Final)[0].words] == told["words"]
            assert ("keyterms", "clubs") in vendor.queries[0]
            await scribe.close()

    run(scene(), limit_s=90.0)
