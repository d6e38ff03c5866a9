"""What the session says to the caller, and what the caller says to the session.

The meaning is docs/conversation of the architecture page; these are the nouns. Each event is one frozen record;
in JSON it carries `v`, `n`, `type`, `session_id`, `t` and what applies of `utterance_id`, `turn_id`, `reply_id`.

Units    `t` seconds since `session.opened` (session time); `start`, `end` media seconds; `_ms` milliseconds.
Order    `n` counts from 1 without gaps over the events of a session (not over audio), so a caller that comes back
         can ask for what it missed.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Struct

__all__ = [
    "AgentAction", "AgentText", "AnyEvent", "AnyOp", "CallerClose", "CloseReason", "Degraded", "Dropped", "Dtmf",
    "EndInput",
    "ErrorEvent", "Event", "Interrupt", "Played", "ProviderChanged", "Say", "SayEnd", "SayText", "SessionClosed",
    "SessionOpened", "SpeechDiscarded", "SpeechStarted", "SpeechStopped", "ToolCalled", "ToolResult",
    "TranscriptFinal", "TranscriptFormatted", "TranscriptPartial", "TurnEnded", "TurnLatency", "TurnWhy",
    "VoiceAudio", "VoiceClear", "VoiceHeld", "VoiceResumed", "VoiceStarted", "VoiceStopped", "Word", "as_json",
]  # fmt: skip

VERSION = 1
TurnWhy = Literal["pause", "provider", "timeout", "input_ended", "client"]
CloseReason = Literal[
    "caller_closed", "input_ended", "agent_hung_up", "silence", "max_duration", "error", "open_failed", "drained",
    "lost",
]  # fmt: skip


class Word(Struct, frozen=True):
    """One word and when it was said, media seconds."""

    text: str
    start: float
    end: float


class Event(Struct, frozen=True, kw_only=True, tag_field="type"):
    """What all events carry."""

    session_id: str = ""
    n: int = 0
    """Count within the session, from 1; 0 on audio, which is not replayed."""
    t: float = 0.0
    v: int = VERSION


class SessionOpened(Event, frozen=True, kw_only=True, tag="session.opened"):
    """Every stage has one ready candidate."""

    route: str
    version: str
    providers: dict[str, str]
    trace: str | None = None


class SpeechStarted(Event, frozen=True, kw_only=True, tag="speech.started"):
    utterance_id: int
    at: float
    """Media position where the speech begins (its prefix included)."""


class SpeechStopped(Event, frozen=True, kw_only=True, tag="speech.stopped"):
    utterance_id: int
    at: float
    """Media position of the last voiced frame's end."""


class SpeechDiscarded(Event, frozen=True, kw_only=True, tag="speech.discarded"):
    """No words came of it."""

    utterance_id: int


class TranscriptPartial(Event, frozen=True, kw_only=True, tag="transcript.partial"):
    """Replaces the partial before it of the same utterance."""

    utterance_id: int
    text: str


class TranscriptFinal(Event, frozen=True, kw_only=True, tag="transcript.final"):
    """Appends. `start..end` is the span of audio consumed: contiguous, never overlapping."""

    utterance_id: int
    text: str
    start: float
    end: float
    provider: str
    words: tuple[Word, ...] | None = None
    language: str | None = None
    confidence: float | None = None


class TranscriptFormatted(Event, frozen=True, kw_only=True, tag="transcript.formatted"):
    """The vendor's nicer text of a final that was told, with its span: the same words. The final stands; show this."""

    utterance_id: int
    text: str
    start: float
    end: float
    provider: str


class TurnEnded(Event, frozen=True, kw_only=True, tag="turn.ended"):
    """The text of the whole turn. A turn that grows again is told again with `revision` + 1."""

    turn_id: int
    text: str
    why: TurnWhy
    revision: int = 0
    provisional: bool = False
    """No final came in the STT's declared time; the last partial stands in."""


class AgentText(Event, frozen=True, kw_only=True, tag="agent.text"):
    turn_id: int
    reply_id: int
    delta: str


class ToolCalled(Event, frozen=True, kw_only=True, tag="tool.called"):
    turn_id: int
    call_id: str
    name: str
    args: dict[str, Any]


class ToolResult(Event, frozen=True, kw_only=True, tag="tool.result"):
    """A tool has an outcome. What it gave is for the model, and is not told here."""

    turn_id: int
    call_id: str
    ok: bool
    name: str = ""
    why: str = "done"
    """done, failed, timeout or overload."""
    ms: float = 0.0


class AgentAction(Event, frozen=True, kw_only=True, tag="agent.action"):
    """The agent wants something done: `hang_up` and `set_language` the session does, `transfer` and `send_dtmf` are the
    application's to do. `voice.stopped` of the reply says when its words were heard."""

    turn_id: int
    name: str
    value: str = ""
    reply_id: int | None = None


class VoiceStarted(Event, frozen=True, kw_only=True, tag="voice.started"):
    """The first audio of this reply follows."""

    reply_id: int
    turn_id: int | None = None


class VoiceAudio(Event, frozen=True, kw_only=True, tag="voice.audio"):
    """Audio of a reply in the caller's format; its length stands in for it in JSON."""

    reply_id: int
    offset_ms: float
    pcm: bytes


class VoiceHeld(Event, frozen=True, kw_only=True, tag="voice.held"):
    """The caller speaks into the reply; it goes on or ends soon."""

    reply_id: int


class VoiceResumed(Event, frozen=True, kw_only=True, tag="voice.resumed"):
    """It was a cough: the reply goes on from where it was held; `offset_ms` is where."""

    reply_id: int
    offset_ms: float


class VoiceClear(Event, frozen=True, kw_only=True, tag="voice.clear"):
    """Throw away what you have of this reply and have not played."""

    reply_id: int


class VoiceStopped(Event, frozen=True, kw_only=True, tag="voice.stopped"):
    """The reply is over. `heard` is the text that reached the caller."""

    reply_id: int
    why: Literal["finished", "interrupted", "failed"]
    said: str
    heard: str
    heard_ms: float
    estimated: bool
    """True where the caller did not report what it played, or the voice gives no word times."""


class TurnLatency(Event, frozen=True, kw_only=True, tag="turn.latency"):
    """Seconds, each counted from the last voiced frame of the turn; None where it does not apply."""

    turn_id: int
    reply_id: int
    endpoint: float | None
    """To the decision that the turn is over."""
    stt_final: float | None
    agent_first: float | None
    tts_first: float | None
    total: float
    """To the first audio of the reply, as it leaves the session."""


class ProviderChanged(Event, frozen=True, kw_only=True, tag="provider.changed"):
    stage: str
    before: str
    after: str
    why: str


class Degraded(Event, frozen=True, kw_only=True, tag="degraded"):
    stage: str
    detail: str


class Dropped(Event, frozen=True, kw_only=True, tag="dropped"):
    """Audio that a full queue let go of, by its declared policy; summed over a second at most."""

    stage: str
    ms: float
    policy: str


class ErrorEvent(Event, frozen=True, kw_only=True, tag="error"):
    stage: str
    provider: str
    kind: str
    detail: str
    fatal: bool = False
    retry_after: float | None = None


class SessionClosed(Event, frozen=True, kw_only=True, tag="session.closed"):
    """Always the last. `stats` is the call record."""

    reason: CloseReason
    stats: dict[str, Any]


AnyEvent = (
    SessionOpened | SpeechStarted | SpeechStopped | SpeechDiscarded | TranscriptPartial | TranscriptFinal
    | TranscriptFormatted | TurnEnded | AgentAction | AgentText | ToolCalled | ToolResult
    | VoiceStarted | VoiceAudio | VoiceHeld | VoiceResumed | VoiceClear
    | VoiceStopped | TurnLatency | ProviderChanged | Degraded | Dropped | ErrorEvent | SessionClosed
)  # fmt: skip


class Op(Struct, frozen=True, kw_only=True, tag_field="op"):
    """What the caller tells the session, besides audio."""


class Played(Op, frozen=True, kw_only=True, tag="played"):
    """What the caller has heard of a reply, milliseconds from its start."""

    reply_id: int
    ms: float


class Say(Op, frozen=True, kw_only=True, tag="say"):
    """The application speaks; `text` is whole, or the begin of a stream that `SayText` goes on with."""

    say_id: int
    text: str
    interruptible: bool = True
    more: bool = False
    """True: `SayText` follow, then `SayEnd`."""


class SayText(Op, frozen=True, kw_only=True, tag="say_text"):
    say_id: int
    text: str


class SayEnd(Op, frozen=True, kw_only=True, tag="say_end"):
    say_id: int


class Interrupt(Op, frozen=True, kw_only=True, tag="interrupt"):
    """Stop the present reply as a barge-in would."""


class Dtmf(Op, frozen=True, kw_only=True, tag="dtmf"):
    digits: str


class EndInput(Op, frozen=True, kw_only=True, tag="end_input"):
    """No more audio: the open turn ends, its reply is spoken, then the call closes."""


class CallerClose(Op, frozen=True, kw_only=True, tag="close"):
    """The last final is delivered, no reply; then closed."""


AnyOp = Played | Say | SayText | SayEnd | Interrupt | Dtmf | EndInput | CallerClose


def as_json(event: Event) -> bytes:
    """One line of JSON: fields as above, absent ones left out, audio as its length in bytes."""
    fields = {k: v for k, v in msgspec.to_builtins(event, builtin_types=(bytes,)).items() if v is not None}
    if "pcm" in fields:
        fields["bytes"] = len(fields.pop("pcm"))
    for key, value in fields.items():
        if isinstance(value, float):
            fields[key] = round(value, 6)
    return msgspec.json.encode(fields)
