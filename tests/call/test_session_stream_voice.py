"""Voices that take a stream of text: words as they come, no context left waiting, the mouth kept in bounds."""

from __future__ import annotations

from typing import Any

import pytest

from actors import events as ev
from actors.providers.fake import FakeTts
from actors.providers.fake_tones import hear
from actors.recital import CONTEXT_STEP
from router.settings import SessionSettings
from tests.call.house import FAKES, House
from tests.call.scenario import Candidate, Played, play, providers
from tests.call.test_session_host import run, talk

TALE = " ".join(f"This is sentence {word} of a long tale." for word in ("one", "two", "three", "four", "five", "six"))


def told(text: str, speech: list[tuple[float, float]], until_s: float, *voices: dict[str, Any], **more: Any) -> Played:
    """A call whose agent answers `text`, with these voices in order; the first is called `voice0`."""
    names: tuple[Any, ...] = ("vad", "turn", "stt", "agent")
    stages = {n: (Candidate(stage=n, provider=n, type=f"fake-{n}"),) for n in names}
    stages["tts"] = tuple(
        Candidate(stage="tts", provider=f"voice{i}", type="fake-tts", options=options)
        for i, options in enumerate(voices)
    )
    given = providers(agent={"says": (text,), **more.pop("agent", {})})
    given.update({f"voice{i}": FakeTts(options) for i, options in enumerate(voices)})
    return play(speech, until_s, stages=stages, given=given, **more)


def asked(call: Played, voice: str = "voice0") -> list[tuple[str, Any]]:
    """What a voice was told of texts and contexts, in order."""
    told = call.providers[voice].handle.received
    return [(got.name, got.args[-1] if got.name == "text" else got.args[0]) for got in told]


def texts(call: Played, voice: str = "voice0") -> list[str]:
    return [args[1] for args in call.providers[voice].handle.calls("text")]


def audible(call: Played) -> str:
    """The words in the audio that the caller was sent and did not throw away."""
    pcm = bytearray()
    for event in call.of("voice.audio"):
        at = round(event.offset_ms * 32)
        del pcm[at:]
        pcm += event.pcm
    return " ".join(word.text for word in hear(bytes(pcm), 16_000))


def plain(text: str) -> str:
    return " ".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


STREAM = {"takes": "stream"}


def test_words_are_given_as_they_come_and_heard_before_the_sentence_is_whole() -> None:
    call = told("One two three four. Five six.", [(1.0, 2.0)], 9.0, STREAM, agent={"word_delay_s": 0.4})
    assert asked(call) == [
        ("begin", 1), ("text", "One"), ("text", " two"), ("text", " three"), ("text", " four."), ("flush", 1),
        ("text", " Five"), ("text", " six."), ("flush", 1), ("end", 1),
    ]  # fmt: skip
    (started,) = call.of("voice.started")
    assert started.t == pytest.approx(2.54 + 0.4, abs=0.05)  # "One" is sure when "two" begins
    assert audible(call) == "one two three four five six"
    (stopped,) = call.of("voice.stopped")
    assert (stopped.why, stopped.said, stopped.heard) == ("finished", "One two three four. Five six.", stopped.said)


def test_a_voice_that_takes_sentences_is_given_sentences() -> None:
    call = told("One two. Three.", [(1.0, 2.0)], 6.0, {"takes": "sentences"}, agent={"word_delay_s": 0.2})
    assert texts(call) == ["One two.", " Three."]
    assert audible(call) == "one two three"


def test_marks_and_emoji_reach_no_voice() -> None:
    call = told("**One** \U0001f600 [two](http://x.y) three.", [(1.0, 2.0)], 6.0, STREAM, agent={"word_delay_s": 0.1})
    assert "".join(texts(call)) == "One two three."


def test_when_the_mouth_has_enough_the_context_is_ended_and_another_begins() -> None:
    call = told(TALE, [(1.0, 2.0)], 20.0, STREAM, settings=SessionSettings(reply_audio_max_s=4.0))
    begun = [args[0] for args in call.providers["voice0"].handle.calls("begin")]
    assert begun == [1 + i * CONTEXT_STEP for i in range(len(begun))]
    assert len(begun) > 2
    assert begun == [args[0] for args in call.providers["voice0"].handle.calls("end")]
    open_now: set[int] = set()
    for name, context in ((got.name, got.args[0]) for got in call.providers["voice0"].handle.received):
        if name == "begin":
            assert not open_now, "two contexts of one reply at once"
            open_now.add(context)
        elif name == "text":
            assert context in open_now, "text for a context that was ended"
        elif name == "end":
            open_now.discard(context)
    assert call.of("dropped") == []
    assert audible(call) == plain(TALE)
    (stopped,) = call.of("voice.stopped")
    assert (stopped.heard, stopped.said, stopped.why) == (TALE, TALE, "finished")


def test_one_sentence_longer_than_the_mouth_is_broken_between_words() -> None:
    endless = "word " * 70 + "end."
    call = told(
        endless, [(1.0, 2.0)], 30.0, STREAM, agent={"word_delay_s": 0.02},
        settings=SessionSettings(reply_audio_max_s=4.0),
    )  # fmt: skip
    assert len(call.providers["voice0"].handle.calls("begin")) > 1
    assert call.of("dropped") == []
    assert audible(call) == plain(endless)


def test_a_context_that_a_vendor_would_drop_is_ended_before() -> None:
    voice = {**STREAM, "context_idle_s": 1.0}
    call = told("One two. Three four.", [(1.0, 2.0)], 16.0, voice, agent={"word_delay_s": 2.5})
    assert call.of("provider.changed") == call.of("error") == []
    assert len(call.providers["voice0"].handle.calls("begin")) > 1
    assert audible(call) == "one two three four"
    assert call.of("voice.stopped")[0].why == "finished"


def test_an_agent_that_pauses_is_no_stall_of_the_voice() -> None:
    call = told("One two three.", [(1.0, 2.0)], 16.0, STREAM, STREAM, agent={"word_delay_s": 4.0})
    assert call.of("provider.changed") == []
    assert audible(call) == "one two three"


def test_a_voice_that_owes_audio_of_a_whole_sentence_is_a_stall() -> None:
    def stalls(call: Any, given: dict[str, Any]) -> None:
        given["voice0"].handle.stall()

    call = told("One two three.", [(1.0, 2.0)], 12.0, STREAM, STREAM, acts=[(0.5, stalls)])
    assert [(e.before, e.why) for e in call.of("provider.changed")] == [("voice0", "stall")]
    assert audible(call) == "one two three"


@pytest.mark.parametrize(
    ("full_s", "speed", "cancelled"),
    [
        pytest.param(20.0, 0.5, [1], id="while the voice is at it"),
        pytest.param(4.0, 2.0, [], id="and nothing where the mouth has enough and no context is open"),
    ],
)
def test_a_barge_in_cancels_the_present_context(full_s: float, speed: float, cancelled: list[int]) -> None:
    settings = SessionSettings(reply_audio_max_s=full_s)
    call = told(TALE, [(1.0, 2.0), (7.0, 8.5)], 8.5, {**STREAM, "speed": speed}, settings=settings)
    assert [args[0] for args in call.providers["voice0"].handle.calls("cancel")] == cancelled
    (stopped,) = call.of("voice.stopped")
    assert stopped.why == "interrupted"
    assert stopped.heard
    assert TALE.startswith(stopped.heard)
    assert asked(call)[-1][0] in ("cancel", "end")


def fails(at_s: float) -> tuple[float, Any]:
    return at_s, lambda call, given: given["voice0"].handle.fail("connect")


def test_a_voice_that_dies_before_its_first_sound_is_followed_from_the_begin_of_the_sentence() -> None:
    slow = {**STREAM, "first_audio_s": 1.0}
    call = told("One two. Three four.", [(1.0, 2.0)], 9.0, slow, STREAM, acts=[fails(2.9)])
    assert texts(call, "voice1")[0] == "One two."
    assert audible(call) == "one two three four"
    assert call.of("voice.stopped")[0].heard == "One two. Three four."


def test_one_that_dies_in_mid_sentence_is_followed_by_the_next_and_the_rest_is_not_said() -> None:
    agent = {"word_delay_s": 0.4}
    call = told("One two three four. Five six.", [(1.0, 2.0)], 9.0, STREAM, STREAM, agent=agent, acts=[fails(3.5)])
    assert "".join(texts(call, "voice1")) == "Five six."
    assert audible(call) == "one two five six"
    assert call.of("voice.stopped")[0].why == "finished"


def test_a_voice_that_takes_sentences_may_follow_one_that_takes_a_stream() -> None:
    agent = {"word_delay_s": 0.3}
    slow = {**STREAM, "first_audio_s": 5.0}
    call = told(
        "One two three. Four five.", [(1.0, 2.0)], 12.0, slow, {"takes": "sentences"}, agent=agent, acts=[fails(3.0)]
    )
    assert texts(call, "voice1") == ["One two three.", " Four five."]
    assert audible(call) == "one two three four five"


def test_and_the_other_way_round() -> None:
    agent = {"word_delay_s": 0.3}
    slow = {"takes": "sentences", "first_audio_s": 5.0}
    call = told("One two three. Four five.", [(1.0, 2.0)], 12.0, slow, STREAM, agent=agent, acts=[fails(3.6)])
    assert "".join(texts(call, "voice1")) == "One two three. Four five."
    assert audible(call) == "one two three four five"


@pytest.mark.parametrize("takes", ["sentences", "stream"])
def test_a_vendors_text_limit_is_kept(takes: str) -> None:
    text = "One two three four five six seven. Eight."
    call = told(text, [(1.0, 2.0)], 8.0, {"takes": takes, "text_limit": 12})
    assert call.of("error") == []
    assert all(len(t) <= 12 for t in texts(call))
    assert "".join(texts(call)) == text
    assert audible(call) == plain(text)
    assert len(call.providers["voice0"].handle.calls("flush")) == 2


def test_what_is_said_by_the_application_goes_word_by_word_too() -> None:
    def say(text: str, more: bool) -> Any:
        return lambda call, _: call.session.caller_op(ev.Say(say_id=1, text=text, more=more))

    acts = [
        (1.0, say("Good morn", True)),
        (1.5, lambda call, _: call.session.caller_op(ev.SayText(say_id=1, text="ing to"))),
        (2.0, lambda call, _: call.session.caller_op(ev.SayText(say_id=1, text=" you all."))),
        (2.5, lambda call, _: call.session.caller_op(ev.SayEnd(say_id=1))),
    ]
    call = told("", [], 6.0, STREAM, acts=acts)
    assert texts(call) == ["Good", " morning", " to you", " all."]
    assert audible(call) == "good morning to you all"


def test_in_lock_step_over_links_a_stream_of_words_is_waited_for() -> None:
    async def script(house: House) -> None:
        events = await talk(house.grant(), ((1.0, 2.0),), 3.0)
        pcm = b"".join(e.pcm for e in events if isinstance(e, ev.VoiceAudio))
        assert " ".join(word.text for word in hear(pcm, 16_000)) == plain(TALE)
        assert [e.heard for e in events if isinstance(e, ev.VoiceStopped)] == [TALE]
        assert len(house.hosts["tts"].provider.handle.calls("text")) > len(TALE.split(". "))
        assert isinstance(events[-1], ev.SessionClosed)
        assert events[-1].reason == "input_ended"

    agent = ("agent", "fake-agent", {"says": [TALE], "word_delay_s": 0.005})
    run(script, providers={**FAKES, "tts": ("tts", "fake-tts", {"takes": "stream"}), "agent": agent})
