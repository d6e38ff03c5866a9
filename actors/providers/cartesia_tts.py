"""Cartesia text to speech, `/tts/websocket`: Sonic models, many replies over one WebSocket.

    voice: {stage: tts, type: cartesia-tts, secret: env:CARTESIA_API_KEY, options: {voice: a0e99841-...}}

A reply is a context; its sentences continue one another, so the voice does too. A context that has had nothing to say
for `linger_s` is ended by us, for Cartesia drops it 1 s after its last audio, and what the agent says next opens
another. A flush is answered by `flush_done`; words and their times come beside the audio.

Idle     Cartesia closes a socket on which nothing was generated for 5 min, and has no keep-alive: sockets that are kept
         open are replaced before that.
Cancel   is not acknowledged; whether audio in work still comes is not documented. Late audio is dropped by its context.

Source   cartesia 4.2 (`types/websocket_response.py`, `generation_request.py`); docs.cartesia.ai: contexts, flushing,
         concurrency. Not tried against the live service.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from annotated_types import Ge, Le, MaxLen
from pydantic import Field

from actors.providers.interface import Options, TtsCapabilities
from actors.providers.vendor_contexts import Carrier, CarrierLimits, Carriers, Context
from actors.providers.vendor_counts import VendorCounts
from actors.providers.vendor_faults import Vendor
from actors.providers.vendor_json import decode, encode
from actors.providers.vendor_pcm import from_base64
from actors.providers.vendor_pool import PoolSettings
from actors.providers.vendor_socket import Message, SocketRequest
from actors.providers.vendor_tts import TtsSettings
from actors.providers.vendor_tts_provider import SocketTtsProvider
from actors.providers.vendor_tts_socket import TtsDialect
from router.errors import ProviderError

__all__ = ["CartesiaTtsOptions", "Provider"]

_VERSION = "2026-08-14"
"""Of the API, as the SDK 4.2 sends it."""
_RATES_HZ = (24000, 16000, 8000, 22050, 44100, 48000)
_LANGUAGES = (
    "en", "fr", "de", "es", "pt", "zh", "ja", "hi", "it", "ko", "nl", "pl", "ru", "sv", "tr", "tl", "bg", "ro", "ar",
    "cs", "el", "fi", "hr", "ms", "sk", "da", "ta", "uk", "hu", "no", "vi", "bn", "th", "he", "ka", "id", "te", "gu",
    "kn", "ml", "mr", "pa",
)  # fmt: skip
"""Of Sonic 3 and later. Older models: whatever the vendor takes."""


class CartesiaTtsOptions(Options):
    voice: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    """The id of a voice."""
    model: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")] = "sonic-3.5"
    language: Annotated[str, Field(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$")] = "en"
    """BCP 47; Cartesia is told its first part."""
    speed: Annotated[float, Ge(0.6), Le(1.5)] | None = None
    """This and the next two: Sonic 3 and later."""
    volume: Annotated[float, Ge(0.5), Le(2.0)] | None = None
    emotion: Annotated[str, Field(pattern=r"^[a-z]{1,32}$")] | None = None
    pronunciation_dict_id: Annotated[str, MaxLen(128)] | None = None
    timestamps: bool = True
    """Words with their times: what the caller heard is then exact to the word."""
    max_buffer_delay_ms: Annotated[int, Ge(0), Le(5000)] = 0
    """Cartesia waits so long for more text. 0 for sentences, which is what a session gives."""
    rate_hz: Literal[8000, 16000, 22050, 24000, 44100, 48000] = 24000
    contexts_per_socket: Annotated[int, Ge(1), Le(64)] = 8
    """Cartesia speaks of dozens. How many speak at once is bound by the plan: 2 to 15."""
    prewarm: Annotated[int, Ge(0), Le(16)] = 1
    """Idle sockets that are kept open."""
    linger_s: Annotated[float, Ge(0.02), Le(0.9)] = 0.4
    stall_s: Annotated[float, Ge(0.1), Le(60)] = 5.0
    idle_max_s: Annotated[float, Ge(0.1), Le(290)] = 240.0


_FIXED = frozenset({"rate_hz", "contexts_per_socket", "prewarm", "linger_s", "stall_s", "idle_max_s"})


class _WordTimes(msgspec.Struct, frozen=True):
    words: tuple[str, ...] = ()
    start: tuple[float, ...] = ()
    end: tuple[float, ...] = ()


class _Told(msgspec.Struct, frozen=True):
    """Any message, as far as it is read."""

    type: str = ""
    context_id: str | None = None
    data: str | None = None
    word_timestamps: _WordTimes | None = None
    status_code: int | None = None
    error_code: str | None = None
    title: str | None = None
    message: str | None = None
    error: str | None = None


class CartesiaTtsDialect:
    """A `vendor_tts_socket.TtsDialect`. `context.options`: the fields that all messages of a context have."""

    ends_itself = True
    tells_flushed = True

    def __init__(self, provider: Provider) -> None:
        self.linger_s: float | None = provider.options.linger_s
        self._vendor: Vendor = provider.vendor
        self._counts: VendorCounts = provider.counts
        self._provider = provider

    @property
    def _carriers(self) -> Carriers:
        return self._provider.carriers

    def begin(self, context: Context) -> Sequence[Message]:
        return ()

    def text(self, context: Context, text: str) -> Sequence[Message]:
        return (self._message(context, transcript=text),)

    def flush(self, context: Context) -> Sequence[Message]:
        return (self._message(context, transcript="", flush=True),)

    def end(self, context: Context) -> Sequence[Message]:
        return (self._message(context, transcript="", **{"continue": False}),)

    def cancel(self, context: Context) -> Sequence[Message]:
        return (encode({"context_id": context.id, "cancel": True}),)

    def take(self, carrier: Carrier, message: Message) -> None:
        if isinstance(message, bytes):
            self._counts.unknown += 1
            return
        told = decode(self._vendor, message, _Told)
        if told.type not in ("chunk", "timestamps", "flush_done", "done", "error"):
            self._counts.unknown += told.type != "phoneme_timestamps"
            return
        if told.type == "error" and told.context_id is None:
            raise self._error(told)
        if told.type == "done":
            self._over(carrier, told.context_id)
            return
        context = carrier.find(told.context_id)
        if context is not None and context.user is not None:
            self._tell(carrier, context, told)

    def _tell(self, carrier: Carrier, context: Context, told: _Told) -> None:
        user = context.user
        assert user is not None
        if told.type == "chunk":
            try:
                pcm = from_base64(self._vendor, told.data or "")
            except ProviderError as error:
                user.refused(context, error)
                return
            user.sound(context, pcm)
        elif told.type == "timestamps":
            times = told.word_timestamps or _WordTimes()
            for word, start_s, end_s in zip(times.words, times.start, times.end, strict=False):
                user.timed(context, word, start_s * 1000, end_s * 1000)
        elif told.type == "flush_done":
            user.flushed(context)
        else:
            user.refused(context, self._error(told))
            self._over(carrier, context.id)

    def _over(self, carrier: Carrier, context_id: str | None) -> None:
        context = carrier.contexts.get(context_id or "")
        if context is None:
            self._counts.stale += 1
        else:
            self._carriers.over(context)

    def _error(self, told: _Told) -> ProviderError:
        said = " ".join(filter(None, (told.error_code, told.title, told.message, told.error)))
        if told.status_code is None:
            return self._vendor.error("protocol", f"an error without a status: {self._vendor.text(said)}")
        return self._vendor.from_status(told.status_code, {}, said)

    def _message(self, context: Context, **fields: Any) -> str:
        return encode({**context.options, "context_id": context.id, "continue": True, **fields})


class Provider(SocketTtsProvider[CartesiaTtsOptions]):
    TYPE = "cartesia-tts"
    DEFAULT_ENDPOINT = "https://api.cartesia.ai"
    MARKS = {  # noqa: RUF012
        "credit": "quota",
        "concurrency": "busy",
    }
    Options = CartesiaTtsOptions

    @classmethod
    def capabilities(cls, options: Mapping[str, Any]) -> TtsCapabilities:
        model, rate_hz = str(options.get("model", "sonic-3.5")), options.get("rate_hz", 24000)
        return TtsCapabilities(
            rates_hz=tuple(sorted(_RATES_HZ, key=lambda known_hz: known_hz != rate_hz)),
            languages=_LANGUAGES if model.startswith("sonic-3") else (),
            takes="stream",
            alignment=options.get("timestamps", True) is not False,
            first_audio_p99_s=2.0,
            needs_secret=True,
        )

    def dialect(self) -> TtsDialect:
        return CartesiaTtsDialect(self)

    def limits(self) -> CarrierLimits:
        return CarrierLimits(contexts_max=self.options.contexts_per_socket, tells_over=False, over_s=1.0)

    def pool_settings(self) -> PoolSettings:
        return PoolSettings(idle_max_s=self.options.idle_max_s)

    def settings(self, options: CartesiaTtsOptions) -> TtsSettings:
        return TtsSettings(stall_s=options.stall_s, fixed=_FIXED)

    def request(self, options: CartesiaTtsOptions, rate_hz: int) -> SocketRequest:
        return SocketRequest(
            url=self.endpoint.ws("/tts/websocket"),
            headers=(("Authorization", f"Bearer {self.key}"), ("Cartesia-Version", _VERSION)),
        )

    def asked(self, options: CartesiaTtsOptions, rate_hz: int) -> dict[str, Any]:
        asked: dict[str, Any] = {
            "model_id": options.model,
            "voice": {"mode": "id", "id": options.voice},
            "output_format": {"container": "raw", "encoding": "pcm_s16le", "sample_rate": rate_hz},
            "language": options.language.split("-")[0].lower(),
            "add_timestamps": options.timestamps,
            "max_buffer_delay_ms": options.max_buffer_delay_ms,
        }
        named = ("speed", "volume", "emotion")
        generation = {name: getattr(options, name) for name in named if getattr(options, name) is not None}
        if generation:
            asked["generation_config"] = generation
        if options.pronunciation_dict_id:
            asked["pronunciation_dict_id"] = options.pronunciation_dict_id
        return asked
