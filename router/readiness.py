"""What has to be tried before traffic comes: every provider, with every credential and address it is used with.

    live_checks(table) -> (LiveCheck, ...)

One check for each credential owner and each address of a provider. Where routes use it with other options (`with`,
voice, language), one more check for each of those, by the first credential and address alone: options are the
vendor's business, not the credential's.

Pure: names references to secrets and resolves none.
Used by  actors/live_check.py, which does it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from router.plan import Stage
from router.table import SHARED, Choice, Endpoint, ProviderSpec, Route, RouteTable

__all__ = ["LiveCheck", "live_checks"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveCheck:
    """One thing to try."""

    provider: str
    stage: Stage
    type: str
    options: Mapping[str, Any] = field(default_factory=dict)
    """The provider's own: what its actor is made with."""
    stream_options: Mapping[str, Any] = field(default_factory=dict)
    """Those with what a route adds: what its stream is opened with."""
    owner: str = SHARED
    """Whose credential: a tenant, or `*` for the shared one."""
    secret: str | None = None
    """The reference, never the secret."""
    region: str = "*"
    """The first pattern of regions that are served from this address."""
    endpoint: str | None = None
    routes: tuple[str, ...] = ()
    """Who uses it so; empty where no route does."""


def live_checks(table: RouteTable) -> tuple[LiveCheck, ...]:
    """In the order of stages as they are used, then of names."""
    uses = _uses(table)
    found = [c for name in sorted(table.providers) for c in _checks(table.providers[name], uses.get(name, {}))]
    order = ("vad", "turn", "stt", "agent", "tts", "s2s")
    return tuple(sorted(found, key=lambda c: order.index(c.stage)))


def _checks(spec: ProviderSpec, uses: dict[str, tuple[dict[str, Any], list[str]]]) -> Iterator[LiveCheck]:
    variants = list(uses.values()) or [(dict(spec.options), [])]
    owners = sorted(spec.secrets) or [SHARED]
    addresses = _addresses(spec)
    for number, (options, routes) in enumerate(variants):
        for owner in owners if number == 0 else owners[:1]:
            for region, endpoint in addresses if number == 0 else addresses[:1]:
                yield LiveCheck(
                    provider=spec.name,
                    stage=spec.stage,
                    type=spec.type,
                    options=dict(spec.options),
                    stream_options=options,
                    owner=owner,
                    secret=spec.secrets.get(owner),
                    region=region,
                    endpoint=endpoint.url if endpoint else None,
                    routes=tuple(routes),
                )


def _addresses(spec: ProviderSpec) -> list[tuple[str, Endpoint | None]]:
    """Each address once, with the first region pattern that leads there."""
    found: dict[str, tuple[str, Endpoint | None]] = {}
    for pattern, endpoint in spec.endpoints:
        found.setdefault(endpoint.url, (pattern, endpoint))
    return list(found.values()) or [("*", None)]


def _uses(table: RouteTable) -> dict[str, dict[str, tuple[dict[str, Any], list[str]]]]:
    """Provider -> canonical options -> (options, names of routes), in the order of the file."""
    uses: dict[str, dict[str, tuple[dict[str, Any], list[str]]]] = {}
    for route in (*table.routes, *((table.default,) if table.default else ())):
        for choice in _choices(route):
            key = json.dumps(choice.options, sort_keys=True, default=str)
            _, routes = uses.setdefault(choice.provider.name, {}).setdefault(key, (choice.options, []))
            if route.name not in routes:
                routes.append(route.name)
    return uses


def _choices(route: Route) -> Iterator[Choice]:
    for slot in route.slots:
        if slot.split is not None:
            yield from slot.split.choices
        yield from slot.choices
