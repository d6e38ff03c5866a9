"""Which regions there are, and how an actor gets to one.

A region is a node label, `ray.io/availability-region`. Where some live node has the label, an actor is placed by a
label selector, and unlabelled nodes serve no region; `default` is where callers go whose region nobody knows, and
is any node. Where no node has it (one machine, the embedded cluster), regions are names of pools and nothing else.

Pure: over what `ray.nodes()` answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from actors.fleet import NoNode
from router.region import DEFAULT_REGION

__all__ = ["LABEL", "live_regions", "selector"]

LABEL = "ray.io/availability-region"


def live_regions(nodes: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """Regions that live nodes are labelled with."""
    return frozenset(n["Labels"][LABEL] for n in nodes if n.get("Alive") and n.get("Labels", {}).get(LABEL))


def selector(region: str, live: frozenset[str]) -> dict[str, str] | None:
    """The label selector that places an actor in `region`; None where any node does.

    Raises NoNode where no live node serves it: such a selector would wait for ever.
    """
    if not live or (region == DEFAULT_REGION and region not in live):
        return None
    if region not in live:
        raise NoNode(f"no live node serves region {region}; there are {', '.join(sorted(live))}")
    return {LABEL: region}
