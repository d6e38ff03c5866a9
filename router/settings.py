"""How a session behaves: the `session:` block of the configuration, merged with the route's own.

Frozen dataclasses, so that pydantic validates them at the door (unknown keys are errors) and msgspec carries
them to the host. Every default says where it comes from.

Units    `_s` seconds, of media position unless the line says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, MinLen
from pydantic import ConfigDict

__all__ = ["BargeIn", "Endpointing", "SessionSettings", "Silence", "Vad"]

_STRICT = ConfigDict(extra="forbid")
Seconds = Annotated[float, Gt(0), Le(86_400)]
SecondsOrZero = Annotated[float, Ge(0), Le(86_400)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpointing:
    """When a pause is the end of a turn, counted from the last voiced frame."""

    __pydantic_config__ = _STRICT

    min_s: SecondsOrZero = 0.5
    """The pause that ends a turn which sounds complete (LiveKit's default)."""
    max_s: SecondsOrZero = 3.0
    """The pause that ends any turn (LiveKit's default)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BargeIn:
    """What of the caller stops a reply. A reply is held first and killed only when this confirms it."""

    __pydantic_config__ = _STRICT

    enabled: bool = True
    """False: no reply of the agent can be interrupted."""
    min_speech_s: SecondsOrZero = 0.5
    """Speech of this length confirms (LiveKit's default)."""
    min_words: Annotated[int, Ge(0), Le(100)] = 0
    """So many words of a partial confirm earlier; 0: only a final with words does."""
    resume_s: Seconds = 2.0
    """A held reply goes on when no words came for so long (LiveKit's default)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vad:
    """From voiced frames to speech that starts and stops."""

    __pydantic_config__ = _STRICT

    start_frames: Annotated[int, Ge(1), Le(50)] = 3
    """Speech starts when so many of the last `start_window` frames of 20 ms are voiced."""
    start_window: Annotated[int, Ge(1), Le(50)] = 5
    stop_s: Seconds = 0.2
    """Speech stops after so long unvoiced."""
    prefix_s: SecondsOrZero = 0.3
    """Audio before the start that belongs to the speech: soft first consonants are not voiced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """What is said to a caller who says nothing: each prompt once, in order, then the call closes."""

    __pydantic_config__ = _STRICT

    after_s: Seconds = 10.0
    prompts: tuple[Annotated[str, MinLen(1)], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings:
    """One route's session, whole."""

    __pydantic_config__ = _STRICT

    greeting: str | None = None
    """Spoken by the agent's voice; `{attribute}` is replaced by plain substitution, never evaluated."""
    greeting_when: Literal["open", "after_first_turn"] = "open"
    """Before the caller's first word, or after the caller's first turn (in place of its reply)."""
    greeting_interruptible: bool = True
    language: str | None = None
    """BCP 47; an option of every stage that has one."""
    instructions: str | None = None
    """For the agent or the speech-to-speech model; text or file:PATH."""
    voices: dict[str, str] = field(default_factory=dict)
    """Voice by provider name, since each vendor names its own; becomes the option `voice` of its stream."""
    endpointing: Endpointing = field(default_factory=Endpointing)
    barge_in: BargeIn = field(default_factory=BargeIn)
    vad: Vad = field(default_factory=Vad)
    silence: Silence | None = None
    tool_rounds: Annotated[int, Ge(0), Le(50)] = 5
    """How often in one turn a model may call tools and be asked again; then it must answer with what it has."""
    max_duration_s: Seconds = 3600.0
    """The call closes then."""
    reply_audio_max_s: Seconds = 20.0
    """Reply audio waiting in the mouth; more and the reply is cut and the cut counted."""
    replay_s: Seconds = 30.0
    """Caller audio kept for replay until a final covers it (0.96 MB at 16 kHz)."""
    resume_s: SecondsOrZero = 30.0
    """A session whose caller's connection broke waits so long (session time)."""
