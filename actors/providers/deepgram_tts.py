"""Deepgram text to speech, `/v1/speak` over WebSocket: Aura voices, one reply at a time on a socket.

    voice: {stage: tts, type: deepgram-tts, secret: env:DEEPGRAM_API_KEY, options: {model: aura-2-thalia-en}}

A socket belongs to a reply from its first text until all is spoken, or until `Cleared` after a cancel; then to the
next one, of this call or another. Each sentence is flushed; `Flushed` comes after the last audio of it. Deepgram allows
a socket 20 flushes and about 2,400 characters a minute: a reply that needs more goes on on another one, at the end of
a sentence.

Audio    carries no mark of the reply that it belongs to: what comes between a cancel and its `Cleared` is dropped, and
         a socket that does not say `Cleared` within 2 s is closed.
Age      a session ends after 60 min (1011 NET-0003); ours are replaced before.

Source   deepgram-sdk 7.17 (`speak/v1`); developers.deepgram.com: tts-ws-flush, tts-ws-clear, tts-ws-close, voice
         controls. Not tried against the live service.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from annotated_types import Ge, Le
from pydantic import Field

from actors.logs import get_logger
from actors.providers.interface import Options, TtsCapabilities
from actors.providers.vendor_contexts import Carrier, CarrierLimits, Context
from actors.providers.vendor_faults import Vendor
from actors.providers.vendor_json import decode, encode
from actors.providers.vendor_pool import PoolSettings
from actors.providers.vendor_socket import Message, SocketRequest
from actors.providers.vendor_tts import TtsSettings
from actors.providers.vendor_tts_provider import SocketTtsProvider
from actors.providers.vendor_tts_socket import TtsDialect

__all__ = ["DeepgramTtsOptions", "Provider"]

log = get_logger("deepgram_tts")

_RATES_HZ = (24000, 16000, 8000, 32000, 48000)
"""Of `linear16`."""
_TEXT_MAX = 2000
"""Characters of one `Speak`; 413 or 1009 beyond."""


class DeepgramTtsOptions(Options):
    model: Annotated[str, Field(pattern=r"^aura-[a-z0-9-]{1,60}$")] = "aura-2-thalia-en"
    """Voice and language in one."""
    speed: Annotated[float, Ge(0.7), Le(1.5)] | None = None
    """Aura-2, English and Spanish."""
    mip_opt_out: bool = False
    rate_hz: Literal[8000, 16000, 24000, 32000, 48000] = 24000
    prewarm: Annotated[int, Ge(0), Le(16)] = 1
    """Idle sockets that are kept open: as many replies can begin at once without a handshake."""
    flushes_per_minute: Annotated[int, Ge(1), Le(1000)] = 18
    chars_per_minute: Annotated[int, Ge(500), Le(100_000)] = 2200
    linger_s: Annotated[float, Ge(0.02), Le(60)] = 2.0
    stall_s: Annotated[float, Ge(0.1), Le(60)] = 5.0
    idle_max_s: Annotated[float, Ge(0.1), Le(3000)] = 240.0


_FIXED = frozenset(
    {"rate_hz", "prewarm", "flushes_per_minute", "chars_per_minute", "linger_s", "stall_s", "idle_max_s"}
)


class _Told(msgspec.Struct, frozen=True):
    type: str = ""
    sequence_id: int | None = None
    code: str | None = None
    description: str | None = None


class DeepgramTtsDialect:
    """A `vendor_tts_socket.TtsDialect`. `carrier.state`: the last `sequence_id` that was read."""

    ends_itself = False
    tells_flushed = True

    def __init__(self, provider: Provider) -> None:
        self.linger_s: float | None = provider.options.linger_s
        self._provider = provider
        self._vendor: Vendor = provider.vendor
        self._counts = provider.counts

    def begin(self, context: Context) -> Sequence[Message]:
        return ()

    def text(self, context: Context, text: str) -> Sequence[Message]:
        return (encode({"type": "Speak", "text": text}),)

    def flush(self, context: Context) -> Sequence[Message]:
        return ('{"type":"Flush"}',)

    def end(self, context: Context) -> Sequence[Message]:
        return ()

    def cancel(self, context: Context) -> Sequence[Message]:
        return ('{"type":"Clear"}',)

    def take(self, carrier: Carrier, message: Message) -> None:
        context = carrier.only
        if isinstance(message, bytes):
            if context is None or context.user is None:
                self._counts.stale += 1
            else:
                context.user.sound(context, message)
            return
        told = decode(self._vendor, message, _Told)
        match told.type:
            case "Flushed" | "Cleared":
                self._answer(carrier, context, told)
            case "Warning":
                log.warning("deepgram_tts.warning", code=self._vendor.text(told.code or ""))
            case "Error":
                raise self._vendor.from_close(1011, " ".join(filter(None, (told.code, told.description))))
            case "Metadata":
                pass
            case _:
                self._counts.unknown += 1

    def _answer(self, carrier: Carrier, context: Context | None, told: _Told) -> None:
        """Numbers grow on a socket: one that was there before answers nothing that is open now."""
        last: int = -1 if carrier.state is None else carrier.state
        if told.sequence_id is not None and told.sequence_id <= last:
            self._counts.stale += 1
            return
        carrier.state = last if told.sequence_id is None else told.sequence_id
        if context is not None and told.type == "Flushed" and context.user is not None:
            context.user.flushed(context)
        elif context is not None and told.type == "Cleared" and context.user is None:
            self._provider.carriers.over(context)
        else:
            self._counts.stale += 1


class Provider(SocketTtsProvider[DeepgramTtsOptions]):
    TYPE = "deepgram-tts"
    DEFAULT_ENDPOINT = "https://api.deepgram.com"
    MARKS = {  # noqa: RUF012
        "data-0001": "busy",
        "data-0000": "protocol",
        "net-0003": "expired",
        "payment_required": "quota",
        "insufficient_permissions": "auth",
        "too_many_requests": "busy",
    }
    Options = DeepgramTtsOptions
    GREETING = "Metadata"

    @classmethod
    def capabilities(cls, options: Mapping[str, Any]) -> TtsCapabilities:
        model, rate_hz = str(options.get("model", "aura-2-thalia-en")), options.get("rate_hz", 24000)
        return TtsCapabilities(
            rates_hz=tuple(sorted(_RATES_HZ, key=lambda known_hz: known_hz != rate_hz)),
            languages=(model.rsplit("-", 1)[-1],),
            takes="sentences",
            alignment=False,
            first_audio_p99_s=2.0,
            needs_secret=True,
        )

    def dialect(self) -> TtsDialect:
        return DeepgramTtsDialect(self)

    def limits(self) -> CarrierLimits:
        return CarrierLimits(
            contexts_max=1, tells_over=True, over_s=2.0,
            flushes_max=self.options.flushes_per_minute, chars_max=self.options.chars_per_minute,
        )  # fmt: skip

    def pool_settings(self) -> PoolSettings:
        # Close before the close frame: a session that only loses its socket counts towards 429 for a while.
        return PoolSettings(idle_max_s=self.options.idle_max_s, bye=('{"type":"Close"}',))

    def settings(self, options: DeepgramTtsOptions) -> TtsSettings:
        return TtsSettings(stall_s=options.stall_s, text_max=_TEXT_MAX, fixed=_FIXED)

    def request(self, options: DeepgramTtsOptions, rate_hz: int) -> SocketRequest:
        query = [("model", options.model), ("encoding", "linear16"), ("sample_rate", str(rate_hz))]
        if options.speed is not None:
            query.append(("speed", f"{options.speed:g}"))
        if options.mip_opt_out:
            query.append(("mip_opt_out", "true"))
        return SocketRequest(
            url=self.endpoint.ws("/v1/speak", query), headers=(("Authorization", f"Token {self.key}"),)
        )

    def asked(self, options: DeepgramTtsOptions, rate_hz: int) -> None:
        return None
