"""Azure's recogniser against its fake: what only this adapter does; the contract has the rest."""

from __future__ import annotations

from typing import Any

import pytest

from actors.providers import interface as i
from actors.providers import options as stream_options
from actors.providers.azure_stt import AzureSttOptions, Provider
from actors.providers.fake_tones import say
from actors.secrets import Secret
from router.errors import ProviderError
from tests.vendors.ears import contiguous, feed, silence, speak, texts
from tests.vendors.fake_azure_stt import FakeAzureStt
from tests.vendors.live import Ear, run, spec
from tests.vendors.server import KEY

RATE_HZ = 16000


def provider(vendor: FakeAzureStt, key: str = KEY, **options: Any) -> Provider:
    return Provider({"finalize_s": 1.0, **options}, Secret(key, "env:AZURE_KEY"), vendor.ws_url)


def test_every_finalize_is_a_turn_of_the_protocol_and_words_lie_where_they_were_said() -> None:
    async def scene() -> None:
        async with FakeAzureStt() as vendor:
            azure, ear = (
                provider(vendor, language="en-GB", keyterms=["clubs"], custom_model="m-1", silence_ms=300),
                Ear(),
            )
            await azure.warm()
            line = await azure.open(spec(pos=48000), ear)
            pos = feed(line, silence(1.0), 48000)
            end = speak(line, "ten of clubs", pos, 1)
            done = await ear.wait(i.Finalized)
            assert (done.utt, done.to_pos) == (1, end)
            words = ear.all(i.Final)[0].words
            assert [w.text for w in words] == ["ten", "of", "clubs"]
            assert words[0].from_pos == pytest.approx(pos, abs=160)
            pos = feed(line, silence(2.0), end)
            end = speak(line, "queen of hearts", pos, 2)
            assert (await ear.wait(i.Finalized, 2)).to_pos == end
            second = next(f for f in ear.all(i.Final) if f.utt == 2 and f.text)
            assert second.words[0].from_pos == pytest.approx(pos, abs=160)  # its times began again with its turn
            assert texts(ear) == "ten of clubs queen of hearts"
            assert ear.all(i.Partial)
            contiguous(ear, 48000)
            assert vendor.queries == [{"cid": "m-1"}]
            assert vendor.contexts[0] == {
                "phraseDetection": {
                    "mode": "CONVERSATION", "language": "en-GB", "enrichment": {"profanity": "masked"},
                    "CONVERSATION": {"segmentation": {"mode": "Custom", "segmentationSilenceTimeoutMs": 300}},
                },
                "phraseOutput": {"format": "Detailed", "detailed": {"options": ["WordTimings", "WordConfidence"]}},
                "dgi": {"Groups": [{"Type": "Generic", "Items": [{"Text": "clubs"}]}], "bias": 1.0},
            }  # fmt: skip
            await vendor.until(lambda: vendor.seen["telemetry"] == 2 and len(vendor.contexts) == 3)
            assert (azure.counts.handshakes, azure.counts.late, azure.counts.stale) == (1, 0, 0)
            await azure.close()

    run(scene())


def test_audio_waits_for_the_end_of_a_turn_and_none_is_lost() -> None:
    async def scene() -> None:
        async with FakeAzureStt() as vendor:
            azure, ear = provider(vendor, finalize_s=0.2), Ear()
            await azure.warm()
            line = await azure.open(spec(), ear)
            vendor.orders.stall()
            pos = speak(line, "one", 0, 1)
            await ear.wait(i.Finalized)  # by us
            before_s = vendor.received_s
            line.speech_start(2, pos)
            pos = feed(line, say("two", RATE_HZ).pcm, pos)
            assert vendor.received_s == before_s
            vendor.orders.allow()
            line.speech_end(2, pos)
            pos = feed(line, silence(0.2), pos)
            line.finalize(2, pos)
            await ear.until(lambda: texts(ear) == "one two")
            contiguous(ear)
            assert not ear.all(i.Fault)
            await azure.close()

    run(scene())


def test_a_turn_that_the_vendor_ends_itself_goes_on_in_another_one() -> None:
    async def scene() -> None:
        async with FakeAzureStt() as vendor:
            azure, ear = provider(vendor, chunk_ms=20), Ear()
            await azure.warm()
            line = await azure.open(spec(), ear)
            vendor.end_after_s = 0.3
            line.speech_start(1, 0)
            pos = feed(line, say("one two three", RATE_HZ).pcm + silence(0.2), 0)
            await vendor.until(lambda: len(vendor.contexts) == 2)
            line.speech_end(1, pos)
            line.finalize(1, pos)
            assert (await ear.wait(i.Finalized)).to_pos == pos
            assert texts(ear) == "one two three"
            contiguous(ear)
            assert azure.counts.replayed_s > 0
            assert azure.counts.handshakes == 1
            await azure.close()

    run(scene())


def test_its_phrases_end_turns_where_it_has_the_authority() -> None:
    async def scene() -> None:
        async with FakeAzureStt() as vendor:
            azure, ear = provider(vendor, turn_events=True, silence_ms=200), Ear()
            await azure.warm()
            line = await azure.open(spec(), ear)
            feed(line, silence(0.5) + say("one two", RATE_HZ).pcm + silence(0.4), 0)
            assert (await ear.wait(i.VendorTurnEnded)).text == "one two"
            assert len(ear.all(i.SttSpeechStarted)) == 1
            assert texts(ear) == "one two"
            await azure.close()
        assert Provider.capabilities({"turn_events": True}).turn_events
        assert not Provider.capabilities({}).turn_events

    run(scene())


@pytest.mark.parametrize(
    ("status", "kind"), [("TooManyRequests", "busy"), ("BadRequest", "config"), ("Forbidden", "auth"), ("NoMatch", "")]
)
def test_the_status_of_a_phrase_says_whose_fault_it_is(status: str, kind: str) -> None:
    async def scene() -> None:
        async with FakeAzureStt() as vendor:
            azure, ear = provider(vendor), Ear()
            await azure.warm()
            line = await azure.open(spec(), ear)
            vendor.status = status
            speak(line, "one", 0, 1)
            if kind:
                assert (await ear.wait(i.Fault)).kind == kind
            else:
                await ear.wait(i.Finalized)
                assert texts(ear) == ""
                assert not ear.all(i.Fault)
            await azure.close()

    run(scene())


def test_options_change_by_another_connection_and_a_drained_stream_says_its_last_words() -> None:
    async def scene() -> None:
        async with FakeAzureStt() as vendor:
            azure, ear = provider(vendor), Ear()
            await azure.warm()
            line = await azure.open(spec(), ear)
            pos = speak(line, "one", 0, 1)
            await ear.wait(i.Finalized)
            assert line.update({"language": "de-DE", "keyterms": ["zwei"], "turn_events": True}) == ("turn_events",)
            await vendor.until(lambda: vendor.handshakes == 2 and len(vendor.peers) == 1 and len(vendor.contexts) == 3)
            assert vendor.contexts[-1]["phraseDetection"]["language"] == "de-DE"
            line.speech_start(2, pos)
            feed(line, say("zwei drei", RATE_HZ).pcm, pos)
            await line.close(drain=True)
            assert texts(ear) == "one zwei drei"
            contiguous(ear)
            assert azure.counts.rolled_over == 1
            await azure.close()

    run(scene())


def test_a_paused_stream_is_kept_alive_with_silence_that_moves_no_position() -> None:
    async def scene() -> None:
        async with FakeAzureStt() as vendor:
            azure, ear = provider(vendor, keepalive_s=0.1), Ear()
            await azure.warm()
            line = await azure.open(spec(), ear)
            pos = speak(line, "one", 0, 1)
            await ear.wait(i.Finalized)
            line.pause()
            received_s = vendor.received_s
            await vendor.until(lambda: vendor.received_s >= received_s + 0.25)
            line.resume()
            pos = speak(line, "two", pos, 2)
            assert (await ear.wait(i.Finalized, 2)).to_pos == pos
            assert texts(ear) == "one two"
            word = ear.all(i.Final)[-1].words or next(f.words for f in ear.all(i.Final) if f.text == "two")
            assert word[0].from_pos == pytest.approx(pos - 0.2 * RATE_HZ - len(say("two", RATE_HZ).pcm) / 2, abs=160)
            contiguous(ear)
            await azure.close()

    run(scene())


def test_the_probe_says_what_is_wrong_with_the_key_and_a_region_is_wanted() -> None:
    async def scene() -> None:
        async with FakeAzureStt() as vendor:
            bad = provider(vendor, key="wrong-canary")
            await bad.warm()
            with pytest.raises(ProviderError) as caught:
                await bad.probe()
            assert caught.value.kind == "auth"
            assert "canary" not in str(caught.value)
            await bad.close()

    run(scene())
    with pytest.raises(ProviderError, match="needs an endpoint"):
        Provider({}, Secret(KEY, "env:AZURE_KEY"), None)


@pytest.mark.parametrize("options", [{"language": "en"}, {"keyterms": ["x"] * 501}, {"silence_ms": 50}, {"no": 1}])
def test_bad_options_are_errors_of_the_configuration(options: dict[str, Any]) -> None:
    assert stream_options.problems(AzureSttOptions, options)
