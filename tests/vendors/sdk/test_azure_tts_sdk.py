"""azure-cognitiveservices-speech and our adapter have the same fake speak: it takes the SSML of both by the same rules.

The SDK speaks over a WebSocket and the adapter by requests, so what this shows of the fake is its SSML and its audio,
not its REST page.
"""

from __future__ import annotations

import base64

from actors.providers import interface as i
from actors.providers.fake_tones import hear
from tests.vendors.fake_azure_tts import FakeAzureTts
from tests.vendors.live import Ear, run, spec
from tests.vendors.sdk.harness import converse, needs_sdk
from tests.vendors.test_http_voices import RATE_HZ, azure
from tests.vendors.voices import say, words


def test_the_sdk_is_spoken_to_and_the_adapter_the_same() -> None:
    needs_sdk()

    async def scene() -> None:
        async with FakeAzureTts() as vendor:
            told = await converse("run_azure_tts.py", vendor.ws_url)
            assert told["errors"] == []
            heard = [" ".join(w.text for w in hear(base64.b64decode(pcm), RATE_HZ)) for pcm in told["spoken"]]
            assert heard == ["your table is booked paid", "goodbye"]
            assert vendor.texts == ["Your table is < booked & paid.", "Goodbye."]
            voice, ear = azure(vendor, style="cheerful", rate_percent=10), Ear()
            line = await voice.open(spec(rate_hz=RATE_HZ), ear)
            say(line, 1, "Goodbye.")
            await ear.wait(i.Done)
            assert words(ear, 1, RATE_HZ) == heard[1]
            theirs, ours = vendor.documents[1:]
            assert [e.tag for e in ours.iter()] == [e.tag for e in theirs.iter()]
            assert [e.attrib for e in ours.iter()] == [e.attrib for e in theirs.iter()]
            await line.close(drain=False)
            await voice.close()

    run(scene(), limit_s=90.0)
