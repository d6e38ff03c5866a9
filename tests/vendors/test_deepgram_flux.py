"""Deepgram Flux against its fake: what only this adapter does; the contract has the rest."""

from __future__ import annotations

from typing import Any

import pytest

from actors.providers import interface as i
from actors.providers.deepgram_flux import Provider
from actors.providers.fake_tones import say
from actors.secrets import Secret
from router.errors import ProviderError
from tests.vendors.fake_flux import FakeFlux
from tests.vendors.live import Ear, run, spec
from tests.vendors.server import KEY
from tests.vendors.test_deepgram import RATE_HZ, contiguous, feed, silence, speak, texts


def provider(vendor: FakeFlux, key: str = KEY, **options: Any) -> Provider:
    return Provider({"finalize_s": 0.5, **options}, Secret(key, "env:DEEPGRAM_KEY"), vendor.ws_url)


def test_turns_begin_may_be_over_go_on_and_end_as_the_model_says() -> None:
    async def scene() -> None:
        async with FakeFlux() as vendor:
            flux, ear = provider(vendor, eager_eot_threshold=0.4), Ear()
            await flux.warm()
            line = await flux.open(spec(pos=48000), ear)
            pos = feed(line, say("one two", RATE_HZ).pcm + silence(0.25), 48000)
            assert (await ear.wait(i.EagerEnd)).text == "one two"
            pos = feed(line, say("three four", RATE_HZ).pcm + silence(0.6), pos)
            assert (await ear.wait(i.VendorTurnEnded)).text == "one two three four"
            assert len(ear.all(i.Resumed)) == 1
            assert [e.text for e in ear.all(i.EagerEnd)] == ["one two", "one two three four"]
            assert ear.all(i.SttSpeechStarted)[0].pos == 48000  # the tones begin with the audio
            (final,) = ear.all(i.Final)
            assert (final.text, final.from_pos) == ("one two three four", 48000)
            assert [w.text for w in final.words] == ["one", "two", "three", "four"]
            assert final.words[0].from_pos == 48000
            assert final.words[3].to_pos < final.to_pos <= pos
            kinds = [type(e) for e in ear.told]
            assert kinds.index(i.Final) < kinds.index(i.VendorTurnEnded)  # words first, then that they are all
            feed(line, say("five", RATE_HZ).pcm + silence(0.6), pos)
            assert (await ear.wait(i.VendorTurnEnded, 2)).text == "five"
            contiguous(ear, 48000)
            await line.close(drain=False)
            await flux.close()
            assert vendor.seen["ForceEndTurn"] == 0  # nobody asked
            assert flux.counts.unknown > 0
        assert Provider.capabilities({}).turn_events

    run(scene())


def test_without_turn_events_turns_end_where_the_session_says_so() -> None:
    async def scene() -> None:
        async with FakeFlux(lag_s=0.08) as vendor:
            flux, ear = provider(vendor, turn_events=False), Ear()
            await flux.warm()
            line = await flux.open(spec(), ear)
            assert vendor.configured[0]["eot_threshold"] == "1"  # its own ends are suppressed
            line.speech_start(1, 0)
            pos = feed(line, say("ten of clubs", RATE_HZ).pcm, 0)
            line.speech_end(1, pos)
            pos = feed(line, silence(0.8), pos)  # longer than its own patience
            line.finalize(1, pos)
            done = await ear.wait(i.Finalized)
            assert (done.utt, done.to_pos) == (1, pos)
            assert texts(ear) == "ten of clubs"
            assert not ear.all(i.VendorTurnEnded)
            assert not ear.all(i.SttSpeechStarted)
            line.finalize(2, pos)  # nothing new
            assert len(ear.all(i.Finalized)) == 2
            pos = feed(line, silence(0.6), pos)
            line.finalize(3, pos)  # no turn is under way: the vendor ignores it, and its next message answers
            pos = feed(line, silence(0.6), pos)
            await ear.wait(i.Finalized, 3)
            assert flux.counts.late == 0
            contiguous(ear)
            await line.close(drain=False)
            await flux.close()
        assert not Provider.capabilities({"turn_events": False}).turn_events

    run(scene())


def test_words_that_were_under_way_when_the_turn_was_forced_are_forced_once_more() -> None:
    async def scene() -> None:
        async with FakeFlux(lag_s=0.5) as vendor:  # slower than the pause after which it is asked: one word
            flux, ear = provider(vendor, turn_events=False, finalize_s=5.0, chunk_ms=20), Ear()
            await flux.warm()
            line = await flux.open(spec(), ear)
            pos = speak(line, "ten of clubs and the queen of hearts", 0, 1, pause_s=0.2)
            await vendor.until(lambda: vendor.seen["ForceEndTurn"] == 1)
            assert not ear.all(i.Finalized)
            feed(line, silence(1.5), pos)  # the call goes on
            assert (await ear.wait(i.Finalized)).to_pos == pos
            assert texts(ear) == "ten of clubs and the queen of hearts"
            assert vendor.seen["ForceEndTurn"] == 2
            assert flux.counts.late == 0
            contiguous(ear)
            await line.close(drain=False)
            await flux.close()

    run(scene())


def test_a_vendor_that_does_not_answer_is_answered_for_and_no_word_is_doubled() -> None:
    async def scene() -> None:
        async with FakeFlux(end_s=1.0) as vendor:
            flux, ear = provider(vendor, finalize_s=0.3), Ear()
            await flux.warm()
            line = await flux.open(spec(), ear)
            vendor.orders.ignore("ForceEndTurn")
            end = speak(line, "ten of clubs", 0, 1, pause_s=0.4)
            assert (await ear.wait(i.Finalized)).to_pos == end
            assert texts(ear) == "ten of clubs"  # what it had said so far stood in
            end = feed(line, silence(1.2), end)
            await vendor.until(lambda: vendor.received_s >= end / RATE_HZ - 0.09)
            feed(line, say("king", RATE_HZ).pcm + silence(1.2), end)
            assert (await ear.wait(i.VendorTurnEnded)).text == "king"
            assert texts(ear) == "ten of clubs king"
            assert flux.counts.late == 1
            await line.close(drain=False)
            await flux.close()

    run(scene())


def test_a_lost_connection_costs_no_word_and_no_turn() -> None:
    async def scene() -> None:
        async with FakeFlux() as vendor:
            flux, ear = provider(vendor), Ear()
            await flux.warm()
            line = await flux.open(spec(), ear)
            line.speech_start(1, 0)
            pos = feed(line, say("one two three", RATE_HZ).pcm, 0)
            await vendor.until(lambda: vendor.received_s >= pos / RATE_HZ - 0.09)
            vendor.peers[0].cut()
            feed(line, silence(0.8), pos)
            assert (await ear.wait(i.VendorTurnEnded)).text == "one two three"
            assert texts(ear) == "one two three"
            contiguous(ear)
            assert flux.counts.reconnects == 1
            assert not ear.all(i.Fault)
            await line.close(drain=False)
            await flux.close()

    run(scene())


def test_options_change_in_place_where_the_vendor_can_and_by_another_connection_where_not() -> None:
    async def scene() -> None:
        async with FakeFlux() as vendor:
            flux, ear = provider(vendor, model="flux-general-multi", language="en", eager_eot_threshold=0.4), Ear()
            await flux.warm()
            line = await flux.open(spec(), ear)
            assert vendor.configured[0]["language_hints"] == ["en"]
            assert line.update({"keyterms": ["hearts"], "no_such": 1, "turn_events": False}) == (
                "no_such", "turn_events",
            )  # fmt: skip
            assert line.update({"language": "de", "eot_threshold": 0.9}) == ()
            assert line.update({"eager_eot_threshold": 0.95}) == ("eager_eot_threshold",)
            await vendor.until(lambda: len(vendor.configured) == 3)
            assert vendor.configured[1] == {"type": "Configure", "keyterms": ["hearts"]}
            assert vendor.configured[2] == {
                "type": "Configure", "language_hints": ["de"], "thresholds": {"eot_threshold": 0.9},
            }  # fmt: skip
            assert vendor.handshakes == 1
            assert line.update({"eager_eot_threshold": None}) == ()  # cannot be taken back by a message
            await vendor.until(lambda: vendor.handshakes == 2 and len(vendor.peers) == 1)
            assert "eager_eot_threshold" not in vendor.configured[3]
            assert (vendor.configured[3]["keyterms"], vendor.configured[3]["language_hints"]) == (["hearts"], ["de"])
            feed(line, say("zwei", RATE_HZ).pcm + silence(0.6), 0)
            final = await ear.wait(i.Final)
            assert (final.text, final.language) == ("zwei", "de")
            assert flux.counts.rolled_over == 1
            assert not ear.all(i.Fault)
            await line.close(drain=False)
            await flux.close()

    run(scene())


def test_a_paused_stream_is_held_by_silence_that_does_not_count() -> None:
    async def scene() -> None:
        async with FakeFlux() as vendor:
            flux, ear = provider(vendor, keepalive_s=0.1), Ear()
            await flux.warm()
            line = await flux.open(spec(), ear)
            pos = speak(line, "one", 0, 1)
            await ear.wait(i.Finalized)
            line.pause()
            before_s = vendor.received_s
            await vendor.until(lambda: vendor.received_s >= before_s + 0.3)
            line.resume()
            pos = speak(line, "two", pos, 2)
            assert (await ear.wait(i.Finalized, 2)).to_pos == pos
            assert [w.from_pos for f in ear.all(i.Final) if f.text == "two" for w in f.words] == [pos - 5760]
            assert sum(u.amounts["audio_s"] for u in ear.all(i.Usage)) <= pos / RATE_HZ
            contiguous(ear)
            await line.close(drain=False)
            await flux.close()

    run(scene())


def test_a_drained_stream_says_its_last_words() -> None:
    async def scene() -> None:
        async with FakeFlux(lag_s=0.3) as vendor:
            flux, ear = provider(vendor), Ear()
            await flux.warm()
            line = await flux.open(spec(), ear)
            pos = feed(line, say("these are my last words", RATE_HZ).pcm + silence(0.05), 0)
            await line.close(drain=True)
            assert texts(ear) == "these are my last words"
            assert sum(u.amounts["audio_s"] for u in ear.all(i.Usage)) == pytest.approx(pos / RATE_HZ, abs=0.001)
            assert vendor.seen["CloseStream"] == 1
            await flux.close()

    run(scene())


def test_an_error_of_the_vendor_is_told_with_its_code_and_the_stream_goes_elsewhere() -> None:
    async def scene() -> None:
        async with FakeFlux() as vendor:
            flux, ear = provider(vendor), Ear()
            await flux.warm()
            line = await flux.open(spec(), ear)
            await vendor.until(lambda: bool(vendor.peers))
            error = {"type": "Error", "sequence_id": 1, "code": "INSUFFICIENT_PERMISSIONS", "description": f"not {KEY}"}
            await vendor.peers[0].say(error)
            fault = await ear.wait(i.Fault)
            assert fault.kind == "auth"
            assert "INSUFFICIENT_PERMISSIONS" in fault.detail
            assert "canary" not in fault.detail
            await line.close(drain=False)
            await flux.close()

    run(scene())


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"eot_threshold": 0.4}, "eot_threshold"),
        ({"eager_eot_threshold": 0.8}, "eager_eot_threshold"),
        ({"eot_timeout_ms": 100}, "eot_timeout_ms"),
        ({"language": "not a tag"}, "language"),
    ],
)
def test_options_out_of_the_vendors_bounds_are_errors_of_the_file(options: dict[str, Any], names: str) -> None:
    with pytest.raises(ProviderError, match=names) as caught:
        Provider(options, Secret(KEY, "env:K"), None)
    assert caught.value.kind == "config"


def test_what_the_models_know_is_said_before_a_call() -> None:
    assert Provider.capabilities({}).languages == ("en",)
    assert "de" in Provider.capabilities({"model": "flux-general-multi"}).languages
    assert Provider.capabilities({"model": "some-other"}).languages == ()


def test_the_probe_hears_what_the_vendor_says_after_the_handshake() -> None:
    async def scene() -> None:
        async with FakeFlux() as vendor:
            good, unknown = provider(vendor), provider(vendor, model="nova-3")
            for each in (good, unknown):
                await each.warm()
            await good.probe()
            with pytest.raises(ProviderError) as caught:
                await unknown.probe()
            assert caught.value.kind == "config"
            vendor.orders.mangle(lambda m: [m.replace('"Connected"', '"Error"')] if isinstance(m, str) else [m])
            with pytest.raises(ProviderError) as caught:
                await good.probe()
            assert caught.value.kind == "overload"
            for each in (good, unknown):
                await each.close()

    run(scene())
