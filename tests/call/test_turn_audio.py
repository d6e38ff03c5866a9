"""What a turn detector that listens is given: the sound of the open turn and no other, at the rate that it wants."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from actors import wire
from actors.providers.fake import FakeAgent, FakeStt, FakeTts, FakeVad
from actors.providers.interface import Assess, Assessment, Options, StreamSpec, TurnCapabilities
from actors.replay_ring import ReplayRing
from actors.turn_tail import turn_tail
from router.plan import Candidate
from tests.call.scenario import play
from tests.call.test_provider_host import House, Sink


class Listener:
    """Keeps every question. Always of the opinion that the turn is not over."""

    Options = Options
    rates_hz: tuple[int, ...] = (16000,)

    @classmethod
    def capabilities(cls, options: Mapping[str, Any]) -> TurnCapabilities:
        return TurnCapabilities(rates_hz=cls.rates_hz, needs_audio=True)

    def __init__(self, options: Any = None, secret: Any = None, endpoint: Any = None) -> None:
        self.asked: list[Assess] = []
        self.rate_hz = 0

    async def warm(self) -> None: ...
    async def probe(self) -> None: ...
    async def close(self) -> None: ...

    def attach(self, spec: StreamSpec) -> None:
        self.rate_hz = spec.rate_hz

    def detach(self, stream: int) -> None: ...

    def assess(self, questions: Sequence[Assess]) -> Sequence[Assessment]:
        self.asked += questions
        return [Assessment(utt=q.utt, p_complete=0.9) for q in questions]


class Reader(Listener):
    """Looks at the text, too."""

    @classmethod
    def capabilities(cls, options: Mapping[str, Any]) -> TurnCapabilities:
        return TurnCapabilities(needs_audio=True, needs_text=True)


class AtEightThousand(Listener):
    rates_hz = (8000,)


def heard(loud: list[tuple[float, float]], until_s: float, listener: type[Listener] = Listener, stt: Any = None) -> Any:
    detector = listener()
    kind = f"{__name__}:{listener.__name__}"
    stages: dict[Any, tuple[Candidate, ...]] = {
        stage: (Candidate(stage=stage, provider=stage, type=f"fake-{stage}"),)  # type: ignore[arg-type]
        for stage in ("vad", "stt", "agent", "tts")
    }
    stages["turn"] = (Candidate(stage="turn", provider="turn", type=kind),)
    given = {
        "vad": FakeVad({}),
        "stt": FakeStt(stt or {}),
        "agent": FakeAgent({}),
        "tts": FakeTts({}),
        "turn": detector,
    }
    play(loud, until_s, stages=stages, given=given)
    assert detector.rate_hz == listener.rates_hz[0]
    return detector


def loud_s(question: Assess, rate_hz: int = 16000) -> list[tuple[float, float]]:
    """Where it is loud, in seconds before the end."""
    samples = np.abs(np.frombuffer(question.audio, "<i2").astype(int)) > 4000
    frames = samples[len(samples) % (rate_hz // 50) :].reshape(-1, rate_hz // 50).mean(axis=1) > 0.5
    edges = np.flatnonzero(np.diff(np.concatenate([[0], frames, [0]])))
    return [(round((len(frames) - a) * 0.02, 2), round((len(frames) - b) * 0.02, 2)) for a, b in edges.reshape(-1, 2)]


def test_it_hears_the_turn_from_half_a_second_before_its_first_word():
    detector = heard([(2.0, 3.0)], 6.0)
    assert len(detector.asked[0].audio) / 32000 == pytest.approx(0.5 + 1.0 + 0.2, abs=0.05)
    assert loud_s(detector.asked[0]) == [(1.2, 0.2)]


def test_a_turn_of_two_utterances_is_heard_whole_though_the_first_is_settled():
    """The final of the first has come; without the ring's tail it would be gone."""
    detector = heard([(1.0, 2.0), (2.4, 3.0)], 6.0)
    assert loud_s(detector.asked[-1])[0][0] - loud_s(detector.asked[-1])[0][1] == pytest.approx(1.0, abs=0.05)
    assert len(loud_s(detector.asked[-1])) == 2


def test_what_was_said_in_the_turn_before_is_not_heard_again():
    detector = heard([(1.0, 2.0), (5.0, 6.0)], 8.0)
    last = detector.asked[-1]
    assert last.utt == 2
    assert len(loud_s(last)) == 1
    assert len(last.audio) < 2.0 * 32000


WORDS = {"says": ["ten of clubs", "no", "thanks"], "answer_delay_s": 0.1, "partials": False}


def test_one_question_is_asked_for_each_pause_whatever_becomes_of_the_text():
    detector = heard([(1.0, 2.0), (2.4, 3.0), (6.0, 7.0)], 10.0, Listener, WORDS)
    assert [q.utt for q in detector.asked] == [1, 2, 3]


def test_one_that_reads_is_asked_again_when_the_text_has_changed():
    detector = heard([(1.0, 2.0)], 4.0, Reader, WORDS)
    assert [q.utt for q in detector.asked] == [1, 1]
    assert detector.asked[0].text != detector.asked[1].text


def test_eight_seconds_are_the_most():
    detector = heard([(1.0, 12.0)], 15.0)
    assert max(len(q.audio) for q in detector.asked) == 8 * 32000


def test_a_detector_of_another_rate_hears_the_same_sound():
    detector = heard([(2.0, 3.0)], 6.0, AtEightThousand)
    assert len(detector.asked[0].audio) / 16000 == pytest.approx(1.7, abs=0.05)
    assert loud_s(detector.asked[0], 8000) == [(1.2, 0.2)]


def test_a_telephone_line_is_taken_to_the_rate_that_is_wanted():
    ring = ReplayRing(30 * 8000, 8 * 8000)
    tone = (10_000 * np.sin(2 * np.pi * 440 * np.arange(4 * 8000) / 8000)).astype("<i2")
    ring.write(tone.tobytes())
    ring.settle(ring.end)
    tail = np.frombuffer(turn_tail(ring, 8000, 1.0, 16000), "<i2")
    assert len(tail) == 3.5 * 16000
    spectrum = np.abs(np.fft.rfft(tail * np.hanning(len(tail))))
    assert spectrum.argmax() * 16000 / len(tail) == pytest.approx(440, abs=1)
    assert turn_tail(ReplayRing(100), 8000, 0.0, 16000) == b""


def test_eight_seconds_of_sound_travel_to_a_provider_actor():
    async def scenario() -> None:
        async with House("turn") as house:
            sink = Sink()
            port = house.open(sink)
            asked: list[Assess] = []
            assess = house.host.provider.assess
            house.host.provider.assess = lambda questions: asked.extend(questions) or assess(questions)
            sound = np.arange(8 * 48_000, dtype="<i2").tobytes()
            port.send(wire.TurnAssess(question=Assess(stream=0, utt=3, text="", pause_ms=200, audio=sound)))
            await sink.until(lambda: sink.of(Assessment))
            assert asked[0].audio == sound

    async def bounded() -> None:
        async with asyncio.timeout(20):
            await scenario()

    asyncio.run(bounded())
