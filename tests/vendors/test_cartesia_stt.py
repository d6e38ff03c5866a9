"""Cartesia's speech to text against its fake: what only this adapter does; the contract has the rest."""

from __future__ import annotations

from typing import Any

import pytest

from actors.providers import interface as i
from actors.providers.cartesia_stt import Provider
from actors.providers.fake_tones import say
from actors.secrets import Secret
from router.errors import ProviderError
from tests.vendors.fake_cartesia_stt import REQUEST_ID, FakeCartesiaStt, transcript
from tests.vendors.live import Ear, run, spec
from tests.vendors.server import KEY
from tests.vendors.test_deepgram import RATE_HZ, contiguous, feed, silence, speak, texts


def provider(vendor: FakeCartesiaStt, key: str = KEY, **options: Any) -> Provider:
    return Provider({"finalize_s": 0.5, **options}, Secret(key, "env:CARTESIA_KEY"), vendor.ws_url)


def test_finals_are_put_together_from_pieces_that_cut_words() -> None:
    async def scene() -> None:
        async with FakeCartesiaStt() as vendor:
            cartesia, ear = provider(vendor, keyterms=["clubs"]), Ear()
            await cartesia.warm()
            line = await cartesia.open(spec(pos=48000), ear)
            assert vendor.configured[0]["keyterms"] == ["clubs"]
            pos = speak(line, "ten of clubs", 48000, 1)
            assert (await ear.wait(i.Finalized)).to_pos == pos
            end = speak(line, "queen", pos, 2)
            await ear.wait(i.Finalized, 2)
            assert [(f.text, f.from_pos, f.to_pos) for f in ear.all(i.Final)] == [
                ("ten of clubs", 48000, pos), ("queen", pos, end),
            ]  # fmt: skip
            assert ear.all(i.Final)[0].language == "en"
            assert all("  " not in p.text and p.text == p.text.strip() for p in ear.all(i.Partial))
            assert cartesia.counts.late == 0
            assert not ear.all(i.VendorTurnEnded)
            await line.close(drain=False)
            await cartesia.close()
        assert not Provider.capabilities({}).turn_events

    run(scene())


def test_what_an_older_model_settles_by_itself_is_told_once_its_last_word_is_whole() -> None:
    async def scene() -> None:
        async with FakeCartesiaStt(auto_s=0.3) as vendor:
            cartesia, ear = provider(vendor, model="ink-whisper", language="en"), Ear()
            await cartesia.warm()
            line = await cartesia.open(spec(), ear)
            line.speech_start(1, 0)
            pos = feed(line, say("ten of clubs", RATE_HZ).pcm + silence(0.4), 0)
            await ear.until(lambda: any(p.text == "ten of clubs" for p in ear.all(i.Partial)))
            assert not ear.all(i.Final)  # it might go on within the word
            pos = feed(line, say("king", RATE_HZ).pcm, pos)
            line.speech_end(1, pos)
            await ear.until(lambda: texts(ear) == "ten of clubs")
            pos = feed(line, silence(0.2), pos)
            line.finalize(1, pos)
            await ear.wait(i.Finalized)
            assert [f.text for f in ear.all(i.Final)] == ["ten of clubs", "king"]
            contiguous(ear)
            await line.close(drain=False)
            await cartesia.close()

    run(scene())


def test_an_answer_that_comes_too_late_is_no_answer_to_the_next_question() -> None:
    async def scene() -> None:
        async with FakeCartesiaStt() as vendor:
            cartesia, ear = provider(vendor, finalize_s=0.3), Ear()
            await cartesia.warm()
            line = await cartesia.open(spec(), ear)
            pos = feed(line, say("ten of clubs", RATE_HZ).pcm + silence(0.2), 0)
            await ear.until(lambda: any("clu" in p.text for p in ear.all(i.Partial)))
            vendor.orders.stall()
            line.finalize(1, pos)
            assert (await ear.wait(i.Finalized)).to_pos == pos  # by us: what it had said so far stood in
            end = feed(line, say("king", RATE_HZ).pcm + silence(0.2), pos)
            line.finalize(2, end)
            vendor.orders.allow()
            assert (await ear.wait(i.Finalized, 2)).to_pos == end
            # the first answer told what is new of the first question, and closed nothing else
            assert [f.text for f in ear.all(i.Final) if f.text][-1] == "king"
            assert " ".join(f.text for f in ear.all(i.Final) if f.text).count("ten") == 1
            assert ear.all(i.Final)[-1].to_pos == end
            assert cartesia.counts.late == 1
            await line.close(drain=False)
            await cartesia.close()

    run(scene())


def test_turns_begin_may_be_over_go_on_and_end_as_the_vendor_says() -> None:
    async def scene() -> None:
        async with FakeCartesiaStt() as vendor:
            cartesia, ear = provider(vendor, turn_events=True, eager=True, turn_end_threshold=0.1), Ear()
            await cartesia.warm()
            await cartesia.probe()
            line = await cartesia.open(spec(pos=48000), ear)
            assert vendor.configured[-1]["turn_end_threshold"] == "0.1"
            pos = feed(line, say("one two", RATE_HZ).pcm + silence(0.3), 48000)
            assert (await ear.wait(i.EagerEnd)).text == "one two"
            pos = feed(line, say("three", RATE_HZ).pcm + silence(0.6), pos)
            assert (await ear.wait(i.VendorTurnEnded)).text == "one two three"
            assert len(ear.all(i.Resumed)) == 1
            assert len(ear.all(i.SttSpeechStarted)) == 1
            feed(line, say("four", RATE_HZ).pcm + silence(0.6), pos)
            assert (await ear.wait(i.VendorTurnEnded, 2)).text == "four"
            assert texts(ear) == "one two three four"
            contiguous(ear, 48000)
            kinds = [type(e) for e in ear.told]
            assert kinds.index(i.Final) < kinds.index(i.VendorTurnEnded)
            await line.close(drain=False)
            await cartesia.close()
        assert Provider.capabilities({"turn_events": True}).turn_events
        assert Provider.capabilities({"turn_events": True}).languages == ("en",)

    run(scene())


def test_turns_cannot_be_asked_for_and_are_answered_for() -> None:
    async def scene() -> None:
        async with FakeCartesiaStt(end_s=0.4) as vendor:
            cartesia, ear = provider(vendor, turn_events=True, finalize_s=0.3), Ear()
            await cartesia.warm()
            line = await cartesia.open(spec(), ear)
            line.speech_start(1, 0)
            pos = feed(line, say("ten of clubs", RATE_HZ).pcm, 0)
            line.speech_end(1, pos)
            pos = feed(line, silence(0.6), pos)
            await ear.wait(i.VendorTurnEnded)
            line.finalize(1, pos)  # the vendor was quicker: at once
            assert ear.all(i.Finalized)[-1].to_pos == pos
            pos = speak(line, "king", pos, 2)  # it waits for more silence than it gets
            assert (await ear.wait(i.Finalized, 2)).to_pos == pos
            assert cartesia.counts.late == 1
            assert texts(ear) == "ten of clubs king"
            end = feed(line, silence(0.5), pos)
            await ear.until(lambda: ear.all(i.Final)[-1].to_pos > pos)  # the vendor's end: nothing is new in it
            feed(line, say("five", RATE_HZ).pcm + silence(0.6), end)
            assert (await ear.wait(i.VendorTurnEnded, 2)).text == "five"
            assert texts(ear) == "ten of clubs king five"
            assert not ear.all(i.EagerEnd)  # told by the vendor, not wanted
            contiguous(ear)
            await line.close(drain=False)
            await cartesia.close()

    run(scene())


@pytest.mark.parametrize("turn_events", [False, True])
def test_a_lost_connection_costs_no_word(turn_events: bool) -> None:
    async def scene() -> None:
        async with FakeCartesiaStt() as vendor:
            cartesia, ear = provider(vendor, turn_events=turn_events, finalize_s=5.0), Ear()
            await cartesia.warm()
            line = await cartesia.open(spec(), ear)
            line.speech_start(1, 0)
            pos = feed(line, say("one two three", RATE_HZ).pcm, 0)
            await vendor.until(lambda: vendor.received_s >= pos / RATE_HZ - 0.11)
            vendor.peers[0].cut()
            line.speech_end(1, pos)
            pos = feed(line, silence(0.6), pos)
            line.finalize(1, pos)
            await ear.wait(i.Finalized)
            assert texts(ear) == "one two three"
            contiguous(ear)
            assert cartesia.counts.reconnects == 1
            assert not ear.all(i.Fault)
            await line.close(drain=False)
            await cartesia.close()

    run(scene())


@pytest.mark.parametrize("turn_events", [False, True])
def test_a_drained_stream_says_its_last_words(turn_events: bool) -> None:
    async def scene() -> None:
        async with FakeCartesiaStt() as vendor:
            cartesia, ear = provider(vendor, turn_events=turn_events), Ear()
            await cartesia.warm()
            line = await cartesia.open(spec(), ear)
            pos = feed(line, say("these are my last words", RATE_HZ).pcm + silence(0.05), 0)
            await line.close(drain=True)
            assert texts(ear) == "these are my last words"
            assert sum(u.amounts["audio_s"] for u in ear.all(i.Usage)) == pytest.approx(pos / RATE_HZ, abs=0.001)
            assert vendor.seen["close"] == 1
            await cartesia.close()

    run(scene())


def test_a_paused_stream_is_held_by_silence_and_one_that_was_closed_for_idleness_is_replaced() -> None:
    async def scene() -> None:
        async with FakeCartesiaStt(idle_s=0.3) as vendor:
            cartesia, ear = provider(vendor, keepalive_s=0.1), Ear()
            await cartesia.warm()
            line = await cartesia.open(spec(), ear)
            pos = speak(line, "one", 0, 1)
            await ear.wait(i.Finalized)
            line.pause()
            before_s = vendor.received_s
            await vendor.until(lambda: vendor.received_s >= before_s + 0.3)
            line.resume()
            pos = speak(line, "two", pos, 2)
            assert (await ear.wait(i.Finalized, 2)).to_pos == pos
            assert texts(ear) == "one two"
            assert vendor.handshakes == 1
            await line.close(drain=False)
            await cartesia.close()

    run(scene())


def test_thresholds_change_in_place_and_the_rest_by_another_connection() -> None:
    async def scene() -> None:
        async with FakeCartesiaStt() as vendor:
            cartesia, ear = provider(vendor, turn_events=True), Ear()
            await cartesia.warm()
            line = await cartesia.open(spec(), ear)
            assert line.update({"turn_end_threshold": 0.3, "turn_end_timeout_ms": 3000, "eager": True}) == ("eager",)
            assert line.update({"turn_end_threshold": 0.45}) == ("turn_end_threshold",)  # above the eager one
            await vendor.until(lambda: len(vendor.configured) == 2)
            assert vendor.configured[1] == {"type": "config", "turn": {"end_threshold": 0.3, "end_timeout_ms": 3000}}
            assert vendor.handshakes == 1
            assert line.update({"keyterms": ["hearts"]}) == ()
            await vendor.until(lambda: vendor.handshakes == 2 and len(vendor.peers) == 1)
            assert vendor.configured[2]["keyterms"] == ["hearts"]
            assert vendor.configured[2]["turn_end_threshold"] == "0.3"
            assert not ear.all(i.Fault)
            await line.close(drain=False)
            await cartesia.close()

    run(scene())


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ({"status_code": 401, "title": "Unauthorized", "message": f"not {KEY}"}, "auth"),
        ({"status_code": 400, "title": "Invalid model", "message": "", "error_code": "model_not_found"}, "config"),
        ({"status_code": 402, "title": "Out of credits", "message": ""}, "quota"),
        ({"status_code": 429, "title": "Too many", "message": "Concurrency limit reached."}, "busy"),
        ({"title": "Broken", "message": "no status"}, "protocol"),
    ],
)
def test_an_error_of_the_vendor_has_its_kind(told: dict[str, Any], kind: str) -> None:
    async def scene() -> None:
        async with FakeCartesiaStt() as vendor:
            cartesia, ear = provider(vendor), Ear()
            await cartesia.warm()
            line = await cartesia.open(spec(), ear)
            await vendor.until(lambda: bool(vendor.configured))
            await vendor.peers[0].say({"type": "error", "request_id": REQUEST_ID, **told})
            fault = await ear.wait(i.Fault)
            assert fault.kind == kind
            assert told["title"] in fault.detail
            assert "canary" not in fault.detail
            await line.close(drain=False)
            await cartesia.close()

    run(scene())


def test_an_answer_that_nobody_asked_for_closes_nothing() -> None:
    async def scene() -> None:
        async with FakeCartesiaStt() as vendor:
            cartesia, ear = provider(vendor), Ear()
            await cartesia.warm()
            line = await cartesia.open(spec(), ear)
            feed(line, say("ten", RATE_HZ).pcm, 0)
            await vendor.until(lambda: vendor.received_s > 0.1)
            await vendor.peers[0].say({"type": "flush_done", "request_id": REQUEST_ID})
            await vendor.peers[0].say(transcript("nine", is_final=False))
            await ear.until(lambda: any(p.text == "nine" for p in ear.all(i.Partial)))
            assert not ear.all(i.Final)
            assert cartesia.counts.stale == 1
            await line.close(drain=False)
            await cartesia.close()

    run(scene())


def test_the_probe_hears_what_the_vendor_says_after_the_handshake() -> None:
    async def scene() -> None:
        async with FakeCartesiaStt() as vendor:
            for bad, kind in (
                (provider(vendor, key="wrong-canary"), "auth"),
                (provider(vendor, model="ink-9", turn_events=True), "config"),
            ):
                await bad.warm()
                with pytest.raises(ProviderError) as caught:
                    await bad.probe()
                assert caught.value.kind == kind
                assert "canary" not in str(caught.value)
                await bad.close()

    run(scene())


@pytest.mark.parametrize(
    "options",
    [
        {"turn_end_threshold": 0.45}, {"turn_eager_end_threshold": 0.6, "turn_start_threshold": 0.5},
        {"turn_end_timeout_ms": 100}, {"keyterms": ["x" * 100] * 13},
    ],
)  # fmt: skip
def test_options_out_of_the_vendors_bounds_are_errors_of_the_file(options: dict[str, Any]) -> None:
    with pytest.raises(ProviderError) as caught:
        Provider(options, Secret(KEY, "env:K"), None)
    assert caught.value.kind == "config"
