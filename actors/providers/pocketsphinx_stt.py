"""Speech to text with pocketsphinx: offline, US English, in an actor that does nothing else.

Decoders are made when the provider is warmed, lent to a stream each, and kept: `pocketsphinx_decoder` is one of them,
`pocketsphinx_stream` how a session's audio comes to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from actors.providers import options as stream_options
from actors.providers.interface import Emit, StreamSpec, SttCapabilities
from actors.providers.pocketsphinx_decoder import PIECE_SAMPLES, RATE_HZ, Ear
from actors.providers.pocketsphinx_stream import PocketsphinxOptions, PocketsphinxStream
from actors.secrets import Secret
from router.errors import ProviderError

__all__ = ["Provider"]

TYPE = "pocketsphinx"


class Provider:
    """Keeps decoders and lends one to each stream."""

    Options = PocketsphinxOptions

    @classmethod
    def capabilities(cls, options: Mapping[str, Any]) -> SttCapabilities:
        known = stream_options.parse(PocketsphinxOptions, TYPE, options)
        return SttCapabilities(
            rates_hz=(RATE_HZ,),
            streams_per_actor=known.decoders,
            silence_bound_s=3.0,
            languages=("en",),
            partials=True,
            word_times=True,
            replay_rate_max=3.0,
            final_p99_s=1.0,
        )

    def __init__(self, options: Mapping[str, Any], secret: Secret | None = None, endpoint: str | None = None) -> None:
        self.options = stream_options.parse(PocketsphinxOptions, TYPE, options)
        self._idle: list[Ear] = []
        self._lent = 0
        self._is_closed = False

    async def warm(self) -> None:
        """Make the decoders: 0.3 s each, one per turn of the loop."""
        while not self._is_closed and len(self._idle) + self._lent < self.options.decoders:
            self._idle.append(Ear())
            await asyncio.sleep(0)

    async def probe(self) -> None:
        """Hear a moment of silence, unless every decoder is at work, which proves as much."""
        if not self._idle and self._lent >= self.options.decoders:
            return
        ear = self._borrow()
        try:
            ear.begin()
            ear.feed(bytes(2 * PIECE_SAMPLES))
            ear.end()
        except RuntimeError as error:
            self._take_back(ear, False)
            raise ProviderError(TYPE, "protocol", f"the decoder failed: {error}") from None
        self._take_back(ear, True)

    async def open(self, spec: StreamSpec, emit: Emit) -> PocketsphinxStream:
        known = stream_options.parse(PocketsphinxOptions, TYPE, dict(self.options), spec.options)
        if spec.rate_hz != RATE_HZ:
            raise ProviderError(TYPE, "config", f"audio at {spec.rate_hz} Hz; {RATE_HZ} Hz is taken")
        return PocketsphinxStream(self._borrow(), spec, known, emit, self._take_back)

    async def close(self) -> None:
        self._is_closed = True
        self._idle.clear()

    def _borrow(self) -> Ear:
        if self._is_closed:
            raise ProviderError(TYPE, "connect", "the provider is closed")
        if not self._idle and self._lent >= self.options.decoders:
            raise ProviderError(TYPE, "busy", f"all {self.options.decoders} decoders are lent", 1.0)
        ear = self._idle.pop() if self._idle else Ear()
        self._lent += 1
        return ear

    def _take_back(self, ear: Ear, whole: bool) -> None:
        """`whole`: fit to be lent again. An utterance that is still open ends at its next `begin`."""
        self._lent -= 1
        if whole and not self._is_closed:
            self._idle.append(ear)
