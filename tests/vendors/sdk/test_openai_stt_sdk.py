"""openai's realtime client and our adapter, against the same fake: what one hears, the other hears."""

from __future__ import annotations

import pytest

from actors.providers import interface as i
from actors.providers.fake_tones import say
from tests.vendors.fake_openai_stt import FakeOpenAiStt
from tests.vendors.live import Ear, run, spec
from tests.vendors.sdk.harness import converse, needs_sdk
from tests.vendors.test_openai_stt import RATE_HZ, feed, provider, texts


@pytest.mark.parametrize("model", ["gpt-live-transcribe", "gpt-4o-mini-transcribe"])
def test_the_sdk_transcribes_and_the_adapter_hears_the_same(model: str) -> None:
    needs_sdk()
    pcm = say("ten of clubs and the queen of hearts", RATE_HZ).pcm + bytes(RATE_HZ)

    async def scene() -> None:
        async with FakeOpenAiStt() as vendor:
            told = await converse("run_openai_stt.py", vendor.ws_url, model, stdin=pcm)
            assert told["said"] == told["deltas"] == "ten of clubs and the queen of hearts"
            assert {"session.updated", "input_audio_buffer.committed", "error", "SomethingNew"} <= set(told["kinds"])
            assert ("input_audio_buffer.speech_stopped" in told["kinds"]) == (model != "gpt-live-transcribe")
        async with FakeOpenAiStt() as vendor:
            openai, ear = provider(vendor, model=model), Ear()
            await openai.warm()
            line = await openai.open(spec(rate_hz=RATE_HZ), ear)
            line.speech_start(1, 0)
            line.finalize(1, feed(line, pcm, 0))
            await ear.wait(i.Finalized)
            assert texts(ear) == told["said"]
            await openai.close()

    run(scene(), limit_s=90.0)
