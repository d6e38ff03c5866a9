"""deepgram-sdk and our adapter, against the same fake: what one has spoken, the other has spoken."""

from __future__ import annotations

import base64

from actors.providers import interface as i
from actors.providers.fake_tones import hear
from tests.vendors.fake_deepgram_tts import FakeDeepgramTts
from tests.vendors.live import Ear, run, spec
from tests.vendors.sdk.harness import converse, needs_sdk
from tests.vendors.test_deepgram_tts import RATE_HZ, provider
from tests.vendors.voices import say, words


def test_the_sdk_is_spoken_to_and_the_adapter_the_same() -> None:
    needs_sdk()

    async def scene() -> None:
        async with FakeDeepgramTts() as vendor:
            told = await converse("run_deepgram_tts.py", vendor.ws_url)
            heard = [" ".join(w.text for w in hear(base64.b64decode(pcm), RATE_HZ)) for pcm in told["spoken"]]
            assert heard == ["your table is booked", "anything else", "goodbye"]
            assert (vendor.seen["Clear"], vendor.seen["Close"]) == (1, 1)
        async with FakeDeepgramTts() as vendor:
            aura, ear = provider(vendor), Ear()
            line = await aura.open(spec(rate_hz=RATE_HZ), ear)
            say(line, 1, "Your table is booked.", "Anything else?")
            await ear.wait(i.Done)
            assert words(ear, 1, RATE_HZ) == " ".join(heard[:2])
            await line.close(drain=False)
            await aura.close()

    run(scene(), limit_s=90.0)
