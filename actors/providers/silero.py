"""Is this frame speech? Silero's recurrent detector, version 5 or 6, from an ONNX file: one run for a whole batch.

    20 ms frames ──► windows of 32 ms (512 samples at 16 kHz, 256 at 8) ──► probability ──► hysteresis ──► voiced

Frames and windows do not meet: of eight frames five end a window. A frame's verdict is that of the last whole window,
so it is up to 30 ms older than the frame. Each window is given with the 64 (32) samples before it, and with the state
that the model left behind for this stream; both are zero where a stream begins.

Batch    all streams whose window is full are one run for each rate. A frame costs 165 us for a stream alone, 56 in a
         batch of eight, 40 to 50 from 32 on (silero_vad.onnx 6.2.3, one thread of a 2-core machine under a load of
         four; benchmarks/models.py). So 100 streams are 0.2 of a core.
Voiced   from a probability of `threshold` on, until one below `release`.
Bad      a frame of no stream or a wrong length is unvoiced and counted, as is a window for which the model gives no
         number; its stream begins anew.
Source   https://github.com/snakers4/silero-vad, src/silero_vad/utils_vad.py: window, context, state, release.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le

from actors.formats import FRAME_MS
from actors.providers import options as stream_options
from actors.providers.interface import Options, StreamSpec, VadCapabilities
from actors.providers.onnx_model import Array, ModelPath, OnnxModel, Tensor
from actors.secrets import Secret
from router.errors import ProviderError

__all__ = ["Provider", "SileroOptions"]

TYPE = "silero"
_RATES_HZ = (16000, 8000)
_WINDOW = {16000: 512, 8000: 256}
_CONTEXT = {16000: 64, 8000: 32}
_STATE = 128
_RELEASE_BELOW = 0.15
"""Silero's own choice: speech ends this much below where it began."""
_RELEASE_MIN = 0.01
_INPUTS = {
    "input": Tensor("float", (None, None)),
    "state": Tensor("float", (2, None, _STATE)),
    "sr": Tensor("int64", ()),
}
_OUTPUTS = {"output": Tensor("float", (None, 1)), "stateN": Tensor("float", (2, None, _STATE))}


class SileroOptions(Options):
    model: ModelPath
    """silero_vad.onnx of version 5 or 6, on every node that runs it."""
    threshold: Annotated[float, Ge(0.01), Le(0.99)] = 0.5
    """Silero's own default: good for most lines."""
    release: Annotated[float, Ge(0.0), Le(0.99)] | None = None
    """None: 0.15 below `threshold`."""

    @property
    def release_below(self) -> float:
        given = self.release if self.release is not None else self.threshold - _RELEASE_BELOW
        return min(max(given, _RELEASE_MIN), self.threshold)


class _Lines:
    """Every stream of one rate: a column of each table. Grows by doubling; a column that is free is used again."""

    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self.window, self.context = _WINDOW[rate_hz], _CONTEXT[rate_hz]
        self.frame = rate_hz * FRAME_MS // 1000
        self._free: list[int] = []
        self.fill = np.zeros(0, np.int64)
        """Samples of the window that are there."""
        self.voiced = np.zeros(0, bool)
        self.threshold, self.release = np.zeros(0), np.zeros(0)
        self.state = np.zeros((2, 0, _STATE), np.float32)
        self.audio = np.zeros((0, self.context + self.window + self.frame), np.float32)
        """The context, then what has come of the window, -1 to 1."""

    def take(self, options: SileroOptions) -> int:
        """A fresh row."""
        if not self._free:
            self._grow()
        row = self._free.pop()
        self.threshold[row], self.release[row] = options.threshold, options.release_below
        self.forget(row)
        return row

    def give_back(self, row: int) -> None:
        self.forget(row)
        self._free.append(row)

    def forget(self, row: int) -> None:
        self.fill[row], self.voiced[row] = 0, False
        self.state[:, row] = 0.0
        self.audio[row] = 0.0

    def _grow(self) -> None:
        n = len(self.fill)
        more = max(16, n)
        self.fill = np.concatenate([self.fill, np.zeros(more, np.int64)])
        self.voiced = np.concatenate([self.voiced, np.zeros(more, bool)])
        self.threshold, self.release = (np.concatenate([c, np.zeros(more)]) for c in (self.threshold, self.release))
        self.state = np.concatenate([self.state, np.zeros((2, more, _STATE), np.float32)], axis=1)
        self.audio = np.concatenate([self.audio, np.zeros((more, self.audio.shape[1]), np.float32)])
        self._free += range(n + more - 1, n - 1, -1)

    def add(self, rows: Array, pcm: Array) -> Array:
        """A frame for each of these rows (each once); the rows whose window is full now."""
        at = self.context + self.fill[rows]
        self.audio[rows[:, None], at[:, None] + np.arange(self.frame)] = pcm
        self.fill[rows] += self.frame
        full: Array = rows[self.fill[rows] >= self.window]
        return full

    def windows(self, rows: Array) -> Array:
        """Context and window of each row; the window is taken out, and its end is the next one's context."""
        whole = self.context + self.window
        taken: Array = self.audio[rows, :whole]
        left = self.context + self.frame
        self.audio[rows, :left] = self.audio[rows, whole - self.context : whole + self.frame]
        self.fill[rows] -= self.window
        return taken

    def hear(self, rows: Array, probability: Array) -> None:
        level = np.where(self.voiced[rows], self.release[rows], self.threshold[rows])
        self.voiced[rows] = probability >= level


class Provider:
    """Voice detection for many streams. `bad_frames` and `bad_windows` count what could not be judged."""

    Options = SileroOptions

    @classmethod
    def capabilities(cls, options: Mapping[str, Any]) -> VadCapabilities:
        return VadCapabilities(rates_hz=_RATES_HZ, streams_per_actor=200)

    def __init__(self, options: Mapping[str, Any], secret: Secret | None = None, endpoint: str | None = None) -> None:
        self.options = stream_options.parse(SileroOptions, TYPE, options)
        self.bad_frames = self.bad_windows = 0
        self._model: OnnxModel | None = None
        self._lines: dict[int, _Lines] = {}
        """By rate: the rates that the model takes."""
        self._where: dict[int, tuple[_Lines, int]] = {}

    async def warm(self) -> None:
        """Load the model and try it. Raises ProviderError(config) for a file that is none of Silero's."""
        path = self.options.model
        model = OnnxModel.load(TYPE, path, inputs=_INPUTS, outputs=_OUTPUTS, optional=frozenset({"sr"}))
        lines = {rate_hz: _Lines(rate_hz) for rate_hz in _RATES_HZ if _takes(model, rate_hz)}
        if 16000 not in lines:
            raise ProviderError(TYPE, "config", f"model {path} does not answer two windows of silence at 16000 Hz")
        self._model, self._lines = model, lines

    async def probe(self) -> None:
        """Raises ProviderError if `warm` did not load a model."""
        if self._model is None:
            raise ProviderError(TYPE, "config", "no model is loaded")

    async def close(self) -> None:
        self._where.clear()
        self._lines.clear()
        self._model = None

    def attach(self, spec: StreamSpec) -> None:
        known = stream_options.parse(SileroOptions, TYPE, dict(self.options), spec.options)
        if known.model != self.options.model:
            raise ProviderError(TYPE, "config", "the model is the pool's; a stream cannot have another")
        lines = self._lines.get(spec.rate_hz)
        if lines is None:
            taken = " and ".join(str(rate_hz) for rate_hz in self._lines) or "no"
            raise ProviderError(TYPE, "config", f"audio at {spec.rate_hz} Hz; this model takes {taken} Hz")
        self.detach(spec.stream)
        self._where[spec.stream] = lines, lines.take(known)

    def detach(self, stream: int) -> None:
        lines, row = self._where.pop(stream, (None, 0))
        if lines is not None:
            lines.give_back(row)

    def reset(self, stream: int) -> None:
        """Forget what the line sounds like."""
        lines, row = self._where.get(stream, (None, 0))
        if lines is not None:
            lines.forget(row)

    def classify(self, streams: Sequence[int], frames: Sequence[bytes | memoryview]) -> Sequence[bool]:
        bits = [False] * len(frames)
        for lines, places, rows in self._passes(streams, frames):
            pcm = np.frombuffer(b"".join(frames[i] for i in places), "<i2").reshape(len(rows), -1)
            full = lines.add(rows, pcm.astype(np.float32) / 32768.0)
            if len(full):
                self._judge(lines, full)
            for i, bit in zip(places, lines.voiced[rows].tolist(), strict=True):
                bits[i] = bit
        return bits

    def _judge(self, lines: _Lines, rows: Array) -> None:
        assert self._model is not None  # a stream is attached to lines, which `warm` makes
        state = np.ascontiguousarray(lines.state[:, rows])
        probability, lines.state[:, rows] = _ask(self._model, lines.windows(rows), state, lines.rate_hz)
        good = np.isfinite(probability) & np.isfinite(lines.state[:, rows]).all(axis=(0, 2))
        if not good.all():
            self.bad_windows += int((~good).sum())
            for row in rows[~good].tolist():
                lines.forget(row)
        lines.hear(rows[good], probability[good])

    def _passes(
        self, streams: Sequence[int], frames: Sequence[bytes | memoryview]
    ) -> Iterable[tuple[_Lines, list[int], Array]]:
        """Frames that can be heard together: of one rate, and each stream once, in its order."""
        passes: dict[tuple[int, int], list[tuple[int, int]]] = {}
        seen: dict[int, int] = {}
        for i, (stream, frame) in enumerate(zip(streams, frames, strict=True)):
            lines, row = self._where.get(stream, (None, 0))
            if lines is None or len(frame) != 2 * lines.frame:
                self.bad_frames += 1
                continue
            turn = seen.get(stream, 0)
            seen[stream] = turn + 1
            passes.setdefault((turn, lines.rate_hz), []).append((i, row))
        for turn_rate in sorted(passes):
            found = passes[turn_rate]
            yield self._lines[turn_rate[1]], [i for i, _ in found], np.array([row for _, row in found])


def _ask(model: OnnxModel, windows: Array, state: Array, rate_hz: int) -> tuple[Array, Array]:
    """Probabilities, shape (n,), and the states after, shape (2, n, 128)."""
    feeds = {"input": windows, "state": state}
    if "sr" in model.inputs:
        feeds["sr"] = np.array(rate_hz, np.int64)
    output, after = model.run(feeds)
    return output.reshape(len(windows)), after


def _takes(model: OnnxModel, rate_hz: int) -> bool:
    """Whether it judges two windows of this rate at once. A model without `sr` is for 16 kHz alone."""
    if "sr" not in model.inputs and rate_hz != 16000:
        return False
    try:
        probability, state = _ask(
            model,
            np.zeros((2, _CONTEXT[rate_hz] + _WINDOW[rate_hz]), np.float32),
            np.zeros((2, 2, _STATE), np.float32),
            rate_hz,
        )
    except Exception:  # onnxruntime's errors have no common root; the file's own fault is told by `warm`
        return False
    return state.shape == (2, 2, _STATE) and bool(np.isfinite(probability).all())
