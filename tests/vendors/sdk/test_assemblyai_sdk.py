"""The assemblyai SDK and our adapter, against the same fake: what one hears, the other hears."""

from __future__ import annotations

from actors.providers import interface as i
from actors.providers.fake_tones import say
from tests.vendors.fake_assemblyai import FakeAssemblyAi
from tests.vendors.live import Ear, run, spec
from tests.vendors.sdk.harness import converse, needs_sdk
from tests.vendors.test_assemblyai import provider
from tests.vendors.test_deepgram import feed, texts


def test_the_sdk_holds_a_session_and_the_adapter_hears_the_same() -> None:
    needs_sdk()
    first, second = say("ten of clubs", 16000).pcm + bytes(16000), say("and the queen", 16000).pcm + bytes(3200)
    pcm = first + second

    async def scene() -> None:
        async with FakeAssemblyAi() as vendor:
            told = await converse("run_assemblyai.py", vendor.ws_url, stdin=pcm)
            assert told["errors"] == []
            assert told["said"] == ["ten of clubs", "and the queen"]
            assert told["formatted"] == ["Ten of clubs.", "And the queen."]
            assert told["timed"] == [True, True]
            assert any(told["partials"])
            assert {"Begin", "SpeechStarted", "Turn", "Termination"} <= set(told["kinds"])
            assert vendor.configured[0]["keyterms_prompt"] == '["clubs"]'
            assert vendor.configured[1]["keyterms_prompt"] == ["hearts"]
            assert vendor.terminated == 1
        async with FakeAssemblyAi() as vendor:
            assembly, ear = provider(vendor), Ear()
            await assembly.warm()
            line = await assembly.open(spec(), ear)
            pos = feed(line, first, 0)
            line.speech_start(1, pos)
            end = feed(line, second, pos)
            line.speech_end(1, end - 1600)
            line.finalize(1, end)
            await ear.wait(i.Finalized)
            await ear.wait(i.Formatted, 2)
            assert texts(ear) == " ".join(told["said"])
            assert [e.text for e in ear.all(i.Formatted)] == told["formatted"]
            await line.close(drain=False)
            await assembly.close()

    run(scene(), limit_s=90.0)


def test_the_sdk_is_refused_as_the_adapter_is() -> None:
    needs_sdk()

    async def scene() -> None:
        async with FakeAssemblyAi() as vendor:
            told = await converse("run_assemblyai.py", vendor.ws_url, key="wrong")
            assert [code for _, code in told["errors"]] == [1008]
            assert told["said"] == []

    run(scene(), limit_s=90.0)
