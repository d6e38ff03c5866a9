"""Whether the parts of a route fit each other: what an impossible call would show, told when the file is read.

Asked of the types' records (`Kind`), which hold for the merged options of each use: a model that knows one language
is a record of one language.

    fits(use)            a provider against its own options, the session's language, and what no session can do
    needs(uses)          what one stage needs of another (a turn detector: partials)
    asked(uses, needs)   what the route itself asks for, of every candidate: a fallback must keep the promise
    floor(uses, ...)     who ends turns, who is asked nothing because somebody else decides
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from router.catalog import Ability, Kind
from router.plan import Stage
from router.problem import Path, Problems
from router.settings import SessionSettings
from router.table import ProviderSpec
from router.tools import ToolSpec

__all__ = ["ASKABLE", "Fit", "Use"]

_RATE_OPTIONS = ("rate_hz", "sample_rate_hz", "sample_rate")
_LEAST_TEXT = 20
"""Characters: a voice that takes fewer at once cannot be given a sentence in words."""
_LEAST_STREAM_S = 10.0
"""A stream that lives shorter would be rolled over all the time: opening one takes up to 2 s."""
ASKABLE: Final[dict[Ability, tuple[Stage, ...]]] = {
    "partials": ("stt", "s2s"),
    "word_times": ("stt",),
    "turn_events": ("stt", "s2s"),
    "alignment": ("tts",),
    "tools": ("agent", "s2s"),
    "resume": ("s2s",),
    "truncation": ("s2s",),
}
"""The stages that can have what a route asks for."""


@dataclass(frozen=True, slots=True)
class Use:
    """One provider in one slot of one route, and where that is said."""

    spec: ProviderSpec
    kind: Kind
    options: dict[str, Any]
    at: Path


class Fit:
    """Tells `problems` of what does not fit."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems

    def fits(self, use: Use, settings: SessionSettings) -> None:
        """One use by itself."""
        name, kind = use.spec.name, use.kind
        language = use.options.get("language", settings.language)
        if kind.languages and isinstance(language, str) and not any(_is_language(language, k) for k in kind.languages):
            self._problems.error(use.at, f"`{name}` knows {', '.join(kind.languages)}, not {language}")
        for option in _RATE_OPTIONS:
            rate = use.options.get(option)
            if rate is not None and kind.rates_hz and rate not in kind.rates_hz:
                rates = ", ".join(map(str, kind.rates_hz))
                self._problems.error(use.at, f"`{name}` works at {rates} Hz, not at {rate} ({option})")
        if kind.text_limit is not None and kind.text_limit < _LEAST_TEXT:
            detail = f"`{name}` takes {kind.text_limit} characters at once; a voice is given {_LEAST_TEXT} at least"
            self._problems.error(use.at, detail)
        if kind.max_stream_s is not None and kind.max_stream_s < _LEAST_STREAM_S:
            detail = f"a stream of `{name}` lives {kind.max_stream_s:g} s; {_LEAST_STREAM_S:g} is the least"
            self._problems.error(use.at, detail)

    def needs(self, uses: Sequence[Use]) -> None:
        """What one stage needs, some other stage must have: every candidate of it, or a fallback would lose it."""
        for use in uses:
            for need in sorted(use.kind.needs):
                having = [o for o in uses if o.spec.stage != use.spec.stage and need in o.kind.features]
                if not having:
                    self._problems.error(
                        use.at, f"`{use.spec.name}` needs `{need}`, which no other stage of this route has"
                    )
                    continue
                lacking = [
                    o.spec.name for o in uses if o.spec.stage == having[0].spec.stage and need not in o.kind.features
                ]
                if lacking:
                    self._problems.warn(use.at, f"`{use.spec.name}` needs `{need}`; `{lacking[0]}` has it not")

    def asked(self, uses: Sequence[Use], needs: Sequence[Ability], at: Path) -> None:
        """What the route asks for, every candidate of the stage has."""
        for number, need in enumerate(needs):
            able = [use for use in uses if use.spec.stage in ASKABLE[need]]
            if not able:
                of = " or ".join(ASKABLE[need])
                self._problems.error((*at, number), f"`{need}` is of {of}, and this route has no such stage")
            for use in able:
                if need not in use.kind.features:
                    self._problems.error(use.at, f"`{use.spec.name}` has no `{need}`, which this route needs")

    def tools(self, tools: Sequence[ToolSpec], uses: Sequence[Use], at: Path) -> None:
        """Who answers can call them: one candidate at least, and a fallback that cannot is told."""
        answering = [use for use in uses if use.spec.stage in ("agent", "s2s")]
        lacking = [use for use in answering if "tools" not in use.kind.features]
        if not tools or not lacking:
            return
        if len(lacking) == len(answering):
            self._problems.error(at, f"`{lacking[0].spec.name}` calls no tools, so these would never be called")
        else:
            self._problems.warn(lacking[0].at, f"`{lacking[0].spec.name}` calls no tools; this route offers some")

    def floor(self, uses: Sequence[Use], settings: SessionSettings, named: frozenset[Stage], at: Path) -> None:
        """Who has the floor. `named` are the stages that the route itself names, `at` is where it stands."""
        ears = [use for use in uses if use.spec.stage == "stt"]
        if settings.barge_in.min_words and ears and not any("partials" in use.kind.features for use in ears):
            detail = f"barge_in.min_words counts words of partials, and `{ears[0].spec.name}` gives none"
            self._problems.error(at, detail)
        if "turn" in named and ears and all("turn_events" in use.kind.features for use in ears):
            detail = f"this detector is never asked: `{ears[0].spec.name}` ends turns itself"
            self._problems.warn((*at, "use", "turn"), detail)
        models = [use for use in uses if use.spec.stage == "s2s"]
        if "vad" in named and models and not any("local_vad" in use.kind.features for use in models):
            detail = f"this detector is never asked: `{models[0].spec.name}` hears for itself"
            self._problems.warn((*at, "use", "vad"), detail)


def _is_language(language: str, prefix: str) -> bool:
    """BCP 47: `en-GB` is `en`, `eng` is not."""
    tag, wanted = language.lower().replace("_", "-"), prefix.lower()
    return tag == wanted or tag.startswith(wanted + "-")
