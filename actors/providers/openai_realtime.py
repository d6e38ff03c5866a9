"""OpenAI Realtime (GA), speech to speech: one WebSocket for each conversation, 24 kHz both ways.

    model: {stage: s2s, type: openai-realtime, secret: env:OPENAI_API_KEY, options: {instructions: "file:desk.txt"}}

Who says where speech starts and stops is `vad`: the vendor (`server`), the session (`local`, the vendor's detection is
off and it answers when it is told to), or both: the vendor ends turns and the session's own detector holds a reply.

A connection lives for an hour; the session is told before. The conversation is then told again, as text. `prewarm`
connections are kept open, so that a call, and a roll-over, makes no handshake.

Source   openai-python 3.57 (`types/realtime`), developers.openai.com; issues of other clients where they are named.
         Not tried against the live service.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Le, Len, MaxLen
from pydantic import Field

from actors.providers.interface import Emit, Options, S2sCapabilities, StreamSpec
from actors.providers.openai_realtime_stream import OpenAiRealtimeStream
from actors.providers.openai_realtime_wire import RATE_HZ
from actors.providers.vendor_pool import PoolSettings, VendorPool
from actors.providers.vendor_provider import VendorProvider
from actors.providers.vendor_socket import SocketLimits, SocketRequest, VendorSocket
from actors.secrets import Secret
from router.errors import ProviderError

__all__ = ["OpenAiRealtimeOptions", "Provider"]

_LIFE_S = 3600.0
_SPARE_AGE_S = 300.0
"""A connection that waits for a call is replaced by then, or after a quarter of its life: a call has the rest."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]
Word = Annotated[str, Len(1, 100)]


class OpenAiRealtimeOptions(Options):
    model: Name = "gpt-realtime-2.1"
    voice: Name = "marin"
    """Of this stream; it cannot change once the model has spoken."""
    instructions: Annotated[str, MaxLen(64_000)] | None = None
    language: Annotated[str, Field(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$")] | None = None
    """Of the transcripts; the model itself hears any, and speaks what the instructions say."""
    speed: Annotated[float, Ge(0.25), Le(1.5)] = 1.0
    max_output_tokens: Annotated[int, Ge(1), Le(4096)] | None = None
    reasoning_effort: Literal["minimal", "low", "medium", "high", "xhigh"] | None = None
    tool_choice: Literal["auto", "required"] | None = None
    parallel_tool_calls: bool | None = None
    retention_ratio: Annotated[float, Ge(0), Le(1)] | None = None
    """What the vendor keeps of a conversation that has become too long; None: it drops no more than it must."""
    transcription_model: Name | None = "gpt-transcribe"
    """Hears the caller beside the model, and is billed apart; null: no transcripts."""
    transcription_prompt: Annotated[str, MaxLen(2000)] | None = None
    keyterms: Annotated[tuple[Word, ...], MaxLen(100)] = ()
    """Of the transcripts."""
    noise_reduction: Literal["near_field", "far_field"] | None = None
    vad: Literal["server", "local", "both"] = "server"
    turn_detection: Literal["server_vad", "semantic_vad"] = "server_vad"
    threshold: Annotated[float, Ge(0), Le(1)] = 0.5
    prefix_padding_ms: Annotated[int, Ge(0), Le(5000)] = 300
    silence_ms: Annotated[int, Ge(50), Le(10_000)] = 500
    eagerness: Literal["low", "medium", "high", "auto"] = "auto"
    """Of `semantic_vad`."""
    interrupt_response: bool = True
    """The vendor breaks its answer off when it hears speech; false: the session does, when it is sure."""
    chunk_ms: Annotated[int, Ge(20), Le(500)] = 40
    open_s: Annotated[float, Ge(0.1), Le(10)] = 2.0
    """To the answer to the setup, after the handshake."""
    stall_s: Annotated[float, Ge(0.1), Le(60)] = 8.0
    life_s: Annotated[float, Ge(1), Le(_LIFE_S)] = _LIFE_S
    """The vendor ends a session after an hour."""
    prewarm: Annotated[int, Ge(0), Le(32)] = 1
    """Connections kept open for calls to come."""


class Provider(VendorProvider[OpenAiRealtimeOptions]):
    TYPE = "openai-realtime"
    DEFAULT_ENDPOINT = "https://api.openai.com/v1"
    SOCKET = SocketLimits(audio_bytes_max=512 * 1024)  # base64 of 24 kHz: 8 s
    MARKS: ClassVar = {
        "session_expired": "expired", "60 minutes": "expired", "maximum duration": "expired",
        "insufficient_quota": "quota", "billing_hard_limit": "quota", "account_deactivated": "auth",
        "invalid_api_key": "auth", "model_not_found": "config", "beta_api_shape_disabled": "config",
        "server_error": "overload",
    }  # fmt: skip
    Options = OpenAiRealtimeOptions

    @classmethod
    def capabilities(cls, options: Mapping[str, Any]) -> S2sCapabilities:
        vad, life_s = options.get("vad", "server"), options.get("life_s", _LIFE_S)
        life_s = float(life_s) if isinstance(life_s, int | float) else _LIFE_S
        spare_s = _spare_age_s(life_s) if options.get("prewarm", 1) else 0.0
        return S2sCapabilities(
            rates_hz=(RATE_HZ,),
            output_rate_hz=RATE_HZ,
            vad=vad if vad in ("server", "local", "both") else "server",
            truncation=True,
            transcripts=options.get("transcription_model", "-") is not None,
            tools=True,
            max_stream_s=life_s - spare_s,
            needs_secret=True,
        )

    def __init__(self, options: Mapping[str, Any], secret: Secret | None, endpoint: str | None) -> None:
        super().__init__(options, secret, endpoint)
        age_s = _spare_age_s(self.options.life_s)
        spares = PoolSettings(age_max_s=age_s, idle_max_s=age_s)
        self.pool = VendorPool(self.dial, self.home, self.vendor, self.counts, spares, self.rng)

    async def warm(self) -> None:
        await super().warm()
        self.pool.want(self._request(self.options), self.options.prewarm)

    async def probe(self) -> None:
        """A conversation is set up and closed: key, model and options are taken. It costs no token."""
        spec = StreamSpec(stream=0, epoch=0, session_id="probe", tenant_id="", rate_hz=RATE_HZ)
        stream = await self._open(spec, lambda event: None)
        await stream.close(drain=False)

    async def open(self, spec: StreamSpec, emit: Emit) -> OpenAiRealtimeStream:
        if spec.rate_hz != RATE_HZ:
            raise self.vendor.of(spec.tenant_id).error("config", f"rate_hz {spec.rate_hz}; it takes {RATE_HZ}")
        return await self._open(spec, emit)

    async def close(self) -> None:
        await self.pool.close()
        await super().close()

    async def _open(self, spec: StreamSpec, emit: Emit) -> OpenAiRealtimeStream:
        options, vendor = self.parsed(spec), self.vendor.of(spec.tenant_id)
        await self.warm()
        socket = await self._socket(options, spec.tenant_id)
        stream = OpenAiRealtimeStream(
            options, spec, emit, vendor, self.counts, self.home, self.rng, lambda ended: self._ended(ended, socket)
        )
        self.keep(stream)
        await stream.open(socket, options.open_s)
        return stream

    async def _socket(self, options: OpenAiRealtimeOptions, tenant: str) -> VendorSocket:
        vendor = self.vendor.of(tenant)
        try:
            socket = await self.pool.take(self._request(options))
        except ProviderError as error:
            raise vendor.named(error) from None
        socket.vendor = vendor
        return socket

    def _ended(self, stream: OpenAiRealtimeStream, socket: VendorSocket) -> None:
        """A conversation is over, and its connection with it."""
        self.let_go(stream)
        self.pool.drop(socket)

    def _request(self, options: OpenAiRealtimeOptions) -> SocketRequest:
        url = self.endpoint.ws("/realtime", [("model", options.model)])
        return SocketRequest(url=url, headers=(("Authorization", f"Bearer {self.key}"),))


def _spare_age_s(life_s: float) -> float:
    return min(_SPARE_AGE_S, life_s / 4)
