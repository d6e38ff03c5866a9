"""A call as a timeline in virtual time: who speaks when, and everything that came of it with exact times.

call = play([(1.0, 2.0)], until_s=6)        the caller is loud from 1 s to 2 s
call.times("turn.ended")                    [2.54]
call.of("voice.stopped")                    the events
call.sent_minus_played_max_ms               checked to be at most 520 in every scenario

call = play([], 9.0, acts=[say("Hello.", 1.0), op(3.0, ev.EndInput())], **models(first={}, second={}))

Every scenario ends with `_check`: what holds in all of them.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from actors import events as ev
from actors.formats import FRAME_MS, AudioFormat
from actors.local import LocalCall
from actors.providers.fake import FakeAgent, FakeS2s, FakeStt, FakeTts, FakeTurn, FakeVad
from router.plan import Candidate, RoutePlan
from router.settings import SessionSettings
from router.tools import ToolSpec
from tests.simulation import simulate

LOUD, SOFT = b"\x00\x20" * 320, bytes(640)


@dataclass
class Played:
    """What a scenario left behind."""

    log: list[tuple[float, ev.Event]] = field(default_factory=list)
    record: dict[str, Any] = field(default_factory=dict)
    providers: dict[str, Any] = field(default_factory=dict)
    sent_minus_played_max_ms: float = 0.0
    audio_out: AudioFormat = field(default_factory=AudioFormat)

    @property
    def byte_ms(self) -> float:
        """Reply audio: milliseconds of one byte in the caller's own format."""
        return FRAME_MS / self.audio_out.frame_bytes

    @property
    def closed(self) -> ev.SessionClosed:
        (closed,) = self.of("session.closed")
        assert isinstance(closed, ev.SessionClosed)
        return closed

    @property
    def ending(self) -> tuple[str, Any]:
        """Why it closed, and when."""
        return self.closed.reason, round(self.closed.t, 3)

    def of(self, kind: str) -> list[Any]:
        return [e for _, e in self.log if _tag(e) == kind]

    def times(self, kind: str) -> list[float]:
        return [round(e.t, 3) for _, e in self.log if _tag(e) == kind]

    def story(self, *without: str) -> list[tuple[float, str]]:
        skip = {"voice.audio", "transcript.partial", *without}
        return [(round(e.t, 3), _tag(e)) for _, e in self.log if _tag(e) not in skip]


def _tag(event: ev.Event) -> str:
    return str(type(event).__struct_config__.tag)


def plan_of(settings: SessionSettings, stages: dict[Any, tuple[Candidate, ...]] | None = None) -> RoutePlan:
    kinds = {"vad": "fake-vad", "turn": "fake-turn", "stt": "fake-stt", "agent": "fake-agent", "tts": "fake-tts"}
    default: dict[Any, tuple[Candidate, ...]] = {
        stage: (Candidate(stage=stage, provider=stage, type=kind),)  # type: ignore[arg-type]
        for stage, kind in kinds.items()
    }
    return RoutePlan(
        route="test", version="v", tenant_id="t", region="r", pool_region="r", stages=stages or default,
        settings=settings,
    )  # fmt: skip


def providers(**options: dict[str, Any]) -> dict[str, Any]:
    makers: dict[str, Callable[[dict[str, Any]], Any]] = {
        "vad": FakeVad, "turn": FakeTurn, "stt": FakeStt, "agent": FakeAgent, "tts": FakeTts,
    }  # fmt: skip
    return {name: make(options.get(name, {})) for name, make in makers.items()}


def models(*, vad: str = "server", **options: dict[str, Any]) -> dict[str, Any]:
    """Speech-to-speech candidates by name, first to last: the `stages` and `given` of `play`."""
    options = {name: {"vad": vad, **own} for name, own in options.items()}
    chain = tuple(Candidate(stage="s2s", provider=n, type="fake-s2s", options=own) for n, own in options.items())
    stages: dict[Any, tuple[Candidate, ...]] = {
        "s2s": chain, "vad": (Candidate(stage="vad", provider="vad", type="fake-vad"),),
    }  # fmt: skip
    return {"stages": stages, "given": {"vad": FakeVad({}), **{n: FakeS2s(own) for n, own in options.items()}}}


def say(text: str, at_s: float, **fields: Any) -> tuple[float, Any]:
    return op(at_s, ev.Say(**{"say_id": 1, "text": text, **fields}))


def op(at_s: float, op: ev.Op) -> tuple[float, Any]:
    return at_s, lambda call, _: call.session.caller_op(op)


def play(
    speech: Sequence[tuple[float, float]],
    until_s: float,
    *,
    settings: SessionSettings | None = None,
    stages: dict[Any, tuple[Candidate, ...]] | None = None,
    given: dict[str, Any] | None = None,
    acts: Sequence[tuple[float, Callable[[Any, dict[str, Any]], None]]] = (),
    mute_after_s: float = 1e9,
    reports: bool = False,
    into: Played | None = None,
    offers: Sequence[ToolSpec] = (),
    **session: Any,
) -> Played:
    """Run it. `acts` are (at_s, act(call, providers)); `mute_after_s`: the caller's frames stop there.

    `offers` are the route's tools; `tools=` is who runs them.
    `into`: written as the call goes, for who wants to tell the story of one that broke a rule.
    """
    out = into or Played()
    out.providers = given or providers()

    async def run() -> None:
        loop = asyncio.get_running_loop()
        mouth: dict[int, _Ear] = {}
        plan = replace(plan_of(settings or SessionSettings(), stages), tools=tuple(offers))
        async with LocalCall(plan, out.providers, **session) as call:
            out.audio_out = call.session.audio_out
            await asyncio.sleep(0.0)
            queue = sorted(acts, key=lambda a: a[0])
            step = 0  # the frame of 20 ms that begins here is whole, and sent, 20 ms later
            await asyncio.sleep(0.02)
            while loop.time() < until_s and not call.session.closed:
                _drain(call, out, mouth, loop.time())
                while queue and queue[0][0] <= loop.time() + 1e-9:
                    queue.pop(0)[1](call, out.providers)
                _drain(call, out, mouth, loop.time())
                at_s = step * 0.02
                if at_s < mute_after_s - 1e-9:
                    loud = any(a - 1e-9 <= at_s < b - 1e-9 for a, b in speech)
                    call.session.caller_audio(LOUD if loud else SOFT)
                    if reports:
                        for reply_id, ear in mouth.items():
                            call.session.caller_op(ev.Played(reply_id=reply_id, ms=ear.played(loop.time())))
                _drain(call, out, mouth, loop.time())
                for ear in mouth.values():
                    ahead = ear.sent_ms - ear.played(loop.time())
                    out.sent_minus_played_max_ms = max(out.sent_minus_played_max_ms, ahead)
                step += 1
                await asyncio.sleep((step + 1) * 0.02 - loop.time())
        _drain(call, out, mouth, loop.time())
        out.record = call.record or {}

    simulate(run())
    _check(out)
    return out


@dataclass
class _Ear:
    """The caller's loudspeaker: plays in real time from the first audio, throws away what it is told to."""

    base_s: float
    sent_ms: float = 0.0
    base_ms: float = 0.0

    def played(self, now_s: float) -> float:
        return min(self.sent_ms, self.base_ms + (now_s - self.base_s) * 1000)


def _drain(call: LocalCall, out: Played, mouth: dict[int, _Ear], now_s: float) -> None:
    while not call.events.empty():
        event = call.events.get_nowait()
        out.log.append((now_s, event))
        if isinstance(event, ev.VoiceAudio):
            ear = mouth.setdefault(event.reply_id, _Ear(event.t))
            if ear.played(event.t) >= ear.sent_ms:
                ear.base_ms, ear.base_s = ear.sent_ms, event.t
            ear.sent_ms = event.offset_ms + len(event.pcm) * out.byte_ms
        elif isinstance(event, ev.VoiceClear) and event.reply_id in mouth:
            ear = mouth[event.reply_id]
            ear.base_ms = ear.sent_ms = ear.played(now_s)
            ear.base_s = now_s


def _check(out: Played) -> None:
    """What holds in every scenario."""
    assert out.sent_minus_played_max_ms <= 520.001, out.sent_minus_played_max_ms
    numbers = [e.n for _, e in out.log if not isinstance(e, ev.VoiceAudio)]
    assert numbers == list(range(1, len(numbers) + 1)), "events are not counted from 1 without gaps"
    assert [isinstance(e, ev.SessionClosed) for _, e in out.log] == [False] * (len(out.log) - 1) + [True]
    assert all(e.text.strip() for e in out.of("turn.ended")), "a turn without words"
    assert all(e.reply_id > 0 for e in out.of("agent.text")), "text of no reply"
    _check_voices(out)
    finals = out.of("transcript.final")
    for before, after in itertools.pairwise(finals):
        assert before.end <= after.start + 1e-9, "spans of finals overlap"


def _check_voices(out: Played) -> None:
    """Each reply: started, audio without a hole, stopped. Its offset goes back only after `voice.clear`."""
    began, over, cleared, back = set[int](), set[int](), set[int](), set[int]()
    end_ms: dict[int, float] = {}
    for _, event in out.log:
        reply = getattr(event, "reply_id", 0)
        if isinstance(event, ev.VoiceStarted):
            assert reply not in began, f"reply {reply} started twice"
            began.add(reply)
        elif isinstance(event, ev.VoiceStopped):
            assert reply in began - over, f"reply {reply} stopped without a start, or twice"
            over.add(reply)
        elif isinstance(event, ev.VoiceClear):
            cleared.add(reply)
            back.add(reply)
        elif isinstance(event, ev.VoiceResumed):
            assert reply in cleared, f"reply {reply} resumed, and what the caller had of it was never cleared"
            cleared.discard(reply)
        elif isinstance(event, ev.VoiceAudio):
            assert reply in began - over, f"audio of reply {reply}, which is not being spoken"
            assert reply not in cleared, f"audio of reply {reply} after voice.clear"
            ahead_ms = event.offset_ms - end_ms.get(reply, 0.0)
            assert ahead_ms < 0.1, f"a hole of {ahead_ms} ms in reply {reply} at {event.t}"
            assert ahead_ms > -0.1 or reply in back, f"reply {reply} goes back {-ahead_ms} ms at {event.t}"
            back.discard(reply)
            end_ms[reply] = event.offset_ms + len(event.pcm) * out.byte_ms
    assert began == over, f"started {sorted(began)}, stopped {sorted(over)}"


__all__ = [
    "LOUD", "SOFT", "AudioFormat", "Candidate", "Played", "models", "op", "plan_of", "play", "providers", "say",
]  # fmt: skip
