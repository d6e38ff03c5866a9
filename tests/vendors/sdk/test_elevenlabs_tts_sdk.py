"""elevenlabs and our adapter, against the same fake: what one has spoken, the other has spoken."""

from __future__ import annotations

import base64

from actors.providers import interface as i
from actors.providers.fake_tones import hear
from tests.vendors.fake_elevenlabs_tts import FakeElevenLabsTts
from tests.vendors.live import Ear, run, spec
from tests.vendors.sdk.harness import converse, needs_sdk
from tests.vendors.test_elevenlabs_tts import RATE_HZ, provider
from tests.vendors.voices import say, words


def _heard(sound: str) -> str:
    return " ".join(w.text for w in hear(base64.b64decode(sound), RATE_HZ))


def test_the_sdk_is_spoken_to_and_the_adapter_the_same() -> None:
    needs_sdk()

    async def scene() -> None:
        async with FakeElevenLabsTts() as vendor:
            told = await converse("run_elevenlabs_tts.py", vendor.ws_url)
            assert _heard(told["realtime"]) == "your table is booked"
            assert {name: _heard(sound) for name, sound in told["pcm"].items()} == {
                "a": "your table is booked", "b": "goodbye",
            }  # fmt: skip
            assert {n: t.strip() for n, t in told["letters"].items()} == {"a": "Your table is booked.", "b": "Goodbye."}
            assert sorted(told["finals"]) == ["a", "b"]
        async with FakeElevenLabsTts() as vendor:
            eleven, ear = provider(vendor), Ear()
            line = await eleven.open(spec(rate_hz=RATE_HZ), ear)
            say(line, 1, "Your table is booked.")
            await ear.wait(i.Done)
            assert words(ear, 1, RATE_HZ) == _heard(told["realtime"])
            await line.close(drain=False)
            await eleven.close()

    run(scene(), limit_s=90.0)
