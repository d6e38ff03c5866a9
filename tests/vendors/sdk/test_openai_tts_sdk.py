"""openai and our adapter, against the same fake: what one has spoken, the other has spoken."""

from __future__ import annotations

import base64

from actors.providers import interface as i
from actors.providers.fake_tones import hear
from tests.vendors.fake_openai_tts import FakeOpenAiTts
from tests.vendors.live import Ear, run, spec
from tests.vendors.sdk.harness import converse, needs_sdk
from tests.vendors.test_http_voices import RATE_HZ, openai
from tests.vendors.voices import say, words


def test_the_sdk_is_spoken_to_and_the_adapter_the_same() -> None:
    needs_sdk()

    async def scene() -> None:
        async with FakeOpenAiTts() as vendor:
            told = await converse("run_openai_tts.py", f"{vendor.http_url}/v1")
            heard = [" ".join(w.text for w in hear(base64.b64decode(pcm), RATE_HZ)) for pcm in told["spoken"]]
            assert heard == ["your table is booked", "goodbye"]
            assert told["types"] == ["application/octet-stream", "text/event-stream"]
            assert set(told["usage"]) == {"input_tokens", "output_tokens", "total_tokens"}
            assert (told["refused"], told["model"]) == ("voice", "gpt-4o-mini-tts")
        async with FakeOpenAiTts() as vendor:
            voice, ear = openai(vendor), Ear()
            line = await voice.open(spec(rate_hz=RATE_HZ), ear)
            say(line, 1, "Your table is booked.", "Goodbye.")
            await ear.wait(i.Done)
            assert words(ear, 1, RATE_HZ) == " ".join(heard)
            await line.close(drain=False)
            await voice.close()

    run(scene(), limit_s=90.0)
