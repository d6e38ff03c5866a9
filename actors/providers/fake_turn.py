"""A fake turn detector: always sure, unless its handle answers.

`handle.answer(0.2, (0.9, 0.4))` gives the next probabilities, with a wait in seconds if one is given;
`handle.stall()` makes it answer nothing, as a detector that misses its deadline.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from annotated_types import Ge, Le

from actors.providers import options as stream_options
from actors.providers.fake_handle import FakeOptions, FakeProvider
from actors.providers.interface import Assess, Assessment, StreamSpec, TurnCapabilities
from actors.secrets import Secret
from router.errors import ProviderError

__all__ = ["FakeTurn", "Provider"]


class FakeTurnOptions(FakeOptions):
    p_complete: Annotated[float, Ge(0), Le(1)] = 1.0
    wait_s: Annotated[float, Ge(0)] | None = None
    needs_text: bool = False
    streams_per_actor: Annotated[int, Ge(1)] = 1000


class FakeTurn(FakeProvider):
    Options = FakeTurnOptions
    TYPE = "fake-turn"
    options: FakeTurnOptions

    @classmethod
    def capabilities(cls, options: Mapping[str, Any]) -> TurnCapabilities:
        known = stream_options.parse(FakeTurnOptions, cls.TYPE, options)
        return TurnCapabilities(streams_per_actor=known.streams_per_actor, needs_text=known.needs_text)

    def __init__(self, options: Mapping[str, Any], secret: Secret | None = None, endpoint: str | None = None) -> None:
        super().__init__(stream_options.parse(FakeTurnOptions, self.TYPE, options))
        self.attached: dict[int, FakeTurnOptions] = {}

    def attach(self, spec: StreamSpec) -> None:
        known = stream_options.parse(FakeTurnOptions, self.TYPE, dict(self.options), spec.options)
        self._fail(self.handle.check_open() or known.fail_open, "attach")
        self.attached[spec.stream] = known
        self.handle.opened += 1

    def detach(self, stream: int) -> None:
        if self.attached.pop(stream, None) is not None:
            self.handle.closed += 1

    def assess(self, questions: Sequence[Assess]) -> Sequence[Assessment]:
        if self.handle.is_raising("assess"):
            raise ProviderError(self.TYPE, "protocol", "assess fails as told")
        answers = []
        for question in questions:
            self.handle.note("assess", (question,), question.stream)
            if not self.handle.take_permit():
                continue
            known = self.attached.get(question.stream, self.options)
            given: Any = self.handle.answers.popleft() if self.handle.answers else (known.p_complete, known.wait_s)
            p_complete, wait_s = given if isinstance(given, tuple) else (given, known.wait_s)
            answers.append(Assessment(utt=question.utt, p_complete=float(p_complete), wait_s=wait_s))
        return answers


Provider = FakeTurn
