"""deepgram-sdk and our adapter, with Flux and against the same fake: what one hears, the other hears."""

from __future__ import annotations

from actors.providers import interface as i
from actors.providers.fake_tones import say
from tests.vendors.fake_flux import FakeFlux
from tests.vendors.live import Ear, run, spec
from tests.vendors.sdk.harness import converse, needs_sdk
from tests.vendors.test_deepgram import feed, texts
from tests.vendors.test_deepgram_flux import provider


def test_the_sdk_holds_a_conversation_and_the_adapter_hears_the_same() -> None:
    needs_sdk()
    first, second = say("ten of clubs", 16000).pcm + bytes(16000), say("and the queen", 16000).pcm
    pcm = first + second

    async def scene() -> None:
        async with FakeFlux() as vendor:
            told = await converse("run_flux.py", vendor.ws_url, stdin=pcm)
            assert [text for text, _, _ in told["said"]] == ["ten of clubs", "and the queen"]
            assert [trigger for _, trigger, _ in told["said"]] == ["model", "manual"]
            assert all(all(timed) for _, _, timed in told["said"])
            assert {"Connected", "TurnInfo", "ConfigureSuccess", "SomethingNew"} <= set(told["kinds"])
            assert {"StartOfTurn", "EagerEndOfTurn", "EndOfTurn", "Update"} <= set(told["events"])
            assert told["sequence"] == list(range(len(told["sequence"])))
            assert told["end"].startswith("ConnectionClosed")
        async with FakeFlux() as vendor:
            flux, ear = provider(vendor), Ear()
            await flux.warm()
            line = await flux.open(spec(), ear)
            line.speech_start(1, 0)
            line.finalize(1, feed(line, pcm, 0))
            await ear.wait(i.Finalized)
            assert texts(ear) == " ".join(text for text, _, _ in told["said"])
            assert [e.text for e in ear.all(i.VendorTurnEnded)] == ["ten of clubs", "and the queen"]
            await line.close(drain=False)
            await flux.close()

    run(scene(), limit_s=90.0)
