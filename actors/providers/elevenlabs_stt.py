"""ElevenLabs Scribe, live speech to text over one WebSocket per stream, `/v1/speech-to-text/realtime`.

    ears: {stage: stt, type: elevenlabs-stt, secrets: {"*": "env:ELEVENLABS_API_KEY"}, options: {language: en}}

A `finalize` is a commit, and each commit gives one committed transcript; nothing names the commit that a transcript
belongs to, so they are matched in order. The vendor commits by itself what has waited for 90 s. With `turn_events`
the vendor commits where it hears silence, or where a model of its own thinks that the turn is over, and these commits
have the authority over turns.

Everything is sent, silence too: without audio the vendor ends a session, and a stream that paused is slow to begin.

Errors come in two forms: `message_type` is the code and `error` a text, or it is "error" and `error` is the code.

Source   elevenlabs 2.78 (`realtime/`, `types/scribe_*`), elevenlabs/skills (realtime references); elevenlabs/packages
         issue 378 (commits of less than 0.3 s). Not tried against the live service.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from annotated_types import Ge, Le, Len, MaxLen
from pydantic import Field, model_validator

from actors.providers.interface import Options, StreamSpec, SttCapabilities, TimedWord
from actors.providers.vendor_dialect import SttSettings, Updated, changed_options
from actors.providers.vendor_endpoint import Endpoint
from actors.providers.vendor_faults import Vendor
from actors.providers.vendor_json import decode
from actors.providers.vendor_settling import ASKS_MAX
from actors.providers.vendor_socket import Message, SocketRequest
from actors.providers.vendor_stt import SttLine
from actors.providers.vendor_stt_provider import VendorSttProvider
from router.errors import FaultKind, ProviderError

__all__ = ["ElevenLabsSttOptions", "Provider"]

_RATES_HZ = (16000, 8000, 22050, 24000, 44100, 48000)
_BY_ITSELF_S = 60.0
"""An unasked commit of less is none: the vendor waits 90 s. Its clock and ours need not agree."""
_FINAL_SLACK_S = 0.1
_ERRORS: dict[str, FaultKind] = {
    "auth_error": "auth", "quota_exceeded": "quota", "unaccepted_terms": "auth", "rate_limited": "busy",
    "queue_overflow": "overload", "resource_exhausted": "overload", "session_time_limit_exceeded": "expired",
    "input_error": "protocol", "invalid_request": "config", "chunk_size_exceeded": "protocol",
    "insufficient_audio_activity": "expired", "transcriber_error": "overload",
}  # fmt: skip

Term = Annotated[str, Len(1, 20)]


class ElevenLabsSttOptions(Options):
    model: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")] = "scribe_v2_realtime"
    language: Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")] | None = None
    """BCP 47; the vendor is told the language without its region. None: it finds out."""
    languages: Annotated[tuple[Annotated[str, Field(pattern=r"^[a-z]{2,3}$")], ...], MaxLen(10)] = ()
    """Others that may come (`secondary_languages`)."""
    keyterms: Annotated[tuple[Term, ...], MaxLen(50)] = ()
    """The vendor takes 50 of at most 20 characters."""
    no_verbatim: bool = False
    """Without fillers and false starts."""
    word_times: bool = False
    turn_events: bool = False
    """The vendor commits, and so ends turns."""
    turn_model: Literal["silence", "prediction"] = "silence"
    """What it commits at; `prediction` is for `scribe_v3_live`."""
    silence_s: Annotated[float, Ge(0.3), Le(3)] = 0.6
    """For `silence`; the vendor's own is 1.5."""
    vad_threshold: Annotated[float, Ge(0.1), Le(0.9)] | None = None
    min_speech_ms: Annotated[int, Ge(50), Le(2000)] | None = None
    min_silence_ms: Annotated[int, Ge(50), Le(2000)] | None = None
    chunk_ms: Annotated[int, Ge(20), Le(500)] = 50
    keepalive_s: Annotated[float, Ge(0.05), Le(8)] = 5.0
    """Silence is sent where no audio was for so long: other clients do that every 5 to 10 s."""
    finalize_s: Annotated[float, Ge(0.05), Le(5)] = 1.0
    stall_s: Annotated[float, Ge(0.1), Le(60)] = 5.0
    kept_s: Annotated[float, Ge(1), Le(60)] = 20.0
    max_connection_s: Annotated[float, Ge(1), Le(86400)] = 1800.0
    """A connection is replaced before it is so old. There is a limit, and it is not published: this one is ours."""

    @model_validator(mode="after")
    def _fits_the_model(self) -> ElevenLabsSttOptions:
        if self.turn_events and self.turn_model == "prediction" and not self.model.startswith("scribe_v3"):
            raise ValueError(f"turn_model: {self.model} has no prediction")
        return self


_FIXED = frozenset({
    "turn_events", "chunk_ms", "keepalive_s", "finalize_s", "stall_s", "kept_s", "max_connection_s",
})  # fmt: skip


class _Word(msgspec.Struct, frozen=True):
    text: str
    start: float | None = None
    end: float | None = None
    type: str = "word"


class _Told(msgspec.Struct, frozen=True):
    """All that is read of any message."""

    message_type: str = ""
    text: str = ""
    language_code: str | None = None
    words: tuple[_Word, ...] | None = None
    error: str | None = None

    @property
    def code(self) -> str:
        """Of an error, in either form; empty where it is none."""
        if self.message_type == "error":
            return self.error if self.error in _ERRORS or self.error == "commit_throttled" else "error"
        return self.message_type if self.message_type in _ERRORS or self.message_type == "commit_throttled" else ""


class ScribeDialect:
    """One stream's: a `vendor_dialect.Dialect`."""

    def __init__(
        self, options: ElevenLabsSttOptions, spec: StreamSpec, vendor: Vendor, key: str, endpoint: Endpoint
    ) -> None:
        self.options = options
        self._spec, self._vendor, self._endpoint = spec, vendor, endpoint
        self._headers = (("xi-api-key", key),)
        self._frame = f'","commit":false,"sample_rate":{spec.rate_hz}}}'
        self._appended = 0
        """Samples given to this connection."""
        self._commits: deque[float] = deque(maxlen=2 * ASKS_MAX)
        """Ours that the vendor has not answered: where each ends, in seconds of the connection."""
        self._told_to_s = 0.0
        self._is_greeted = self._is_leaving = False

    # ----------------------------------------------------------------------------------------------- outgoing

    def request(self) -> SocketRequest:
        return SocketRequest(url=self._endpoint.ws("/v1/speech-to-text/realtime", self._query()), headers=self._headers)

    def hello(self) -> Sequence[Message]:
        self._appended, self._told_to_s, self._is_greeted = 0, 0.0, False
        self._commits.clear()
        return ()

    def audio(self, pcm: bytes) -> Message:
        self._appended += len(pcm) // 2
        return '{"message_type":"input_audio_chunk","audio_base_64":"' + base64.b64encode(pcm).decode() + self._frame

    def finalize(self) -> Sequence[Message]:
        if self.options.turn_events:
            return ()  # the vendor commits
        self._commits.append(self._appended / self._spec.rate_hz)
        rate_hz = self._spec.rate_hz
        return (f'{{"message_type":"input_audio_chunk","audio_base_64":"","commit":true,"sample_rate":{rate_hz}}}',)

    def keepalive(self) -> Message | None:
        return None

    def bye(self) -> Sequence[Message]:
        self._is_leaving = True
        return self.finalize()

    def update(self, changes: Mapping[str, Any]) -> Updated:
        """All by another connection: the address has them."""
        self.options, changed, refused = changed_options(self.options, changes, _FIXED)
        return Updated(refused=refused, reconnect=bool(changed))

    # ----------------------------------------------------------------------------------------------- incoming

    def take(self, line: SttLine, message: Message) -> None:
        if isinstance(message, bytes):
            line.counts.unknown += 1
            return
        told = decode(self._vendor, message, _Told)
        if told.code:
            self._error(line, told)
            return
        match told.message_type:
            case "session_started":
                self._is_greeted = True
            case "partial_transcript" | "committed_transcript" | "committed_transcript_with_timestamps" if (
                not self._is_greeted
            ):
                line.counts.stale += 1
            case "partial_transcript":
                line.partial(told.text.strip(), line.pos(min(self._told_to_s, line.sent_s)))
            case "committed_transcript":
                if self.options.word_times:
                    line.alive()  # the same with times follows
                else:
                    self._committed(line, told)
            case "committed_transcript_with_timestamps":
                if self.options.word_times:
                    self._committed(line, told)
            case "committed_transcript_entities" | "redacted_transcript" | "edited_transcript" | "warning":
                pass
            case _:
                line.counts.unknown += 1

    def _committed(self, line: SttLine, told: _Told) -> None:
        to_s = self._to_s(line)
        if to_s is None:
            line.counts.stale += 1
            return
        words = [
            TimedWord(w.text, line.pos(w.start), line.pos(w.end))
            for w in told.words or ()
            if w.type == "word" and w.start is not None and w.end is not None
        ]
        from_pos, to_pos = line.pos(min(self._told_to_s, line.sent_s)), line.pos(to_s)
        self._told_to_s = max(self._told_to_s, to_s)
        said = line.final(told.text.strip(), to_pos, words or None, language=told.language_code, from_pos=from_pos)
        self._answer(line, to_pos)
        if said and self.options.turn_events:
            line.turn_ended(said)

    def _to_s(self, line: SttLine) -> float | None:
        """Where the audio of a transcript ends; None where nothing was committed that it could be of."""
        if self._commits:
            return min(self._commits.popleft(), line.sent_s)
        if self.options.turn_events or line.sent_s - self._told_to_s >= _BY_ITSELF_S:
            return line.sent_s
        return None

    def _answer(self, line: SttLine, to_pos: int) -> None:
        asked = line.asked_pos()
        if asked is not None and to_pos >= asked:
            line.finalized(to_pos)
        if self._is_leaving and not self._commits:
            line.said_all()

    def _error(self, line: SttLine, told: _Told) -> None:
        if told.code == "commit_throttled":  # too little audio: it stays, and belongs to the next commit
            if self._commits:
                self._answer(line, line.pos(min(self._commits.popleft(), line.sent_s)))
            return
        raise _refusal(self._vendor, told)

    def _query(self) -> list[tuple[str, str]]:
        o = self.options
        strategy = {"silence": "vad", "prediction": "turn_prediction"}[o.turn_model] if o.turn_events else "manual"
        query = [("model_id", o.model), ("audio_format", f"pcm_{self._spec.rate_hz}"), ("commit_strategy", strategy)]
        if strategy == "vad":
            query.append(("vad_silence_threshold_secs", f"{o.silence_s:g}"))
        named = (
            ("vad_threshold", o.vad_threshold), ("min_speech_duration_ms", o.min_speech_ms),
            ("min_silence_duration_ms", o.min_silence_ms),
        )  # fmt: skip
        query += [(name, f"{value:g}") for name, value in named if value is not None]
        if o.language:
            query.append(("language_code", o.language.split("-")[0]))
        query += [("secondary_languages", language) for language in o.languages]
        if o.word_times:
            query.append(("include_timestamps", "true"))
        query += [("keyterms", term) for term in o.keyterms]
        return query + ([("no_verbatim", "true")] if o.no_verbatim else [])


class Provider(VendorSttProvider[ElevenLabsSttOptions]):
    TYPE = "elevenlabs-stt"
    DEFAULT_ENDPOINT = "https://api.elevenlabs.io"
    MARKS: ClassVar[Mapping[str, FaultKind]] = {
        "quota_exceeded": "quota", "too_many_concurrent_requests": "busy", "system_busy": "busy",
    }  # fmt: skip
    Options = ElevenLabsSttOptions
    GREETING, REFUSAL = "session_started", "error"

    @classmethod
    def capabilities(cls, options: Mapping[str, Any]) -> SttCapabilities:
        finalize_s = options.get("finalize_s", 1.0)
        return SttCapabilities(
            rates_hz=_RATES_HZ,
            partials=True,
            word_times=options.get("word_times", False) is True,
            turn_events=options.get("turn_events", False) is True,
            needs_silence=True,
            replay_rate_max=2.0,
            final_p99_s=(float(finalize_s) if isinstance(finalize_s, int | float) else 1.0) + _FINAL_SLACK_S,
            needs_secret=True,
        )

    def kind(self, message: Message) -> str:
        told = _Told() if isinstance(message, bytes) else decode(self.vendor, message, _Told)
        return "error" if told.code else told.message_type

    def refused(self, vendor: Vendor, message: Message) -> ProviderError:
        return _refusal(vendor, decode(vendor, message, _Told))

    def dialect(self, options: ElevenLabsSttOptions, spec: StreamSpec, vendor: Vendor) -> ScribeDialect:
        return ScribeDialect(options, spec, vendor, self.key, self.endpoint)

    def settings(self, options: ElevenLabsSttOptions) -> SttSettings:
        return SttSettings(
            chunk_ms=options.chunk_ms, keepalive_s=options.keepalive_s, finalize_s=options.finalize_s,
            stall_s=options.stall_s, kept_s=options.kept_s, age_max_s=options.max_connection_s, replay_rate=2.0,
        )  # fmt: skip


def _refusal(vendor: Vendor, told: _Told) -> ProviderError:
    code, kind = told.code, _ERRORS.get(told.code)
    if kind is None:
        return vendor.from_message(told.error or "", "overload")
    return vendor.error(kind, f"{code}: {vendor.text(told.error or '')}" if told.error != code else code)
