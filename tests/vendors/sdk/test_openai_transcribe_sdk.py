"""openai's transcriptions and our adapter, against the same fake: what one hears, the other hears."""

from __future__ import annotations

from actors.providers import interface as i
from actors.providers.fake_tones import say
from actors.providers.vendor_pcm import wav_header
from tests.vendors.fake_openai_transcribe import FakeOpenAiTranscribe
from tests.vendors.live import Ear, run, spec
from tests.vendors.sdk.harness import converse, needs_sdk
from tests.vendors.test_openai_transcribe import feed, provider, texts


def test_the_sdk_transcribes_and_the_adapter_hears_the_same() -> None:
    needs_sdk()
    pcm = say("ten of clubs and the queen of hearts", 16000).pcm + bytes(6400)

    async def scene() -> None:
        async with FakeOpenAiTranscribe() as vendor:
            wav = wav_header(16000, len(pcm) // 2) + pcm
            told = await converse("run_openai_transcribe.py", vendor.http_url, stdin=wav)
            said = "ten of clubs and the queen of hearts"
            assert (told["said"], told["deltas"], told["whole"]) == (said, said, said)
            assert told["words"] == said.split()
            assert vendor.forms[0]["keywords[]"] == ["clubs", "hearts"]
        async with FakeOpenAiTranscribe() as vendor:
            openai, ear = provider(vendor, keyterms=["clubs", "hearts"]), Ear()
            await openai.warm()
            line = await openai.open(spec(), ear)
            line.speech_start(1, 0)
            line.finalize(1, feed(line, pcm, 0))
            await ear.wait(i.Finalized)
            assert texts(ear) == told["said"]
            assert vendor.forms[0]["keywords[]"] == ["clubs", "hearts"]
            await openai.close()

    run(scene(), limit_s=90.0)
