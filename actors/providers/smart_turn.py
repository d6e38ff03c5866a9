"""Is the turn over? Smart Turn, version 3, from an ONNX file: it listens to how the words were said.

    tail of the turn (at most 8 s) ──► 16 kHz ──► log-mel features ──► p(complete)

It reads no text, so it works with any recogniser and beside none. The session waits `endpointing.min_s` where
p is at least `threshold`, else `endpointing.max_s`.

Cost     50 ms for a question on one thread of a 2-core machine (smart-turn-v3.2-cpu.onnx), whatever the batch: a run
         for several costs as much as one after the other. A session waits 100 ms for an answer and then decides
         without; so an actor has few streams, and questions that come together are answered two by two.
Silence  a question without audio, and one for which the model gives no number, is answered by 0.5 and counted.
Source   https://github.com/pipecat-ai/smart-turn, smart_turn/train.py: input_features (n, 80, 800) go in; logits (n, 1)
         come out, and are probabilities already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import soxr
from annotated_types import Ge, Le

from actors.providers import options as stream_options
from actors.providers.interface import Assess, Assessment, Options, StreamSpec, TurnCapabilities
from actors.providers.onnx_model import Array, ModelPath, OnnxModel, Tensor, probabilities
from actors.providers.whisper_features import FRAMES, MELS, RATE_HZ, log_mel
from actors.secrets import Secret
from router.errors import ProviderError

__all__ = ["Provider", "SmartTurnOptions"]

TYPE = "smart-turn"
_RATES_HZ = (16000, 8000, 24000, 48000)
_TOGETHER = 2
"""Questions in one run: two of 50 ms is what a session waits."""
_STREAMS = 20
_SILENT_S = 3.0
"""A full house of questions keeps the process busy for a second."""
_INPUTS = {"input_features": Tensor("float", (None, MELS, FRAMES))}
_OUTPUTS = {"logits": Tensor("float", (None, 1))}


class SmartTurnOptions(Options):
    model: ModelPath
    """smart-turn-v3.x-cpu.onnx, on every node that runs it."""
    threshold: Annotated[float, Ge(0.01), Le(0.99)] = 0.5
    """A turn counts as complete from this probability on (the authors' own)."""
    incomplete_wait_s: Annotated[float, Ge(0), Le(30)] | None = None
    """The pause that ends a turn which sounds unfinished, within the session's bounds; None: `endpointing.max_s`."""


class Provider:
    """Turn detection for many streams. `unanswered` counts questions that it could not judge."""

    Options = SmartTurnOptions

    @classmethod
    def capabilities(cls, options: Mapping[str, Any]) -> TurnCapabilities:
        return TurnCapabilities(
            rates_hz=_RATES_HZ, streams_per_actor=_STREAMS, silence_bound_s=_SILENT_S, needs_audio=True
        )

    def __init__(self, options: Mapping[str, Any], secret: Secret | None = None, endpoint: str | None = None) -> None:
        self.options = stream_options.parse(SmartTurnOptions, TYPE, options)
        self.unanswered = 0
        self._model: OnnxModel | None = None
        self._known: dict[int, tuple[SmartTurnOptions, int]] = {}
        """Stream -> its options and the rate of its audio."""

    async def warm(self) -> None:
        """Load the model and try it. Raises ProviderError(config) for a file that is none of Smart Turn's."""
        path = self.options.model
        model = OnnxModel.load(TYPE, path, inputs=_INPUTS, outputs=_OUTPUTS)
        try:
            (logits,) = model.run({"input_features": np.zeros((2, MELS, FRAMES), np.float32)})
            probabilities(logits, 2)
        except Exception as error:  # onnxruntime's errors have no common root
            detail = f"does not answer two questions at once ({type(error).__name__})"
            raise ProviderError(TYPE, "config", f"model {path} {detail}") from None
        self._model = model

    async def probe(self) -> None:
        """Raises ProviderError if `warm` did not load a model."""
        if self._model is None:
            raise ProviderError(TYPE, "config", "no model is loaded")

    async def close(self) -> None:
        self._known.clear()
        self._model = None

    def attach(self, spec: StreamSpec) -> None:
        known = stream_options.parse(SmartTurnOptions, TYPE, dict(self.options), spec.options)
        if known.model != self.options.model:
            raise ProviderError(TYPE, "config", "the model is the pool's; a stream cannot have another")
        if spec.rate_hz not in _RATES_HZ:
            taken = ", ".join(str(rate_hz) for rate_hz in sorted(_RATES_HZ))
            raise ProviderError(TYPE, "config", f"audio at {spec.rate_hz} Hz; {taken} Hz are taken")
        self._known[spec.stream] = known, spec.rate_hz

    def detach(self, stream: int) -> None:
        self._known.pop(stream, None)

    def assess(self, questions: Sequence[Assess]) -> Sequence[Assessment]:
        chances = [0.5] * len(questions)
        heard = [i for i, question in enumerate(questions) if len(question.audio) > 1]
        self.unanswered += len(questions) - len(heard)
        for at in range(0, len(heard), _TOGETHER):
            some = heard[at : at + _TOGETHER]
            for i, chance in zip(some, self._ask([questions[i] for i in some]), strict=True):
                chances[i] = chance
        return [self._answer(question, chance) for question, chance in zip(questions, chances, strict=True)]

    def _ask(self, questions: Sequence[Assess]) -> Sequence[float]:
        if self._model is None:
            raise ProviderError(TYPE, "config", "no model is loaded")
        features = np.stack([log_mel(self._samples(question)) for question in questions])
        (logits,) = self._model.run({"input_features": features})
        try:
            found: list[float] = probabilities(logits, len(questions)).tolist()
        except ValueError:
            self.unanswered += len(questions)
            return [0.5] * len(questions)
        return found

    def _samples(self, question: Assess) -> Array:
        """Its audio at 16 kHz, -1 to 1."""
        _, rate_hz = self._known.get(question.stream, (self.options, RATE_HZ))
        samples = np.frombuffer(question.audio[: len(question.audio) & ~1], "<i2").astype(np.float32) / 32768.0
        if rate_hz != RATE_HZ:
            samples = soxr.resample(samples, rate_hz, RATE_HZ, quality="HQ")
        return samples

    def _answer(self, question: Assess, chance: float) -> Assessment:
        """The session ends turns at 0.5; `threshold` is moved there."""
        known, _ = self._known.get(question.stream, (self.options, RATE_HZ))
        side = chance / known.threshold * 0.5 if chance < known.threshold else max(chance, 0.5)
        wait_s = known.incomplete_wait_s if chance < known.threshold else None
        return Assessment(utt=question.utt, p_complete=side, wait_s=wait_s)
