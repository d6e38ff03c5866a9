"""The nouns of turn-taking: states, the two tables, and the orders that the law gives.

    caller   quiet ──start──► speaking ──stop──► pausing ──end / discard──► quiet        pausing ──start──► speaking
    reply    none ──await_final──► awaiting_final ──ask──► thinking ──audio──► speaking ──finish──► none
             speaking, thinking ──hold──► held ──resume──► speaking, or ──rethink──► thinking (it had no sound yet)
             held, speaking, thinking ──interrupt──► none
             awaiting_final, thinking, speaking ──regret──► none   (the caller spoke again before any of it was heard)

A pair that is missing is a LawError: a bug in the session. `turn_law` decides when which event happens.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from actors.events import CloseReason, TurnWhy

__all__ = [
    "CALLER", "REPLY", "Ask", "Assess", "Authority", "CallerState", "CancelReply", "Close", "Finalize", "Heard",
    "HoldReply", "ModelSilent", "OpenGate", "Order", "PromptDue", "ReplyState", "Respond", "ResumeReply", "Said",
    "SpeechBegan", "SpeechDropped", "SpeechEnded", "StopReply", "TurnOver",
]  # fmt: skip

Authority = Literal["local", "stt", "s2s"]


class CallerState(StrEnum):
    QUIET = "quiet"
    SPEAKING = "speaking"
    PAUSING = "pausing"


class ReplyState(StrEnum):
    NONE = "none"
    AWAITING_FINAL = "awaiting_final"
    THINKING = "thinking"
    SPEAKING = "speaking"
    HELD = "held"


class Heard(StrEnum):
    """What happens to the caller's side."""

    START = "start"
    STOP = "stop"
    END = "end"
    DISCARD = "discard"


class Said(StrEnum):
    """What happens to the reply's side."""

    AWAIT_FINAL = "await_final"
    NO_WORDS = "no_words"
    ASK = "ask"
    AUDIO = "audio"
    FINISH = "finish"
    HOLD = "hold"
    RESUME = "resume"
    RETHINK = "rethink"
    INTERRUPT = "interrupt"
    REGRET = "regret"


_C, _R, _H, _S = CallerState, ReplyState, Heard, Said

CALLER: dict[tuple[CallerState, Heard], CallerState] = {
    (_C.QUIET, _H.START): _C.SPEAKING,
    (_C.QUIET, _H.END): _C.QUIET,  # words without speech that the VAD noticed, or a vendor's late end
    (_C.SPEAKING, _H.STOP): _C.PAUSING,
    (_C.SPEAKING, _H.END): _C.QUIET,  # the vendor has the authority, or the application ends the turn
    (_C.PAUSING, _H.START): _C.SPEAKING,
    (_C.PAUSING, _H.END): _C.QUIET,
    (_C.PAUSING, _H.DISCARD): _C.QUIET,
}

REPLY: dict[tuple[ReplyState, Said], ReplyState] = {
    (_R.NONE, _S.AWAIT_FINAL): _R.AWAITING_FINAL,
    (_R.NONE, _S.ASK): _R.THINKING,
    (_R.AWAITING_FINAL, _S.ASK): _R.THINKING,
    (_R.AWAITING_FINAL, _S.NO_WORDS): _R.NONE,
    (_R.AWAITING_FINAL, _S.REGRET): _R.NONE,
    (_R.THINKING, _S.AUDIO): _R.SPEAKING,
    (_R.THINKING, _S.FINISH): _R.NONE,  # a reply without a sound: tools only, or the agent had nothing to say
    (_R.THINKING, _S.REGRET): _R.NONE,
    (_R.THINKING, _S.INTERRUPT): _R.NONE,
    (_R.THINKING, _S.HOLD): _R.HELD,  # a greeting or `say` that is still being made: a cough does not kill it
    (_R.SPEAKING, _S.FINISH): _R.NONE,
    (_R.SPEAKING, _S.HOLD): _R.HELD,
    (_R.SPEAKING, _S.REGRET): _R.NONE,
    (_R.SPEAKING, _S.INTERRUPT): _R.NONE,
    (_R.HELD, _S.RESUME): _R.SPEAKING,
    (_R.HELD, _S.RETHINK): _R.THINKING,
    (_R.HELD, _S.INTERRUPT): _R.NONE,
    (_R.HELD, _S.REGRET): _R.NONE,
}

# ------------------------------------------------------------------------------------------------------ orders


@dataclass(frozen=True, slots=True)
class SpeechBegan:
    utt: int
    at_s: float
    """First voiced frame; the session counts its prefix in."""


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    utt: int
    at_s: float


@dataclass(frozen=True, slots=True)
class SpeechDropped:
    utt: int


@dataclass(frozen=True, slots=True)
class Finalize:
    utt: int


@dataclass(frozen=True, slots=True)
class Assess:
    utt: int
    text: str
    pause_s: float
    from_s: float
    """Where the turn began."""


@dataclass(frozen=True, slots=True)
class Respond:
    """A speech-to-speech model that leaves the turns to us shall answer now."""


@dataclass(frozen=True, slots=True)
class ModelSilent:
    """There were words and the model does not answer them: it has stalled."""


@dataclass(frozen=True, slots=True)
class TurnOver:
    turn: int
    revision: int
    text: str
    why: TurnWhy
    provisional: bool
    last_voiced_s: float


@dataclass(frozen=True, slots=True)
class Ask:
    """Get a reply to this turn. `gated`: think, but let no audio out before `OpenGate`."""

    reply: int
    turn: int
    revision: int
    text: str
    gated: bool = False


@dataclass(frozen=True, slots=True)
class OpenGate:
    reply: int


@dataclass(frozen=True, slots=True)
class CancelReply:
    """Without trace: nothing of it was heard. `clear`: audio is on its way to the caller all the same."""

    reply: int
    clear: bool


@dataclass(frozen=True, slots=True)
class HoldReply:
    reply: int


@dataclass(frozen=True, slots=True)
class ResumeReply:
    reply: int


@dataclass(frozen=True, slots=True)
class StopReply:
    """Interrupted: what was heard of it stays."""

    reply: int
    was_held: bool


@dataclass(frozen=True, slots=True)
class PromptDue:
    """The caller has said nothing for `silence.after_s`; `index` counts the prompts."""

    index: int


@dataclass(frozen=True, slots=True)
class Close:
    reason: CloseReason


Order = (
    SpeechBegan | SpeechEnded | SpeechDropped | Finalize | Assess | Respond | ModelSilent | TurnOver | Ask | OpenGate
    | CancelReply | HoldReply | ResumeReply | StopReply | PromptDue | Close
)  # fmt: skip
