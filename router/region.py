"""Whose pools serve a caller of this region, bounded against regions that callers make up.

Pools are kept by region, so a caller must not be able to name new ones. Without labelled nodes (`live` is None or
empty) a region is known when a route or an endpoint names it; one that only matches a glob shares the pools of the
glob's stem (`eu-west-7` under `eu-*` uses those of `eu`); any other uses those of `default`. There are never more
pool regions than the configuration has names and globs.

With labelled nodes only those regions have any: the caller's own if a node has it, else the first one that falls
under the same glob, else `default`. Residency binds the node: a live region that does not fit is never taken.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from router.match import glob, is_glob

__all__ = ["DEFAULT_REGION", "Regions", "fits"]

DEFAULT_REGION = "default"
_REMEMBERED = 1024
"""Regions whose globs need not be asked again; made-up ones beyond it only cost their own call a microsecond."""


def fits(region: str, residency: tuple[str, ...]) -> bool:
    """True where data in `region` stays within `residency`: `eu-west-1` is in `eu`, `europe` is not."""
    return not residency or any(region == r or region.startswith(r + "-") for r in residency)


class Regions:
    """The regions that a table names."""

    __slots__ = ("_globs", "_remembered", "names")

    def __init__(self, said: Iterable[str]) -> None:
        patterns = dict.fromkeys(said)
        self.names = frozenset(p for p in patterns if not is_glob(p))
        # The longer stem is the narrower region; equals by name, so that the order of routes does not matter.
        stems = sorted(((_stem(p), p) for p in patterns if is_glob(p) and _stem(p)), key=lambda s: (-len(s[0]), s))
        self._globs = tuple((stem, glob(pattern)) for stem, pattern in stems)
        self._remembered: dict[str, str] = {}

    def pool_region(self, region: str, live: Collection[str] | None, residency: tuple[str, ...]) -> str | None:
        """The region whose pools serve a caller of `region`; None where residency forbids every live one."""
        if not live:
            return self._remembered.get(region) or self._unlabelled(region)
        if region in live and fits(region, residency):
            return region
        able = sorted(r for r in live if fits(r, residency))
        for _, match in self._globs:
            if match(region):
                near = next((r for r in able if match(r)), None)
                if near is not None:
                    return near
        if residency:
            return able[0] if able else None
        return DEFAULT_REGION

    def _unlabelled(self, region: str) -> str:
        if region in self.names:
            return region
        found = next((stem for stem, match in self._globs if match(region)), DEFAULT_REGION)
        if len(self._remembered) < _REMEMBERED:
            self._remembered[region] = found
        return found


def _stem(pattern: str) -> str:
    """What stands before the first wildcard, without the separator."""
    return pattern.split("*")[0].split("?")[0].rstrip("-._:@+")
