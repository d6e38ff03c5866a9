"""Which routes could match a call, without asking all of them.

A route is filed under its tenants and its regions: a literal name under itself, `prefix*` under its prefix, anything
else (another glob, no condition at all) under `*`; there, if it asks an attribute for certain values, under each of
them (a thousand dialled numbers are one look-up). A look-up probes the cells of the tenant's name and its prefixes, the
same for the region, and merges what it finds in file order. For a route that is filed exactly (`is_exact`) that
answers its conditions on tenant and region; all others are asked. No route that matches is ever left out.

Cost     probes: (2 + distinct prefix lengths) for each of tenant and region; not the number of routes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from heapq import merge
from itertools import chain

from router.context import Attribute
from router.match import AttributeIs, Condition, FieldIs, glob, is_glob

__all__ = ["Index", "asked", "is_exact"]

_ANY = "*"
_SHORT = 32
_REMEMBERED = 16_384
"""Places whose cells need not be looked up again, of tenants that some route names; 10 MB at most. A made-up region
of such a tenant beyond it only costs its own call a microsecond."""
Typed = tuple[bool, Attribute]
"""A value, and whether it is a boolean, since Python holds True == 1."""


def asked(conditions: tuple[Condition, ...], field: str) -> tuple[str, ...] | None:
    """The values that conditions take for `tenant` or `region`; None where they do not ask."""
    for condition in conditions:
        if isinstance(condition, FieldIs) and condition.field == field:
            return tuple(str(v) for v in condition.pattern.values)
    return None


def is_exact(values: tuple[str, ...]) -> bool:
    """True where the cells of these values hold exactly the names that the values match."""
    return "*" in values or all(key != _ANY for v in values for key in _keys((v,)))


class _Cell:
    """Routes of one tenant key and region key."""

    __slots__ = ("by_attribute", "plain")

    def __init__(self) -> None:
        self.plain: list[int] = []
        self.by_attribute: dict[str, dict[Typed, list[int]]] = {}

    def file(self, position: int, condition: AttributeIs | None) -> None:
        if condition is None:
            self.plain.append(position)
            return
        values = self.by_attribute.setdefault(condition.name, {})
        for value in dict.fromkeys((isinstance(v, bool), v) for v in condition.pattern.values):
            values.setdefault(value, []).append(position)


class Index:
    """Built once from the conditions of every route, in file order."""

    __slots__ = ("_any_tenant", "_cells", "_region_lengths", "_remembered", "_tenant_globs", "_tenant_lengths")

    def __init__(self, routes: Iterable[tuple[Condition, ...]]) -> None:
        self._cells: dict[str, dict[str, _Cell]] = {}
        self._remembered: dict[tuple[str, str], tuple[list[int], list[_Cell]]] = {}
        self._any_tenant = False
        globs: dict[str, None] = {}
        for position, conditions in enumerate(routes):
            tenants, regions = asked(conditions, "tenant"), asked(conditions, "region")
            by = next(
                (c for c in conditions if isinstance(c, AttributeIs) and not any(map(is_glob, c.pattern.values))), None
            )
            self._any_tenant |= tenants is None or "*" in tenants
            globs.update(dict.fromkeys(v for v in tenants or () if is_glob(v)))
            for tenant in _keys(tenants):
                for region in _keys(regions):
                    self._cells.setdefault(tenant, {}).setdefault(region, _Cell()).file(position, by)
        self._tenant_globs = tuple(glob(g) for g in globs)
        self._tenant_lengths = _prefix_lengths(self._cells)
        self._region_lengths = _prefix_lengths({r for row in self._cells.values() for r in row})

    def candidates(self, tenant: str, region: str, attributes: Mapping[str, Attribute]) -> Iterable[int]:
        """Positions of the routes that could match, in file order; one may come twice."""
        place = self._remembered.get((tenant, region))
        plain, cells = place if place is not None else self._place(tenant, region)
        if not cells:
            return plain
        found = [plain]
        for cell in cells:
            for name, values in cell.by_attribute.items():
                value = attributes.get(name)
                if value is not None:
                    filed = values.get((isinstance(value, bool), value))
                    if filed is not None:
                        found.append(filed)
        return plain if len(found) == 1 else _merged(found)

    def in_place(self, tenant: str, region: str) -> Iterator[int]:
        """Positions of the routes that tenant and region could match, whatever else they ask; in no order."""
        for cell in self._in_place(tenant, region):
            yield from cell.plain
            for values in cell.by_attribute.values():
                yield from chain.from_iterable(values.values())

    def knows_tenant(self, tenant: str) -> bool:
        """True where the tenant condition of some route holds."""
        return self._any_tenant or tenant in self._cells or any(match(tenant) for match in self._tenant_globs)

    def _place(self, tenant: str, region: str) -> tuple[list[int], list[_Cell]]:
        """For a tenant and region: the merged routes that ask no attribute by value, and the cells that have others."""
        cells = self._in_place(tenant, region)
        plain = [cell.plain for cell in cells if cell.plain]
        place = (plain[0] if len(plain) == 1 else sorted(chain(*plain))), [c for c in cells if c.by_attribute]
        if tenant in self._cells and len(self._remembered) < _REMEMBERED and len(place[0]) <= _SHORT:
            self._remembered[tenant, region] = place
        return place

    def _in_place(self, tenant: str, region: str) -> list[_Cell]:
        cells = self._cells
        rows = [row for key in _probes(tenant, self._tenant_lengths) if (row := cells.get(key)) is not None]
        if not rows:
            return []
        keys = _probes(region, self._region_lengths)
        return [cell for row in rows for key in keys if (cell := row.get(key)) is not None]


def _keys(values: tuple[str, ...] | None) -> tuple[str, ...]:
    """The cells of a pattern: names, `prefix*`, or `*`. Names have no star, so the two never meet."""
    if values is None:
        return (_ANY,)
    keys = {v if not is_glob(v) or (v.endswith("*") and not is_glob(v[:-1])) else _ANY for v in values}
    return tuple(sorted(keys))


def _probes(name: str, lengths: tuple[int, ...]) -> tuple[str, ...]:
    if not lengths:
        return (name, _ANY)
    return (name, _ANY, *[name[:n] + "*" for n in lengths if n <= len(name)])


def _prefix_lengths(keys: Iterable[str]) -> tuple[int, ...]:
    return tuple(sorted({len(k) - 1 for k in keys if k.endswith("*") and k != _ANY}))


def _merged(found: list[list[int]]) -> Iterable[int]:
    # Short lists are sorted faster than they are merged lazily; a long one is not copied for its first entry.
    return sorted(chain(*found)) if sum(map(len, found)) <= _SHORT else merge(*found)
