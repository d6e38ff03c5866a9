"""The catalogue of provider types that a configuration is checked against, made from the registry.

    catalog("espeak") -> router.catalog.Kind        catalog("espaek") -> None

Reads what a type says of itself (its Options, its capabilities); starts nothing.
Raises   ConfigError for a type that is there and cannot be loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any

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
from router.errors import ConfigError, ProviderError

__all__ = ["catalog"]


@lru_cache(maxsize=512)
def catalog(type: str) -> Kind | None:
    """The record of a provider type; None where there is no such type. A `router.catalog.Catalog`."""
    if not registry.is_known(type):
        return None
    return _kind(type, registry.find(type), {})


def _kind(type: str, provider: Any, options: Mapping[str, Any]) -> Kind:
    try:
        capabilities: Capabilities = provider.capabilities(options)
    except ProviderError as error:
        raise ConfigError((f"type `{type}` does not say what it can do: {error.detail}",)) from None
    return Kind(
        type=type,
        stage=capabilities.stage,
        check_options=partial(problems, provider.Options),
        rates_hz=capabilities.rates_hz if capabilities.stage != "agent" else (),
        languages=capabilities.languages,
        features=features(capabilities),
        needs=needs(capabilities),
        needs_secret=capabilities.needs_secret,
        text_limit=getattr(capabilities, "text_limit", None),
        max_stream_s=capabilities.max_stream_s,
        with_options=partial(_kind, type, provider),
        inline=getattr(capabilities, "inline", False),
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
                "resume": capabilities.resume,
                "truncation": capabilities.truncation,
                "tools": capabilities.tools,
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
