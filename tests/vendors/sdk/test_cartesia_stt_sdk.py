"""The cartesia SDK and our adapter, against the same fake: what one hears, the other hears."""

from __future__ import annotations

import pytest

from actors.providers import interface as i
from actors.providers.fake_tones import say
from tests.vendors.fake_cartesia_stt import FakeCartesiaStt
from tests.vendors.live import Ear, run, spec
from tests.vendors.sdk.harness import converse, needs_sdk
from tests.vendors.test_cartesia_stt import provider
from tests.vendors.test_deepgram import feed, texts


@pytest.mark.parametrize(
    ("kind", "said", "kinds"),
    [
        ("manual", ["ten of clubs and the queen"], {"transcript", "flush_done", "done"}),
        ("turns", ["ten of clubs", " and the queen"], {"connected", "turn.start", "turn.update", "turn.eager_end"}),
    ],
)
def test_the_sdk_holds_a_conversation_and_the_adapter_hears_the_same(
    kind: str, said: list[str], kinds: set[str]
) -> None:
    needs_sdk()
    pcm = say("ten of clubs", 16000).pcm + bytes(16000) + say("and the queen", 16000).pcm + bytes(16000)

    async def scene() -> None:
        async with FakeCartesiaStt() as vendor:
            told = await converse("run_cartesia_stt.py", vendor.ws_url, kind, stdin=pcm)
            assert told["said"] == said
            assert kinds <= set(told["kinds"])
            assert vendor.configured[0]["keyterms"] == ["clubs"]
        async with FakeCartesiaStt() as vendor:
            cartesia, ear = provider(vendor, turn_events=kind == "turns"), Ear()
            await cartesia.warm()
            line = await cartesia.open(spec(), ear)
            line.speech_start(1, 0)
            line.finalize(1, feed(line, pcm, 0))
            await ear.wait(i.Finalized)
            if kind == "turns":
                await ear.wait(i.VendorTurnEnded, 2)
            assert texts(ear) == "".join(said)
            await line.close(drain=False)
            await cartesia.close()

    run(scene(), limit_s=90.0)
