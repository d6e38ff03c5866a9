"""An ear that hears nothing while the caller speaks is failed over; noise, coughs and silence are no proof of that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from actors.deaf_watch import DeafWatch
from actors.providers.interface import Final, Finalized
from tests.call.scenario import Candidate, FakeS2s, FakeStt, Played, models, play, providers


class DeafEar(FakeStt):
    """Takes audio, acknowledges every question, and never says a word; with `empty` it says that there are none."""

    empty = False

    async def open(self, spec: Any, emit: Any) -> Any:
        stream = await super().open(spec, emit)
        settled = spec.pos

        def finalize(utt: int, pos: int) -> None:
            nonlocal settled
            if self.empty and pos > settled:
                stream.say(Final(utt=utt, text="", from_pos=settled, to_pos=pos))
                settled = pos
            stream.say(Finalized(utt=utt, to_pos=pos))

        stream.finalize = finalize  # type: ignore[method-assign]
        return stream


class HonestEar(DeafEar):
    empty = True


class DeafModel(FakeS2s):
    """Nothing is loud enough for it, and it does not care what others say about speech."""

    async def open(self, spec: Any, emit: Any) -> Any:
        stream = await super().open(spec, emit)
        stream.activity_start = stream.activity_end = lambda pos: None  # type: ignore[method-assign]
        return stream


def played(ear: Any, speech: Sequence[tuple[float, float]], until_s: float) -> Played:
    names: tuple[Any, ...] = ("vad", "turn", "stt", "agent", "tts")
    chain = {n: (Candidate(stage=n, provider=n, type=f"fake-{n}"),) for n in names}
    chain["stt"] += (Candidate(stage="stt", provider="next", type="fake-stt"),)
    given = {**providers(), "stt": ear, "next": FakeStt({})}
    return play(speech, until_s, stages=chain, given=given)


def changes(call: Played) -> list[tuple[str, str, str]]:
    return [(e.before, e.after, e.why) for e in call.of("provider.changed")]


def test_long_speech_without_a_word_is_a_stall_and_the_next_ear_hears() -> None:
    call = played(DeafEar({"partials": False}), [(1.0, 3.5), (6.0, 7.0)], 12.0)
    assert changes(call) == [("stt", "next", "stall")]
    assert call.times("provider.changed")[0] < 4.2
    assert [turn.text for turn in call.of("turn.ended")] == ["hello world"]


def test_so_is_one_that_does_not_even_acknowledge() -> None:
    ear = FakeStt({"partials": False})
    ear.handle.stall()
    call = played(ear, [(1.0, 3.5)], 8.0)
    assert changes(call) == [("stt", "next", "stall")]


def test_short_words_without_an_answer_add_up() -> None:
    calls = [(1.0 + 2.5 * i, 2.1 + 2.5 * i) for i in range(5)]
    call = played(DeafEar({"partials": False}), calls, 16.0)
    assert changes(call) == [("stt", "next", "stall")]
    assert 8.0 < call.times("provider.changed")[0] < 12.0  # four of 1.1 s


@pytest.mark.parametrize(
    ("ear", "speech"),
    [
        pytest.param(DeafEar, [], id="silence"),
        pytest.param(DeafEar, [(1.0 + 2.0 * i, 1.3 + 2.0 * i) for i in range(5)], id="coughs of 0.3 s"),
        pytest.param(DeafEar, [(1.0, 2.8)], id="a short word"),
        pytest.param(HonestEar, [(1.0, 9.0), (11.0, 19.0)], id="noise that has no words, and is said to have none"),
        pytest.param(FakeStt, [(1.0, 9.0)], id="words"),
    ],
)
def test_this_is_no_stall(ear: type[FakeStt], speech: list[tuple[float, float]]) -> None:
    assert changes(played(ear({"partials": False}), speech, 22.0)) == []


def test_a_partial_is_an_answer() -> None:
    ear = FakeStt({})
    ear.handle.stall()
    call = played(ear, [(1.0, 4.0)], 9.0)
    assert changes(call) == []
    assert [turn.provisional for turn in call.of("turn.ended")] == [True]


def test_the_last_ear_ends_the_call_instead_of_leaving_it_in_silence() -> None:
    call = play([(1.0, 4.0)], 12.0, given={**providers(), "stt": DeafEar({"partials": False})})
    (error,) = call.of("error")
    assert (error.stage, error.kind, error.fatal) == ("stt", "stall", True)
    assert call.closed.reason == "error"


def test_a_model_that_hears_speech_and_says_nothing_is_deaf_too() -> None:
    scene = models(vad="both", first={}, second={"vad": "server"})
    scene["given"]["first"] = DeafModel({"vad": "both", "threshold": 32_767})
    call = play([(1.0, 4.0), (12.0, 13.0)], 18.0, **scene)
    assert changes(call) == [("first", "second", "stall")]
    assert len(call.of("voice.started")) == 1


def test_the_watch_counts_one_speech_once() -> None:
    watch = DeafWatch()
    watch.began(1.0)
    watch.ended(2.5)
    assert [watch.unanswered(), watch.unanswered(), watch.unanswered()] == [False, False, False]
    for at_s in (3.0, 5.0):
        watch.began(at_s)
        watch.ended(at_s + 1.5)
    assert watch.unanswered()  # the one before was carried on, not forgotten
    watch.answered()
    assert not watch.unanswered()
