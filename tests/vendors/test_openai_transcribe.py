"""OpenAI's file transcription against its fake: what only this adapter does; the contract has the rest."""

from __future__ import annotations

from typing import Any

import pytest

from actors.providers import interface as i
from actors.providers import options as stream_options
from actors.providers.fake_tones import say
from actors.providers.openai_transcribe import OpenAiTranscribeOptions, Provider
from actors.secrets import Secret
from router.errors import ProviderError
from tests.vendors.ears import contiguous, feed, silence, speak, texts
from tests.vendors.fake_openai_transcribe import FakeOpenAiTranscribe
from tests.vendors.live import Ear, run, spec
from tests.vendors.server import KEY

RATE_HZ = 16000


def provider(vendor: FakeOpenAiTranscribe, key: str = KEY, **options: Any) -> Provider:
    return Provider(options, Secret(key, "env:OPENAI_KEY"), f"{vendor.http_url}/v1")


def test_a_call_is_an_upload_for_each_utterance_on_one_connection() -> None:
    async def scene() -> None:
        async with FakeOpenAiTranscribe() as vendor:
            openai, ear = provider(vendor, language="en-GB", keyterms=["clubs", "hearts"]), Ear()
            await openai.warm()
            line = await openai.open(spec(pos=48000), ear)
            pos = feed(line, silence(2.0), 48000)
            end = speak(line, "ten of clubs", pos, 1)
            done = await ear.wait(i.Finalized)
            assert (done.utt, done.to_pos) == (1, end)
            assert [p.text for p in ear.all(i.Partial)] == ["ten", "ten of", "ten of clubs"]
            assert ear.all(i.Final)[0].language == "en"
            pos = feed(line, silence(3.0), end)
            end = speak(line, "queen of hearts", pos, 2)
            assert (await ear.wait(i.Finalized, 2)).to_pos == end
            assert texts(ear) == "ten of clubs queen of hearts"
            assert [f.utt for f in ear.all(i.Final)] == [1, 2]
            contiguous(ear, 48000)
            assert vendor.forms[0] == {
                "model": ["gpt-transcribe"], "language": ["en"], "keywords[]": ["clubs", "hearts"],
                "response_format": ["json"], "stream": ["true"],
            }  # fmt: skip
            spoken = [len(say(text, RATE_HZ).pcm) / 2 / RATE_HZ for text in ("ten of clubs", "queen of hearts")]
            assert vendor.seconds == pytest.approx([0.3 + s + 0.2 for s in spoken])  # what lies before it, too
            used = ear.all(i.Usage)[0].amounts
            assert used == {"audio_s": vendor.seconds[0], "audio_tokens_in": 10.0, "tokens_in": 2.0, "tokens_out": 3.0}
            await openai.close()
            assert vendor.connections == openai.counts.handshakes == 1

    run(scene())


def test_words_have_the_positions_of_the_session_where_the_model_tells_times() -> None:
    async def scene() -> None:
        async with FakeOpenAiTranscribe() as vendor:
            openai, ear = provider(vendor, model="whisper-1", word_times=True), Ear()
            await openai.warm()
            line = await openai.open(spec(), ear)
            pos = speak(line, "ten of clubs", feed(line, silence(1.0), 0), 1)
            final = await ear.wait(i.Final)
            assert [w.text for w in final.words] == ["ten", "of", "clubs"]
            assert final.words[0].from_pos == pytest.approx(RATE_HZ, abs=160)
            assert final.words[2].to_pos == pytest.approx(pos - 0.25 * RATE_HZ, abs=160)  # gaps of tones
            assert ear.all(i.Usage)[0].amounts == {"audio_s": pytest.approx(vendor.seconds[0], abs=0.001)}
            await openai.close()
        assert Provider.capabilities({"word_times": True}).word_times
        assert not Provider.capabilities({}).streaming

    run(scene())


def test_a_text_that_is_late_is_told_when_it_comes_and_utterances_stay_in_order() -> None:
    async def scene() -> None:
        async with FakeOpenAiTranscribe() as vendor:
            openai, ear = provider(vendor, model="whisper-1", finalize_s=0.2), Ear()
            await openai.warm()
            line = await openai.open(spec(), ear)
            vendor.orders.stall()
            pos = speak(line, "one", 0, 1)
            pos = speak(line, "two", pos, 2)
            await ear.wait(i.Finalized, 2)  # by us
            assert texts(ear) == ""
            vendor.orders.allow()
            await ear.until(lambda: texts(ear) == "one two")
            assert [f.utt for f in ear.all(i.Final) if f.text] == [1, 2]
            pos = speak(line, "two", pos, 3)  # said again: nothing of it was told before
            await ear.wait(i.Finalized, 3)
            assert texts(ear) == "one two two"
            contiguous(ear)
            assert openai.counts.late == 2
            await openai.close()

    run(scene())


def test_what_is_written_until_the_deadline_stands_in_and_the_rest_follows() -> None:
    async def scene() -> None:
        async with FakeOpenAiTranscribe() as vendor:
            openai, ear = provider(vendor, finalize_s=0.3), Ear()
            await openai.warm()
            line = await openai.open(spec(), ear)
            vendor.orders.delay_s = 0.12
            speak(line, "ten of clubs and hearts", 0, 1)
            await ear.wait(i.Finalized)
            before = texts(ear)
            assert before.startswith("ten")
            await ear.until(lambda: texts(ear) == "ten of clubs and hearts")
            assert len(before) < len(texts(ear))
            contiguous(ear)
            await openai.close()

    run(scene())


def test_one_broken_connection_is_no_fault_and_an_answer_without_an_end_is_one() -> None:
    async def scene() -> None:
        async with FakeOpenAiTranscribe() as vendor:
            openai, ear = provider(vendor), Ear()
            await openai.warm()
            line = await openai.open(spec(), ear)
            vendor.orders.refuse(503)
            pos = speak(line, "one", 0, 1)
            await ear.wait(i.Finalized)
            assert texts(ear) == "one"
            vendor.mid_error = {"type": "insufficient_quota", "code": "insufficient_quota", "message": "No more."}
            speak(line, "two", pos, 2)
            assert (await ear.wait(i.Fault)).kind == "quota"
            vendor.mid_error, vendor.withhold_done, ear = None, True, Ear()
            line = await openai.open(spec(), ear)
            speak(line, "three", 0, 1)
            assert (await ear.wait(i.Fault)).kind == "connect"
            assert len(vendor.forms) == 4  # asked once more, no more than that
            await openai.close()

    run(scene())


def test_nothing_was_said_so_nothing_is_asked_and_long_speech_goes_in_pieces() -> None:
    async def scene() -> None:
        async with FakeOpenAiTranscribe() as vendor:
            openai, ear = provider(vendor, utterance_s=5.0), Ear()
            await openai.warm()
            line = await openai.open(spec(), ear)
            pos = feed(line, silence(1.0), 0)
            line.finalize(1, pos)
            assert ear.all(i.Finalized) == [i.Finalized(utt=1, to_pos=pos)]
            assert vendor.requests == 0
            line.speech_start(2, pos)
            said = " ".join(["word"] * 40)
            pos = feed(line, say(said, RATE_HZ).pcm + silence(0.5), pos)
            line.speech_end(2, pos)
            line.finalize(2, pos)
            await ear.wait(i.Finalized, 2)
            assert len(vendor.seconds) == 2
            assert max(vendor.seconds) <= 5.3
            heard = texts(ear).split()  # the cut may fall into a word
            assert len(heard) in (40, 41)
            assert heard.count("word") >= 39
            contiguous(ear)
            await openai.close()

    run(scene())


def test_options_change_for_the_next_utterance_and_a_drained_stream_says_its_last_words() -> None:
    async def scene() -> None:
        async with FakeOpenAiTranscribe() as vendor:
            openai, ear = provider(vendor), Ear()
            await openai.warm()
            line = await openai.open(spec(), ear)
            assert line.update({"language": "de", "stall_s": 1.0, "word_times": True}) == ("word_times", "stall_s")
            pos = speak(line, "zwei", 0, 1)
            await ear.wait(i.Finalized)
            assert vendor.forms[0]["language"] == ["de"]
            line.speech_start(2, pos)
            feed(line, say("last words", RATE_HZ).pcm, pos)
            await line.close(drain=True)
            assert texts(ear) == "zwei last words"
            await openai.close()

    run(scene())


def test_the_probe_says_what_is_wrong_with_key_and_model() -> None:
    async def scene() -> None:
        async with FakeOpenAiTranscribe() as vendor:
            wrong: tuple[dict[str, Any], ...] = ({"key": "wrong-canary"}, {"model": "no-1"})
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
        {"model": "gpt-live-transcribe"}, {"word_times": True}, {"model": "whisper-1", "keyterms": ["x"]},
        {"temperature": float("nan")}, {"finalize_s": 0}, {"model": "../x"},
    ],
)  # fmt: skip
def test_what_a_model_does_not_take_is_an_error_of_the_configuration(options: dict[str, Any]) -> None:
    assert stream_options.problems(OpenAiTranscribeOptions, options)
