"""The catalogue of provider types that a configuration is checked against, made from the registry.

    catalog("espeak") -> router.catalog.Kind        catalog("espaek") -> None

Reads what a type says of itself (its Options, its capabilities); starts nothing.
Raises   ConfigError for a type that is there and cannot be loaded.
"""

from __future__ import annotations

from functools import lru_cache, partial

from actors.providers import registry
from actors.providers.interface import (
    AgentCapabilities,
    Capabilities,
    S2sCapabilities,
    SttCapabilities,
    TtsCapabilities,
    TurnCapabilities,
)
from actors.providers.options import problems
from router.catalog import Kind

__all__ = ["catalog"]


@lru_cache(maxsize=512)
def catalog(type: str) -> Kind | None:
    """The record of a provider type; None where there is no such type. A `router.catalog.Catalog`."""
    if not registry.is_known(type):
        return None
    provider = registry.find(type)
    capabilities: Capabilities = provider.capabilities({})
    return Kind(
        type=type,
        stage=capabilities.stage,
        check_options=partial(problems, provider.Options),
        rates_hz=capabilities.rates_hz if capabilities.stage != "agent" else (),
        languages=capabilities.languages,
        features=features(capabilities),
        needs=needs(capabilities),
        needs_secret=capabilities.needs_secret,
        per_stream_options=frozenset(provider.Options.model_fields),
    )


def features(capabilities: Capabilities) -> frozenset[str]:
    """The abilities that other stages of a route may ask for, by the names of `Kind.features`."""
    match capabilities:
        case SttCapabilities():
            told = {
                "partials": capabilities.partials,
                "word_times": capabilities.word_times,
                "turn_events": capabilities.turn_events,
            }
        case TtsCapabilities():
            told = {"alignment": capabilities.alignment, "text_input": True}
        case AgentCapabilities():
            told = {"tools": capabilities.tools}
        case S2sCapabilities():
            told = {
                "local_vad": capabilities.vad in ("local", "both"),
                "turn_events": capabilities.vad in ("server", "both"),
                "text_input": True,
            }
        case _:
            told = {}
    return frozenset(name for name, there in told.items() if there)


def needs(capabilities: Capabilities) -> frozenset[str]:
    """The abilities that some other stage must have. A turn detector that reads text reads it at the pause, before
    the final is there: it needs partials."""
    if isinstance(capabilities, TurnCapabilities) and capabilities.needs_text:
        return frozenset({"partials"})
    return frozenset()
