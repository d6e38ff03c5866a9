"""Which routes could match a tenant in a region, without asking all of them.

A route is filed under its tenants and its regions: a literal name under itself, `prefix*` under its prefix, anything
else (another glob, no condition at all) under `*`. A lookup probes the cells of the tenant's name and its prefixes,
the same for the region, and merges what it finds in file order. It may give a route that does not match, since the
route's own conditions are asked afterwards, and never leaves one out that does.

Cost     probes: (2 + distinct prefix lengths) for each of tenant and region; not the number of routes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import merge
from itertools import chain

from router.match import glob, is_glob

__all__ = ["Index", "keys_of"]

_ANY = "*"


def keys_of(values: tuple[str, ...] | None) -> tuple[str, ...]:
    """The cells of a pattern: names, `prefix*`, or `*`. Names have no star, so the two never meet."""
    if values is None:
        return (_ANY,)
    keys = {v if not is_glob(v) or (v.endswith("*") and not is_glob(v[:-1])) else _ANY for v in values}
    return tuple(sorted(keys))


class Index:
    """Built once from (tenants, regions) of every route, in file order; None where a route does not ask."""

    __slots__ = ("_any_tenant", "_cells", "_region_lengths", "_tenant_globs", "_tenant_lengths")

    def __init__(self, asked: Iterable[tuple[tuple[str, ...] | None, tuple[str, ...] | None]]) -> None:
        cells: dict[str, dict[str, list[int]]] = {}
        globs: dict[str, None] = {}
        self._any_tenant = False
        for position, (tenants, regions) in enumerate(asked):
            self._any_tenant |= tenants is None or "*" in tenants
            globs.update(dict.fromkeys(v for v in tenants or () if is_glob(v)))
            for tenant in keys_of(tenants):
                for region in keys_of(regions):
                    cells.setdefault(tenant, {}).setdefault(region, []).append(position)
        self._cells = cells
        self._tenant_globs = tuple(glob(g) for g in globs)
        self._tenant_lengths = _prefix_lengths(cells)
        self._region_lengths = _prefix_lengths({r for regions in cells.values() for r in regions})

    def candidates(self, tenant: str, region: str) -> Iterable[int]:
        """Positions of the routes that could match, in file order; one may come twice."""
        rows = [row for key in _probes(tenant, self._tenant_lengths) if (row := self._cells.get(key)) is not None]
        if not rows:
            return ()
        keys = _probes(region, self._region_lengths)
        found = [cell for row in rows for key in keys if (cell := row.get(key)) is not None]
        if len(found) == 1:
            return found[0]
        return _merged(found)

    def knows_tenant(self, tenant: str) -> bool:
        """True where the tenant condition of some route holds."""
        return self._any_tenant or tenant in self._cells or any(match(tenant) for match in self._tenant_globs)


def _probes(name: str, lengths: tuple[int, ...]) -> tuple[str, ...]:
    if not lengths:
        return (name, _ANY)
    return (name, _ANY, *(name[:n] + "*" for n in lengths if n <= len(name)))


def _prefix_lengths(keys: Iterable[str]) -> tuple[int, ...]:
    return tuple(sorted({len(k) - 1 for k in keys if k.endswith("*") and k != _ANY}))


def _merged(found: list[list[int]]) -> Iterable[int]:
    # Short lists are sorted faster than they are merged lazily; a long one is not copied for its first entry.
    if sum(map(len, found)) <= 32:
        return sorted(chain.from_iterable(found))
    return _lazily(found)


def _lazily(found: list[list[int]]) -> Iterator[int]:
    return iter(merge(*found))
