"""Who is calling: the facts that a route may ask about.

Used by  everything: `choose` reads it, records and metrics repeat it.
Raises   ContextError from `RouteContext.of`, naming the field.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from router.errors import ContextError

__all__ = ["Attribute", "RouteContext"]

Attribute = str | int | float | bool

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+-]{0,127}\Z")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\Z")  # W3C Trace Context, section 3.2
_MAX_ENTRIES = 64  # attributes and features each: a context is carried into records, so it is bounded
_MAX_TEXT = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteContext:
    """One caller, before anything is decided.

    >>> RouteContext.of({"session_id": "s1", "tenant_id": "acme"}).region
    'default'
    """

    session_id: str
    """Unique for ever; `open` is idempotent in it. 1 to 128 of A-Z a-z 0-9 . _ : @ + -"""
    tenant_id: str
    """Whose call it is; the same alphabet."""
    region: str = "default"
    """Where the caller is; the same alphabet."""
    features: Mapping[str, bool] = field(default_factory=dict)
    """Feature flags; one that is absent is false."""
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    """Anything a rule may name: language, channel, direction, user_id."""
    trace: str | None = None
    """W3C traceparent, carried into events and records."""

    def __post_init__(self) -> None:
        for name in ("session_id", "tenant_id", "region"):
            value = getattr(self, name)
            if not isinstance(value, str) or not _ID.match(value):
                raise ContextError(name, f"{_short(value)}: 1 to 128 characters of A-Z a-z 0-9 . _ : @ + - are taken")
        _entries("features", self.features, (bool,), "true or false")
        _entries("attributes", self.attributes, (str, int, float, bool), "text, a number, true or false")
        if self.trace is not None and (not isinstance(self.trace, str) or not _TRACEPARENT.match(self.trace)):
            raise ContextError("trace", f"{_short(self.trace)} is no W3C traceparent (00-<32 hex>-<16 hex>-<2 hex>)")

    @classmethod
    def of(cls, value: RouteContext | Mapping[str, object]) -> RouteContext:
        """`value` itself, or a context made of a mapping of its fields. Raises ContextError."""
        if isinstance(value, RouteContext):
            return value
        if not isinstance(value, Mapping):
            raise ContextError("", f"a RouteContext or a mapping of its fields is taken, not {type(value).__name__}")
        known = {f.name for f in fields(cls)}
        for key in value:
            if key not in known:
                raise ContextError(str(key)[:64], f"no such field; there are {', '.join(sorted(known))}")
        for name in ("session_id", "tenant_id"):
            if name not in value:
                raise ContextError(name, "is missing")
        return cls(**value)  # type: ignore[arg-type]  # each field is checked in __post_init__


def _entries(name: str, entries: object, kinds: tuple[type, ...], right: str) -> None:
    if not isinstance(entries, Mapping):
        raise ContextError(name, f"a mapping is taken, not {type(entries).__name__}")
    if len(entries) > _MAX_ENTRIES:
        raise ContextError(name, f"{len(entries)} entries; at most {_MAX_ENTRIES} are taken")
    for key, value in entries.items():
        if not isinstance(key, str) or not key or len(key) > 128:
            raise ContextError(name, f"the key {_short(key)} is no text of 1 to 128 characters")
        if not isinstance(value, kinds) or (isinstance(value, float) and value != value):
            raise ContextError(f"{name}.{key}", f"{_short(value)}: {right} is taken")
        if isinstance(value, str) and len(value) > _MAX_TEXT:
            raise ContextError(f"{name}.{key}", f"{len(value)} characters; at most {_MAX_TEXT} are taken")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
