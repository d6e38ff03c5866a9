"""cartesia and our adapter, against the same fake: what one has spoken, the other has spoken."""

from __future__ import annotations

import base64

from actors.providers import interface as i
from actors.providers.fake_tones import hear
from tests.vendors.fake_cartesia_tts import FakeCartesiaTts
from tests.vendors.live import Ear, run, spec
from tests.vendors.sdk.harness import converse, needs_sdk
from tests.vendors.test_cartesia_tts import RATE_HZ, provider
from tests.vendors.voices import say, words


def test_the_sdk_is_spoken_to_and_the_adapter_the_same() -> None:
    needs_sdk()

    async def scene() -> None:
        async with FakeCartesiaTts() as vendor:
            told = await converse("run_cartesia_tts.py", vendor.ws_url)
            spoken = {
                name: " ".join(w.text for w in hear(base64.b64decode(one["pcm"]), RATE_HZ))
                for name, one in told.items()
            }
            assert spoken == {"one": "your table is booked anything else", "two": "goodbye", "three": "after that"}
            assert told["one"]["words"] == ["Your", "table", "is", "booked", "Anything", "else"]
            assert told["one"]["kinds"].count("flush_done") == 2
            assert told["one"]["kinds"][-1] == "done"
            assert vendor.cancelled == 1
        async with FakeCartesiaTts() as vendor:
            cartesia, ear = provider(vendor), Ear()
            line = await cartesia.open(spec(rate_hz=RATE_HZ), ear)
            say(line, 1, "Your table is booked.", "Anything else?")
            await ear.wait(i.Done)
            assert words(ear, 1, RATE_HZ) == spoken["one"]
            await line.close(drain=False)
            await cartesia.close()

    run(scene(), limit_s=90.0)
