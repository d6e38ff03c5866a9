"""ElevenLabs Scribe against its fake: what only this adapter does; the contract has the rest."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from actors.providers import interface as i
from actors.providers import options as stream_options
from actors.providers.elevenlabs_stt import ElevenLabsSttOptions, Provider
from actors.providers.fake_tones import say
from actors.secrets import Secret
from router.errors import ProviderError
from tests.vendors.ears import contiguous, feed, silence, speak, texts
from tests.vendors.fake_elevenlabs_stt import FakeElevenLabsStt
from tests.vendors.live import Ear, run, spec
from tests.vendors.server import KEY

RATE_HZ = 16000


def provider(vendor: FakeElevenLabsStt, key: str = KEY, **options: Any) -> Provider:
    return Provider({"finalize_s": 1.0, **options}, Secret(key, "env:ELEVENLABS_KEY"), vendor.ws_url)


def test_a_call_of_two_utterances_with_words_at_positions_of_the_session() -> None:
    async def scene() -> None:
        async with FakeElevenLabsStt() as vendor:
            scribe, ear = provider(vendor, word_times=True, language="en-GB", keyterms=["clubs", "hearts"]), Ear()
            await scribe.warm()
            line = await scribe.open(spec(pos=48000), ear)
            end = speak(line, "ten of clubs", 48000, 1)
            done = await ear.wait(i.Finalized)
            assert (done.utt, done.to_pos) == (1, end)
            final = ear.all(i.Final)[0]
            assert [w.text for w in final.words] == ["ten", "of", "clubs"]
            assert final.words[0].from_pos == pytest.approx(48000, abs=160)
            assert final.language == "en"
            pos = feed(line, silence(1.0), end)
            end = speak(line, "queen of hearts", pos, 2)
            assert (await ear.wait(i.Finalized, 2)).to_pos == end
            assert texts(ear) == "ten of clubs queen of hearts"
            assert ear.all(i.Final)[-1].words[0].from_pos == pytest.approx(pos, abs=160)
            assert ear.all(i.Partial)
            contiguous(ear, 48000)
            assert vendor.queries == [[
                ("model_id", "scribe_v2_realtime"), ("audio_format", "pcm_16000"), ("commit_strategy", "manual"),
                ("language_code", "en"), ("include_timestamps", "true"), ("keyterms", "clubs"), ("keyterms", "hearts"),
            ]]  # fmt: skip
            assert (scribe.counts.handshakes, scribe.counts.late) == (1, 0)
            await scribe.close()

    run(scene())


def test_a_late_transcript_is_told_and_one_without_a_commit_only_where_the_vendor_may() -> None:
    async def scene() -> None:
        async with FakeElevenLabsStt(by_itself_s=70.0) as vendor:
            scribe, ear = provider(vendor, finalize_s=0.2), Ear()
            await scribe.warm()
            line = await scribe.open(spec(), ear)
            await vendor.until(lambda: bool(vendor.peers))
            pos = speak(line, "one", 0, 1)
            await ear.wait(i.Finalized)
            stray = {"message_type": "committed_transcript", "text": "never"}
            await vendor.peers[0].say(stray)
            await vendor.until(lambda: scribe.counts.stale == 1)
            vendor.orders.mangle(lambda message: [] if "partial" in str(message) else [message])
            vendor.orders.delay_s = 0.4
            pos = speak(line, "two", pos, 2)
            await ear.wait(i.Finalized, 2)  # by us, with nothing to stand in
            await ear.until(lambda: texts(ear) == "one two")
            vendor.orders.delay_s = 0.0
            for _ in range(14):  # nobody commits: the vendor does
                pos, before_s = feed(line, silence(5.0), pos), vendor.received_s
                await vendor.until(lambda before_s=before_s: vendor.received_s >= before_s + 4.9)
            await ear.until(lambda: ear.all(i.Final)[-1].to_pos > pos - RATE_HZ)
            assert texts(ear) == "one two"
            contiguous(ear)
            await scribe.close()

    run(scene())


def test_a_commit_of_too_little_is_no_fault_and_its_audio_is_heard_with_the_next() -> None:
    async def scene() -> None:
        async with FakeElevenLabsStt() as vendor:
            scribe, ear = provider(vendor, finalize_s=5.0), Ear()
            await scribe.warm()
            line = await scribe.open(spec(), ear)
            line.speech_start(1, 0)
            pos = feed(line, say("a", RATE_HZ).pcm, 0)
            line.finalize(1, pos)
            await ear.wait(i.Finalized)
            assert texts(ear) == ""
            pos = speak(line, " of clubs", pos, 2)
            await ear.wait(i.Finalized, 2)
            assert texts(ear) == "a of clubs"
            contiguous(ear)
            assert not ear.all(i.Fault)
            await scribe.close()

    run(scene())


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ({"message_type": "auth_error", "error": "The key is not valid."}, "auth"),
        ({"message_type": "error", "error": "rate_limited"}, "busy"),
        ({"message_type": "quota_exceeded", "error": "No credits."}, "quota"),
        ({"message_type": "invalid_request", "error": "Bad."}, "config"),
        ({"message_type": "chunk_size_exceeded", "error": "Too big."}, "protocol"),
        ({"message_type": "error", "error": "Something broke."}, "overload"),
    ],
)
def test_errors_of_both_forms_are_told_apart(message: dict[str, Any], kind: str) -> None:
    async def scene() -> None:
        async with FakeElevenLabsStt() as vendor:
            vendor.refusal = message
            scribe, ear = provider(vendor), Ear()
            await scribe.warm()
            with pytest.raises(ProviderError) as caught:
                await scribe.probe()
            assert caught.value.kind == kind
            await scribe.open(spec(), ear)
            assert (await ear.wait(i.Fault)).kind == kind
            await scribe.close()

    run(scene())


@pytest.mark.parametrize("code", ["session_time_limit_exceeded", "insufficient_audio_activity", "transcriber_error"])
def test_a_session_that_the_vendor_ends_goes_on_in_another_one(code: str) -> None:
    async def scene() -> None:
        async with FakeElevenLabsStt() as vendor:
            scribe, ear = provider(vendor, finalize_s=5.0), Ear()
            await scribe.warm()
            line = await scribe.open(spec(), ear)
            line.speech_start(1, 0)
            pos = feed(line, say("one two", RATE_HZ).pcm, 0)
            await vendor.until(lambda: vendor.received_s > 0.2)
            await vendor.peers[0].say({"message_type": code, "error": "Over."})
            line.speech_end(1, pos)
            pos = feed(line, silence(0.3), pos)
            line.finalize(1, pos)
            await ear.wait(i.Finalized)
            assert texts(ear) == "one two"
            contiguous(ear)
            assert scribe.counts.reconnects == 1
            await scribe.close()

    run(scene())


def test_its_commits_end_turns_where_it_has_the_authority() -> None:
    async def scene() -> None:
        async with FakeElevenLabsStt() as vendor:
            scribe, ear = provider(vendor, turn_events=True, silence_s=0.3), Ear()
            await scribe.warm()
            line = await scribe.open(spec(), ear)
            pos = feed(line, say("one two", RATE_HZ).pcm + silence(0.4), 0)
            assert (await ear.wait(i.VendorTurnEnded)).text == "one two"
            assert dict(vendor.queries[0])["commit_strategy"] == "vad"
            line.finalize(1, pos)
            await ear.wait(i.Finalized)
            assert vendor.seen["commit"] == 0
            assert texts(ear) == "one two"
            await scribe.close()
        assert Provider.capabilities({"turn_events": True}).turn_events
        assert not Provider.capabilities({}).turn_events

    run(scene())


def test_a_paused_stream_is_kept_alive_and_options_change_by_another_connection() -> None:
    async def scene() -> None:
        async with FakeElevenLabsStt(idle_s=0.3) as vendor:
            scribe, ear = provider(vendor, keepalive_s=0.1), Ear()
            await scribe.warm()
            line = await scribe.open(spec(), ear)
            pos = speak(line, "one", 0, 1)
            await ear.wait(i.Finalized)
            line.pause()
            await asyncio.sleep(0.5)  # longer than the vendor waits
            assert (vendor.handshakes, scribe.counts.reconnects) == (1, 0)
            line.resume()
            assert line.update({"language": "de", "no_such": 1, "turn_events": True}) == ("no_such", "turn_events")
            await vendor.until(lambda: vendor.handshakes == 2 and len(vendor.peers) == 1)
            assert dict(vendor.queries[1])["language_code"] == "de"
            line.speech_start(2, pos)
            feed(line, say("zwei", RATE_HZ).pcm + silence(0.3), pos)
            began_s = asyncio.get_running_loop().time()
            await line.close(drain=True)
            assert asyncio.get_running_loop().time() - began_s < 1.0
            assert texts(ear) == "one zwei"
            contiguous(ear)
            assert scribe.counts.rolled_over == 1
            await scribe.close()

    run(scene())


def test_the_probe_says_what_is_wrong_with_key_and_language() -> None:
    async def scene() -> None:
        async with FakeElevenLabsStt() as vendor:
            wrong: tuple[dict[str, Any], ...] = ({"key": "wrong-canary"}, {"language": "xx"})
            for options, kind in zip(wrong, ("auth", "config"), strict=True):
                bad = provider(vendor, **options)
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
        {"keyterms": ["x"] * 51}, {"keyterms": ["x" * 21]}, {"silence_s": 0.1}, {"language": "English"},
        {"turn_events": True, "turn_model": "prediction"},
    ],
)  # fmt: skip
def test_what_the_vendor_does_not_take_is_an_error_of_the_configuration(options: dict[str, Any]) -> None:
    assert stream_options.problems(ElevenLabsSttOptions, options)
