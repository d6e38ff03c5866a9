"""A fake voice detector: loud is voiced, unless its handle answers.

`handle.answer(True, True, False)` gives the next verdicts, in the order of the frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge

from actors.providers import options as stream_options
from actors.providers.fake_handle import FAKE_RATES_HZ, FakeOptions, FakeProvider
from actors.providers.interface import StreamSpec, VadCapabilities
from actors.secrets import Secret
from router.errors import ProviderError

__all__ = ["FakeVad", "Provider"]


class FakeVadOptions(FakeOptions):
    threshold: Annotated[int, Ge(0)] = 500
    """A frame with a sample beyond it is voiced."""
    streams_per_actor: Annotated[int, Ge(1)] = 1000


class FakeVad(FakeProvider):
    Options = FakeVadOptions
    TYPE = "fake-vad"
    options: FakeVadOptions

    @classmethod
    def capabilities(cls, options: Mapping[str, Any]) -> VadCapabilities:
        known = stream_options.parse(FakeVadOptions, cls.TYPE, options)
        return VadCapabilities(rates_hz=FAKE_RATES_HZ, streams_per_actor=known.streams_per_actor)

    def __init__(self, options: Mapping[str, Any], secret: Secret | None = None, endpoint: str | None = None) -> None:
        super().__init__(stream_options.parse(FakeVadOptions, self.TYPE, options))
        self.attached: dict[int, int] = {}
        """Stream -> threshold."""
        self.frames = 0

    def attach(self, spec: StreamSpec) -> None:
        known = stream_options.parse(FakeVadOptions, self.TYPE, dict(self.options), spec.options)
        self._fail(self.handle.check_open() or known.fail_open, "attach")
        self.attached[spec.stream] = known.threshold
        self.handle.opened += 1

    def detach(self, stream: int) -> None:
        if self.attached.pop(stream, None) is not None:
            self.handle.closed += 1

    def classify(self, streams: Sequence[int], frames: Sequence[bytes | memoryview]) -> Sequence[bool]:
        if self.handle.is_raising("classify"):
            raise ProviderError(self.TYPE, "protocol", "classify fails as told")
        self.frames += len(frames)
        answers = self.handle.answers
        return [
            bool(answers.popleft()) if answers else _peak(frame) > self.attached.get(stream, self.options.threshold)
            for stream, frame in zip(streams, frames, strict=True)
        ]

    def reset(self, stream: int) -> None:
        self.handle.note("reset", (), stream)


def _peak(frame: bytes | memoryview) -> int:
    samples = np.frombuffer(frame, dtype=np.int16)
    return max(int(samples.max()), -int(samples.min())) if len(samples) else 0


Provider = FakeVad
