"""Gemini Live, speech to speech: one WebSocket for each conversation, 16 kHz in, 24 kHz out.

    model: {stage: s2s, type: gemini-live, secret: env:GEMINI_API_KEY, options: {model: NAME, voice: Kore}}

Gemini's developer API does not say when it hears speech start and stop. So with `vad: both`, the default, the session's
own detector says so, holds replies and measures, and the vendor ends turns; with `local` the session does that too and
the vendor's detection is off; with `server` nobody tells of speech before the answer is there.

Connections last ten minutes; the stream changes them by itself, with the handles that the vendor gives for that
(`gemini_live_stream.py`).

Source   python-genai 3.6, ai.google.dev; issues of other clients where they are named. Not tried against the live
         service.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Le, MaxLen
from pydantic import Field

from actors.providers.gemini_live_stream import GeminiLiveStream
from actors.providers.gemini_live_wire import IN_HZ, OUT_HZ
from actors.providers.interface import Emit, Options, S2sCapabilities, StreamSpec
from actors.providers.vendor_provider import VendorProvider
from actors.providers.vendor_socket import SocketLimits, SocketRequest

__all__ = ["GeminiLiveOptions", "Provider"]

_PATH = "/ws/google.ai.generativelanguage.{version}.GenerativeService.BidiGenerateContent"
_SECOND_GENERATION = ("gemini-2", "gemini-live-2")


class GeminiLiveOptions(Options):
    model: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,200}$")]
    """As the vendor names it, with or without `models/`; they are previews and change often, so there is no default."""
    voice: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$")] | None = None
    instructions: Annotated[str, MaxLen(64_000)] | None = None
    language: Annotated[str, Field(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$")] | None = None
    """Of its speech. Native audio models choose their language themselves and take none."""
    temperature: Annotated[float, Ge(0), Le(2)] | None = None
    top_p: Annotated[float, Gt(0), Le(1)] | None = None
    max_output_tokens: Annotated[int, Ge(1), Le(65_536)] | None = None
    thinking_budget: Annotated[int, Ge(-1), Le(65_536)] | None = None
    """Second generation; 0: none."""
    thinking_level: Literal["minimal", "low", "medium", "high"] | None = None
    """Third generation."""
    input_transcripts: bool = True
    vad: Literal["both", "local", "server"] = "both"
    start_sensitivity: Literal["low", "high"] | None = None
    end_sensitivity: Literal["low", "high"] | None = None
    prefix_padding_ms: Annotated[int, Ge(0), Le(10_000)] | None = None
    silence_ms: Annotated[int, Ge(0), Le(10_000)] | None = None
    interrupts: bool = True
    """Speech breaks the vendor's answer off; false: it is finished whatever the caller says."""
    compression: bool = True
    """The vendor forgets the oldest of a long conversation; without, it ends after a quarter of an hour."""
    resumption: bool = True
    text_input: Literal["auto", "content", "realtime"] = "auto"
    """How text is given: the second generation takes it as content at any time, the third before the first audio, and
    as what was typed then. `auto` goes by the model's name."""
    api_version: Literal["v1", "v1beta", "v1alpha"] = "v1beta"
    """The vendor's pages on this protocol say v1beta, its newest SDK v1."""
    chunk_ms: Annotated[int, Ge(20), Le(500)] = 40
    open_s: Annotated[float, Ge(0.1), Le(10)] = 3.0
    """To the answer to the setup, after the handshake."""
    stall_s: Annotated[float, Ge(0.1), Le(60)] = 8.0
    life_s: Annotated[float, Ge(1), Le(3600)] = 600.0
    """The vendor ends a connection after about ten minutes."""

    @property
    def takes_text(self) -> Literal["content", "realtime"]:
        if self.text_input != "auto":
            return self.text_input
        name = self.model.rpartition("/")[2]
        return "content" if name.startswith(_SECOND_GENERATION) else "realtime"


class Provider(VendorProvider[GeminiLiveOptions]):
    TYPE = "gemini-live"
    DEFAULT_ENDPOINT = "https://generativelanguage.googleapis.com"
    SOCKET = SocketLimits(ping_s=60.0)  # pongs were seen to take 8 to 30 s under load
    MARKS: ClassVar = {
        "api key not valid": "auth", "api_key_invalid": "auth", "permission_denied": "auth",
        "unregistered callers": "auth", "exceeded your current quota": "quota", "billing": "quota",
        "resource has been exhausted": "busy", "resource_exhausted": "busy", "deadline expired": "expired",
        "is not found for api version": "config", "not supported for bidigeneratecontent": "config",
    }  # fmt: skip
    Options = GeminiLiveOptions

    @classmethod
    def capabilities(cls, options: Mapping[str, Any]) -> S2sCapabilities:
        vad = options.get("vad", "both")
        return S2sCapabilities(
            rates_hz=(IN_HZ,),
            output_rate_hz=OUT_HZ,
            vad=vad if vad in ("server", "local", "both") else "both",
            truncation=False,
            transcripts=options.get("input_transcripts", True) is not False,
            words_first=False,
            resume=options.get("resumption", True) is not False,
            tools=True,
            needs_secret=True,
        )

    async def probe(self) -> None:
        """A conversation is set up and closed: key, model and options are taken. It costs no token."""
        spec = StreamSpec(stream=0, epoch=0, session_id="probe", tenant_id="", rate_hz=IN_HZ)
        stream = await self.open(spec, lambda event: None)
        await stream.close(drain=False)

    async def open(self, spec: StreamSpec, emit: Emit) -> GeminiLiveStream:
        options, vendor = self.parsed(spec), self.vendor.of(spec.tenant_id)
        if spec.rate_hz != IN_HZ:
            raise vendor.error("config", f"rate_hz {spec.rate_hz}; it takes {IN_HZ}")
        await self.warm()
        request = self._request(options)
        socket = await self.dial(request, spec.tenant_id)
        stream = GeminiLiveStream(
            options, spec, emit, vendor, self.counts, self.home, self.rng, self.let_go,
            lambda: self.dial(request, spec.tenant_id),
        )  # fmt: skip
        self.keep(stream)
        await stream.open(socket, options.open_s)
        return stream

    def _request(self, options: GeminiLiveOptions) -> SocketRequest:
        url = self.endpoint.ws(_PATH.format(version=options.api_version))
        return SocketRequest(url=url, headers=(("x-goog-api-key", self.key),))
