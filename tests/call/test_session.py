"""Named scenarios of one call in virtual time, each at exact instants.

Frames of 20 ms reach the session when they are whole, so speech from 1.0 s is known at 1.06 (3 voiced frames) and its
end at 2.0 is known at 2.2 (200 ms unvoiced). Every scenario is also checked for what holds in all (`scenario._check`):
sent minus played at most 520 ms, no audio of a reply after `voice.clear`, events counted without gaps.
"""

from __future__ import annotations

from typing import Any

import pytest

from actors import events as ev
from actors.formats import AudioFormat
from actors.providers.fake import FakeAgent, FakeStt, FakeTts
from router.errors import AudioError
from router.plan import Candidate
from router.settings import BargeIn, Endpointing, SessionSettings, Silence
from tests.call.scenario import Played, plan_of, play, providers

TALE = "This answer goes on for some seconds so that there is time. And then there is a second sentence as well."
LONG: dict[str, Any] = {"agent": {"says": [TALE, "Yes."]}}


def say(text: str, at_s: float = 0.0, **fields: Any) -> tuple[float, Any]:
    return at_s, lambda call, _: call.session.caller_op(ev.Say(say_id=1, text=text, **fields))


def op(at_s: float, op: ev.Op) -> tuple[float, Any]:
    return at_s, lambda call, _: call.session.caller_op(op)


def test_a_turn_from_speech_to_reply() -> None:
    call = play([(1.0, 2.0)], 6.0)
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
    final = call.of("transcript.final")[0]
    assert (final.text, final.start, final.end, final.provider) == ("hello world", 0.0, 2.2, "stt")
    latency = call.of("turn.latency")[0]
    assert (latency.endpoint, latency.stt_final, latency.total) == (0.5, 0.2, 0.5)
    assert call.of("speech.started")[0].at == pytest.approx(0.7)  # 300 ms of prefix belong to it
    assert call.of("speech.stopped")[0].at == pytest.approx(2.0)


def test_a_cough_holds_the_reply_and_it_goes_on_where_it_was() -> None:
    call = play([(1.0, 2.0), (4.0, 4.2)], 14.0, given=providers(**LONG, stt={"says": ["hello", ""]}))
    assert call.times("voice.held") == call.times("voice.clear") == [4.06]
    assert call.times("speech.discarded") == [4.7]
    assert call.times("voice.resumed") == [6.06]
    assert call.of("voice.resumed")[0].offset_ms == 1560.0  # 4.06 - 2.5 s were heard
    stopped = call.of("voice.stopped")[0]
    assert (stopped.why, stopped.heard) == ("finished", stopped.said)
    assert len(call.of("turn.ended")) == 1


def test_after_the_hold_nothing_of_the_reply_leaves_until_it_resumes() -> None:
    call = play([(1.0, 2.0), (4.0, 4.2)], 14.0, given=providers(**LONG, stt={"says": ["hello", ""]}))
    sent = [e.t for e in call.of("voice.audio")]
    assert not [t for t in sent if 4.06 < t < 6.06]


def test_a_barge_in_ends_the_reply_and_is_answered() -> None:
    call = play([(1.0, 2.0), (4.0, 5.2)], 9.0, given=providers(**LONG, stt={"says": ["hello", "stop it"]}))
    assert call.times("voice.held") == [4.06]
    assert call.times("voice.stopped")[0] == 4.5  # half a second of speech
    stopped = call.of("voice.stopped")[0]
    assert stopped.why == "interrupted"
    assert TALE.startswith(stopped.heard)
    assert 0 < len(stopped.heard) < len(TALE)
    assert [e.text for e in call.of("turn.ended")] == ["hello", "stop it"]
    history = call.providers["agent"].handle.calls("reply")[-1][2]
    assert [(i.role, i.heard, i.interrupted) for i in history] == [
        ("user", None, False),
        ("agent", stopped.heard, True),
        ("user", None, False),
    ]


def test_what_was_heard_is_exact_to_the_word_where_the_voice_aligns_and_the_caller_reports() -> None:
    call = play([(1.0, 2.0), (4.0, 5.2)], 9.0, given=providers(**LONG), reports=True)
    stopped = call.of("voice.stopped")[0]
    assert stopped.estimated is False
    assert TALE.startswith(stopped.heard + " ")
    silent = play([(1.0, 2.0), (4.0, 5.2)], 9.0, given=providers(**LONG))
    assert silent.of("voice.stopped")[0].estimated is True


def test_without_alignment_what_was_heard_is_estimated_by_duration() -> None:
    given = providers(**LONG, tts={"alignment": False})
    stopped = play([(1.0, 2.0), (4.0, 5.2)], 9.0, given=given, reports=True).of("voice.stopped")[0]
    assert stopped.estimated is True
    assert TALE.startswith(stopped.heard)
    assert stopped.heard


def test_speech_before_the_reply_is_heard_joins_the_turn() -> None:
    given = providers(agent={"answer_delay_s": 1.0}, stt={"says": ["i want", "a ticket"]})
    call = play([(1.0, 2.0), (2.8, 3.5)], 9.0, given=given)
    assert [(e.turn_id, e.revision, e.text) for e in call.of("turn.ended")] == [
        (1, 0, "i want"),
        (1, 1, "i want a ticket"),
    ]
    assert call.times("turn.ended") == [2.5, 4.0]
    assert call.times("voice.started") == [5.0]  # the first reply was never heard of
    assert call.providers["agent"].handle.calls("cancel") == [(1,)]
    users = [i.said for i in call.providers["agent"].handle.calls("reply")[-1][2]]
    assert users == ["i want a ticket"]


def test_a_final_that_comes_late_ends_the_turn_when_it_comes() -> None:
    call = play([(1.0, 2.0)], 6.0, given=providers(stt={"answer_delay_s": 0.9}))
    assert call.times("transcript.final") == call.times("turn.ended") == [3.1]


def test_no_final_in_the_declared_time_lets_the_partial_stand_in() -> None:
    call = play([(1.0, 2.0)], 6.0, given=providers(stt={"stall_after": 0}))
    turn = call.of("turn.ended")[0]
    assert (turn.text, turn.why, turn.provisional) == ("hello world", "timeout", True)
    assert turn.t == pytest.approx(3.7, abs=0.021)  # declared 1 s, and half a second for the way


def test_the_late_final_of_a_turn_told_provisionally_is_not_lost() -> None:
    allow = (5.0, lambda _, given: given["stt"].handle.allow(1))
    given = providers(stt={"stall_after": 0, "says": ["hello my dear friend"], "partial_ms": 800})
    call = play([(1.0, 2.0)], 9.0, given=given, acts=[allow])
    assert [(e.turn_id, e.text) for e in call.of("turn.ended")] == [(1, "hello my dear"), (2, "friend")]
    assert [e.text for e in call.of("transcript.final")] == ["hello my dear friend"]


def test_no_words_make_no_turn() -> None:
    call = play([(1.0, 1.3)], 5.0, given=providers(stt={"says": [""]}))
    assert call.story("session.closed") == [
        (0.0, "session.opened"),
        (1.06, "speech.started"),
        (1.5, "speech.stopped"),
        (1.8, "speech.discarded"),
    ]


def test_two_voiced_frames_are_no_speech() -> None:
    assert not play([(1.0, 1.04)], 3.0).of("speech.started")


def test_a_caller_that_falls_mute_in_mid_word_still_ends_its_turn() -> None:
    call = play([(1.0, 2.0)], 6.0, mute_after_s=1.5)
    assert call.times("speech.stopped") == [1.7]
    assert call.times("turn.ended") == [2.0]
    assert call.record["concealed_ms"] == pytest.approx(4500, abs=40)


def test_the_end_of_input_answers_the_open_turn_and_closes() -> None:
    call = play([(1.0, 2.0)], 9.0, acts=[op(2.02, ev.EndInput())])
    assert call.of("turn.ended")[0].why == "input_ended"
    assert call.times("turn.ended") == [2.22]  # 200 ms of silence after the last frame
    closed = call.of("session.closed")[0]
    assert closed.reason == "input_ended"
    assert closed.t == pytest.approx(2.7, abs=0.03)


def test_words_that_the_vad_did_not_notice_are_told_at_the_end_of_input() -> None:
    given = providers(vad={"threshold": 30_000}, stt={"decode": False, "says": ["soft words"], "partials": False})
    # the ear alone noticed them; 0 is the utterance of a call in which no speech was found
    begin = (0.5, lambda _, given: given["stt"].handle.stream.speech_start(0, 0))
    call = play([(1.0, 2.0)], 9.0, given=given, acts=[begin, op(3.0, ev.EndInput())])
    assert not call.of("speech.started")
    assert [e.text for e in call.of("transcript.final")] == ["soft words"]
    assert [e.text for e in call.of("turn.ended")] == ["soft words"]
    assert [e.heard for e in call.of("voice.stopped")] == ["I heard you."]
    assert call.of("session.closed")[0].reason == "input_ended"


def test_closing_delivers_the_last_final_and_no_reply() -> None:
    call = play([(1.0, 2.0)], 9.0, acts=[op(1.8, ev.CallerClose())])
    assert [e.text for e in call.of("transcript.final")] == ["hello world"]
    assert not call.of("turn.ended")
    closed = call.of("session.closed")[0]
    assert (closed.reason, round(closed.t, 1)) == ("caller_closed", 1.8)


def test_silence_is_prompted_and_then_the_call_closes() -> None:
    settings = SessionSettings(silence=Silence(after_s=3.0, prompts=("Are you there?",)))
    call = play([], 15.0, settings=settings)
    assert call.times("voice.started") == [3.0]
    assert call.of("session.closed")[0].reason == "silence"
    assert call.of("session.closed")[0].t == pytest.approx(call.times("voice.stopped")[0] + 3.0, abs=0.021)


def test_the_agent_hangs_up_after_its_reply() -> None:
    call = play([(1.0, 2.0)], 9.0, given=providers(agent={"hang_up_after": 1}))
    closed = call.of("session.closed")[0]
    assert closed.reason == "agent_hung_up"
    assert closed.t == call.times("voice.stopped")[0]


def test_a_greeting_opens_the_call_and_can_be_spoken_over() -> None:
    settings = SessionSettings(greeting=TALE)
    call = play([(1.0, 2.0)], 6.0, settings=settings)
    assert call.times("voice.started")[0] == 0.0
    assert call.of("voice.stopped")[0].why == "interrupted"
    assert [e.text for e in call.of("turn.ended")] == ["hello world"]


def test_a_greeting_that_may_not_be_interrupted_is_heard_whole_and_the_turn_waits() -> None:
    settings = SessionSettings(greeting=TALE, greeting_interruptible=False)
    call = play([(1.0, 2.0)], 12.0, settings=settings)
    assert not call.of("voice.held")
    stopped = call.of("voice.stopped")[0]
    assert (stopped.why, stopped.heard) == ("finished", TALE)
    assert call.times("turn.ended")[0] == stopped.t


def test_a_greeting_after_the_first_turn_takes_the_place_of_its_reply() -> None:
    settings = SessionSettings(greeting="Welcome.", greeting_when="after_first_turn")
    call = play([(1.0, 2.0), (4.0, 5.0)], 8.0, settings=settings)
    assert [e.said for e in call.of("voice.stopped")] == ["Welcome.", "I heard you."]


def test_the_application_may_speak_and_interrupt() -> None:
    call = play([], 6.0, acts=[say(TALE, 1.0), op(2.0, ev.Interrupt())])
    assert call.times("voice.started") == [1.0]
    assert (call.times("voice.clear"), call.times("voice.stopped")) == ([2.0], [2.0])
    assert call.of("voice.stopped")[0].why == "interrupted"


def test_what_the_application_says_comes_in_pieces_and_in_order() -> None:
    acts = [
        op(1.0, ev.Say(say_id=1, text="One two. ", more=True)),
        op(1.5, ev.SayText(say_id=1, text="Three ")),
        op(1.6, ev.Say(say_id=2, text="After.")),
        op(2.5, ev.SayText(say_id=1, text="four.")),
        op(2.6, ev.SayEnd(say_id=1)),
    ]
    said = [e.said for e in play([], 8.0, acts=acts).of("voice.stopped")]
    assert said == ["One two. Three four.", "After."]


def test_more_than_the_queue_holds_is_refused_clearly() -> None:
    acts = [op(1.0, ev.Say(say_id=n, text=f"Number {n}.")) for n in range(20)]
    errors = play([], 3.0, acts=acts).of("error")
    assert {e.kind for e in errors} == {"overload"}
    assert len(errors) == 3  # one speaks, sixteen wait


def test_the_callers_own_code_is_the_agent() -> None:
    stages = plan_of(SessionSettings()).stages
    stages["agent"] = (Candidate(stage="agent", provider="client", type="client"),)

    def answer(call: Any, _: Any) -> None:
        call.session.caller_op(ev.Say(say_id=7, text="As you wish."))

    from actors.providers.client import Provider as Client

    given = {**providers(), "client": Client({}, None, None)}
    call = play([(1.0, 2.0)], 8.0, stages=stages, given=given, acts=[(3.5, answer)])
    assert call.times("turn.ended") == [2.5]
    assert call.times("voice.started") == [3.5]
    assert call.of("voice.started")[0].turn_id == 1
    assert [e.said for e in call.of("voice.stopped")] == ["As you wish."]


def test_a_keypad_is_answered() -> None:
    call = play([], 4.0, acts=[op(1.0, ev.Dtmf(digits="42"))])
    (asked,) = call.providers["agent"].handle.calls("reply")
    assert asked[4] == "dtmf"
    assert asked[2][-1].said == "42"
    assert call.of("voice.stopped")[0].why == "finished"


def test_the_maximum_duration_closes_the_call() -> None:
    call = play([], 9.0, settings=SessionSettings(max_duration_s=4.0))
    assert (call.of("session.closed")[0].reason, call.times("session.closed")) == ("max_duration", [4.0])


def test_the_longer_pause_is_taken_for_a_turn_that_sounds_unfinished() -> None:
    settings = SessionSettings(endpointing=Endpointing(min_s=0.4, max_s=2.0))
    call = play([(1.0, 2.0)], 6.0, settings=settings, given=providers(turn={"p_complete": 0.1}))
    assert call.times("turn.ended") == [4.0]


# --------------------------------------------------------------------------------------------- falling back


def two(stage: str, kind: str) -> dict[Any, tuple[Candidate, ...]]:
    stages = plan_of(SessionSettings()).stages
    stages[stage] = tuple(  # type: ignore[index]
        Candidate(stage=stage, provider=name, type=kind)  # type: ignore[arg-type]
        for name in ("first", "second")
    )
    return stages


def test_a_dead_first_candidate_makes_way_for_the_second() -> None:
    given = {**providers(), "first": FakeStt({"fail_open": True}), "second": FakeStt({})}
    call = play([(1.0, 2.0)], 6.0, stages=two("stt", "fake-stt"), given=given)
    changed = call.of("provider.changed")[0]
    assert (changed.stage, changed.before, changed.after, changed.why) == ("stt", "first", "second", "connect")
    assert call.of("session.opened")[0].providers["stt"] == "second"
    assert [e.provider for e in call.of("transcript.final")] == ["second"]


def test_a_candidate_that_is_not_ready_in_two_seconds_makes_way() -> None:
    given = {**providers(), "first": FakeStt({"open_delay_s": 60}), "second": FakeStt({})}
    call = play([(3.0, 4.0)], 8.0, stages=two("stt", "fake-stt"), given=given)
    assert call.times("provider.changed") == [2.0]
    assert call.times("session.opened") == [2.0]


def test_audio_sent_before_the_stages_are_ready_is_kept() -> None:
    given = providers(stt={"open_delay_s": 1.5, "decode": False})
    call = play([(0.2, 1.2)], 6.0, given=given)
    assert call.times("session.opened") == [1.5]
    assert [e.text for e in call.of("turn.ended")] == ["hello world"]
    assert call.providers["stt"].handle.streams == []
    assert call.of("transcript.final")[0].start == 0.0


def test_a_stage_with_no_candidate_in_five_seconds_closes_the_call() -> None:
    call = play([], 9.0, given=providers(tts={"open_delay_s": 60}))
    closed = call.of("session.closed")[0]
    assert (closed.reason, round(closed.t, 1)) == ("open_failed", 5.0)
    assert call.of("error")[0].fatal


def test_a_voice_that_dies_before_a_sentence_is_heard_says_it_again_elsewhere() -> None:
    fail = (2.3, lambda _, given: given["first"].handle.fail("connect"))
    given = {**providers(), "first": FakeTts({"first_audio_s": 1.0}), "second": FakeTts({})}
    call = play([], 9.0, stages=two("tts", "fake-tts"), given=given, acts=[say("One two three. Four.", 2.0), fail])
    stopped = call.of("voice.stopped")[0]
    assert (stopped.why, stopped.heard) == ("finished", "One two three. Four.")
    assert call.of("provider.changed")[0].after == "second"


def test_a_voice_that_dies_in_mid_sentence_goes_on_with_the_next() -> None:
    fail = (3.0, lambda _, given: given["first"].handle.fail("connect"))
    given = {**providers(), "first": FakeTts({"speed": 1.5}), "second": FakeTts({})}
    text = "This is the first sentence of some length. This is the second one."
    call = play([], 12.0, stages=two("tts", "fake-tts"), given=given, acts=[say(text, 2.0), fail])
    texts = [args[1].strip() for args in call.providers["second"].handle.calls("text")]
    assert texts == ["This is the second one."]
    assert call.of("voice.stopped")[0].why == "finished"


def test_an_agent_that_dies_before_it_spoke_is_asked_again_elsewhere() -> None:
    fail = (2.8, lambda _, given: given["first"].handle.fail("timeout"))
    given = {**providers(), "first": FakeAgent({"answer_delay_s": 5}), "second": FakeAgent({"says": ["Here I am."]})}
    call = play([(1.0, 2.0)], 8.0, stages=two("agent", "fake-agent"), given=given, acts=[fail])
    assert [e.said for e in call.of("voice.stopped")] == ["Here I am."]


def test_an_agent_that_says_nothing_for_too_long_makes_way() -> None:
    given = {**providers(), "first": FakeAgent({"stall_after": 0}), "second": FakeAgent({"says": ["Here I am."]})}
    call = play([(1.0, 2.0)], 14.0, stages=two("agent", "fake-agent"), given=given)
    assert call.of("provider.changed")[0].why == "stall"
    assert [e.said for e in call.of("voice.stopped")] == ["Here I am."]


def test_a_chain_that_is_exhausted_is_fatal_and_says_so() -> None:
    fail = (2.0, lambda _, given: given["stt"].handle.fail("overload", "too many"))
    call = play([], 9.0, acts=[fail])
    error = call.of("error")[0]
    assert (error.stage, error.kind, error.fatal, error.detail) == ("stt", "overload", True, "too many")
    assert call.of("session.closed")[0].reason == "error"


def test_a_voice_detector_that_fails_is_stood_in_for_and_the_turn_is_heard() -> None:
    call = play([(1.0, 2.0)], 6.0, given=providers(vad={"fail_open": True}))
    assert call.of("degraded")[0].stage == "vad"
    assert call.of("session.opened")[0].providers["vad"] == "energy"


def test_the_next_ear_hears_what_follows() -> None:
    fail = (3.0, lambda _, given: given["first"].handle.fail("connect"))
    given = {**providers(), "first": FakeStt({}), "second": FakeStt({"says": ["after all"]})}
    call = play([(1.0, 2.0), (4.0, 5.0)], 8.0, stages=two("stt", "fake-stt"), given=given, acts=[fail])
    finals = [(e.provider, e.text, e.start) for e in call.of("transcript.final")]
    assert finals == [("first", "hello world", 0.0), ("second", "after all", 2.98)]


# ------------------------------------------------------------------------------------------------- the mouth


def test_a_reply_leaves_at_the_speed_of_speech_and_text_waits_for_room() -> None:
    settings = SessionSettings(reply_audio_max_s=4.0)
    text = " ".join(f"Sentence number {n} of a very long reply." for n in range(30))
    call = play([], 70.0, settings=settings, acts=[say(text, 1.0)])
    stopped = call.of("voice.stopped")[0]
    assert (stopped.why, stopped.said) == ("finished", text)
    assert stopped.heard == text
    assert not call.of("dropped")


def test_a_voice_that_floods_the_mouth_is_cut_and_the_cut_is_counted() -> None:
    settings = SessionSettings(reply_audio_max_s=2.0)
    call = play([], 9.0, settings=settings, acts=[say("word " * 60 + ".", 1.0)])
    dropped = call.of("dropped")[0]
    assert (dropped.stage, dropped.policy) == ("tts", "drop_newest")
    assert dropped.ms > 1000


def test_the_callers_formats_are_its_own() -> None:
    call = play(
        [],
        5.0,
        acts=[say("Hello there.", 1.0)],
        audio_in=AudioFormat("pcm16", 16000),
        audio_out=AudioFormat("mulaw", 8000),
    )
    audio = b"".join(e.pcm for e in call.of("voice.audio"))
    heard_ms = call.of("voice.stopped")[0].heard_ms
    assert len(audio) / 8 == pytest.approx(heard_ms, abs=1)


def test_audio_of_more_than_a_second_at_once_is_a_typed_error() -> None:
    def flood(call: Any, _: Any) -> None:
        with pytest.raises(AudioError):
            call.session.caller_audio(bytes(64_000))

    assert play([], 2.0, acts=[(1.0, flood)]).of("session.closed")


def test_odd_and_empty_chunks_are_repaired_and_counted() -> None:
    def odd(call: Any, _: Any) -> None:
        for chunk in (b"", b"\x01", b"\x00" * 639):
            call.session.caller_audio(chunk)

    call = play([(1.0, 2.0)], 6.0, acts=[(0.5, odd)])
    assert call.record["repairs"] > 0
    assert [e.text for e in call.of("turn.ended")] == ["hello world"]


def test_words_of_a_partial_confirm_a_barge_in_where_the_route_says_so() -> None:
    settings = SessionSettings(barge_in=BargeIn(min_words=1, min_speech_s=2.0))
    call = play([(1.0, 2.0), (4.0, 5.2)], 8.0, settings=settings, given=providers(**LONG))
    assert call.times("voice.stopped")[0] < 4.5


def test_barge_in_may_be_switched_off() -> None:
    settings = SessionSettings(barge_in=BargeIn(enabled=False))
    call = play([(1.0, 2.0), (4.0, 5.2)], 12.0, settings=settings, given=providers(**LONG))
    assert not call.of("voice.held")
    assert [e.said for e in call.of("voice.stopped")] == [TALE, "Yes."]


def test_the_same_call_twice_gives_the_same_story() -> None:
    def once() -> Played:
        return play([(1.0, 2.0), (4.0, 5.2)], 9.0, given=providers(**LONG))

    assert [e for _, e in once().log] == [e for _, e in once().log]


def test_the_call_record_tells_what_the_call_was() -> None:
    record = play([(1.0, 2.0)], 6.0, acts=[op(3.5, ev.EndInput())]).record
    assert record["turns"] == [{"turn_id": 1, "text": "hello world"}]
    assert record["replies"][0]["heard"] == "I heard you."
    assert record["providers"]["stt"] == ["stt"]
    assert record["used"]["tts"]["characters"] == len("I heard you.")
    assert record["used"]["stt"]["input_s"] == pytest.approx(record["media_s"], abs=0.1)
    assert record["reason"] == "input_ended"
