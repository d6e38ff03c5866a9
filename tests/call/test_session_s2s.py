"""Speech-to-speech calls in virtual time: the law owns the mouth, whoever finds the turns.

The fake model hears speech at the first loud frame (1.02 for speech from 1.0 s), its end after 300 ms of quiet (2.3 for
speech until 2.0), tells the words and answers. With `vad: local` it does what it is told, and our own VAD and pause
decide: started at 1.06, stopped at 2.2, over at 2.5.
"""

from __future__ import annotations

from typing import Any

import pytest

from actors import events as ev
from actors import wire
from actors.providers import interface as pi
from actors.speaking_model import MODEL_S
from actors.stage_slot import StageSlot
from router.plan import Candidate
from router.settings import BargeIn, SessionSettings, Silence
from tests.call.scenario import Played, models, op, play, say

TALE = "This answer goes on for some seconds so that there is time. And then there is a second sentence as well."
Act = tuple[float, Any]


def tells(at_s: float, *events: pi.ProviderEvent, model: str = "model") -> Act:
    """The model says so, of its own accord."""

    def act(_: Any, given: dict[str, Any]) -> None:
        for event in events:
            given[model].handle.emit(event)

    return at_s, act


def fails(at_s: float, model: str = "model", kind: str = "connect") -> Act:
    return at_s, lambda _, given: given[model].handle.fail(kind)


def told(call: Played, name: str, model: str = "model") -> list[tuple[Any, ...]]:
    """What the session told the model by `name`, in order."""
    calls: list[tuple[Any, ...]] = call.providers[model].handle.calls(name)
    return calls


def asked_s(call: Played, model: str = "model") -> list[float]:
    """When the model was asked to respond."""
    return [round(got.at_s, 2) for got in call.providers[model].handle.received if got.name == "respond"]


def texts(call: Played) -> dict[int, str]:
    """Reply -> all of its text."""
    whole: dict[int, str] = {}
    for event in call.of("agent.text"):
        whole[event.reply_id] = whole.get(event.reply_id, "") + event.delta
    return whole


def sound(response: int, seconds: float) -> pi.TtsAudio:
    return pi.TtsAudio(reply=response, pos=0, pcm=b"\x01\x10" * round(16_000 * seconds))


# ------------------------------------------------------------------------------------------- turns by the model


def test_a_turn_from_speech_to_reply() -> None:
    call = play([(1.0, 2.0)], 6.0, **models(model={}))
    assert call.story("session.closed") == [
        (0.0, "session.opened"),
        (1.02, "speech.started"),
        (2.3, "speech.stopped"),
        (2.3, "transcript.final"),
        (2.3, "turn.ended"),
        (2.3, "agent.text"),
        (2.3, "voice.started"),
        (2.3, "turn.latency"),
        (2.78, "voice.stopped"),
    ]
    turn, started = call.of("turn.ended")[0], call.of("voice.started")[0]
    assert (turn.turn_id, turn.revision, turn.text, turn.why) == (1, 0, "hello world", "provider")
    assert started.turn_id == 1
    assert call.of("speech.started")[0].at == pytest.approx(0.7)  # 300 ms of prefix
    assert call.of("speech.stopped")[0].at == pytest.approx(2.0)
    assert texts(call) == {started.reply_id: "I heard you."}
    assert call.of("voice.stopped")[0].heard == "I heard you."


def test_a_model_that_answers_before_it_tells_what_it_heard_tells_the_turn_late_and_once() -> None:
    late = pi.InputText(text="quite late", final=True, from_pos=0, to_pos=16_000)
    acts = [tells(1.0, pi.ResponseStarted(response=7), sound(7, 1.0)), tells(1.4, late),
            tells(1.5, pi.ResponseDone(response=7))]  # fmt: skip
    call = play([], 5.0, acts=acts, **models(model={}))
    assert [(e.t, e.revision, e.text) for e in call.of("turn.ended")] == [(1.4, 0, "quite late")]
    assert (call.times("voice.started"), call.times("voice.stopped")) == ([1.0], [2.0])
    assert call.of("voice.started")[0].turn_id == call.of("turn.ended")[0].turn_id


def test_the_latency_of_an_answer_counts_from_its_own_speech_though_the_words_come_later() -> None:
    words = pi.InputText(text="quite late", final=True)
    acts = [tells(2.4, pi.ResponseStarted(response=7)), tells(2.6, sound(7, 0.5)), tells(2.8, words),
            tells(2.9, pi.ResponseDone(response=7)),
            tells(5.4, pi.ResponseStarted(response=8), sound(8, 0.5)), tells(5.5, words, pi.ResponseDone(response=8)),
            tells(7.0, pi.ResponseStarted(response=9), sound(9, 0.5), pi.ResponseDone(response=9))]  # fmt: skip
    call = play(
        [(1.0, 2.0), (4.0, 5.0)], 9.0, acts=acts, **models(model={"vad": "both", "stop_ms": 60_000, "hears": ""})
    )
    one, two = call.of("turn.latency")  # and none of the third, which answers nothing that was said
    assert (one.t, one.endpoint, one.stt_final, one.total) == pytest.approx((2.6, 0.4, None, 0.6), abs=0.021)
    assert (two.t, two.endpoint, two.total) == pytest.approx((5.4, 0.4, 0.4), abs=0.021)


def test_a_barge_in_is_held_and_confirmed_by_half_a_second_of_speech() -> None:
    call = play([(1.0, 2.0), (4.0, 5.2)], 9.0, **models(model={"says": [TALE, "Yes."]}))
    assert call.times("voice.held") == call.times("voice.clear") == [4.02]
    stopped = call.of("voice.stopped")[0]
    assert (stopped.t, stopped.why) == (pytest.approx(4.5, abs=0.021), "interrupted")
    assert 0 < len(stopped.heard) < len(TALE)
    assert TALE.startswith(stopped.heard)
    assert [e.said for e in call.of("voice.stopped")] == [TALE, "Yes."]
    assert len(call.of("turn.ended")) == 2


def test_what_was_heard_of_an_interrupted_response_is_told_to_the_model() -> None:
    call = play([(1.0, 2.0), (4.0, 5.2)], 9.0, **models(model={"says": [TALE, "Yes."]}))
    heard_ms = call.of("voice.stopped")[0].heard_ms
    assert heard_ms == pytest.approx((4.02 - 2.3) * 1000, abs=0.1)
    assert told(call, "heard")[0] == (1, pytest.approx(heard_ms, abs=0.001))
    assert told(call, "cancel")[0] == (1,)


def test_words_of_a_partial_confirm_a_barge_in_where_the_route_says_so() -> None:
    settings = SessionSettings(barge_in=BargeIn(min_words=1, min_speech_s=2.0))
    acts = [tells(4.2, pi.InputText(text="stop", final=False))]
    call = play([(1.0, 2.0), (4.0, 5.2)], 9.0, settings=settings, acts=acts, **models(model={"says": [TALE, "Yes."]}))
    assert call.of("voice.stopped")[0].t == pytest.approx(4.2, abs=0.021)


def test_a_cough_that_the_model_noticed_holds_the_reply_and_it_goes_on() -> None:
    acts = [tells(4.0, pi.SttSpeechStarted(pos=64_000)), tells(4.2, pi.SttSpeechStopped(pos=66_000))]
    call = play([(1.0, 2.0)], 20.0, acts=acts, **models(model={"says": [TALE]}))
    assert call.times("voice.held") == [4.0]
    assert call.times("voice.resumed") == [5.98]  # 2 s of media: the frame that ends at 4.0 had not come yet
    assert call.of("voice.resumed")[0].offset_ms == pytest.approx(1700.0, abs=20.0)  # 2.3 to 4.0
    stopped = call.of("voice.stopped")[0]
    assert (stopped.why, stopped.heard) == ("finished", TALE)
    assert len(call.of("speech.discarded")) == 1


def test_a_cough_without_a_response_is_over_after_a_deadline_and_the_call_goes_on() -> None:
    """The model tells of speech and then of nothing: the application and the silence prompts may speak again."""
    acts = [tells(1.0, pi.SttSpeechStarted(pos=16_000)), tells(1.4, pi.SttSpeechStopped(pos=19_200)),
            say("Application speaks.", 3.0)]  # fmt: skip
    settings = SessionSettings(silence=Silence(after_s=3.0, prompts=("Hello?",)))
    call = play([], 30.0, settings=settings, acts=acts, **models(model={}))
    assert call.times("speech.discarded") == [pytest.approx(1.2 + 3.0 + 2.0, abs=0.021)]  # longest pause, and 2 s more
    assert [e.said for e in call.of("voice.stopped")] == ["Application speaks.", "Hello?"]
    assert not call.of("turn.ended")
    assert call.closed.reason == "silence"


def test_a_model_interrupts_itself() -> None:
    call = play([(1.0, 2.0), (4.0, 5.2)], 9.0, **models(model={"says": [TALE, "Yes."], "speed": 1.2}))
    stopped = call.of("voice.stopped")[0]
    assert (stopped.t, stopped.why) == (4.02, "interrupted")
    assert [e.text for e in call.of("turn.ended")] == ["hello world", "hello world"]
    assert call.of("voice.stopped")[1].heard == "Yes."


def test_an_answer_that_begins_while_the_caller_speaks_again_does_not_end_that_speech() -> None:
    call = play([(1.0, 2.0), (2.5, 3.5)], 9.0, **models(model={"answer_delay_s": 0.7, "says": ["Yes.", "No."]}))
    assert call.times("speech.stopped") == [2.3, 3.8]
    assert len(call.of("transcript.final")) == 2
    last = {e.turn_id: e.text for e in call.of("turn.ended")}
    assert " ".join(last.values()) == "hello world hello world"
    assert call.of("voice.stopped")[-1].said == "No."


def test_two_responses_follow_one_another_each_with_its_own_text() -> None:
    first = [pi.ResponseStarted(response=7), pi.OutputText(response=7, delta="First."), sound(7, 1.0)]
    second = [pi.ResponseStarted(response=8), pi.OutputText(response=8, delta="Second."), sound(8, 0.5)]
    done = [pi.ResponseDone(response=7), pi.ResponseDone(response=8)]
    call = play([], 6.0, acts=[tells(1.0, *first, *second, *done)], **models(model={}))
    assert (call.times("voice.started"), call.times("voice.stopped")) == ([1.0, 2.0], [2.0, 2.5])
    one, two = (e.reply_id for e in call.of("voice.started"))
    assert texts(call) == {one: "First.", two: "Second."}
    assert [e.said for e in call.of("voice.stopped")] == ["First.", "Second."]
    assert [e.t >= 2.0 for e in call.of("agent.text")] == [False, True]  # told once it is its turn
    assert not call.of("turn.ended")


def test_an_interrupted_response_makes_way_for_the_one_that_waits() -> None:
    acts = [tells(1.0, pi.ResponseStarted(response=7), sound(7, 5.0), pi.ResponseStarted(response=8), sound(8, 0.5)),
            op(2.0, ev.Interrupt()), tells(2.1, pi.ResponseDone(response=8))]  # fmt: skip
    call = play([], 6.0, acts=acts, **models(model={}))
    assert [(e.t, e.why) for e in call.of("voice.stopped")] == [(2.0, "interrupted"), (2.5, "finished")]


def test_nothing_is_said_after_the_call_is_closed_while_responses_wait() -> None:
    events = (pi.ResponseStarted(response=7), sound(7, 3.0), pi.ResponseStarted(response=8), sound(8, 3.0))
    call = play([], 9.0, acts=[tells(1.0, *events), op(2.0, ev.CallerClose())], **models(model={}))
    assert call.ending == ("caller_closed", 2.0)  # and it is last: see `_check`
    assert len(call.of("voice.started")) == 1


def test_a_failed_response_without_a_sound_leaves_the_floor_free() -> None:
    acts = [
        tells(1.0, pi.ResponseStarted(response=7), pi.ResponseDone(response=7, status="failed")),
        say("After.", 2.0),
    ]
    call = play([], 6.0, acts=acts, **models(model={}))
    assert [e.said for e in call.of("voice.stopped")] == ["After."]
    assert call.times("voice.started") == [2.0]


def test_the_application_and_the_greeting_speak_through_the_model() -> None:
    settings = SessionSettings(greeting="Welcome.")
    call = play([], 8.0, settings=settings, acts=[say("Your train is late.", 3.0)], **models(model={}))
    assert [e.said for e in call.of("voice.stopped")] == ["Welcome.", "Your train is late."]
    assert call.times("voice.started") == [0.0, 3.0]
    assert told(call, "inject") == [("agent", "Welcome."), ("agent", "Your train is late.")]
    assert asked_s(call) == [0.0, 3.0]
    assert not call.of("turn.ended")


def test_the_caller_may_speak_over_the_greeting() -> None:
    settings = SessionSettings(greeting=TALE)
    call = play([(1.0, 2.0)], 6.0, settings=settings, **models(model={"says": ["Yes."]}))
    stopped = call.of("voice.stopped")
    assert [(e.said, e.why) for e in stopped] == [(TALE, "interrupted"), ("Yes.", "finished")]
    assert [e.text for e in call.of("turn.ended")] == ["hello world"]


def test_the_model_hangs_up_after_its_reply() -> None:
    events = (pi.ResponseStarted(response=7), sound(7, 1.0), pi.Action(turn=7, name="hang_up"))
    call = play([], 9.0, acts=[tells(1.0, *events, pi.ResponseDone(response=7))], **models(model={}))
    assert call.ending == ("agent_hung_up", 2.0)
    assert call.of("voice.stopped")[0].why == "finished"


def test_silence_is_prompted_through_the_model_and_then_the_call_closes() -> None:
    settings = SessionSettings(silence=Silence(after_s=3.0, prompts=("Are you there?",)))
    call = play([], 20.0, settings=settings, **models(model={}))
    assert call.times("voice.started") == [3.0]
    assert call.of("voice.stopped")[0].said == "Are you there?"
    assert call.closed.reason == "silence"
    assert call.closed.t == pytest.approx(call.times("voice.stopped")[0] + 3.0, abs=0.021)


def test_the_keypad_speaks_as_the_caller() -> None:
    call = play([], 5.0, acts=[op(1.0, ev.Dtmf(digits="42"))], **models(model={}))
    assert told(call, "inject") == [("user", "42")]
    assert asked_s(call) == [1.0]
    assert [e.said for e in call.of("voice.stopped")] == ["I heard you."]


# -------------------------------------------------------------------------------- turns by our own VAD and pause


def test_a_local_pause_ends_the_turn_of_a_model_that_waits_to_be_asked() -> None:
    call = play([(1.0, 2.0)], 6.0, **models(vad="local", model={}))
    assert call.story("agent.text", "session.closed") == [
        (0.0, "session.opened"),
        (1.06, "speech.started"),
        (2.2, "speech.stopped"),
        (2.2, "transcript.final"),
        (2.5, "turn.ended"),
        (2.5, "voice.started"),
        (2.5, "turn.latency"),
        (2.98, "voice.stopped"),
    ]
    assert [len(told(call, name)) for name in ("activity_start", "activity_end", "respond")] == [1, 1, 1]
    assert asked_s(call) == [2.5]
    assert [e.text for e in call.of("turn.ended")] == ["hello world"]


def test_speech_that_goes_on_within_the_pause_is_one_turn() -> None:
    call = play([(1.0, 2.0), (2.3, 3.0)], 6.0, **models(vad="local", model={}))
    assert asked_s(call) == [3.5]
    assert [e.text for e in call.of("turn.ended")] == ["hello world hello world"]


def hears_nothing(at_s: float) -> Act:
    """From now on the model understands no words."""

    def act(_: Any, given: dict[str, Any]) -> None:
        stream = given["model"].handle.stream
        stream.options = stream.options.model_copy(update={"hears": ""})

    return at_s, act


def test_a_local_cough_holds_the_reply_of_a_model_and_it_goes_on() -> None:
    """The model has told that there were no words: it is not asked to answer them."""
    call = play(
        [(1.0, 2.0), (4.0, 4.2)], 20.0, acts=[hears_nothing(3.0)], **models(vad="local", model={"says": [TALE]})
    )
    assert (call.times("voice.held"), call.times("voice.resumed")) == ([4.06], [6.06])
    assert [(e.why, e.heard) for e in call.of("voice.stopped")] == [("finished", TALE)]
    assert len(call.of("speech.discarded")) == len(call.of("turn.ended")) == 1
    assert asked_s(call) == [2.5]


def test_a_local_barge_in_is_confirmed_by_voiced_frames_and_answered() -> None:
    call = play([(1.0, 2.0), (4.0, 5.2)], 9.0, **models(vad="local", model={"says": [TALE, "Yes."]}))
    assert call.times("voice.held") == [4.06]
    stopped = call.of("voice.stopped")
    assert (stopped[0].t, stopped[0].why) == (4.5, "interrupted")
    assert told(call, "heard")[0] == (1, pytest.approx(1560.0, abs=0.1))
    assert [e.said for e in stopped] == [TALE, "Yes."]
    assert asked_s(call) == [2.5, 5.7]


def test_words_said_into_a_reply_that_the_model_answers_stop_it_once() -> None:
    """Too short to confirm a barge-in by itself: the words do, and the answer comes."""
    call = play([(1.0, 2.0), (4.0, 4.4)], 9.0, **models(vad="local", model={"says": [TALE, "Yes."]}))
    assert [(e.said, e.why) for e in call.of("voice.stopped")] == [(TALE, "interrupted"), ("Yes.", "finished")]
    assert call.times("voice.stopped")[0] == 4.6
    order = [kind for t, kind in call.story("agent.text", "turn.latency") if t > 4.5]
    assert order[: order.index("voice.started")] == [
        "speech.stopped",
        "transcript.final",
        "voice.stopped",
        "turn.ended",
    ]


def test_speech_without_words_is_discarded_and_the_call_goes_on() -> None:
    settings = SessionSettings(silence=Silence(after_s=3.0, prompts=("Hello?",)))
    options = models(vad="local", model={"hears": ""})
    call = play([(1.0, 1.2)], 30.0, settings=settings, acts=[say("Application speaks.", 4.0)], **options)
    assert call.times("speech.discarded") == [1.7]  # half a second of pause
    assert not call.of("turn.ended")
    assert [e.said for e in call.of("voice.stopped")] == ["Application speaks.", "Hello?"]
    assert call.closed.reason == "silence"


# ------------------------------------------------------------------------------------ models that fail or stall


def test_a_model_that_dies_before_it_answered_is_followed_by_one_that_is_told_and_asked() -> None:
    options = models(model={"answer_delay_s": 3.0}, second={"says": ["Second here."]})
    call = play([(1.0, 2.0)], 9.0, acts=[fails(3.0)], **options)
    changed = call.of("provider.changed")[0]
    assert (changed.stage, changed.before, changed.after, changed.why) == ("s2s", "model", "second", "connect")
    assert told(call, "inject", "second") == [("user", "hello world")]
    assert asked_s(call, "second") == [3.0]
    assert [e.said for e in call.of("voice.stopped")] == ["Second here."]
    assert [e.text for e in call.of("turn.ended")] == ["hello world"]


def test_a_model_that_dies_in_mid_speech_leaves_no_caller_that_speaks_for_ever() -> None:
    """It alone would have told that the speech is over: the next one hears only silence."""
    options = models(model={"answer_delay_s": 1.0}, second={"says": ["Second here."]})
    call = play([(1.0, 2.0), (2.5, 3.5)], 20.0, acts=[fails(3.6), say("After.", 9.0)], **options)
    assert [e.text for e in call.of("turn.ended")] == ["hello world"]
    assert [e.said for e in call.of("voice.stopped")] == ["Second here.", "After."]
    assert call.times("voice.started")[-1] < 12.0


def test_a_model_that_dies_in_mid_reply_is_followed_by_one_that_knows_what_was_heard_and_is_not_asked() -> None:
    options = models(model={"says": [TALE]}, second={"says": ["Second here."]})
    call = play([(1.0, 2.0)], 9.0, acts=[fails(4.0), say("After.", 6.0)], **options)
    stopped = call.of("voice.stopped")
    assert [(e.said, e.why) for e in stopped] == [(TALE, "failed"), ("After.", "finished")]
    assert told(call, "inject", "second") == [
        ("user", "hello world"), ("agent", stopped[0].heard), ("agent", "After."),
    ]  # fmt: skip
    assert asked_s(call, "second") == [6.0]
    assert told(call, "cancel", "second") == told(call, "heard", "second") == []  # its first response is another


def test_responses_of_a_dead_model_that_waited_are_not_said() -> None:
    events = (pi.ResponseStarted(response=7), sound(7, 3.0), pi.ResponseStarted(response=8), sound(8, 3.0))
    acts = [tells(1.0, *events), fails(1.5), say("After.", 5.0)]
    call = play([(6.5, 7.5)], 12.0, acts=acts, **models(model={}, second={"says": ["Second here."]}))
    assert [(e.said, e.why) for e in call.of("voice.stopped")] == [
        ("", "failed"), ("After.", "finished"), ("Second here.", "finished"),
    ]  # fmt: skip
    assert call.times("voice.started")[1] == 5.0
    assert [e.text for e in call.of("turn.ended")] == ["hello world"]


def test_a_model_that_never_answers_a_turn_is_failed_over() -> None:
    options = models(model={"stall_after": 0}, second={"says": ["Second here."]})
    call = play([(1.0, 2.0)], 20.0, **options)
    (changed,) = call.of("provider.changed")
    assert (changed.why, changed.after) == ("stall", "second")
    assert changed.t == pytest.approx(2.0 + 3.0 + 2.0, abs=0.021)  # longest pause, and 2 s more
    assert asked_s(call, "second") == [round(changed.t, 2)]
    assert [e.said for e in call.of("voice.stopped")] == ["Second here."]


@pytest.mark.parametrize("vad", ["server", "local"])
def test_a_model_that_never_says_the_greeting_is_failed_over(vad: str) -> None:
    options = models(vad=vad, model={"stall_after": 0}, second={"says": ["Second here."]})
    call = play([], 20.0, settings=SessionSettings(greeting="Hi there."), **options)
    (changed,) = call.of("provider.changed")
    assert (changed.why, changed.t) == ("stall", pytest.approx(MODEL_S, abs=0.021))
    assert len(call.of("voice.stopped")) == 1  # the greeting, or what the second one says in its place


def test_a_model_that_falls_silent_in_mid_audio_is_failed_over() -> None:
    acts = [tells(1.0, pi.ResponseStarted(response=7), sound(7, 1.0)), say("After.", 2.0)]
    call = play([], 20.0, acts=acts, **models(model={}, second={}))
    (changed,) = call.of("provider.changed")
    assert (changed.why, changed.t) == ("stall", pytest.approx(1.0 + MODEL_S, abs=0.021))
    assert [(e.said, e.why) for e in call.of("voice.stopped")] == [("", "failed"), ("After.", "finished")]


def test_a_stalled_model_without_a_second_is_fatal() -> None:
    call = play([(1.0, 2.0)], 30.0, **models(model={"stall_after": 0}))
    (error,) = call.of("error")
    assert (error.stage, error.kind, error.fatal) == ("s2s", "stall", True)
    assert call.closed.reason == "error"
    assert call.closed.t < 10.0


@pytest.mark.parametrize("vad", ["server", "local"])
def test_the_end_of_input_closes_a_call_whose_model_is_silent(vad: str) -> None:
    call = play([(1.0, 2.0)], 40.0, acts=[op(2.4, ev.EndInput())], **models(vad=vad, model={"stall_after": 0}))
    assert call.closed.t < 20.0
    assert call.closed.reason in ("error", "input_ended")


@pytest.mark.parametrize("vad", ["server", "local"])
def test_the_end_of_input_lets_the_model_answer_and_closes(vad: str) -> None:
    call = play([(1.0, 2.0)], 30.0, acts=[op(2.02, ev.EndInput())], **models(vad=vad, model={}))
    assert [e.text for e in call.of("turn.ended")] == ["hello world"]
    assert [(e.said, e.why) for e in call.of("voice.stopped")] == [("I heard you.", "finished")]
    assert call.closed.reason == "input_ended"
    assert call.closed.t < 6.0


def test_two_hundred_items_of_history_reach_the_next_model_in_order() -> None:
    count = 200

    def fill(call: Any, _: Any) -> None:
        for n in range(count):
            call.session._speak.history.user(1000 + n, f"number {n}")

    options = models(model={}, second={"open_delay_s": 0.5, "record_max": 2000})
    call = play([], 5.0, acts=[(1.0, fill), fails(2.0)], **options)
    assert told(call, "inject", "second") == [("user", f"number {n}") for n in range(count)]


class _Late:
    """A connector that finds a stream later, and the stream: what a lease asked of a router is."""

    provider, epoch, rate_hz, unaccepted = "second", 1, 16_000, 0

    def __init__(self) -> None:
        self.sent: list[wire.StageOp] = []

    def request(self, slot: StageSlot, candidate: Candidate, index: int, spec: pi.StreamSpec) -> None: ...
    def beside(self, slot: StageSlot, candidate: Candidate, spec: pi.StreamSpec) -> None: ...
    def outcome(self, slot: StageSlot, fault: pi.Fault | None) -> None: ...
    def audio(self, pos: int, pcm: bytes | memoryview) -> None: ...
    def close(self, *, drain: bool = False) -> None: ...

    def send(self, op: wire.StageOp) -> None:
        self.sent.append(op)


def test_two_hundred_items_wait_for_a_stream_that_must_be_leased() -> None:
    late: Any = _Late()
    spec = pi.StreamSpec(stream=0, epoch=1, session_id="s", tenant_id="t", rate_hz=16_000)
    chain = models(second={})["stages"]["s2s"]
    slot = StageSlot("s2s", chain, late, late, lambda *_: spec, lambda: 0.0)
    slot.open()
    ops = [wire.S2sInject(role="user", text=f"number {n}") for n in range(200)]
    for item in ops:
        slot.send(item)
    assert not late.sent
    slot.take(late, slot.epoch)
    assert late.sent == ops


def test_the_last_model_dead_is_fatal_and_says_so() -> None:
    call = play([], 9.0, acts=[fails(2.0, kind="protocol")], **models(model={}))
    (error,) = call.of("error")
    assert (error.stage, error.kind, error.fatal) == ("s2s", "protocol", True)
    assert call.ending == ("error", pytest.approx(2.0, abs=0.021))


def test_the_last_model_cut_off_is_asked_for_again_and_hears_the_history() -> None:
    call = play([(1.0, 2.0), (5.0, 6.0)], 9.0, acts=[fails(4.5)], **models(model={}))
    assert not call.of("error")
    (changed,) = call.of("provider.changed")
    assert (changed.before, changed.after, changed.why) == ("model", "model", "connect")
    assert call.providers["model"].handle.opened == 2
    assert told(call, "inject")
    assert len(call.of("voice.stopped")) == 2


def test_one_that_is_cut_off_again_and_again_ends_the_call() -> None:
    call = play([], 9.0, acts=[fails(at_s) for at_s in (2.0, 3.0, 4.0)], **models(model={}))
    (error,) = call.of("error")
    assert (error.kind, error.fatal) == ("connect", True)
    assert call.ending == ("error", pytest.approx(4.0, abs=0.021))
