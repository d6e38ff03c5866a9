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
        default = self.options.threshold
        thresholds = [self.attached.get(stream, default) for stream in streams]
        verdicts = [peak > limit for peak, limit in zip(_peaks(frames), thresholds, strict=True)]
        if answers:
            given = min(len(answers), len(verdicts))
            verdicts[:given] = [bool(answers.popleft()) for _ in range(given)]
        return verdicts

    def reset(self, stream: int) -> None:
        self.handle.note("reset", (), stream)


def _peaks(frames: Sequence[bytes | memoryview]) -> list[int]:
    """The loudest sample of each frame: one pass where all are of one length, as in a batch they are."""
    n_bytes = len(frames[0]) if frames else 0
    if n_bytes == 0 or any(len(frame) != n_bytes for frame in frames):
        return [max((abs(int(x)) for x in np.frombuffer(frame, dtype=np.int16)), default=0) for frame in frames]
    samples = np.frombuffer(b"".join(frames), dtype=np.int16).reshape(len(frames), -1)
    return np.maximum(samples.max(axis=1), -(samples.min(axis=1).astype(np.int32))).tolist()  # type: ignore[no-any-return]


Provider = FakeVad
