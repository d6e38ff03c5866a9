"""Azure Speech to text over its WebSocket protocol, `/stt/speech/universal/v2`, one connection per stream.

    ears:
      stage: stt
      type: azure-stt
      secrets: {"*": "env:AZURE_SPEECH_KEY"}
      endpoints: {"*": "wss://westeurope.stt.speech.microsoft.com"}
      options: {language: en-US}

A connection carries one *turn* after the other: a context, a WAV header, audio, and an end of the stream that makes the
vendor say its last phrase and `turn.end`. A `finalize` is such an end: nothing gives a final sooner. The next turn is
opened at once, its audio waits for the `turn.end`. Times count from the beginning of the turn.

The vendor ends phrases by itself, too, after `silence_ms`; each is a final. With `turn_events` these ends have the
authority over turns, and all audio is sent. Without, only speech is, and a little silence every `keepalive_s`.

Source   what azure-cognitiveservices-speech 1.53 sends and takes; the protocol's page of 2017; the JavaScript SDK
         (`common.speech/ServiceMessages`). Not tried against the live service.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal
from uuid import uuid4

import msgspec
from annotated_types import Ge, Le, Len, MaxLen
from pydantic import Field

from actors.providers.azure_frames import Frame, audio_frame, now_text, parse, text_frame
from actors.providers.interface import Options, StreamSpec, SttCapabilities, TimedWord
from actors.providers.vendor_dialect import SttSettings, Updated, changed_options
from actors.providers.vendor_endpoint import Endpoint
from actors.providers.vendor_faults import Vendor
from actors.providers.vendor_json import decode
from actors.providers.vendor_pcm import wav_header
from actors.providers.vendor_socket import Message, SocketRequest
from actors.providers.vendor_stt import SttLine
from actors.providers.vendor_stt_provider import VendorSttProvider
from router.errors import FaultKind

__all__ = ["AzureSttOptions", "Provider"]

_PATH = "/stt/speech/universal/v2"
_TICKS = 10_000_000
"""Of the vendor's times, in a second."""
_BEFORE_S = 0.3
_FINAL_SLACK_S = 0.1

Phrase = Annotated[str, Len(1, 100)]


class AzureSttOptions(Options):
    language: Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})+$")] = "en-US"
    """A locale of the vendor: language and region."""
    keyterms: Annotated[tuple[Phrase, ...], MaxLen(500)] = ()
    """Its phrase list; the vendor takes 500."""
    custom_model: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")] | None = None
    """Endpoint id of a Custom Speech model (`cid`)."""
    silence_ms: Annotated[int, Ge(100), Le(5000)] | None = None
    """Silence that ends a phrase; None: the vendor's own."""
    segmentation: Literal["silence", "semantic"] = "silence"
    """What ends a phrase."""
    profanity: Literal["masked", "removed", "raw"] = "masked"
    stable_partials: Annotated[int, Ge(1), Le(10)] | None = None
    """A word is written when it has been recognised so often; None: the vendor's own."""
    turn_events: bool = False
    """Ends of phrases end turns."""
    chunk_ms: Annotated[int, Ge(20), Le(200)] = 100
    """The SDK sends 100; the vendor's page allows 8192 bytes, 256 ms at 16 kHz."""
    keepalive_s: Annotated[float, Ge(0.05), Le(120)] = 15.0
    """Silence is sent where nothing was for so long; the page of 2017 has 180 s."""
    finalize_s: Annotated[float, Ge(0.05), Le(5)] = 1.2
    stall_s: Annotated[float, Ge(0.1), Le(60)] = 5.0
    kept_s: Annotated[float, Ge(1), Le(60)] = 20.0
    max_connection_s: Annotated[float, Ge(1), Le(86400)] = 540.0
    """A connection is replaced before it is so old; the page of 2017 ends it after 10 minutes."""


_FIXED = frozenset({"turn_events", "chunk_ms", "keepalive_s", "finalize_s", "stall_s", "kept_s", "max_connection_s"})
_STATUS: dict[str, FaultKind] = {
    "Error": "overload", "TooManyRequests": "busy", "BadRequest": "config", "Forbidden": "auth",
}  # fmt: skip
"""Of `RecognitionStatus`; every other one is an answer."""


class _Word(msgspec.Struct, frozen=True, rename="pascal"):
    word: str
    offset: int
    duration: int


class _Best(msgspec.Struct, frozen=True, rename="pascal"):
    confidence: float | None = None
    display: str | None = None
    words: tuple[_Word, ...] = ()


class _Language(msgspec.Struct, frozen=True, rename="pascal"):
    language: str = ""


class _Told(msgspec.Struct, frozen=True, rename="pascal"):
    """All that is read of hypotheses, phrases and detections."""

    offset: int = 0
    duration: int = 0
    text: str = ""
    recognition_status: str = ""
    display_text: str = ""
    n_best: tuple[_Best, ...] = msgspec.field(default=(), name="NBest")
    primary_language: _Language | None = None

    @property
    def end(self) -> int:
        return self.offset + self.duration


class AzureDialect:
    """One stream's: a `vendor_dialect.Dialect`."""

    def __init__(
        self, options: AzureSttOptions, spec: StreamSpec, vendor: Vendor, key: str, endpoint: Endpoint
    ) -> None:
        self.options = options
        self._spec, self._vendor, self._endpoint, self._key = spec, vendor, endpoint, key
        self._request = ""
        """Id of the present turn."""
        self._sent = self._began = 0
        """Samples of this connection, and how many of them came before the present turn."""
        self._is_started = self._is_ended = False
        """The vendor has begun the turn; the end of its stream was sent."""
        self._is_leaving = False
        self._received: list[dict[str, list[str]]] = []
        """Of the present turn: what the vendor is told to have sent."""

    # ----------------------------------------------------------------------------------------------- outgoing

    def request(self) -> SocketRequest:
        query = [("cid", self.options.custom_model)] if self.options.custom_model else []
        headers = (("Ocp-Apim-Subscription-Key", self._key), ("X-ConnectionId", uuid4().hex))
        return SocketRequest(url=self._endpoint.ws(_PATH, query), headers=headers)

    def hello(self) -> Sequence[Message]:
        self._sent = 0
        source = {
            "type": "Stream", "samplerate": str(self._spec.rate_hz), "bitspersample": "16", "channelcount": "1",
        }  # fmt: skip
        about = {
            "system": {"name": "patchbay", "version": "1", "lang": "Python"},
            "os": {"platform": "Linux", "name": "Linux", "version": ""}, "audio": {"source": source},
        }  # fmt: skip
        return (text_frame("speech.config", None, {"context": about}), *self._open_turn())

    def audio(self, pcm: bytes) -> Message:
        self._sent += len(pcm) // 2
        return audio_frame(self._request, pcm)

    def finalize(self) -> Sequence[Message]:
        self._is_ended = True
        return (audio_frame(self._request, b""),)

    def keepalive(self) -> Message | None:
        return None

    def bye(self) -> Sequence[Message]:
        self._is_leaving = True
        return () if self._is_ended else self.finalize()

    def update(self, changes: Mapping[str, Any]) -> Updated:
        """All by another connection: a turn that is open has its context."""
        self.options, changed, refused = changed_options(self.options, changes, _FIXED)
        return Updated(refused=refused, reconnect=bool(changed))

    # ----------------------------------------------------------------------------------------------- incoming

    def take(self, line: SttLine, message: Message) -> None:
        frame = parse(self._vendor, message)
        is_read = frame.path.startswith(("speech.", "turn."))
        is_early = not self._is_started and frame.path not in ("turn.start", "turn.end")
        if is_read and (is_early or frame.request.lower() != self._request):
            line.counts.stale += 1
            return
        self._received.append({frame.path: [now_text()]})
        match frame.path:
            case "speech.hypothesis" | "speech.fragment":
                told = self._told(frame)
                line.partial(told.text.strip(), self._pos(line, told.offset))
            case "speech.phrase":
                self._phrase(line, self._told(frame))
            case "speech.startDetected":
                told = self._told(frame)
                line.alive()
                if self.options.turn_events:
                    line.speech_started(self._at_s(told.offset))
            case "turn.end":
                self._end(line)
            case "turn.start":
                self._is_started = True
            case "speech.endDetected":
                pass
            case _:
                line.counts.unknown += 1

    def _phrase(self, line: SttLine, told: _Told) -> None:
        if (kind := _STATUS.get(told.recognition_status)) is not None:
            raise self._vendor.error(kind, f"a phrase with the status {told.recognition_status}")
        if told.recognition_status == "EndOfDictation":
            return
        best = told.n_best[0] if told.n_best else _Best()
        text = (best.display or told.display_text).strip() if told.recognition_status == "Success" else ""
        words = [
            TimedWord(w.word, self._pos(line, w.offset), self._pos(line, w.offset + w.duration)) for w in best.words
        ]
        language = told.primary_language.language or None if told.primary_language is not None else None
        said = line.final(
            text, self._pos(line, told.end), words or None, confidence=best.confidence if text else None,
            language=language, from_pos=self._pos(line, told.offset),
        )  # fmt: skip
        if said and self.options.turn_events:
            line.turn_ended(said)

    def _end(self, line: SttLine) -> None:
        """The answer to our end of the stream, or the vendor's own idea: then the audio without a final goes again."""
        was_asked, was_empty = self._is_ended, self._sent == self._began
        if was_asked:  # all of it has arrived; what our own bound let go before was counted and not sent
            self._sent = round(line.sent_s * self._spec.rate_hz)
        if self._is_leaving:
            line.say(self._telemetry())
            line.said_all()
            return
        line.say(self._telemetry(), *self._open_turn())
        if was_asked:
            line.finalized(line.asked_pos())
            line.go_on()
        elif not was_empty:
            line.send_again()

    def _told(self, frame: Frame) -> _Told:
        return decode(self._vendor, frame.body, _Told)

    def _at_s(self, offset: int) -> float:
        """Seconds of the connection, of a time of the present turn."""
        return self._began / self._spec.rate_hz + offset / _TICKS

    def _pos(self, line: SttLine, offset: int) -> int:
        return line.pos(self._at_s(offset))

    def _open_turn(self) -> tuple[Message, Message]:
        self._request, self._began, self._received = uuid4().hex, self._sent, []
        self._is_started = self._is_ended = False
        header = audio_frame(self._request, wav_header(self._spec.rate_hz), "audio/x-wav")
        return text_frame("speech.context", self._request, self._context()), header

    def _context(self) -> dict[str, Any]:
        o = self.options
        detection: dict[str, Any] = {
            "mode": "CONVERSATION", "language": o.language, "enrichment": {"profanity": o.profanity},
        }  # fmt: skip
        if o.segmentation == "semantic":
            detection["CONVERSATION"] = {"segmentation": {"mode": "Semantic"}}
        elif o.silence_ms is not None:
            segmentation = {"mode": "Custom", "segmentationSilenceTimeoutMs": o.silence_ms}
            detection["CONVERSATION"] = {"segmentation": segmentation}
        output: dict[str, Any] = {
            "format": "Detailed", "detailed": {"options": ["WordTimings", "WordConfidence"]},
        }  # fmt: skip
        if o.stable_partials is not None:
            output["interimResults"] = {"stableThreshold": o.stable_partials}
        context: dict[str, Any] = {"phraseDetection": detection, "phraseOutput": output}
        if o.keyterms:
            items = [{"Text": term} for term in o.keyterms]
            context["dgi"] = {"Groups": [{"Type": "Generic", "Items": items}], "bias": 1.0}
        return context

    def _telemetry(self) -> str:
        return text_frame("telemetry", self._request, {"ReceivedMessages": self._received[-256:], "Metrics": []})


class Provider(VendorSttProvider[AzureSttOptions]):
    TYPE = "azure-stt"
    DEFAULT_ENDPOINT = ""  # its host has the region of the key
    MARKS: ClassVar[Mapping[str, FaultKind]] = {"resourceexhausted": "busy", "quota": "quota"}
    Options = AzureSttOptions

    @classmethod
    def capabilities(cls, options: Mapping[str, Any]) -> SttCapabilities:
        finalize_s = options.get("finalize_s", 1.2)
        return SttCapabilities(
            rates_hz=(16000, 8000),
            partials=True,
            word_times=True,
            turn_events=options.get("turn_events", False) is True,
            replay_rate_max=2.0,
            final_p99_s=(float(finalize_s) if isinstance(finalize_s, int | float) else 1.2) + _FINAL_SLACK_S,
            needs_secret=True,
        )

    def dialect(self, options: AzureSttOptions, spec: StreamSpec, vendor: Vendor) -> AzureDialect:
        return AzureDialect(options, spec, vendor, self.key, self.endpoint)

    def settings(self, options: AzureSttOptions) -> SttSettings:
        return SttSettings(
            chunk_ms=options.chunk_ms, keepalive_s=options.keepalive_s, finalize_s=options.finalize_s,
            stall_s=options.stall_s, kept_s=options.kept_s, age_max_s=options.max_connection_s, replay_rate=2.0,
            before_s=None if options.turn_events else _BEFORE_S, waits=True,
        )  # fmt: skip
