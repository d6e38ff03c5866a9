"""Deepgram's live recogniser against its fake: what only this adapter does; the contract has the rest."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from actors.providers import interface as i
from actors.providers.deepgram import Provider
from actors.providers.fake_tones import say
from actors.providers.vendor_stt import SttLine
from actors.secrets import Secret
from router.errors import ProviderError
from tests.vendors.fake_deepgram import FakeDeepgram, results
from tests.vendors.listener import Word
from tests.vendors.live import Ear, run, spec
from tests.vendors.server import KEY

RATE_HZ = 16000


def provider(vendor: FakeDeepgram, key: str = KEY, **options: Any) -> Provider:
    return Provider({"finalize_s": 0.3, **options}, Secret(key, "env:DEEPGRAM_KEY"), vendor.ws_url)


def feed(line: SttLine, pcm: bytes, pos: int) -> int:
    """Audio as a session sends it: 20 ms at a time. Returns the position after it."""
    for at in range(0, len(pcm), 640):
        line.audio(pos + at // 2, pcm[at : at + 640])
    return pos + len(pcm) // 2


def silence(seconds: float) -> bytes:
    return bytes(2 * round(RATE_HZ * seconds))


def speak(line: SttLine, text: str, pos: int, utt: int, pause_s: float = 0.2) -> int:
    """One utterance with its orders, asked to be finalized after a short pause. Returns the position after it."""
    line.speech_start(utt, pos)
    pos = feed(line, say(text, RATE_HZ).pcm, pos)
    line.speech_end(utt, pos)
    pos = feed(line, silence(pause_s), pos)
    line.finalize(utt, pos)
    return pos


def texts(ear: Ear) -> str:
    return " ".join(f.text for f in ear.all(i.Final) if f.text)


def contiguous(ear: Ear, begin: int = 0) -> None:
    for final in ear.all(i.Final):
        assert final.from_pos == begin
        assert final.to_pos > begin
        begin = final.to_pos


def test_a_call_of_two_utterances_at_positions_of_the_session() -> None:
    async def scene() -> None:
        async with FakeDeepgram() as vendor:
            deepgram, ear = provider(vendor, keyterms=["clubs"]), Ear()
            await deepgram.warm()
            line = await deepgram.open(spec(pos=48000), ear)
            end = speak(line, "ten of clubs", 48000, 1)
            await ear.wait(i.Finalized)
            words = ear.all(i.Final)[0].words
            assert [w.text for w in words] == ["ten", "of", "clubs"]
            assert words[0].from_pos == 48000  # the tones begin with the audio
            assert words[2].to_pos == pytest.approx(48000 + 12 * 640 - 160, abs=160)
            end = speak(line, "queen of hearts", end, 2)
            done = await ear.wait(i.Finalized, 2)
            assert (done.utt, done.to_pos) == (2, end)
            assert texts(ear) == "ten of clubs queen of hearts"
            assert {f.utt for f in ear.all(i.Final) if f.text} == {1, 2}
            assert ear.all(i.Partial)
            contiguous(ear, 48000)
            await line.close(drain=False)
            await deepgram.close()
            assert vendor.keyterms == [["clubs"]]
            assert deepgram.counts.handshakes == vendor.handshakes == 1
            assert deepgram.counts.unknown > 0  # a type nobody knows is no fault
            assert deepgram.counts.late == 0

    run(scene())


def test_finalize_is_answered_when_the_vendor_does_not_and_no_word_is_lost_or_doubled() -> None:
    async def scene() -> None:
        async with FakeDeepgram() as vendor:
            deepgram, ear = provider(vendor, endpointing_ms=0), Ear()
            await deepgram.warm()
            line = await deepgram.open(spec(), ear)
            vendor.orders.ignore("Finalize")
            end = speak(line, "ten of clubs", 0, 1, pause_s=0.4)
            done = await ear.wait(i.Finalized)
            assert (done.utt, done.to_pos) == (1, end)
            assert texts(ear) == "ten of clubs"  # the interim stood in
            vendor.orders.ignored.clear()
            end = speak(line, "king", end, 2)  # the vendor's final covers both utterances
            await ear.wait(i.Finalized, 2)
            assert texts(ear) == "ten of clubs king"
            contiguous(ear)
            assert deepgram.counts.late == 1
            line.finalize(3, end)  # nothing new: answered at once, and the vendor is not bothered
            assert ear.all(i.Finalized)[-1] == i.Finalized(utt=3, to_pos=end)
            assert vendor.seen["Finalize"] == 2
            await line.close(drain=False)
            await deepgram.close()

    run(scene())


@pytest.mark.parametrize("how", ["cut", "close"])
def test_a_lost_connection_is_replaced_once_and_its_audio_sent_again(how: str) -> None:
    async def scene() -> None:
        async with FakeDeepgram() as vendor:
            deepgram, ear = provider(vendor, finalize_s=5.0), Ear()
            await deepgram.warm()
            line = await deepgram.open(spec(), ear)
            pos = speak(line, "one", 0, 1)
            await ear.wait(i.Finalized)
            line.speech_start(2, pos)
            pos = feed(line, say("two three", RATE_HZ).pcm, pos)
            await vendor.until(lambda: vendor.received_s >= pos / RATE_HZ - 0.06)
            if how == "cut":
                vendor.peers[0].cut()
            else:
                await asyncio.gather(vendor.peers[0].close(1011, "NET-0000"), return_exceptions=True)
            line.speech_end(2, pos)
            pos = feed(line, silence(0.2), pos)
            line.finalize(2, pos)
            await ear.wait(i.Finalized, 2)
            assert texts(ear) == "one two three"
            contiguous(ear)
            assert not ear.all(i.Fault)
            last = ear.all(i.Final)[-1].words[-1]
            assert pos - 0.3 * RATE_HZ < last.to_pos < pos  # positions did not start again with the connection
            assert deepgram.counts.reconnects == 1
            assert deepgram.counts.replayed_s > 0.2
            vendor.peers[0].cut()  # again, at once: that will not pass
            fault = await ear.wait(i.Fault)
            assert fault.kind == "connect"
            assert ear.told[-1] is fault
            await line.close(drain=False)
            await deepgram.close()

    run(scene())


def test_audio_is_sent_again_no_faster_than_the_vendor_allows() -> None:
    async def scene() -> None:
        async with FakeDeepgram() as vendor:
            deepgram, ear = provider(vendor, endpointing_ms=0, finalize_s=5.0), Ear()
            await deepgram.warm()
            line = await deepgram.open(spec(), ear)
            line.speech_start(1, 0)
            pos = feed(line, say("one two three", RATE_HZ).pcm, 0)
            await vendor.until(lambda: vendor.received_s >= 0.5)
            vendor.peers[0].cut()
            await vendor.until(lambda: vendor.handshakes == 2)
            began_s, before_s = asyncio.get_running_loop().time(), vendor.received_s
            line.finalize(1, pos)
            await ear.wait(i.Finalized)
            took_s = asyncio.get_running_loop().time() - began_s
            replayed_s = vendor.received_s - before_s
            assert replayed_s >= 0.5
            assert took_s >= (replayed_s - 0.1) / 1.25 - 0.05
            assert texts(ear) == "one two three"
            await line.close(drain=False)
            await deepgram.close()

    run(scene())


def test_keyterms_change_in_place_and_the_language_by_another_connection() -> None:
    async def scene() -> None:
        async with FakeDeepgram() as vendor:
            deepgram, ear = provider(vendor), Ear()
            await deepgram.warm()
            line = await deepgram.open(spec(), ear)
            pos = speak(line, "one", 0, 1)
            await ear.wait(i.Finalized)
            assert line.update({"keyterms": ["hearts", "spades"], "no_such": 1, "chunk_ms": 20}) == (
                "no_such", "chunk_ms",
            )  # fmt: skip
            await vendor.until(lambda: vendor.keyterms[-1] == ["hearts", "spades"])
            assert vendor.handshakes == 1
            assert line.update({"language": "de"}) == ()
            await vendor.until(lambda: vendor.languages == ["en", "de"] and len(vendor.peers) == 1)
            assert vendor.keyterms[-1] == ["hearts", "spades"]  # the new connection has them from its handshake
            pos = speak(line, "zwei", pos, 2)
            assert (await ear.wait(i.Finalized, 2)).to_pos == pos
            assert texts(ear) == "one zwei"
            contiguous(ear)
            assert not ear.all(i.Fault)
            assert (deepgram.counts.rolled_over, deepgram.counts.reconnects) == (1, 0)
            line.update({"language": "xx"})  # the vendor does not have it
            fault = await ear.wait(i.Fault)
            assert fault.kind == "config"
            assert "for tenant acme" in fault.detail
            await line.close(drain=False)
            await deepgram.close()

    run(scene())


def test_what_a_replaced_connection_still_says_is_not_heard() -> None:
    async def scene() -> None:
        async with FakeDeepgram() as vendor:
            deepgram, ear = provider(vendor, finalize_s=5.0), Ear()
            await deepgram.warm()
            line = await deepgram.open(spec(), ear)
            vendor.orders.stall()
            pos = speak(line, "one", 0, 1)
            await vendor.until(lambda: vendor.received_s > 0)
            old = vendor.peers[0]
            line.update({"language": "de"})
            await vendor.until(lambda: deepgram.counts.rolled_over == 1)
            await old.say(results([Word("never", 0.0, 0.1)], 0.0, 0.2, True, True, True))
            vendor.orders.allow()
            assert (await ear.wait(i.Finalized)).to_pos == pos
            assert texts(ear) == "one"
            assert deepgram.counts.stale > 0
            contiguous(ear)
            await line.close(drain=False)
            await deepgram.close()

    run(scene())


def test_a_time_that_cannot_be_is_a_fault() -> None:
    async def scene() -> None:
        async with FakeDeepgram() as vendor:
            deepgram, ear = provider(vendor), Ear()
            await deepgram.warm()
            line = await deepgram.open(spec(), ear)
            feed(line, silence(0.1), 0)
            await vendor.until(lambda: vendor.received_s > 0.09)
            await vendor.peers[0].say(results([Word("never", 90.0, 90.1)], 89.0, 2.0, True, True, False))
            assert (await ear.wait(i.Fault)).kind == "protocol"
            assert not ear.all(i.Final)
            await line.close(drain=False)
            await deepgram.close()

    run(scene())


def test_a_paused_stream_is_kept_alive_and_an_old_connection_replaced_before_it_is_too_old() -> None:
    async def scene() -> None:
        async with FakeDeepgram(idle_s=0.3) as vendor:
            deepgram, ear = provider(vendor, keepalive_s=0.1, max_connection_s=1.0), Ear()
            await deepgram.warm()
            line = await deepgram.open(spec(), ear)
            await vendor.until(lambda: vendor.received_s > 0)  # silence: a KeepAlive before any audio holds nothing
            pos = speak(line, "one", 0, 1)
            await ear.wait(i.Finalized)
            line.pause()
            await vendor.until(lambda: vendor.seen["KeepAlive"] >= 2)
            await vendor.until(lambda: vendor.handshakes == 2)
            line.resume()
            pos = speak(line, "two", pos, 2)
            assert (await ear.wait(i.Finalized, 2)).to_pos == pos
            assert texts(ear) == "one two"
            contiguous(ear)
            assert ear.all(i.Final)[0].words[0].from_pos == 0  # the silence of ours before it is not the session's
            assert not ear.all(i.Fault)
            assert deepgram.counts.rolled_over == 1
            await line.close(drain=False)
            await deepgram.close()

    run(scene())


def test_its_endpointing_ends_turns_where_it_has_the_authority() -> None:
    async def scene() -> None:
        async with FakeDeepgram() as vendor:
            deepgram, ear = provider(vendor, turn_events=True, endpointing_ms=100), Ear()
            await deepgram.warm()
            line = await deepgram.open(spec(), ear)
            pos = feed(line, say("one two", RATE_HZ).pcm + silence(0.3), 0)
            assert (await ear.wait(i.VendorTurnEnded)).text == "one two"
            assert len(ear.all(i.SttSpeechStarted)) == 1
            vendor.orders.mangle(_no_endpoint)  # noise: no speech_final comes
            feed(line, say("three", RATE_HZ).pcm + silence(1.3), pos)
            assert (await ear.wait(i.VendorTurnEnded, 2)).text == "three"
            await line.close(drain=False)
            await deepgram.close()
        assert Provider.capabilities({"turn_events": True}).turn_events
        assert not Provider.capabilities({}).turn_events

    run(scene())


def _no_endpoint(message: Any) -> list[Any]:
    return [message.replace('"speech_final": true', '"speech_final": false')] if isinstance(message, str) else [message]


def test_speech_without_any_answer_is_a_stall_and_a_cough_is_none() -> None:
    async def scene() -> None:
        async with FakeDeepgram() as vendor:
            deepgram, ear = provider(vendor, stall_s=0.3, finalize_s=0.1), Ear()
            await deepgram.warm()
            line = await deepgram.open(spec(), ear)
            vendor.orders.stall()
            pos = speak(line, "hm", 0, 1)  # a cough, answered by us
            await ear.wait(i.Finalized)
            pos = feed(line, silence(2.0), pos)
            began_s = asyncio.get_running_loop().time()
            line.speech_start(2, pos)
            pos = feed(line, say("one two three four five six seven eight nine", RATE_HZ).pcm, pos)
            fault = await ear.wait(i.Fault)
            assert fault.kind == "stall"
            since_s = ear.at_s[-1] - began_s
            assert since_s >= 0.3  # counted from the speech, not from the cough or the silence before it
            told = len(ear.told)
            line.finalize(2, pos)
            assert len(ear.told) == told  # nothing after a fault
            await line.close(drain=False)
            await deepgram.close()

    run(scene())


def test_a_drained_stream_says_its_last_words_and_what_it_used() -> None:
    async def scene() -> None:
        async with FakeDeepgram() as vendor:
            deepgram, ear = provider(vendor, endpointing_ms=0), Ear()
            await deepgram.warm()
            line = await deepgram.open(spec(), ear)
            pos = feed(line, say("last words", RATE_HZ).pcm + silence(0.11), 0)
            await line.close(drain=True)
            assert texts(ear) == "last words"
            assert sum(u.amounts["audio_s"] for u in ear.all(i.Usage)) == pytest.approx(pos / RATE_HZ, abs=0.001)
            assert vendor.seen["CloseStream"] == 1
            await deepgram.close()

    run(scene())


def test_the_probe_says_what_is_wrong_with_key_and_parameters() -> None:
    async def scene() -> None:
        async with FakeDeepgram() as vendor:
            good = provider(vendor)
            await good.warm()
            await good.probe()
            await good.close()
            for bad, kind in (
                (provider(vendor, key="wrong-canary"), "auth"),
                (provider(vendor, language="xx"), "config"),
            ):
                await bad.warm()
                with pytest.raises(ProviderError) as caught:
                    await bad.probe()
                assert caught.value.kind == kind
                assert not caught.value.retryable
                assert "canary" not in str(caught.value)
                await bad.close()

    run(scene())
