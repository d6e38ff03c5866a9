"""What a provider is: the protocols that one file in this folder, or a user's own class, fulfils.

A provider *actor* holds one provider object, built once from its options, and many *streams* of it, one for each
session that uses it. The session tells a stream what happens (`audio`, `finalize`, `begin` ...); the stream answers
by calling `emit` with events. Nothing here waits on the frame path: the methods of a stream are plain functions that
take what they are given and return; a stream that talks to a network hands it to a task of its own.

    provider = Provider(options, secret, endpoint)      # cheap: checks, keeps; no network
    await provider.warm()                               # connections, models, tokens
    await provider.probe()                              # raises ProviderError if it cannot serve
    stream = await provider.open(spec, emit)            # one session; raises ProviderError
    stream.audio(pos, pcm) ...                          # events go to emit(event)
    await stream.close(drain=False)

Units    `pos` counts samples of the stream's own audio from the session's media position 0: pos / rate_hz is the
         media position in seconds whatever connection carries it. `_ms`, `_s` as named. pcm is 16-bit little-endian
         mono.
Events   may be emitted from any method or task of the stream, on the actor's loop, until `close` returns.
Errors   a stream that fails emits `Fault` and is then closed by the session; `open`, `warm` and `probe` raise
         ProviderError. Exceptions of a vendor's library never pass this edge.
Source   conversation model, section 4: the operations, events and capabilities of each stage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from msgspec import Struct
from pydantic import BaseModel, ConfigDict

from actors.secrets import Secret
from router.errors import FaultKind
from router.plan import Stage

# ---------------------------------------------------------------------------------------------- capabilities


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """Static: read when the configuration is read, before anything is started."""

    stage: Stage
    rates_hz: tuple[int, ...] = (16000,)
    """Rates it takes (VAD, STT, S2S) or gives (TTS, S2S), best first; the session resamples."""
    streams_per_actor: int = 200
    """Streams that one actor serves at once."""
    silence_bound_s: float = 0.3
    """Its process may be silent on its link for so long before it is held for dead: 0.3 where it is only asyncio."""
    languages: tuple[str, ...] = ()
    """BCP 47 prefixes; empty: any."""
    max_stream_s: float | None = None
    needs_secret: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class VadCapabilities(Capabilities):
    stage: Stage = "vad"
    inline: bool = False
    """Its work costs less than the way to an actor and back: it runs in the session host itself, unless the
    configuration says `placement: actor`. For what never waits, needs no secret and takes microseconds."""
    frame_ms: tuple[int, ...] = (20,)


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnCapabilities(Capabilities):
    stage: Stage = "turn"
    inline: bool = False
    """As of a VAD."""
    needs_text: bool = False
    needs_audio: bool = False
    needs_history: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SttCapabilities(Capabilities):
    stage: Stage = "stt"
    streaming: bool = True
    """False: per utterance; it buffers between `speech_start` and `speech_end`."""
    partials: bool = False
    word_times: bool = False
    turn_events: bool = False
    """`eager_end`, `resumed`, `turn_ended` come: it may have the authority over turns."""
    finalize_acknowledged: bool = True
    needs_silence: bool = False
    replay_rate_max: float = 4.0
    """Times real time at which kept audio may be fed again."""
    final_p99_s: float = 1.0
    """After `finalize`, the final has come by then; later the last partial stands in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TtsCapabilities(Capabilities):
    stage: Stage = "tts"
    takes: Literal["sentences", "stream"] = "sentences"
    alignment: bool = False
    first_audio_p99_s: float = 2.0
    text_limit: int | None = None
    """Characters of one `text`; the session cuts between words."""
    context_idle_s: float | None = None
    """An open context that is given no text for so long after its last audio is lost; the session ends it before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class S2sCapabilities(Capabilities):
    stage: Stage = "s2s"
    vad: Literal["server", "local", "both"] = "server"
    """Who says where speech starts and stops."""
    output_rate_hz: int = 24000
    truncation: bool = False
    """`heard` is told to the model."""
    transcripts: bool = True
    words_first: bool = True
    """With local ears: what was heard is told before it is asked to answer; else the shortest speech is answered."""
    resume: bool = False
    tools: bool = False
    """It takes `StreamSpec.tools` and calls them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentCapabilities(Capabilities):
    stage: Stage = "agent"
    tools: bool = False
    streaming: bool = True
    first_text_p99_s: float = 5.0
    client: bool = False
    """True for `client` alone: the caller's own code answers with `say`."""


# --------------------------------------------------------------------------------------------------- streams


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSpec:
    """What a stream is opened with."""

    stream: int
    """Number within the link, unique for its life."""
    epoch: int
    """Grows with every stream that a session opens for a stage."""
    session_id: str
    tenant_id: str
    rate_hz: int
    """Rate of the audio in this stream, one of the capability's."""
    pos: int = 0
    """Position of the first sample that will come."""
    options: Mapping[str, Any] = field(default_factory=dict)
    resume: str | None = None
    """S2S: the newest `Resumable` handle of a stream before this one; the history is then not told again."""
    tools: tuple[Tool, ...] = ()
    """S2S: what the model may call. An agent is told with each `reply`."""
    trace: str | None = None


class ProviderEvent(Struct, frozen=True, kw_only=True, tag_field="type"):
    """What any stream may say."""


class Ready(ProviderEvent, frozen=True, kw_only=True, tag="ready"):
    """The stream is connected and takes work."""


class Fault(ProviderEvent, frozen=True, kw_only=True, tag="fault"):
    """The stream is of no more use."""

    kind: FaultKind
    detail: str = ""
    retry_after_s: float | None = None


class Expiring(ProviderEvent, frozen=True, kw_only=True, tag="expiring"):
    """A planned roll-over: no failure."""

    in_s: float


class Usage(ProviderEvent, frozen=True, kw_only=True, tag="usage"):
    """Amounts since the last `Usage`, as the vendor bills them; for cancelled replies too, before `Cancelled`.

    `input_s` audio heard (STT may say `audio_s`), `audio_s` audio given, `characters`, and tokens, each in one of
    `tokens_in`, `tokens_cached`, `tokens_out`, `audio_tokens_in`, `audio_tokens_out`. Who never speaks of an amount
    has it counted by the session, where it can.
    """

    amounts: dict[str, float]


class TimedWord(Struct, frozen=True):
    text: str
    from_pos: int
    to_pos: int


class Partial(ProviderEvent, frozen=True, kw_only=True, tag="partial"):
    utt: int
    text: str


class Final(ProviderEvent, frozen=True, kw_only=True, tag="final"):
    """`from_pos..to_pos` is the audio consumed: it begins where the final before it ended. Text may be empty."""

    utt: int
    text: str
    from_pos: int
    to_pos: int
    words: tuple[TimedWord, ...] | None = None
    confidence: float | None = None
    language: str | None = None


class Finalized(ProviderEvent, frozen=True, kw_only=True, tag="finalized"):
    """Answer to `finalize`, always: every final up to `to_pos` has been emitted."""

    utt: int
    to_pos: int


class Formatted(ProviderEvent, frozen=True, kw_only=True, tag="formatted"):
    """A nicer text of a final that was emitted."""

    utt: int
    to_pos: int
    text: str


class SttSpeechStarted(ProviderEvent, frozen=True, kw_only=True, tag="speech_started"):
    """Vendor's own: used where it has the authority (STT with turn events, S2S)."""

    pos: int


class SttSpeechStopped(ProviderEvent, frozen=True, kw_only=True, tag="speech_stopped"):
    pos: int


class EagerEnd(ProviderEvent, frozen=True, kw_only=True, tag="eager_end"):
    """The vendor thinks the turn is over, and may take it back with `Resumed`."""

    text: str


class Resumed(ProviderEvent, frozen=True, kw_only=True, tag="resumed"):
    pass


class VendorTurnEnded(ProviderEvent, frozen=True, kw_only=True, tag="turn_ended"):
    text: str


class TtsAudio(ProviderEvent, frozen=True, kw_only=True, tag="audio"):
    """Audio of a reply (TTS) or response (S2S), contiguous: `pos` samples from its start, at the stream's rate."""

    reply: int
    pos: int
    pcm: bytes


class Align(ProviderEvent, frozen=True, kw_only=True, tag="align"):
    """A word of the text given and where it lies in the audio of the reply, from the reply's start."""

    reply: int
    word: str
    start_ms: float
    end_ms: float
    char_from: int
    char_to: int


class Flushed(ProviderEvent, frozen=True, kw_only=True, tag="flushed"):
    """All audio of the text given before the n-th `flush` of this reply has been emitted."""

    reply: int


class Done(ProviderEvent, frozen=True, kw_only=True, tag="done"):
    """The reply is complete: nothing more of it follows."""

    reply: int


class Cancelled(ProviderEvent, frozen=True, kw_only=True, tag="cancelled"):
    """Nothing of that reply after it."""

    reply: int


class TextDelta(ProviderEvent, frozen=True, kw_only=True, tag="text"):
    """Empty: a sign of life, of an agent that thinks or writes the arguments of a call."""

    turn: int
    revision: int
    delta: str


class ToolCall(ProviderEvent, frozen=True, kw_only=True, tag="tool_call"):
    """Whole: arguments as one object, never a piece of one. For an agent `turn`, for S2S the response.

    An agent ends the round with `AgentDone(why="tools")`; several calls of one round are run side by side. When the
    last of them has an outcome the session asks again: `reply(..., cause="tool")` with a history that has calls and
    results.
    """

    turn: int
    id: str
    name: str
    args: dict[str, Any]
    revision: int | None = None
    """Of an agent's turn."""
    problem: str = ""
    """What is wrong with the arguments (no JSON, no object): the tool is not run, and the model is told."""


class ToolCancelled(ProviderEvent, frozen=True, kw_only=True, tag="tool_cancelled"):
    """S2S: the model wants no result of this call any more. The tool finishes; its result stays with the session."""

    id: str


class ToolOutcome(ProviderEvent, frozen=True, kw_only=True, tag="tool_outcome"):
    """What came of a tool. No provider says this: the actor that ran the tool for the session does."""

    id: str
    why: Literal["done", "failed", "timeout", "overload"]
    result: str
    """For the model: what the tool gave, or what went wrong."""
    ms: float = 0.0


class Action(ProviderEvent, frozen=True, kw_only=True, tag="action"):
    turn: int
    name: Literal["hang_up", "transfer", "send_dtmf", "set_language"]
    value: str = ""
    revision: int | None = None


class Refused(ProviderEvent, frozen=True, kw_only=True, tag="refused"):
    """What `update` did not take. No provider says this: the actor tells what the stream answered."""

    options: tuple[str, ...]


class AgentDone(ProviderEvent, frozen=True, kw_only=True, tag="agent_done"):
    turn: int
    revision: int
    why: Literal["complete", "length", "filtered", "tools"] = "complete"


class Assessment(ProviderEvent, frozen=True, kw_only=True, tag="assessment"):
    """Answer to `assess`: how likely the turn is complete, and how long a pause should then end it."""

    utt: int
    p_complete: float
    wait_s: float | None = None
    """None: the session's own rule between `endpointing.min_s` and `max_s`."""


class InputText(ProviderEvent, frozen=True, kw_only=True, tag="input_text"):
    """S2S: what the model heard; may come after the reply. Positions where the model knows them."""

    text: str
    final: bool
    from_pos: int | None = None
    to_pos: int | None = None


class ResponseStarted(ProviderEvent, frozen=True, kw_only=True, tag="response_started"):
    response: int


class OutputText(ProviderEvent, frozen=True, kw_only=True, tag="output_text"):
    """Empty: a sign of life, of a model that thinks or writes the arguments of a call."""

    response: int
    delta: str


class ModelInterrupted(ProviderEvent, frozen=True, kw_only=True, tag="interrupted"):
    """S2S: the model itself broke off this response because the caller spoke."""

    response: int


class ResponseDone(ProviderEvent, frozen=True, kw_only=True, tag="response_done"):
    response: int
    status: Literal["completed", "cancelled", "failed", "incomplete"] = "completed"


class Resumable(ProviderEvent, frozen=True, kw_only=True, tag="resumable"):
    handle: str


AnyProviderEvent = (
    Ready | Fault | Expiring | Usage | Partial | Final | Finalized | Formatted | SttSpeechStarted | SttSpeechStopped
    | EagerEnd | Resumed | VendorTurnEnded | TtsAudio | Align | Flushed | Done | Cancelled | TextDelta | ToolCall
    | ToolCancelled | ToolOutcome | Action | Refused | AgentDone | Assessment | InputText | ResponseStarted
    | OutputText | ModelInterrupted | ResponseDone | Resumable
)  # fmt: skip

Emit = Callable[[ProviderEvent], None]


class Item(Struct, frozen=True, kw_only=True):
    """One entry of the history, corrected to what was heard."""

    role: Literal["user", "agent", "tool", "system"]
    said: str
    """For a tool: its result, or what went wrong; empty while it runs."""
    heard: str | None = None
    """For the agent: what reached the caller; None: all of it."""
    interrupted: bool = False
    call_id: str = ""
    name: str = ""
    args: dict[str, Any] = {}
    """Of a tool: the call that this is the result of."""
    ok: bool | None = None
    """Of a tool; None: it runs still."""
    before: str = ""
    """Of a tool: what the agent said in this reply before it called, as long as the reply has no item of its own."""


class Tool(Struct, frozen=True, kw_only=True):
    name: str
    description: str = ""
    schema: dict[str, Any] = {}


class Assess(Struct, frozen=True, kw_only=True):
    """One question to a turn detector, asked at a pause."""

    stream: int
    utt: int
    text: str
    pause_ms: float
    audio: bytes = b""
    """Tail of at most 8 s, only where the capability needs it."""
    history: tuple[Item, ...] = ()


Cause = Literal["user", "greeting", "silence", "dtmf", "tool"]

# -------------------------------------------------------------------------------------------------- protocols


@runtime_checkable
class Stream(Protocol):
    """What every stream has."""

    def update(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        """Take changed options; returns the names of those refused."""
        ...

    async def close(self, *, drain: bool) -> None:
        """End. `drain`: what was given is finished first. Idempotent, bounded to a second or two."""
        ...


class SttStream(Stream, Protocol):
    def audio(self, pos: int, pcm: bytes) -> None: ...
    def speech_start(self, utt: int, pos: int) -> None: ...
    def speech_end(self, utt: int, pos: int) -> None: ...
    def finalize(self, utt: int, pos: int) -> None:
        """Everything up to `pos` as finals, then `Finalized`: always, by the adapter's own deadline."""
        ...

    def pause(self) -> None: ...
    def resume(self) -> None: ...


class TtsStream(Stream, Protocol):
    def begin(self, reply: int, options: Mapping[str, Any]) -> None: ...
    def text(self, reply: int, text: str) -> None: ...
    def flush(self, reply: int) -> None: ...
    def end(self, reply: int) -> None:
        """No more text; `Done` follows when all its audio is out."""
        ...

    def cancel(self, reply: int) -> None:
        """`Cancelled` follows and nothing of that reply after it."""
        ...


class AgentStream(Stream, Protocol):
    """Stateless: the session brings the history each time."""

    def reply(self, turn: int, revision: int, history: Sequence[Item], tools: Sequence[Tool], cause: Cause) -> None: ...
    def tool_result(self, turn: int, id: str, result: str, ok: bool) -> None:
        """For an agent that keeps a conversation of its own; `reply(cause="tool")` follows with the whole history."""
        ...

    def cancel(self, turn: int) -> None: ...


class S2sStream(Stream, Protocol):
    """Responses are numbered by the stream, from 1."""

    def audio(self, pos: int, pcm: bytes) -> None: ...
    def activity_start(self, pos: int) -> None: ...
    def activity_end(self, pos: int) -> None: ...
    def respond(self) -> None: ...
    def cancel(self, response: int) -> None: ...
    def heard(self, response: int, ms: float) -> None: ...
    def tool_result(self, id: str, result: str, ok: bool, answer: bool) -> None:
        """`answer`: this was the last result that the model waits for, it shall go on. Else it only belongs to the
        conversation: another result follows, or the caller has spoken meanwhile."""
        ...

    def inject(self, role: Literal["user", "agent", "system"], text: str) -> None:
        """Add to the conversation. `agent` followed by `respond` asks to speak just this text (greeting, `say`)."""
        ...


class Options(BaseModel):
    """Base of a provider's options: every one of them is an option of a stream, unknown names are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Provider(Protocol):
    """What the registry knows a type by: a class with these attributes and this constructor."""

    Options: ClassVar[type[BaseModel]]

    @classmethod
    def capabilities(cls, options: Mapping[str, Any]) -> Capabilities: ...

    def __init__(self, options: Mapping[str, Any], secret: Secret | None, endpoint: str | None) -> None: ...

    async def warm(self) -> None: ...
    async def probe(self) -> None: ...
    async def close(self) -> None: ...


class SttProvider(Provider, Protocol):
    async def open(self, spec: StreamSpec, emit: Emit) -> SttStream: ...


class TtsProvider(Provider, Protocol):
    async def open(self, spec: StreamSpec, emit: Emit) -> TtsStream: ...


class AgentProvider(Provider, Protocol):
    async def open(self, spec: StreamSpec, emit: Emit) -> AgentStream: ...


class S2sProvider(Provider, Protocol):
    """`spec.options` carries `instructions`, `spec.tools` the tools; the history comes by `inject`."""

    async def open(self, spec: StreamSpec, emit: Emit) -> S2sStream: ...


class VadProvider(Provider, Protocol):
    """Serves all sessions of a batch in one pass; a stream is only a number with a rate."""

    def attach(self, spec: StreamSpec) -> None: ...
    def detach(self, stream: int) -> None: ...
    def classify(self, streams: Sequence[int], frames: Sequence[bytes | memoryview]) -> Sequence[bool]:
        """One verdict per frame of 20 ms, in order: is it voiced."""
        ...

    def reset(self, stream: int) -> None: ...


class TurnProvider(Provider, Protocol):
    """Serves all questions of a batch in one pass."""

    def attach(self, spec: StreamSpec) -> None: ...
    def detach(self, stream: int) -> None: ...
    def assess(self, questions: Sequence[Assess]) -> Sequence[Assessment]: ...
