"""A pause is the end of a turn, whatever was said: what stands in when the better detector is gone.

Every turn is called complete, so `endpointing.min_s` of the session ends it, or the option `wait_s` where it is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from annotated_types import Ge, Le

from actors.providers import options as stream_options
from actors.providers.interface import Assess, Assessment, Options, StreamSpec, TurnCapabilities
from actors.secrets import Secret

__all__ = ["Provider", "SilenceOptions"]

TYPE = "silence"


class SilenceOptions(Options):
    wait_s: Annotated[float, Ge(0), Le(30)] | None = None
    """The pause that ends a turn, held within the session's bounds; None: `endpointing.min_s`."""


class Provider:
    Options = SilenceOptions

    @classmethod
    def capabilities(cls, options: Mapping[str, Any]) -> TurnCapabilities:
        stream_options.parse(SilenceOptions, TYPE, options)
        return TurnCapabilities(streams_per_actor=1000, inline=True)

    def __init__(self, options: Mapping[str, Any], secret: Secret | None = None, endpoint: str | None = None) -> None:
        self.options = stream_options.parse(SilenceOptions, TYPE, options)
        self._wait_s: dict[int, float | None] = {}

    async def warm(self) -> None:
        """Nothing."""

    async def probe(self) -> None:
        """Nothing: it runs in this process."""

    async def close(self) -> None:
        self._wait_s.clear()

    def attach(self, spec: StreamSpec) -> None:
        known = stream_options.parse(SilenceOptions, TYPE, dict(self.options), spec.options)
        self._wait_s[spec.stream] = known.wait_s

    def detach(self, stream: int) -> None:
        self._wait_s.pop(stream, None)

    def assess(self, questions: Sequence[Assess]) -> Sequence[Assessment]:
        return [
            Assessment(utt=q.utt, p_complete=1.0, wait_s=self._wait_s.get(q.stream, self.options.wait_s))
            for q in questions
        ]
