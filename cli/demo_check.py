"""Did the demo tell the truth? Every claim about a call is checked against what was shipped and what was left on disk.

    words       every final, in order, equals the shipped text of its turn
    route       the route that the story says, for the reason it says
    end         the call was closed as the story says
    left side   the recording has the caller's file in it, sample for sample, where it was not held
    right side  every reply that was heard is there in the voice of its route, and in no other of the demo

Returns sentences; none means that all is well.
"""

from __future__ import annotations

import re
import wave
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from actors.client import SessionHandle
from actors.events import ProviderChanged, SessionClosed, SessionOpened, TranscriptFinal, VoiceStarted, VoiceStopped
from cli.calllog import CallLog, Samples
from cli.voiceprint import likeness, speak
from router.plan import DefaultCause

__all__ = ["Story", "problems"]

SAME_VOICE = 0.93
OTHER_VOICE_MARGIN = 0.04
"""Between what the same voice reaches (0.98) and what others do (0.87): see voiceprint."""
RENDERINGS = 3
MIN_HEARD_MS = 300.0
"""A reply of which less was heard has too little sound in it to tell voices apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One call of the demo: who calls, what the project claims about it."""

    name: str
    about: str
    file: str
    tenant: str
    region: str
    route: str
    voice: str
    """espeak's name of the voice that answers."""
    features: tuple[str, ...] = ()
    attributes: Mapping[str, str] | None = None
    full_duplex: bool = False
    interrupts: bool = False
    """The caller barges in, and ends a reply by it."""
    default_cause: DefaultCause | None = None
    dead: str | None = None
    """A candidate that is dead: the call is served by the one after it."""
    reason: str = "agent_hung_up"


async def problems(
    story: Story, handle: SessionHandle, log: CallLog, texts: Sequence[str], file: Samples, recording: Path,
    voices: Sequence[str],
) -> list[str]:  # fmt: skip
    """Everything that is not as the story says."""
    found = _route(story, handle, log) + _words(log, texts) + _end(story, log)
    left, right = _sides(recording)
    found += _left(log, left, file)
    return found + await _right(story, log, right, voices)


def _route(story: Story, handle: SessionHandle, log: CallLog) -> list[str]:
    found = []
    if (handle.route, handle.default_cause) != (story.route, story.default_cause):
        found.append(f"route {handle.route} ({handle.default_cause}), not {story.route} ({story.default_cause})")
    if story.dead is not None:
        opened = [e for _, e in log.of(SessionOpened) if isinstance(e, SessionOpened)]
        changed = [e for _, e in log.of(ProviderChanged) if isinstance(e, ProviderChanged)]
        if handle.providers.get("stt", ("",))[0] != story.dead:
            found.append(f"the first candidate is {handle.providers.get('stt')}, not {story.dead}")
        served = opened[0].providers.get("stt") if opened else None
        if served == story.dead or not any(e.before == story.dead for e in changed):
            found.append(f"{story.dead} is dead, and no other provider took its place (stt: {served})")
    return found


def _words(log: CallLog, texts: Sequence[str]) -> list[str]:
    finals = [e.text for _, e in log.of(TranscriptFinal) if isinstance(e, TranscriptFinal) and e.text]
    return [] if finals == list(texts) else [f"finals {finals}, not {list(texts)}"]


def _end(story: Story, log: CallLog) -> list[str]:
    found = []
    closed = [e.reason for _, e in log.of(SessionClosed) if isinstance(e, SessionClosed)]
    if closed != [story.reason]:
        found.append(f"closed {closed}, not {story.reason}")
    ends = {e.why for _, e in log.of(VoiceStopped) if isinstance(e, VoiceStopped)}
    if ("interrupted" in ends) is not story.interrupts:
        found.append("a reply was interrupted" if "interrupted" in ends else "no reply was interrupted")
    if "failed" in ends:
        found.append("a reply failed")
    return found


def _left(log: CallLog, left: Samples, file: Samples) -> list[str]:
    """Without the held spans and the end, the left side is the file."""
    keep = np.ones(len(left), bool)
    for a, b in log.held:
        keep[round(a * log.rate_hz) : round(b * log.rate_hz)] = False
    spoken = left[keep]
    n = min(len(spoken), len(file))
    # A call that the agent ended may be over before the silence at the file's end.
    if not np.array_equal(spoken[:n], file[:n]) or np.abs(file[n:].astype(int)).max(initial=0) > 500:
        return ["the left side of the recording is not the caller's file"]
    return []


async def _right(story: Story, log: CallLog, right: Samples, voices: Sequence[str]) -> list[str]:
    found = []
    starts = {e.reply_id: at_s for at_s, e in log.of(VoiceStarted) if isinstance(e, VoiceStarted)}
    stops = [(at_s, e) for at_s, e in log.of(VoiceStopped) if isinstance(e, VoiceStopped)]
    judged = 0
    for _, stop in stops:
        if stop.heard_ms < MIN_HEARD_MS or stop.reply_id not in starts:
            continue
        judged += 1
        start = round(starts[stop.reply_id] * log.rate_hz)
        heard = right[start : start + round((stop.heard_ms / 1000 + 1.0) * log.rate_hz)]
        scores = {voice: await _score(heard, stop, voice, log.rate_hz) for voice in {story.voice, *voices}}
        others = max((score for voice, score in scores.items() if voice != story.voice), default=0.0)
        if scores[story.voice] < SAME_VOICE or others > scores[story.voice] - OTHER_VOICE_MARGIN:
            told = ", ".join(f"{voice} {score:.2f}" for voice, score in sorted(scores.items()))
            found.append(f"reply {stop.reply_id} ({stop.said!r}) is not in the voice {story.voice}: {told}")
    if not judged:
        found.append("the recording has no reply in it")
    return found


async def _score(heard: Samples, stop: VoiceStopped, voice: str, rate_hz: int) -> float:
    """How well the reply's first sentence, as far as it was heard, is found in what was heard.

    How espeak-ng begins a sentence depends on what it said before, so the likest of three renderings counts.
    """
    sentence = re.split(r"(?<=[.?!])\s+", stop.said.strip())[0]
    scores = []
    for _ in range(RENDERINGS):
        expected = await speak({"voice": voice}, sentence, rate_hz)
        audible = np.flatnonzero(np.abs(expected.astype(int)) > 50)
        expected = expected[: audible[-1] + 1] if len(audible) else expected
        scores.append(likeness(heard, expected[: round((stop.heard_ms - 100.0) / 1000 * rate_hz)], rate_hz))
    return max(scores)


def _sides(path: Path) -> tuple[Samples, Samples]:
    with wave.open(str(path)) as file:
        both = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())
    return both[:, 0].astype(np.int16), both[:, 1].astype(np.int16)
