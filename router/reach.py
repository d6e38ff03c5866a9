"""Routes that no call reaches, because an earlier one takes every call that they would.

Found is what one earlier route covers by itself: each of its conditions is implied by the later route's. Two routes
that only together cover a third are not looked for. The comparisons are bounded, so that a large table still loads
at once; where the bound was reached, that is said.
"""

from __future__ import annotations

from collections.abc import Sequence

from router.index import Index, asked
from router.match import AttributeIs, Condition, is_glob

__all__ = ["unreachable"]

MAX_COMPARISONS = 200_000
"""About 0.2 s."""


def unreachable(routes: Sequence[tuple[Condition, ...]]) -> tuple[list[tuple[int, int]], int | None]:
    """Pairs (position of a route, position of the one before it that takes its calls), and where the search ended.

    `routes` are the conditions of each, in file order. The second is None where all routes were looked at, else the
    position of the first that was not.
    """
    index = Index(routes)
    found: list[tuple[int, int]] = []
    left = MAX_COMPARISONS
    for position, conditions in enumerate(routes):
        # Whatever covers this route is filed where one of the calls that it takes is looked up.
        attributes = {
            c.name: next(v for v in c.pattern.values if not is_glob(v))
            for c in conditions
            if isinstance(c, AttributeIs) and not all(map(is_glob, c.pattern.values))
        }
        tenant, region = _sample(asked(conditions, "tenant")), _sample(asked(conditions, "region"))
        for earlier in index.candidates(tenant, region, attributes):
            if earlier >= position:
                break
            left -= 1
            if left < 0:
                return found, position
            if all(c.implied_by(conditions) for c in routes[earlier]):
                found.append((position, earlier))
                break
    return found, None


def _sample(values: tuple[str, ...] | None) -> str:
    """A name that these values take, or the fixed begin of one."""
    if values is None:
        return ""
    return next((v for v in values if not is_glob(v)), values[0].split("*")[0].split("?")[0])
