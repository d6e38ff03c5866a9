"""AssemblyAI against its fake: what only this adapter does; the contract has the rest."""

from __future__ import annotations

from typing import Any

import pytest

from actors.providers import interface as i
from actors.providers.assemblyai import Provider
from actors.providers.fake_tones import say
from actors.secrets import Secret
from router.errors import ProviderError
from tests.vendors.fake_assemblyai import FakeAssemblyAi
from tests.vendors.live import Ear, run, spec
from tests.vendors.server import KEY
from tests.vendors.test_deepgram import RATE_HZ, contiguous, feed, silence, speak, texts


def provider(vendor: FakeAssemblyAi, key: str = KEY, **options: Any) -> Provider:
    return Provider({"finalize_s": 0.5, **options}, Secret(key, "env:ASSEMBLYAI_KEY"), vendor.ws_url)


def test_turns_end_as_the_vendor_says_and_get_a_nicer_text() -> None:
    async def scene() -> None:
        async with FakeAssemblyAi() as vendor:
            assembly, ear = provider(vendor), Ear()
            await assembly.warm()
            line = await assembly.open(spec(pos=48000), ear)
            pos = feed(line, say("ten of clubs", RATE_HZ).pcm + silence(0.6), 48000)
            formatted = await ear.wait(i.Formatted)
            (final,) = ear.all(i.Final)
            assert (final.text, final.from_pos) == ("ten of clubs", 48000)
            assert [w.text for w in final.words] == ["ten", "of", "clubs"]
            assert final.words[0].from_pos == 48000  # the tones begin with the audio
            assert final.words[2].to_pos == final.to_pos == pytest.approx(48000 + 12 * 640 - 160, abs=160)
            assert (formatted.to_pos, formatted.text) == (final.to_pos, "Ten of clubs.")
            assert [e.text for e in ear.all(i.VendorTurnEnded)] == ["ten of clubs"]
            assert ear.all(i.SttSpeechStarted)[0].pos == 48000
            feed(line, say("king", RATE_HZ).pcm + silence(0.6), pos)
            assert (await ear.wait(i.Formatted, 2)).text == "King."
            assert [e.text for e in ear.all(i.VendorTurnEnded)] == ["ten of clubs", "king"]
            contiguous(ear, 48000)
            assert not ear.all(i.EagerEnd)
            await line.close(drain=False)
            await assembly.close()
            assert vendor.seen["ForceEndpoint"] == 0
            assert vendor.terminated == 1  # else the vendor would go on billing
            assert assembly.counts.unknown > 0
        assert Provider.capabilities({}).turn_events
        assert Provider.capabilities({}).languages == ("en",)

    run(scene())


def test_an_end_of_an_utterance_within_a_turn_may_be_taken_back() -> None:
    async def scene() -> None:
        async with FakeAssemblyAi() as vendor:
            assembly, ear = provider(vendor, eager=True), Ear()
            await assembly.warm()
            line = await assembly.open(spec(), ear)
            pos = feed(line, say("one two", RATE_HZ).pcm + silence(0.25), 0)
            assert (await ear.wait(i.EagerEnd)).text == "one two"
            feed(line, say("three", RATE_HZ).pcm + silence(0.6), pos)
            assert (await ear.wait(i.VendorTurnEnded)).text == "one two three"
            assert len(ear.all(i.Resumed)) == 1
            assert [e.text for e in ear.all(i.EagerEnd)] == ["one two", "one two three"]
            await line.close(drain=False)
            await assembly.close()

    run(scene())


def test_universal_3_writes_its_text_once() -> None:
    async def scene() -> None:
        async with FakeAssemblyAi() as vendor:
            assembly, ear = provider(vendor, speech_model="u3-rt-pro", language="de"), Ear()
            await assembly.warm()
            line = await assembly.open(spec(), ear)
            assert vendor.configured[0]["language_codes"] == '["de"]'
            assert "format_turns" not in vendor.configured[0]
            pos = feed(line, say("ten of clubs", RATE_HZ).pcm + silence(0.6), 0)
            assert (await ear.wait(i.VendorTurnEnded)).text == "Ten of clubs."
            feed(line, say("king", RATE_HZ).pcm + silence(0.6), pos)
            await ear.wait(i.VendorTurnEnded, 2)
            assert texts(ear) == "Ten of clubs. King."
            assert not ear.all(i.Formatted)
            await line.close(drain=False)
            await assembly.close()

    run(scene())


def test_the_session_asks_for_an_end_and_is_answered_by_the_turn_or_by_what_was_told() -> None:
    async def scene() -> None:
        async with FakeAssemblyAi(end_s=0.5) as vendor:
            assembly, ear = provider(vendor, turn_events=False), Ear()
            await assembly.warm()
            line = await assembly.open(spec(), ear)
            pos = speak(line, "ten of clubs", 0, 1)
            assert (await ear.wait(i.Finalized)).to_pos == pos
            assert texts(ear) == "ten of clubs"
            assert vendor.seen["ForceEndpoint"] == 1
            line.speech_start(2, pos)
            pos = feed(line, say("king", RATE_HZ).pcm, pos)
            line.speech_end(2, pos)
            pos = feed(line, silence(0.7), pos)  # the vendor is quicker
            await ear.until(lambda: texts(ear) == "ten of clubs king")
            line.finalize(2, pos)  # and would not answer: nothing is under way
            assert ear.all(i.Finalized)[-1] == i.Finalized(utt=2, to_pos=pos)
            assert vendor.seen["ForceEndpoint"] == 1
            line.speech_start(3, pos)
            pos = feed(line, silence(0.3), pos)  # a noise: no words, no turn, no answer
            line.speech_end(3, pos)
            pos = feed(line, silence(0.2), pos)
            line.finalize(3, pos)
            assert (await ear.wait(i.Finalized, 3)).to_pos == pos
            assert assembly.counts.late == 1
            assert not ear.all(i.VendorTurnEnded)
            assert [f.to_pos for f in ear.all(i.Formatted)] == [f.to_pos for f in ear.all(i.Final) if f.text]
            contiguous(ear)
            await line.close(drain=False)
            await assembly.close()

    run(scene())


def test_what_stood_in_for_a_turn_is_told_once_and_its_nicer_text_not_at_all() -> None:
    async def scene() -> None:
        async with FakeAssemblyAi(end_s=1.0) as vendor:
            assembly, ear = provider(vendor, finalize_s=0.3), Ear()
            await assembly.warm()
            line = await assembly.open(spec(), ear)
            vendor.orders.ignore("ForceEndpoint")
            pos = speak(line, "ten of clubs", 0, 1, pause_s=0.4)
            await ear.wait(i.Finalized)
            assert texts(ear) == "ten of clubs"
            vendor.orders.ignored.clear()
            pos = speak(line, "king", pos, 2)  # the vendor's turn covers both utterances
            await ear.wait(i.Finalized, 2)
            assert texts(ear) == "ten of clubs king"
            assert [e.text for e in ear.all(i.VendorTurnEnded)] == [""]  # what the session has is the turn
            feed(line, say("five", RATE_HZ).pcm + silence(1.2), pos)
            assert (await ear.wait(i.Formatted)).text == "Five."
            contiguous(ear)
            await line.close(drain=False)
            await assembly.close()

    run(scene())


def test_every_message_has_its_shortest_length_and_the_filling_shifts_no_position() -> None:
    async def scene() -> None:
        async with FakeAssemblyAi(end_s=9.0) as vendor:
            assembly, ear = provider(vendor), Ear()
            await assembly.warm()
            line = await assembly.open(spec(), ear)
            pos = 0
            for utt in range(1, 6):
                line.speech_start(utt, pos)
                pos = feed(line, say("two", RATE_HZ).pcm, pos)
                line.speech_end(utt, pos)
                pos = feed(line, silence(0.07), pos)
                line.finalize(utt, pos)  # 230 ms: the last piece has 30 ms
                await ear.wait(i.Finalized, utt)
            words = [w for f in ear.all(i.Final) for w in f.words or ()]
            assert [w.from_pos for w in words] == pytest.approx([n * 3680 for n in range(5)], abs=32)
            assert vendor.received_s == pytest.approx(5 * 0.25, abs=0.001)
            assert not vendor.violations
            contiguous(ear)
            await line.close(drain=False)
            await assembly.close()

    run(scene())


def test_options_change_in_place_where_the_vendor_can_and_by_another_connection_where_not() -> None:
    async def scene() -> None:
        async with FakeAssemblyAi() as vendor:
            assembly, ear = provider(vendor, speech_model="u3-rt-pro", keyterms=["clubs"]), Ear()
            await assembly.warm()
            line = await assembly.open(spec(), ear)
            assert vendor.configured[0]["keyterms_prompt"] == '["clubs"]'
            assert line.update({"language": "fr", "max_turn_silence_ms": 800, "eager": True}) == ("eager",)
            assert line.update({"keyterms": []}) == ()
            await vendor.until(lambda: len(vendor.configured) == 3)
            assert vendor.configured[1] == {
                "type": "UpdateConfiguration", "max_turn_silence": 800, "language_codes": ["fr"],
            }  # fmt: skip
            assert vendor.configured[2] == {"type": "UpdateConfiguration", "keyterms_prompt": []}
            assert vendor.handshakes == 1
            assert line.update({"speech_model": "universal-streaming-multilingual"}) == ()
            await vendor.until(lambda: vendor.handshakes == 2 and len(vendor.peers) == 1)
            assert vendor.terminated == 1
            assert vendor.configured[3]["language_detection"] == "true"
            feed(line, say("zwei", RATE_HZ).pcm + silence(0.6), 0)
            assert (await ear.wait(i.Final)).language == "en"
            assert not ear.all(i.Fault)
            await line.close(drain=False)
            await assembly.close()

    run(scene())


def test_a_session_is_replaced_before_the_vendor_ends_it_and_paid_for_as_long_as_it_is_open() -> None:
    async def scene() -> None:
        async with FakeAssemblyAi(session_s=1.2) as vendor:
            assembly, ear = provider(vendor, max_connection_s=1.0), Ear()
            await assembly.warm()
            line = await assembly.open(spec(), ear)
            pos = speak(line, "one", 0, 1)
            await ear.wait(i.Finalized)
            line.pause()
            await vendor.until(lambda: vendor.handshakes == 2 and len(vendor.peers) == 1)
            line.resume()
            pos = speak(line, "two", pos, 2)
            assert (await ear.wait(i.Finalized, 2)).to_pos == pos
            assert texts(ear) == "one two"
            contiguous(ear)
            assert not ear.all(i.Fault)
            assert (assembly.counts.rolled_over, assembly.counts.reconnects) == (1, 0)
            await line.close(drain=False)
            used_s = sum(u.amounts["audio_s"] for u in ear.all(i.Usage))
            assert used_s >= 0.8  # a connection was open for so long, though 0.7 s were said
            assert vendor.terminated == 2
            await assembly.close()

    run(scene())


def test_a_drained_stream_says_its_last_words() -> None:
    async def scene() -> None:
        async with FakeAssemblyAi() as vendor:
            assembly, ear = provider(vendor), Ear()
            await assembly.warm()
            line = await assembly.open(spec(), ear)
            feed(line, say("these are my last words", RATE_HZ).pcm + silence(0.03), 0)
            await line.close(drain=True)
            assert texts(ear) == "these are my last words"
            assert vendor.terminated == 1
            await assembly.close()

    run(scene())


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        (1008, "Unauthorized Connection: Invalid API key", "auth"),
        (1008, "Unauthorized connection: Too many concurrent sessions", "busy"),
        (3005, "Server error", "overload"),
        (3006, "Invalid Message Type: abc", "config"),
        (3007, "Input Duration Error: 10 ms", "protocol"),
        (3009, "Too many concurrent sessions", "busy"),
        (4002, "Insufficient Funds", "quota"),
    ],
)
@pytest.mark.parametrize("by", ["message", "close"])
def test_what_the_vendor_ends_a_session_with_has_its_kind(code: int, text: str, kind: str, by: str) -> None:
    async def scene() -> None:
        async with FakeAssemblyAi() as vendor:
            assembly, ear = provider(vendor), Ear()
            await assembly.warm()
            line = await assembly.open(spec(), ear)
            await vendor.until(lambda: bool(vendor.configured))
            if by == "message":
                await vendor.peers[0].say({"type": "Error", "error_code": code, "error": text})
            else:
                await vendor.peers[0].ws.close(code=code, message=text.encode())
            if kind == "overload":  # may pass: another connection
                await vendor.until(lambda: assembly.counts.reconnects == 1)
            else:
                fault = await ear.wait(i.Fault)
                assert fault.kind == kind
                assert text in fault.detail
            await line.close(drain=False)
            await assembly.close()

    run(scene())


def test_the_probe_hears_what_the_vendor_says_after_the_handshake() -> None:
    async def scene() -> None:
        async with FakeAssemblyAi() as vendor:
            for bad, kind in (
                (provider(vendor), None),
                (provider(vendor, key="wrong-canary"), "auth"),
                (provider(vendor, speech_model="nova-3"), "config"),
            ):
                await bad.warm()
                if kind is None:
                    await bad.probe()
                else:
                    with pytest.raises(ProviderError) as caught:
                        await bad.probe()
                    assert caught.value.kind == kind
                    assert "canary" not in str(caught.value)
                await bad.close()

    run(scene())


def test_options_that_do_not_fit_are_errors_of_the_file() -> None:
    for options in ({"min_turn_silence_ms": 500, "max_turn_silence_ms": 400}, {"chunk_ms": 20}, {"mode": "fast"}):
        with pytest.raises(ProviderError) as caught:
            Provider(options, Secret(KEY, "env:K"), None)
        assert caught.value.kind == "config"
