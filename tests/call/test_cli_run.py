"""A whole call from a file in virtual time: what is sent when, what is heard, what is kept."""

from __future__ import annotations

import asyncio
import io
import json
from collections import deque
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from actors.client import SessionHandle
from actors.events import (
    EndInput,
    Event,
    SessionClosed,
    SessionOpened,
    SpeechStarted,
    TranscriptFinal,
    TranscriptPartial,
    TurnEnded,
    TurnLatency,
    VoiceAudio,
    VoiceStarted,
    VoiceStopped,
)
from actors.formats import AudioFormat
from cli.calllog import CallLog
from cli.run import SILENT_S, Style, run
from cli.show import JsonLines, Transcript
from router.errors import SessionGone
from tests.call.host_double import Host, with_host
from tests.simulation import simulate

AUDIO = AudioFormat("pcm16", 8000)
FILE = np.full(8000, 1000, np.int16)  # 1 s
REPLY_FRAMES = 25


class Agent:
    """A session in this process: one turn when the file is over or has lasted, one reply of half a second."""

    def __init__(self, *, turn_after: int, answers: bool = True) -> None:
        self.session_id, self.failure, self.is_over = "s1", None, False
        self.frames: list[tuple[float, bytes]] = []
        self.played_ms: list[float] = []
        self.ended_at_s: float | None = None
        self._turn_after, self._answers = turn_after, answers
        self._events: deque[Event] = deque([SessionOpened(n=1, route="r", version="v", providers={})])

    def connect(self, **kwargs: Any) -> Agent:
        return self

    async def __aenter__(self) -> Agent:
        return self

    async def __aexit__(self, *raised: Any) -> None:
        pass

    async def send(self, pcm: bytes) -> None:
        self.frames.append((asyncio.get_running_loop().time(), pcm))
        if sum(any(p) for _, p in self.frames) == self._turn_after and any(pcm):
            self._turn()

    @property
    def is_taken(self) -> bool:
        return bool(self.frames)

    async def wait_room(self) -> None:
        pass

    async def end_input(self) -> None:
        self.ended_at_s = asyncio.get_running_loop().time()
        if self._answers:
            self.is_over = True
            self._events.append(SessionClosed(reason="input_ended", stats={}))

    async def played(self, reply_id: int, ms: float) -> None:
        self.played_ms.append(ms)

    def next_event_nowait(self) -> Event | None:
        return self._events.popleft() if self._events else None

    async def next_event(self) -> Event | None:
        if not self._events:
            await asyncio.sleep(1e6)
        return self._events.popleft()

    def _turn(self) -> None:
        self._events += [
            SpeechStarted(utterance_id=1, at=0.5),
            TranscriptPartial(utterance_id=1, text="he"),
            TranscriptFinal(utterance_id=1, text="hello", start=0, end=1, provider="ears"),
            TurnEnded(turn_id=1, text="hello", why="pause"),
            VoiceStarted(reply_id=1, turn_id=1),
            TurnLatency(
                turn_id=1, reply_id=1, endpoint=0.5, stt_final=None, agent_first=None, tts_first=None, total=0.6
            ),
            VoiceAudio(reply_id=1, offset_ms=0, pcm=b"\7\0" * 160 * REPLY_FRAMES),
            VoiceStopped(
                reply_id=1, why="finished", said="hello", heard="hello", heard_ms=500, estimated=False
            ),
        ]  # fmt: skip


def made(agent: Any, style: Style, show: Any = lambda at_s, event: None) -> CallLog:
    log, taken = CallLog(AUDIO.rate_hz, timed=not style.lockstep), []
    simulate(run(agent, FILE, AUDIO, style, show, log, taken=lambda: taken.append(len(agent.frames))))
    assert taken == [1], "told once, when the first frame was taken"
    return log


def test_in_real_time_a_frame_goes_every_20_ms_and_the_file_waits_for_the_reply() -> None:
    agent = Agent(turn_after=20)
    log = made(agent, Style())
    times = [at_s for at_s, _ in agent.frames]
    assert np.allclose(np.diff(times), 0.02)
    speech = [any(pcm) for _, pcm in agent.frames]
    assert speech == [False] * 25 + [True] * 20 + [False] * REPLY_FRAMES + [True] * 30
    assert agent.ended_at_s == pytest.approx(2.0, abs=0.03)
    assert np.flatnonzero(log.heard)[0] / 8000 == pytest.approx(0.9)
    assert agent.played_ms == [100, 200, 300, 400, 500]
    assert len(log.sent) == len(log.heard)


def test_full_duplex_sends_the_file_as_recorded() -> None:
    agent = Agent(turn_after=20)
    made(agent, Style(full_duplex=True))
    assert all(any(pcm) for _, pcm in agent.frames)
    assert len(agent.frames) == 50


def test_lock_step_takes_no_time_and_makes_the_same_call() -> None:
    slow, fast = Agent(turn_after=20), Agent(turn_after=20)
    slow_log, fast_log = made(slow, Style()), made(fast, Style(lockstep=True))
    assert [pcm for _, pcm in fast.frames] == [pcm for _, pcm in slow.frames]
    assert fast.frames[-1][0] == 0.0
    n = len(fast_log.heard)
    assert np.array_equal(slow_log.heard[:n], fast_log.heard)
    assert [type(e) for _, e in fast_log.entries] == [type(e) for _, e in slow_log.entries]


@pytest.mark.parametrize("lockstep", [False, True], ids=["real time", "lock-step"])
def test_a_session_that_says_nothing_more_is_given_up_after_a_minute(lockstep: bool) -> None:
    agent = Agent(turn_after=20, answers=False)
    with pytest.raises(SessionGone, match="nothing came for 60 s"):
        made(agent, Style(lockstep=lockstep))
    assert SILENT_S == 60.0


def test_json_has_one_event_a_line_with_audio_as_its_length_and_no_latency_in_lock_step() -> None:
    out = io.BytesIO()
    made(Agent(turn_after=20), Style(lockstep=True), JsonLines(out, timed=False))
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["type"] for line in lines][:3] == ["session.opened", "speech.started", "transcript.partial"]
    audio = next(line for line in lines if line["type"] == "voice.audio")
    assert audio["bytes"] == 320 * REPLY_FRAMES
    assert "pcm" not in audio
    assert not [line for line in lines if line["type"] == "turn.latency"]
    assert lines[-1]["type"] == "session.closed"


@pytest.mark.parametrize(("lockstep", "latency"), [(False, True), (True, False)], ids=["real time", "lock-step"])
def test_the_transcript_for_people_has_words_replies_and_latencies(lockstep: bool, latency: bool) -> None:
    out = io.StringIO()
    with Transcript(Console(file=out, width=100), timed=not lockstep) as show:
        made(Agent(turn_after=20), Style(lockstep=lockstep), show)
    text = out.getvalue()
    for wanted in ("caller  hello", "turn 1 ended: pause", "agent   hello", "closed: input ended"):
        assert wanted in text
    assert ("latency 0.60 s (endpoint 0.50)" in text) is latency
    assert " he\n" not in text, "a partial shows only where a line can change"


def test_over_a_real_link_in_lock_step() -> None:
    """The whole way of a call: file, client, link, host and back; one frame in flight at a time."""

    async def body(host: Host) -> None:
        host.credit_ms = 20.0
        log = CallLog(AUDIO.rate_hz)
        handle: SessionHandle = host.handle()
        await run(handle, FILE, AUDIO, Style(lockstep=True), lambda at_s, event: None, log)
        leg = host.legs[0]
        assert leg.attach.mode == "lockstep"
        frames = b"".join(pcm for _, _, pcm in leg.frames)
        assert np.frombuffer(frames, "<i2").sum() == FILE.astype(int).sum()
        assert isinstance(leg.ops[-1], EndInput)
        assert [type(e) for _, e in log.entries] == [SessionOpened, SessionClosed]

    with_host(body)
