"""The corners of a conversation: things that come too early, too late, twice, or not at all.

Each was a bug once. In virtual time where one process shows it, else over real links on loopback with bounded waits.
The clock of a scenario is told in `test_session`.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from actors import events as ev
from actors import logs, wire
from actors.formats import AudioFormat
from actors.link import connect
from actors.observe import MediaDropped, Record
from actors.providers import fake_tones
from actors.providers import interface as pi
from actors.providers.client import Provider as ClientAgent
from actors.providers.fake import FakeStt
from actors.speaking import CLIENT_S
from router.errors import PatchbayError, SessionGone
from router.plan import Candidate
from router.settings import SessionSettings, Silence
from tests.call.house import FAKES, KEY, House
from tests.call.scenario import Played, op, plan_of, play, providers, say
from tests.call.test_session_host import LOUD, SOFT, _Router, run, until

TALE = "This answer goes on for some seconds so that there is time. And then there is a second sentence as well."


def act(at_s: float, do: Any) -> tuple[float, Any]:
    return at_s, do


def allow(at_s: float) -> tuple[float, Any]:
    return at_s, lambda _, given: given["stt"].handle.allow()


def stall(at_s: float) -> tuple[float, Any]:
    return at_s, lambda _, given: given["stt"].handle.stall()


def two_ears(first: dict[str, Any], second: dict[str, Any], **others: dict[str, Any]) -> dict[str, Any]:
    """The `stages` and `given` of `play` with two candidates to listen."""
    stages = plan_of(SessionSettings()).stages
    stages["stt"] = tuple(
        Candidate(stage="stt", provider=name, type="fake-stt", options=options)
        for name, options in (("first", first), ("second", second))
    )
    return {"stages": stages, "given": {**providers(**others), "first": FakeStt(first), "second": FakeStt(second)}}


def client_agent() -> dict[str, Any]:
    stages = plan_of(SessionSettings()).stages
    stages["agent"] = (Candidate(stage="agent", provider="client", type="client"),)
    return {"stages": stages, "given": {**providers(), "client": ClientAgent({}, None, None)}}


def turns(call: Played) -> list[tuple[int, int, str]]:
    return [(e.turn_id, e.revision, e.text) for e in call.of("turn.ended")]


# ------------------------------------------------------------------------------------------------- the call's end


@pytest.mark.parametrize("hang_up", [False, True], ids=["after the end of input", "after the agent hung up"])
def test_a_caller_that_closes_while_the_last_reply_plays_closes_once(hang_up: bool) -> None:
    given = providers(agent={"says": [TALE], "hang_up_after": 1 if hang_up else None})
    acts = [op(3.5, ev.CallerClose())] if hang_up else [op(2.6, ev.EndInput()), op(3.5, ev.CallerClose())]
    call = play([(1.0, 2.0)], 9.0, given=given, acts=acts)
    assert call.ending == ("caller_closed", pytest.approx(3.5, abs=0.021))
    assert [e.why for e in call.of("voice.stopped")] == ["interrupted"]
    assert call.record["reason"] == "caller_closed"


def test_what_waits_to_be_said_is_said_before_the_end_of_input_closes() -> None:
    acts = [say("One two three four five.", 1.0), say("Second.", 1.1, say_id=2), op(1.2, ev.EndInput())]
    call = play([], 12.0, acts=acts)
    assert [(e.said, e.why) for e in call.of("voice.stopped")] == [
        ("One two three four five.", "finished"), ("Second.", "finished"),
    ]  # fmt: skip
    assert call.closed.reason == "input_ended"
    assert call.closed.t == call.times("voice.stopped")[-1]


@pytest.mark.parametrize("late", [{"stt": {"open_delay_s": 1.5}}, {"tts": {"open_delay_s": 1.5}}], ids=["stt", "tts"])
def test_an_end_of_input_before_the_stages_are_open_lets_the_kept_audio_be_heard_and_answered(late: Any) -> None:
    call = play([(0.1, 0.9)], 9.0, given=providers(**late), acts=[op(1.1, ev.EndInput())])
    assert call.times("session.opened") == [1.5]
    assert turns(call) == [(1, 0, "hello world")]
    assert [e.heard for e in call.of("voice.stopped")] == ["I heard you."]
    assert call.closed.reason == "input_ended"
    assert call.closed.t < 4.0


def test_a_hang_up_is_forgotten_when_the_caller_goes_on_before_the_reply_is_heard() -> None:
    given = providers(
        agent={"hang_up_after": 1}, tts={"first_audio_s": 1.5}, stt={"says": ["bye", "no wait i have more"]}
    )
    call = play([(1.0, 2.0), (2.9, 6.0)], 10.0, given=given)
    assert turns(call) == [(1, 0, "bye"), (1, 1, "bye no wait i have more")]
    assert [(e.t, e.why) for e in call.of("voice.stopped")] == [(8.48, "finished")]
    assert call.closed.t == pytest.approx(10.0, abs=0.021)  # nobody hung up


# ------------------------------------------------------------------------------- speech while nothing is heard yet


PROMPT = SessionSettings(silence=Silence(after_s=1.0, prompts=("Still there?",)))


@pytest.mark.parametrize(
    ("settings", "acts", "cough_s", "text"),
    [
        (SessionSettings(greeting="Welcome to the line."), [], 0.2, "Welcome to the line."),
        (SessionSettings(), [say("Your train leaves.", 1.0)], 1.2, "Your train leaves."),
        (PROMPT, [], 1.2, "Still there?"),
    ],
    ids=["greeting", "say", "prompt"],
)
def test_a_cough_does_not_kill_what_has_no_sound_yet(settings: Any, acts: Any, cough_s: float, text: str) -> None:
    given = providers(tts={"first_audio_s": 1.0}, stt={"says": [""]})
    call = play([(cough_s, cough_s + 0.15)], 6.0, settings=settings, given=given, acts=acts)
    assert [(e.heard, e.why) for e in call.of("voice.stopped")][:1] == [(text, "finished")]
    assert call.times("voice.started")[0] == pytest.approx(cough_s + 2.06, abs=0.021)  # 2 s without words
    assert not call.of("voice.held")  # nobody has heard of it yet
    assert len(call.of("speech.discarded")) == 1


def test_speech_interrupts_a_greeting_that_has_no_sound_yet() -> None:
    given = providers(tts={"first_audio_s": 1.0})
    call = play([(0.2, 1.2)], 6.0, settings=SessionSettings(greeting="Welcome to the line."), given=given)
    assert turns(call) == [(1, 0, "hello world")]
    assert [(e.said, e.why) for e in call.of("voice.stopped")] == [("I heard you.", "finished")]
    assert call.times("turn.ended") == [1.7]


# ----------------------------------------------------------------------------------------- finals that come late


def test_a_final_that_comes_while_the_same_turn_goes_on_doubles_no_word() -> None:
    given = providers(
        stt={"stall_after": 0, "says": ["hello my dear friend", "and more"], "partial_ms": 800},
        agent={"answer_delay_s": 3.0},
    )
    call = play([(1.0, 2.0), (4.2, 5.2)], 14.0, given=given, acts=[allow(4.6)])
    assert turns(call) == [(1, 0, "hello my dear"), (1, 1, "hello my dear friend and more")]
    assert [e.provisional for e in call.of("turn.ended")] == [True, False]
    users = [i.said for i in call.providers["agent"].handle.calls("reply")[-1][2]]
    assert users == ["hello my dear friend and more"]


def test_a_final_that_comes_during_a_barge_in_opens_the_next_turn_with_what_it_adds() -> None:
    given = providers(
        stt={"stall_after": 0, "says": ["hello my dear friend", "stop it"], "partial_ms": 800}, agent={"says": [TALE]}
    )
    call = play([(1.0, 2.0), (4.7, 5.7)], 14.0, given=given, acts=[allow(5.0)])
    assert [t[2] for t in turns(call)] == ["hello my dear", "friend stop it"]


def test_a_late_final_that_adds_nothing_opens_no_turn() -> None:
    given = providers(stt={"stall_after": 0, "says": ["Hello, my dear!"], "partial_ms": 300}, agent={"says": [TALE]})
    call = play([(1.0, 2.0)], 12.0, given=given, acts=[allow(5.0)])
    assert len(turns(call)) == 1
    assert [e.why for e in call.of("voice.stopped")] == ["finished"]


def test_a_late_final_that_says_something_else_takes_the_place_of_what_stood_in() -> None:
    given = providers(
        stt={"stall_after": 0, "says": ["yellow pages", "please"], "partial_ms": 800}, agent={"answer_delay_s": 3.0}
    )

    def heard_wrong(_: Any, given: dict[str, Any]) -> None:
        given["stt"].handle.emit(pi.Partial(utt=1, text="hello ages"))

    call = play([(1.0, 2.0), (4.2, 5.2)], 14.0, given=given, acts=[act(3.6, heard_wrong), allow(4.6)])
    assert [t[2] for t in turns(call)] == ["hello ages", "yellow pages please"]


def test_a_final_that_comes_while_its_partial_waits_behind_a_reply_takes_its_place() -> None:
    """The turn ended by its partial, and is not told yet: the reply may not be interrupted."""
    given = providers(stt={"answer_delay_s": 2.5, "says": ["hello world"]})
    call = play([(1.5, 2.3)], 12.0, given=given, acts=[say(TALE, 1.0, interruptible=False)])
    assert [(e.t, e.text, e.provisional) for e in call.of("turn.ended")] == [
        (call.times("voice.stopped")[0], "hello world", False)
    ]  # fmt: skip


def test_two_partials_that_stood_in_are_both_made_good_by_their_finals() -> None:
    given = providers(
        stt={"stall_after": 0, "says": ["one two", "three four"], "partial_ms": 300}, agent={"answer_delay_s": 4.0}
    )
    call = play([(1.0, 2.0), (4.2, 5.2)], 20.0, given=given, acts=[allow(7.5)])
    assert [e.provisional for e in call.of("turn.ended")][:2] == [True, True]
    assert [t[2] for t in turns(call)][:2] == ["one two", "one two three four"]
    assert {t[2] for t in turns(call)[2:]} <= {"one two three four"}


def test_a_late_final_of_an_earlier_utterance_is_not_taken_for_that_of_the_partial_that_stood_in() -> None:
    given = providers(
        stt={"answer_delay_s": 2.5, "says": ["one", "two three", "four"], "partial_ms": 800}, agent={"says": [TALE]}
    )
    call = play([(1.6, 2.4), (3.6, 4.4), (4.7, 5.5)], 30.0, given=given, acts=[op(5.6, ev.EndInput())])
    assert turns(call)[0][2] == "one four"  # by the partial of the third
    last = {turn: text for turn, _, text in turns(call)}
    assert sorted(" ".join(last.values()).split()) == ["four", "one", "three", "two"]


def test_a_final_after_the_reply_went_on_interrupts_it_and_is_answered() -> None:
    given = providers(
        agent={"says": [TALE, "Very well."]},
        stt={"says": ["hello", "stop now please"], "partials": False, "final_p99_s": 4.0},
    )
    stages = plan_of(SessionSettings()).stages
    stages["stt"] = (Candidate(stage="stt", provider="stt", type="fake-stt", options={"final_p99_s": 4.0}),)
    call = play([(1.0, 2.0), (4.0, 4.3)], 12.0, stages=stages, given=given, acts=[stall(3.5), allow(6.5)])
    assert (call.times("voice.held"), call.times("voice.resumed")) == ([4.06], [6.06])
    stopped = call.of("voice.stopped")
    assert [e.why for e in stopped] == ["interrupted", "finished"]
    assert stopped[0].t == pytest.approx(6.5, abs=0.021)
    assert [t[2] for t in turns(call)] == ["hello", "stop now please"]
    assert stopped[1].said == "Very well."


# --------------------------------------------------------------------------------------------- an ear that fails


def test_the_last_partial_of_an_ear_that_dies_is_not_lost_and_the_next_one_is_told_of_the_speech() -> None:
    died = act(2.5, lambda _, given: given["first"].handle.fail("connect"))
    call = play([(1.0, 4.0)], 12.0, acts=[died], **two_ears({}, {"says": ["second half"]}))
    (turn,) = call.of("turn.ended")
    assert (turn.text, turn.provisional, turn.t) == ("hello world second half", True, 4.5)
    assert [args[0] for args in call.providers["second"].handle.calls("speech_start")] == [1]


def test_an_ear_that_dies_in_the_pause_leaves_its_partial() -> None:
    died = act(2.3, lambda _, given: given["first"].handle.fail("connect"))
    call = play([(1.0, 2.0)], 12.0, acts=[died], **two_ears({"stall_after": 0}, {"open_delay_s": 1.0}))
    (turn,) = call.of("turn.ended")
    assert (turn.text, turn.provisional) == ("hello world", True)
    assert turn.t < 4.5  # the pause, or at most the declared time of the second


def test_the_record_tells_how_long_each_ear_listened() -> None:
    died = act(3.0, lambda _, given: given["first"].handle.fail("connect"))
    call = play([], 8.0, acts=[died], **two_ears({}, {}))
    used = call.record["used"]
    assert used["first"]["input_s"] == pytest.approx(3.0, abs=0.05)
    assert used["second"]["input_s"] == pytest.approx(call.record["media_s"] - 3.0, abs=0.05)


def test_an_ear_that_never_opened_heard_nothing() -> None:
    call = play([], 8.0, **two_ears({"open_delay_s": 60}, {}))
    used = call.record["used"]
    assert used.get("first", {}).get("input_s", 0.0) == 0.0
    assert used["second"]["input_s"] == pytest.approx(call.record["media_s"], abs=0.05)


# ------------------------------------------------------------------------------------------ the application speaks


def test_an_application_that_never_answers_does_not_keep_the_call() -> None:
    call = play([(1.0, 2.0)], 60.0, acts=[op(2.6, ev.EndInput())], **client_agent())
    assert call.ending == ("input_ended", pytest.approx(2.5 + CLIENT_S, abs=0.041))


def test_silence_prompts_go_on_after_an_application_that_never_answered() -> None:
    settings = SessionSettings(silence=Silence(after_s=3.0, prompts=("Hello?",)))
    call = play([(1.0, 2.0)], 60.0, settings=settings, **client_agent())
    assert call.times("voice.started") == [pytest.approx(2.5 + CLIENT_S + 3.0, abs=0.061)]
    assert call.closed.reason == "silence"


def test_an_answer_of_the_application_may_not_be_interrupted_where_it_says_so() -> None:
    acts = [say(TALE, 3.0, interruptible=False)]
    call = play([(1.0, 2.0), (4.0, 5.5)], 12.0, acts=acts, **client_agent())
    assert not call.of("voice.held")
    stopped = call.of("voice.stopped")[0]
    assert (stopped.why, stopped.heard) == ("finished", TALE)
    assert call.times("turn.ended") == [2.5, stopped.t]


@pytest.mark.parametrize("ms", [float("nan"), float("inf"), float("-inf"), -1.0])
def test_what_is_no_time_is_no_report_of_what_was_played(ms: float) -> None:
    def log(*more: Any) -> list[ev.Event]:
        return [e for _, e in play([(4.0, 5.0)], 9.0, acts=[say(TALE, 1.0), *more]).log]

    assert log(op(1.5, ev.Played(reply_id=1, ms=ms))) == log()


# ------------------------------------------------------------------------------------- a caller that comes back


def test_a_reply_cut_off_by_a_broken_link_is_cleared_and_goes_on_where_it_was() -> None:
    acts = [act(3.5, lambda call, _: call.session.detach()), act(5.0, lambda call, _: call.session.attach())]
    call = play([(1.0, 2.0)], 12.0, given=providers(agent={"says": [TALE]}), acts=acts)
    assert (call.times("voice.clear"), call.times("voice.resumed")) == ([3.5], [5.0])
    assert call.of("voice.resumed")[0].offset_ms == pytest.approx(1000.0, abs=20.0)  # 2.5 to 3.5
    assert not [e for e in call.of("voice.audio") if 3.5 < e.t < 5.0]
    stopped = call.of("voice.stopped")[0]
    assert (stopped.why, stopped.heard) == ("finished", TALE)


def test_a_link_that_breaks_while_the_reply_is_held_says_nothing_until_somebody_is_back() -> None:
    given = providers(agent={"says": [TALE]}, stt={"says": ["hello", ""]})
    acts = [act(4.1, lambda call, _: call.session.detach()), act(8.0, lambda call, _: call.session.attach())]
    call = play([(1.0, 2.0), (4.0, 4.2)], 16.0, given=given, acts=acts)
    assert not [e for e in call.of("voice.audio") if 4.06 < e.t < 8.0]
    assert [(e.why, e.heard) for e in call.of("voice.stopped")] == [("finished", TALE)]


def test_a_caller_that_stays_away_ends_the_call_and_its_reply() -> None:
    settings = SessionSettings(resume_s=5.0)
    acts = [act(3.5, lambda call, _: call.session.detach())]
    call = play([(1.0, 2.0)], 20.0, settings=settings, given=providers(agent={"says": [TALE]}), acts=acts)
    assert call.ending == ("lost", pytest.approx(8.5, abs=0.021))
    assert len(call.of("voice.stopped")) == 1


# ------------------------------------------------------------------------------------------------- what is counted


class _Records:
    def __init__(self) -> None:
        self.all: list[Record] = []

    def observe(self, record: Record) -> None:
        self.all.append(record)


def test_cut_reply_audio_is_counted_once() -> None:
    text = "word " * 60 + "."
    seen = _Records()
    settings = SessionSettings(reply_audio_max_s=2.0)
    call = play([], 9.0, settings=settings, acts=[say(text, 1.0)], observer=seen)
    (dropped,) = call.of("dropped")
    whole_ms = len(fake_tones.say(text.strip(), 16_000).pcm) / 32
    assert dropped.ms + call.of("voice.stopped")[0].heard_ms == pytest.approx(whole_ms, abs=1.0)
    assert call.record["dropped_ms"] == {"tts/drop_newest": round(dropped.ms)}
    frames = [r.frames for r in seen.all if isinstance(r, MediaDropped)]
    assert frames == [round(dropped.ms / 20)]


# -------------------------------------------------------------------------------------------------- over real links


@pytest.mark.parametrize("mode", ["live", "file"])
def test_a_caller_that_says_all_and_ends_before_anything_is_open_is_heard_and_answered(mode: Any) -> None:
    async def script(house: House) -> None:
        async with house.grant().connect(mode=mode) as call:
            for n in range(50):
                await call.send(LOUD if 5 < n < 40 else SOFT)
            await call.end_input()
            events = [event async for event in call]
        assert [e.text for e in events if isinstance(e, ev.TurnEnded)] == ["hello world"]
        assert [e.heard for e in events if isinstance(e, ev.VoiceStopped)] == ["I heard you."]
        assert isinstance(events[-1], ev.SessionClosed)
        assert events[-1].reason == "input_ended"

    run(script)


def test_a_saying_whose_iterator_raises_is_ended_and_the_next_one_is_heard() -> None:
    async def broken() -> Any:
        yield "Hello there. "
        raise ValueError("a bug of the application")

    async def script(house: House) -> None:
        async with house.grant().connect(mode="lockstep") as call:
            with pytest.raises(ValueError, match="bug of the application"):
                await call.say(broken())
            await call.say("Second thing.")
            await call.end_input()
            events = [event async for event in call]
        assert [e.said for e in events if isinstance(e, ev.VoiceStopped)] == ["Hello there.", "Second thing."]
        assert isinstance(events[-1], ev.SessionClosed)
        assert events[-1].reason == "input_ended"

    run(script)


def test_whoever_comes_back_brings_the_formats_it_left_with() -> None:
    async def script(house: House) -> None:
        handle = house.grant()
        async with handle.connect(audio_in=AudioFormat("pcm16", 16_000)) as first:
            with pytest.raises(PatchbayError, match="format") as refused:
                async with handle.connect(audio_in=AudioFormat("mulaw", 8_000)):
                    pass
            assert isinstance(refused.value, SessionGone)
            assert house.session_host.statistics().denied == 1
            await first.send(SOFT)
            assert not first.is_over
            assert house.session_host.statistics().sessions == 1

    run(script)


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    written = io.StringIO()
    logs.setup(written)
    yield written
    structlog.reset_defaults()


def test_the_log_of_a_failed_session_has_a_traceback_and_no_secret(lines: io.StringIO) -> None:
    async def script(house: House) -> None:
        async with house.grant(session_id="bad").connect(mode="file") as call:

            def burst(chunk: Any) -> None:
                raise RuntimeError("vendor said api_key=abcdef123456 is wrong")

            await until(lambda: "bad" in house.session_host._seats)
            house.session_host._seats["bad"].session.caller_audio = burst  # type: ignore[method-assign]
            await call.send(SOFT)
            assert [event async for event in call]

    run(script)
    (failed,) = [line for line in map(json.loads, lines.getvalue().splitlines()) if line["event"] == "session.failed"]
    assert failed["session"] == "bad"
    assert "Traceback" in failed["exception"]
    assert "in burst" in failed["exception"]
    assert "vendor said" in failed["exception"]
    assert "abcdef123456" not in lines.getvalue()


@pytest.mark.parametrize("lost", [1, 160, 7_777, 33_333, 160_000], ids=lambda n: f"{n} samples")
def test_a_hole_in_the_callers_audio_keeps_the_media_clock_to_the_sample(lost: int) -> None:
    async def script(house: House) -> None:
        async with house.grant(session_id="s").connect(mode="file"):
            await until(lambda: "s" in house.session_host._seats)
            seat = house.session_host._seats["s"]
            whole = -(-(lost + 320) // 320) * 320  # up to here there are whole frames
            seat.audio(0, lost, memoryview(bytes(2 * (whole - lost))))
            assert seat.session.ear.pos == seat.next_sample == whole

    run(script)


def test_a_lease_that_comes_when_it_is_not_wanted_any_more_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.stage_slot.READY_S", 0.2)  # the candidate in the middle has no longer to get a stream

    async def script(house: House) -> None:
        router = _Router()
        link = await connect(house.info.address, router, key=KEY, role="router", timeout_s=2.0)
        link.send(0, wire.Hello(router="r1"))
        await router.until(wire.WorkerReport)
        leases = tuple(lease for lease in _leases(house) if (lease.stage, lease.candidate) != ("stt", 1))
        async with house.grant(session_id="s1", leases=leases).connect() as call:
            await router.until(wire.LeaseRequest, stage="stt", candidate=1)
            async for event in call:  # the router takes too long: the third is taken
                if isinstance(event, ev.SessionOpened):
                    assert event.providers["stt"] == "third"
                    break
            info = house.infos["second"]
            late = wire.Lease(lease_id="late", stage="stt", candidate=1, address=info.address, actor=info.actor)
            link.send(0, wire.LeaseAnswer(session_id="s1", stage="stt", candidate=1, lease=late))
            back = await router.until(wire.LeaseReturn, lease_id="late")
            assert back.session_id == "s1"
            assert not call.is_over
        closed = await router.until(wire.SessionChange, state="closed")
        assert "late" not in [lease.lease_id for lease in closed.leases]
        await link.close()

    ears = [("first", "fake-stt", {"fail_open": True}), ("second", "fake-stt", {}), ("third", "fake-stt", {})]
    run(script, providers={**FAKES, "stt": ears})


def _leases(house: House) -> tuple[wire.Lease, ...]:
    return tuple(
        wire.Lease(
            lease_id=f"s1-{stage}-{index}", stage=stage, candidate=index, address=house.infos[c.provider].address,
            actor=house.infos[c.provider].actor, silence_bound_s=3.0,
        )
        for stage, candidates in house.plan().stages.items()
        for index, c in enumerate(candidates)
    )  # fmt: skip
