"""The fakes do what the test that holds their handle says, at exact virtual times."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from actors.providers import interface as i
from actors.providers.fake import FakeAgent, FakeS2s, FakeStt, FakeTts, FakeTurn, FakeVad, hear, say
from router.errors import ProviderError
from tests.simulation import simulate

Told = list[tuple[float, i.ProviderEvent]]


def _spec(**fields: Any) -> i.StreamSpec:
    return i.StreamSpec(**{"stream": 1, "epoch": 1, "session_id": "s", "tenant_id": "t", "rate_hz": 16000, **fields})


def _scene(fake: Any, play: Callable[[Any], Awaitable[None]], **spec: Any) -> Told:
    """Open a stream, let `play` use it, drain, and return what was said and when."""
    told: Told = []

    async def scene() -> None:
        loop = asyncio.get_running_loop()
        stream = await fake.open(_spec(**spec), lambda event: told.append((round(loop.time(), 6), event)))
        await play(stream)
        await stream.close(drain=True)
        await fake.close()

    simulate(scene())
    return told


def _feed(stream: Any, pcm: bytes, pos: int = 0) -> int:
    for at in range(0, len(pcm), 640):
        stream.audio(pos + at // 2, pcm[at : at + 640])
    return pos + len(pcm) // 2


def test_a_fake_ear_says_its_script_and_settles_contiguous_spans() -> None:
    async def play(stream: Any) -> None:
        for utt, begin in ((1, 0), (2, 32000)):
            stream.speech_start(utt, begin)
            _feed(stream, bytes(32000), begin)
            stream.finalize(utt, begin + 16000)
        await asyncio.sleep(1)

    told = _scene(FakeStt({"says": ["ten of clubs", "no"], "answer_delay_s": 0.2, "partials": False}), play)
    finals = [event for _, event in told if isinstance(event, i.Final)]
    assert [(f.utt, f.text, f.from_pos, f.to_pos) for f in finals] == [
        (1, "ten of clubs", 0, 16000),
        (2, "no", 16000, 48000),
    ]
    assert [at for at, event in told if isinstance(event, i.Finalized)] == [0.2, 0.4]


def test_a_fake_ear_shows_growing_partials() -> None:
    async def play(stream: Any) -> None:
        stream.speech_start(1, 0)
        _feed(stream, bytes(32000))

    told = _scene(FakeStt({"says": ["ten of clubs"], "partial_ms": 300}), play)
    assert [event.text for _, event in told if isinstance(event, i.Partial)] == ["ten", "ten of", "ten of clubs"]


def test_a_fake_ear_reads_a_fake_voice_and_a_doubled_frame_does_not_double_a_word() -> None:
    pcm = bytes(6400) + say("ten of clubs", 16000).pcm + bytes(6400)

    async def play(stream: Any) -> None:
        stream.speech_start(1, 0)
        end = _feed(stream, pcm)
        stream.audio(end - 320, pcm[-640:])
        stream.finalize(1, end)
        await asyncio.sleep(0)

    told = _scene(FakeStt({"decode": True}), play)
    final = next(event for _, event in told if isinstance(event, i.Final))
    assert final.text == "ten of clubs"
    assert final.words is not None
    assert final.words[0].from_pos == pytest.approx(3200, abs=64)


def test_a_second_stream_hears_on_from_where_the_first_had_settled() -> None:
    pcm = say("ten of", 16000).pcm + bytes(9600)
    more = say("clubs", 16000).pcm + bytes(9600)
    at = len(pcm) // 2

    async def play(stream: Any) -> None:
        stream.speech_start(2, at)
        end = _feed(stream, more, at)
        stream.finalize(2, end)
        await asyncio.sleep(0)

    told = _scene(FakeStt({"decode": True}), play, pos=at)
    final = next(event for _, event in told if isinstance(event, i.Final))
    assert (final.text, final.from_pos) == ("clubs", at)


def test_stall_holds_and_allow_releases_one_by_one() -> None:
    fake = FakeStt({"partials": False})

    async def play(stream: Any) -> None:
        fake.handle.stall()
        for utt in (1, 2):
            stream.finalize(utt, utt * 16000)
        await asyncio.sleep(5)
        assert fake.handle.waiting == 1
        fake.handle.allow(1)
        await asyncio.sleep(5)
        fake.handle.allow()
        await asyncio.sleep(1)

    told = _scene(fake, play)
    assert [(at, event.utt) for at, event in told if isinstance(event, i.Finalized)] == [(5, 1), (10, 2)]


def test_fail_faults_once_and_nothing_follows() -> None:
    fake = FakeTts({"speed": 1.0})

    async def play(stream: Any) -> None:
        stream.begin(1, {})
        stream.text(1, "a long story of many words")
        stream.end(1)
        await asyncio.sleep(0.35)
        fake.handle.fail("overload", "too much", 3.0)
        await asyncio.sleep(10)

    told = _scene(fake, play)
    assert told[-1] == (0.35, i.Fault(kind="overload", detail="too much", retry_after_s=3.0))
    assert [at for at, event in told if isinstance(event, i.TtsAudio)] == [0.0, 0.1, 0.2, 0.3]


def test_a_fake_voice_aligns_over_the_texts_of_a_reply() -> None:
    async def play(stream: Any) -> None:
        stream.begin(7, {})
        stream.text(7, "Ten of ")
        stream.text(7, "clubs.")
        stream.flush(7)
        stream.end(7)
        await asyncio.sleep(0)

    told = [event for _, event in _scene(FakeTts({}), play)]
    aligned = [event for event in told if isinstance(event, i.Align)]
    assert [("Ten of clubs."[a.char_from : a.char_to], a.word) for a in aligned] == [
        ("Ten", "Ten"),
        ("of", "of"),
        ("clubs.", "clubs."),
    ]
    sound = [event for event in told if isinstance(event, i.TtsAudio)]
    assert [a.pos for a in sound] == [sum(len(b.pcm) // 2 for b in sound[:n]) for n in range(len(sound))]
    assert [w.text for w in hear(b"".join(a.pcm for a in sound), 16000)] == ["ten", "of", "clubs"]
    assert told[-2:] == [i.Flushed(reply=7), i.Done(reply=7)]


def test_cancel_from_within_an_event_stops_the_rest() -> None:
    """A barge-in may come while the audio is being handed over: the stream is asked from inside its own `emit`."""
    fake = FakeTts({})
    told: list[i.ProviderEvent] = []

    async def scene() -> None:
        def emit(event: i.ProviderEvent) -> None:
            told.append(event)
            if isinstance(event, i.TtsAudio):
                stream.cancel(1)

        stream = await fake.open(_spec(), emit)
        stream.begin(1, {})
        stream.text(1, "many words that nobody wants to hear")
        stream.end(1)
        await asyncio.sleep(1)
        await fake.close()

    simulate(scene())
    assert [type(event) for event in told if not isinstance(event, i.Align)] == [i.TtsAudio, i.Cancelled]


def test_a_fake_agent_answers_with_what_it_was_given() -> None:
    fake = FakeAgent({"word_delay_s": 0.1, "says": ["Later."]})
    fake.handle.answer("Hello there.", [i.Action(turn=0, name="hang_up")])

    async def play(stream: Any) -> None:
        stream.reply(4, 1, (), (), "user")
        await asyncio.sleep(1)
        stream.reply(5, 0, (), (), "user")
        stream.reply(6, 0, (), (), "user")
        await asyncio.sleep(1)

    told = _scene(fake, play)
    assert told == [
        (0.0, i.TextDelta(turn=4, revision=1, delta="Hello ")),
        (0.1, i.TextDelta(turn=4, revision=1, delta="there.")),
        (0.1, i.AgentDone(turn=4, revision=1)),
        (1.0, i.Action(turn=5, name="hang_up", revision=0)),
        (1.0, i.AgentDone(turn=5, revision=0)),
        (1.0, i.TextDelta(turn=6, revision=0, delta="Later.")),
        (1.0, i.AgentDone(turn=6, revision=0)),
    ]


def test_a_fake_model_hears_answers_and_is_interrupted() -> None:
    loud = say("hello world", 16000).pcm
    fake = FakeS2s({"says": ["a long answer of many words"], "speed": 1.0, "decode": True})

    async def play(stream: Any) -> None:
        end = _feed(stream, loud + bytes(12800))
        await asyncio.sleep(0.25)
        _feed(stream, loud, end)
        await asyncio.sleep(2)

    told = _scene(fake, play)
    assert [(at, type(event).__name__) for at, event in told] == [
        (0.0, "SttSpeechStarted"),
        (0.0, "SttSpeechStopped"),
        (0.0, "InputText"),
        (0.0, "ResponseStarted"),
        (0.0, "OutputText"),
        (0.0, "TtsAudio"),
        (0.1, "TtsAudio"),
        (0.2, "TtsAudio"),
        (0.25, "SttSpeechStarted"),
        (0.25, "ModelInterrupted"),
        (0.25, "ResponseDone"),
    ]
    heard = next(event for _, event in told if isinstance(event, i.InputText))
    assert (heard.text, heard.final, heard.from_pos) == ("hello world", True, 0)


def test_a_fake_model_speaks_just_what_it_is_asked_to() -> None:
    async def play(stream: Any) -> None:
        stream.inject("agent", "welcome to acme")
        stream.respond()
        await asyncio.sleep(0)

    told = [event for _, event in _scene(FakeS2s({}), play)]
    sound = b"".join(event.pcm for event in told if isinstance(event, i.TtsAudio))
    assert [word.text for word in hear(sound, 16000)] == ["welcome", "to", "acme"]


@pytest.mark.parametrize("options", [{"fail_open": True}, {"fail_open": "auth"}])
@pytest.mark.parametrize("fake", [FakeStt, FakeTts, FakeAgent, FakeS2s])
def test_opening_fails_as_told(fake: Any, options: dict[str, Any]) -> None:
    async def scene() -> None:
        with pytest.raises(ProviderError) as caught:
            await fake({**options, "open_delay_s": 1.5}).open(_spec(), lambda event: None)
        assert caught.value.kind == ("connect" if options["fail_open"] is True else "auth")
        assert asyncio.get_running_loop().time() == 1.5

    simulate(scene())


def test_a_stream_dies_when_told() -> None:
    async def play(stream: Any) -> None:
        await asyncio.sleep(9)

    assert _scene(FakeStt({"die_after_s": 2.5, "fail_kind": "stall"}), play) == [
        (2.5, i.Fault(kind="stall", detail="died as told"))
    ]


def test_answers_run_out_when_told() -> None:
    stalls, fails = FakeAgent({"stall_after": 1}), FakeAgent({"fail_after": 1})

    async def play(stream: Any) -> None:
        for turn in (1, 2):
            stream.reply(turn, 0, (), (), "user")
            await asyncio.sleep(1)

    assert [type(e) for at, e in _scene(stalls, play) if at >= 1] == []
    assert [type(e) for at, e in _scene(fails, play) if at >= 1] == [i.Fault]


def test_the_record_is_bounded_and_counts_what_it_lost() -> None:
    fake = FakeAgent({"record_max": 3})

    async def play(stream: Any) -> None:
        for turn in range(5):
            stream.cancel(turn)

    _scene(fake, play)
    assert fake.handle.calls("cancel") == [(2,), (3,), (4,)]
    assert fake.handle.received_dropped == 2


def test_a_method_raises_when_told() -> None:
    fake = FakeStt({})

    async def play(stream: Any) -> None:
        fake.handle.raise_on("finalize")
        with pytest.raises(RuntimeError):
            stream.finalize(1, 100)

    assert _scene(fake, play) == []


def test_a_fake_detector_hears_loud_frames_or_what_it_is_told() -> None:
    fake = FakeVad({})
    fake.attach(_spec())
    loud, quiet = say("a", 16000).pcm[:640], bytes(640)
    assert list(fake.classify([1, 1], [loud, memoryview(quiet)])) == [True, False]
    fake.handle.answer(True, False)
    assert list(fake.classify([1, 1], [quiet, loud])) == [True, False]


def test_a_fake_turn_detector_answers_or_stalls() -> None:
    fake = FakeTurn({"p_complete": 0.7})
    fake.attach(_spec())
    question = i.Assess(stream=1, utt=3, text="and", pause_ms=200)
    fake.handle.answer((0.1, 2.0))
    assert list(fake.assess([question])) == [i.Assessment(utt=3, p_complete=0.1, wait_s=2.0)]
    assert list(fake.assess([question])) == [i.Assessment(utt=3, p_complete=0.7)]
    fake.handle.stall()
    assert list(fake.assess([question])) == []
