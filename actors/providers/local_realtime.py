"""Speech to speech without a vendor: an ear, an agent and a voice that run offline, behind the interface of a model.

It decides its own turns (VAD at the server), with the same turn law that a session uses; `local_realtime_stream` is one
conversation. Heard by pocketsphinx, answered by `echo` or `script`, spoken by espeak-ng.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le
from pydantic import BeforeValidator

from actors.providers import options as stream_options
from actors.providers import registry
from actors.providers.interface import (
    AgentProvider,
    Emit,
    Options,
    S2sCapabilities,
    StreamSpec,
    SttProvider,
    TtsProvider,
    TurnProvider,
    VadProvider,
)
from actors.providers.local_realtime_stream import RATE_HZ, LocalRealtimeStream
from actors.secrets import Secret
from router.errors import ConfigError, ProviderError

__all__ = ["Parts", "Provider"]

TYPE = "local-realtime"


def _checked_script(value: Any) -> Any:
    """Checked as the script agent would; kept as it was given."""
    if value is not None:
        found = stream_options.problems(registry.find("script").Options, {"script": value})
        if found:
            raise ValueError("; ".join(f"{'.'.join(map(str, p.path))}: {p.detail}" for p in found))
    return value


class LocalRealtimeOptions(Options):
    script: Annotated[Any, BeforeValidator(_checked_script)] = None
    """What the `script` agent says: a script or `file:PATH`. None: it says what it heard."""
    prefix: str = "You said: "
    """Before what it heard, where there is no script."""
    voice: str | None = None
    rate_wpm: Annotated[int, Ge(80), Le(450)] = 175
    vad_mode: Annotated[int, Ge(0), Le(3)] = 2
    min_pause_s: Annotated[float, Gt(0), Le(60)] = 0.5
    """The pause that ends a turn which sounds complete."""
    max_pause_s: Annotated[float, Gt(0), Le(60)] = 3.0
    """The pause that ends any turn."""
    min_speech_s: Annotated[float, Ge(0), Le(60)] = 0.5
    """Speech of this length interrupts a response."""
    decoders: Annotated[int, Ge(1), Le(16)] = 2
    """Conversations of one actor."""


@dataclass(slots=True)
class Parts:
    """The providers it is put together from; a test gives fakes."""

    vad: VadProvider
    turn: TurnProvider
    stt: SttProvider
    tts: TtsProvider
    agent: AgentProvider | None = None
    """None: each conversation has its own, made from its options (it costs nothing)."""

    def all(self) -> tuple[Any, ...]:
        return self.vad, self.turn, self.stt, self.tts, *([self.agent] if self.agent is not None else [])


class Provider:
    Options = LocalRealtimeOptions

    @classmethod
    def capabilities(cls, options: Mapping[str, Any]) -> S2sCapabilities:
        known = stream_options.parse(LocalRealtimeOptions, TYPE, options)
        ear = _ear_capabilities(known.decoders)
        return S2sCapabilities(
            rates_hz=(RATE_HZ,),
            output_rate_hz=RATE_HZ,
            streams_per_actor=ear.streams_per_actor,
            silence_bound_s=ear.silence_bound_s,
            languages=ear.languages,
            vad="server",
            truncation=True,
        )

    def __init__(
        self,
        options: Mapping[str, Any],
        secret: Secret | None = None,
        endpoint: str | None = None,
        *,
        parts: Parts | None = None,
    ) -> None:
        self._given = dict(options)
        self._options = stream_options.parse(LocalRealtimeOptions, TYPE, self._given)
        self._parts = parts or _parts(self._options)
        self._numbers = itertools.count(1)
        self._open: set[LocalRealtimeStream] = set()

    async def warm(self) -> None:
        for part in self._parts.all():
            await part.warm()

    async def probe(self) -> None:
        for part in self._parts.all():
            await part.probe()

    async def open(self, spec: StreamSpec, emit: Emit) -> LocalRealtimeStream:
        options = stream_options.parse(LocalRealtimeOptions, TYPE, self._given, spec.options)
        if spec.rate_hz != RATE_HZ:
            raise ProviderError(TYPE, "config", f"rate_hz {spec.rate_hz}; it takes {RATE_HZ}")
        stream = LocalRealtimeStream(self._parts, options, spec, next(self._numbers), emit, self._open.discard)
        await stream.open(self._parts.agent or _agent(options))
        self._open.add(stream)
        return stream

    async def close(self) -> None:
        for stream in tuple(self._open):
            await stream.close(drain=False)
        for part in self._parts.all():
            await part.close()


@lru_cache(maxsize=32)
def _ear_capabilities(decoders: int) -> Any:
    return registry.find("pocketsphinx").capabilities({"decoders": decoders})


def _parts(options: LocalRealtimeOptions) -> Parts:
    return Parts(
        vad=_made("webrtc", mode=options.vad_mode),
        turn=_made("heuristic"),
        stt=_made("pocketsphinx", decoders=options.decoders),
        tts=_made("espeak", voice=options.voice, rate_wpm=options.rate_wpm),
    )


def _agent(options: LocalRealtimeOptions) -> AgentProvider:
    if options.script is None:
        made: AgentProvider = _made("echo", prefix=options.prefix)
    else:
        made = _made("script", script=options.script)
    return made


def _made(type: str, **given: Any) -> Any:
    try:
        return registry.find(type)(given, None, None)
    except ConfigError as error:
        raise ProviderError(TYPE, "config", str(error)) from None
