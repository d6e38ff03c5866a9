"""What the route table may name: a record for each type of provider, given as a value.

`router/` imports no provider; `actors/providers/registry.py` fills the catalogue in, a test writes one by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from router.plan import Stage

__all__ = ["Ability", "Catalog", "FunctionShape", "Functions", "Kind", "OptionProblem"]

Ability = Literal["partials", "word_times", "turn_events", "alignment", "tools", "resume", "truncation"]
"""What a route may ask for under `needs`."""


@dataclass(frozen=True, slots=True)
class OptionProblem:
    """One thing wrong with a provider's options."""

    path: tuple[str | int, ...]
    """Below `options`."""
    detail: str
    """What is wrong and what would be right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What is known of a type of provider before any of it is started."""

    type: str
    stage: Stage
    check_options: Callable[[Mapping[str, Any]], list[OptionProblem]]
    """Every problem of merged stream options; empty when they hold."""
    rates_hz: tuple[int, ...] = ()
    """Rates it takes or gives; empty: any, it is resampled."""
    languages: tuple[str, ...] = ()
    """BCP 47 prefixes it knows; empty: any."""
    features: frozenset[str] = frozenset()
    """Named abilities that other slots may need: `partials`, `word_times`, `turn_events`, `alignment`, `tools`,
    `local_vad` (a speech-to-speech model that wants activity told), `text_input`, `resume`, `truncation`."""
    needs: frozenset[str] = frozenset()
    """Abilities that some other stage of the same route must have: a turn detector that needs `partials`."""
    needs_secret: bool = False
    text_limit: int | None = None
    """A voice: characters it takes at once."""
    max_stream_s: float | None = None
    """A stream of it lives no longer and is rolled over before."""
    with_options: Callable[[Mapping[str, Any]], Kind] | None = None
    """The record for these stream options, which hold: one model of a vendor knows other languages than the next.
    None: always this one."""
    inline: bool = False
    """It may run in the session host, and does unless the configuration says otherwise."""
    per_stream_options: frozenset[str] = frozenset()
    """Names of its options, for messages; empty: it checks them itself."""


@dataclass(frozen=True, slots=True)
class FunctionShape:
    """What a Python function says of itself as a tool."""

    description: str
    schema: dict[str, Any]
    """JSON schema of its arguments, an object."""


Functions = Callable[[str], FunctionShape]
"""From `module:function` to its shape. Raises ConfigError if it cannot be loaded, or is no tool."""
Catalog = Callable[[str], Kind | None]
"""From a `type` (or `module:Class`) to its record; None: no such type. Raises ConfigError if it cannot be loaded."""
