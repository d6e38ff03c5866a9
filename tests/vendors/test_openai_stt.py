"""OpenAI's realtime transcription against its fake: what only this adapter does; the contract has the rest."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from actors.providers import interface as i
from actors.providers import options as stream_options
from actors.providers.fake_tones import say
from actors.providers.openai_stt import OpenAiSttOptions, Provider
from actors.secrets import Secret
from router.errors import ProviderError
from tests.vendors import ears
from tests.vendors.ears import contiguous, texts
from tests.vendors.fake_openai_stt import FakeOpenAiStt
from tests.vendors.live import Ear, run, spec
from tests.vendors.server import KEY

RATE_HZ = 24000
AFTER = {"model": "gpt-4o-mini-transcribe"}
"""A model that writes after the commit."""


def provider(vendor: FakeOpenAiStt, key: str = KEY, **options: Any) -> Provider:
    return Provider({"finalize_s": 1.0, **options}, Secret(key, "env:OPENAI_KEY"), f"{vendor.ws_url}/v1")


def feed(line: Any, pcm: bytes, pos: int) -> int:
    return ears.feed(line, pcm, pos, RATE_HZ)


def silence(seconds: float) -> bytes:
    return ears.silence(seconds, RATE_HZ)


def speak(line: Any, text: str, pos: int, utt: int, pause_s: float = 0.2) -> int:
    return ears.speak(line, text, pos, utt, pause_s, RATE_HZ)


def test_a_call_of_two_utterances_and_the_silence_between_them_is_not_sent() -> None:
    async def scene() -> None:
        async with FakeOpenAiStt() as vendor:
            openai, ear = provider(vendor, language="en-GB", keyterms=["clubs"], delay="low"), Ear()
            await openai.warm()
            line = await openai.open(spec(pos=48000, rate_hz=RATE_HZ), ear)
            pos = feed(line, silence(2.0), 48000)
            end = speak(line, "ten of clubs", pos, 1)
            done = await ear.wait(i.Finalized)
            assert (done.utt, done.to_pos) == (1, end)
            assert [p.text for p in ear.all(i.Partial)][:2] == ["ten", "ten of"]
            pos = feed(line, silence(3.0), end)
            end = speak(line, "queen of hearts", pos, 2)
            done = await ear.wait(i.Finalized, 2)
            assert (done.utt, done.to_pos) == (2, end)
            assert texts(ear) == "ten of clubs queen of hearts"
            assert {f.utt for f in ear.all(i.Final)} == {1, 2}
            contiguous(ear, 48000)
            spoken_s = (end - 48000) / RATE_HZ - 5.0
            assert spoken_s <= vendor.received_s <= spoken_s + 2 * 0.3 + 0.01
            await line.close(drain=False)
            billed_s = sum(u.amounts["audio_s"] for u in ear.all(i.Usage))
            assert billed_s == pytest.approx(vendor.received_s, abs=0.001)
            await openai.close()
            assert vendor.sessions == [{
                "format": {"type": "audio/pcm", "rate": 24000}, "noise_reduction": None, "turn_detection": None,
                "transcription": {"model": "gpt-live-transcribe", "language": "en", "keywords": ["clubs"],
                                  "delay": "low"},
            }]  # fmt: skip
            assert (openai.counts.handshakes, openai.counts.late, openai.counts.stale) == (1, 0, 0)

    run(scene())


def test_one_that_writes_after_the_commit_owes_nothing_before_it_and_tells_its_tokens() -> None:
    async def scene() -> None:
        async with FakeOpenAiStt() as vendor:
            openai, ear = provider(vendor, **AFTER, stall_s=0.3, finalize_s=0.2), Ear()
            await openai.warm()
            line = await openai.open(spec(rate_hz=RATE_HZ), ear)
            line.speech_start(1, 0)
            pos = feed(line, say("all work and no play makes jack a dull boy", RATE_HZ).pcm, 0)
            await vendor.until(lambda: vendor.received_s > 1.6)
            await asyncio.sleep(0.4)  # longer than a stall
            assert not ear.told
            line.speech_end(1, pos)
            line.finalize(1, pos)
            await ear.wait(i.Finalized)
            assert texts(ear) == "all work and no play makes jack a dull boy"
            tokens = next(u.amounts for u in ear.all(i.Usage) if "tokens_in" in u.amounts)
            assert tokens == {"audio_tokens_in": 17.0, "tokens_in": 3.0, "tokens_out": 5.0}
            vendor.orders.ignore("input_audio_buffer.commit")
            speak(line, "two", pos, 2)
            fault = await ear.wait(i.Fault)
            assert fault.kind == "stall"
            await openai.close()

    run(scene())


def test_texts_that_come_late_and_out_of_order_are_told_in_order_and_none_is_lost() -> None:
    async def scene() -> None:
        async with FakeOpenAiStt() as vendor:
            openai, ear = provider(vendor, **AFTER, finalize_s=0.2), Ear()
            await openai.warm()
            line = await openai.open(spec(rate_hz=RATE_HZ), ear)
            vendor.withheld = []
            vendor.orders.mangle(lambda message: [] if ".delta" in str(message) else [message])  # nothing to stand in
            pos = speak(line, "one", 0, 1)
            await ear.wait(i.Finalized)  # by us
            assert texts(ear) == ""
            held = vendor.withheld
            await vendor.until(lambda: len(held) == 1)
            await vendor.release()
            late = await ear.wait(i.Final, 2)
            assert (late.text, late.utt, late.from_pos, late.to_pos) == ("one", 1, pos, pos)
            vendor.withheld = held = []
            pos = speak(line, "two", pos, 2)
            pos = speak(line, "three", pos, 3)
            await vendor.until(lambda: len(held) == 2)
            await vendor.release([1, 0])
            await ear.wait(i.Finalized, 3)
            assert texts(ear) == "one two three"
            assert [f.utt for f in ear.all(i.Final) if f.text] == [1, 2, 3]
            contiguous(ear)
            assert openai.counts.late == 1
            await openai.close()

    run(scene())


def test_what_the_vendor_fails_at_is_sent_again_and_what_has_no_words_is_not() -> None:
    async def scene() -> None:
        async with FakeOpenAiStt() as vendor:
            openai, ear = provider(vendor, finalize_s=3.0), Ear()
            await openai.warm()
            line = await openai.open(spec(rate_hz=RATE_HZ), ear)
            vendor.failures = [{"type": "transcription_error", "code": "audio_unintelligible", "message": "Nothing."}]
            pos = speak(line, "hm", 0, 1)
            assert (await ear.wait(i.Finalized)).utt == 1
            assert texts(ear) == ""
            vendor.failures = [{"type": "server_error", "code": "server_error", "message": "Sorry."}]
            pos = speak(line, "two three", pos, 2)
            await ear.wait(i.Finalized, 2)
            assert texts(ear) == "two three"
            contiguous(ear)
            assert openai.counts.reconnects == 1
            vendor.failures = [{"type": "insufficient_quota", "code": "insufficient_quota", "message": "No more."}]
            speak(line, "four", pos, 3)
            assert (await ear.wait(i.Fault)).kind == "quota"
            await openai.close()

    run(scene())


def test_its_turn_detection_ends_turns_where_it_has_the_authority() -> None:
    async def scene() -> None:
        async with FakeOpenAiStt() as vendor:
            openai, ear = provider(vendor, **AFTER, turn_detection="server_vad", silence_ms=200), Ear()
            await openai.warm()
            line = await openai.open(spec(rate_hz=RATE_HZ), ear)
            pos = feed(line, silence(0.5) + say("one two", RATE_HZ).pcm + silence(0.4), 0)
            assert (await ear.wait(i.VendorTurnEnded)).text == "one two"
            assert ear.all(i.SttSpeechStarted)
            assert ear.all(i.SttSpeechStopped)[0].pos <= pos
            line.finalize(1, pos)  # the session asks all the same: what it committed is answered by then
            assert (await ear.wait(i.Finalized)).to_pos == pos
            pos = speak(line, "three", pos, 2, pause_s=0.1)  # before the vendor's own silence is over
            await ear.wait(i.Finalized, 2)
            assert texts(ear) == "one two three"
            contiguous(ear)
            assert len(ear.all(i.VendorTurnEnded)) == 1
            assert not ear.all(i.Fault)
            await openai.close()
        assert Provider.capabilities({**AFTER, "turn_detection": "server_vad"}).turn_events
        assert not Provider.capabilities({}).turn_events

    run(scene())


def test_hints_change_in_place_the_model_by_another_connection_and_its_kind_not_at_all() -> None:
    async def scene() -> None:
        async with FakeOpenAiStt() as vendor:
            openai, ear = provider(vendor), Ear()
            await openai.warm()
            line = await openai.open(spec(rate_hz=RATE_HZ), ear)
            pos = speak(line, "one", 0, 1)
            await ear.wait(i.Finalized)
            refused = line.update(
                {"language": "de", "keyterms": ["zwei"], "no_such": 1, "turn_detection": "server_vad"}
            )
            assert set(refused) == {"no_such", "turn_detection"}
            await vendor.until(lambda: len(vendor.sessions) == 2)
            hints = vendor.sessions[-1]["transcription"]
            assert (hints["language"], hints["keywords"], vendor.handshakes) == ("de", ["zwei"], 1)
            assert line.update({"model": "whisper-1"}) == ("model",)
            assert line.update({"keyterms": []}) == ()
            assert line.update({"model": "gpt-realtime-whisper"}) == ()
            await vendor.until(lambda: len(vendor.sessions) == 4 and len(vendor.peers) == 1)
            assert vendor.handshakes == 2
            assert vendor.sessions[-1]["transcription"] == {"model": "gpt-realtime-whisper", "language": "de"}
            speak(line, "zwei", pos, 2)
            await ear.wait(i.Finalized, 2)
            assert texts(ear) == "one zwei"
            assert openai.counts.rolled_over == 1
            await openai.close()

    run(scene())


def test_too_little_audio_is_answered_and_a_drained_stream_says_its_last_words_at_once() -> None:
    async def scene() -> None:
        async with FakeOpenAiStt() as vendor:
            openai, ear = provider(vendor, finalize_s=5.0), Ear()
            await openai.warm()
            line = await openai.open(spec(rate_hz=RATE_HZ), ear)
            line.speech_start(1, 0)
            pos = feed(line, silence(0.06), 0)
            line.finalize(1, pos)
            assert (await ear.wait(i.Finalized)).to_pos == pos
            line.speech_start(2, pos)
            feed(line, say("last words", RATE_HZ).pcm, pos)
            began_s = asyncio.get_running_loop().time()
            await line.close(drain=True)
            assert texts(ear) == "last words"
            assert asyncio.get_running_loop().time() - began_s < 1.0  # the vendor does not close: it is not waited for
            await openai.close()

    run(scene())


def test_an_old_connection_is_replaced_before_it_is_too_old() -> None:
    async def scene() -> None:
        async with FakeOpenAiStt() as vendor:
            openai, ear = provider(vendor, max_connection_s=1.0), Ear()
            await openai.warm()
            line = await openai.open(spec(rate_hz=RATE_HZ), ear)
            pos = speak(line, "one", 0, 1)
            await ear.wait(i.Finalized)
            await vendor.until(lambda: vendor.handshakes == 2)
            pos = speak(line, "two", feed(line, silence(1.0), pos), 2)
            assert (await ear.wait(i.Finalized, 2)).to_pos == pos
            assert texts(ear) == "one two"
            contiguous(ear)
            assert (openai.counts.rolled_over, len(ear.all(i.Fault))) == (1, 0)
            await openai.close()

    run(scene())


def test_the_probe_says_what_is_wrong_with_key_and_model() -> None:
    async def scene() -> None:
        async with FakeOpenAiStt() as vendor:
            good = provider(vendor)
            await good.warm()
            await good.probe()
            await good.close()
            for bad, kind in (
                (provider(vendor, key="wrong-canary"), "auth"),
                (provider(vendor, model="no-1"), "config"),
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
        {"turn_detection": "server_vad"}, {"model": "whisper-1", "delay": "low"},
        {"model": "whisper-1", "keyterms": ["x"]},
        {"model": "gpt-realtime-whisper", "prompt": "x"}, {"language": "EN"}, {"keyterms": ["x"] * 101},
    ],
)  # fmt: skip
def test_what_a_model_does_not_take_is_an_error_of_the_configuration(options: dict[str, Any]) -> None:
    assert stream_options.problems(OpenAiSttOptions, options)
