"""Routes that no call reaches, because an earlier one takes every call that they would.

Found is what one earlier route covers by itself: each of its conditions is implied by the later route's. Two routes
that only together cover a third are not looked for. The comparisons are bounded, so that a large table still loads
at once; where the bound was reached, that is said.
"""

from __future__ import annotations

from collections.abc import Sequence

from router.index import Index
from router.match import is_glob
from router.table import Route

__all__ = ["unreachable"]

MAX_COMPARISONS = 200_000
"""About 0.2 s."""


def unreachable(routes: Sequence[Route]) -> tuple[list[tuple[int, int]], int | None]:
    """Pairs (position of a route, position of the one before it that takes its calls), and where the search ended.

    The second is None where all routes were looked at, else the position of the first that was not.
    """
    asked = [(route.asks("tenant"), route.asks("region")) for route in routes]
    index = Index(asked)
    found: list[tuple[int, int]] = []
    left = MAX_COMPARISONS
    for position, (tenants, regions) in enumerate(asked):
        conditions = routes[position].conditions
        for earlier in index.candidates(_sample(tenants), _sample(regions)):
            if earlier >= position:
                break
            left -= 1
            if left < 0:
                return found, position
            if all(c.implied_by(conditions) for c in routes[earlier].conditions):
                found.append((position, earlier))
                break
    return found, None


def _sample(values: tuple[str, ...] | None) -> str:
    """A name that the route takes: whatever covers the route must be filed where this name is looked up."""
    if values is None:
        return ""
    return next((v for v in values if not is_glob(v)), values[0].split("*")[0].split("?")[0])
