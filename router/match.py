"""The conditions of a route: what `when:` asks, each as a value that can answer and can say why not.

`choose` asks `holds`, `explain` asks `holds` and then `why_not`: one matcher, so the two cannot differ. A route
matches when all its conditions hold; one without conditions matches every call.

A pattern is a value, a list of values, or text with `*` (any characters) and `?` (one). Text equals text, numbers
equal numbers (1 equals 1.0), true and false equal themselves only; a glob matches text only.

Used by  router/table.py (compiles them), choose.py, explain.py, and `covers` by the check for unreachable routes.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Literal, Protocol

from router.bucket import Salt, text_of
from router.context import Attribute, RouteContext

__all__ = ["AttributeIs", "BucketIn", "Condition", "FeatureIs", "FieldIs", "Pattern", "glob", "is_glob", "key_value"]

Field = Literal["tenant", "region", "session_id"]
_FIELDS: dict[str, Callable[[RouteContext], str]] = {
    "tenant": attrgetter("tenant_id"),
    "region": attrgetter("region"),
    "session_id": attrgetter("session_id"),
}


def is_glob(value: Attribute) -> bool:
    """True for text with `*` or `?` in it."""
    return isinstance(value, str) and ("*" in value or "?" in value)


def glob(pattern: str) -> Callable[[str], object]:
    """A matcher of the whole text. fnmatch's translation matches in linear time however many stars there are."""
    return re.compile(fnmatch.translate(pattern.replace("[", "[[]"))).match


class Pattern:
    """One value or many, literal or glob."""

    __slots__ = ("_globs", "_texts", "_typed", "values")

    def __init__(self, values: tuple[Attribute, ...]) -> None:
        self.values = values
        self._texts = frozenset(v for v in values if isinstance(v, str) and not is_glob(v))
        # Python holds True == 1, so the type goes along.
        self._typed = frozenset((isinstance(v, bool), v) for v in values if not isinstance(v, str))
        self._globs = tuple(glob(v) for v in values if isinstance(v, str) and is_glob(v))

    def holds(self, value: Attribute) -> bool:
        if not isinstance(value, str):
            return (isinstance(value, bool), value) in self._typed
        if value in self._texts:
            return True
        return any(match(value) for match in self._globs) if self._globs else False

    def covers(self, other: Pattern) -> bool:
        """True where everything that `other` matches is certainly matched by this one."""
        return all(self._covers(value) for value in other.values)

    def _covers(self, value: Attribute) -> bool:
        if not is_glob(value):
            return self.holds(value)
        text = str(value)
        for mine in self.values:
            if mine == value or mine == "*":
                return True
            if is_glob(mine):
                stem = str(mine)[:-1]
                if str(mine).endswith("*") and not is_glob(stem) and text.startswith(stem):
                    return True
        return False

    def __str__(self) -> str:
        said = [_show(v) for v in self.values]
        return said[0] if len(said) == 1 else f"one of {', '.join(said)}"


class Condition(Protocol):
    """One thing that a route asks."""

    def holds(self, ctx: RouteContext) -> bool: ...

    def why_not(self, ctx: RouteContext) -> str:
        """Which condition it is, what it asks and what the context has. Asked only where it does not hold."""
        ...

    def implied_by(self, others: tuple[Condition, ...]) -> bool:
        """True where contexts for which all `others` hold certainly fulfil this one."""
        ...


@dataclass(frozen=True, slots=True)
class FieldIs:
    """`tenant`, `region` or `session_id`."""

    field: Field
    pattern: Pattern
    _get: Callable[[RouteContext], str]

    @classmethod
    def of(cls, field: Field, values: tuple[str, ...]) -> FieldIs:
        return cls(field, Pattern(values), _FIELDS[field])

    def holds(self, ctx: RouteContext) -> bool:
        return self.pattern.holds(self._get(ctx))

    def why_not(self, ctx: RouteContext) -> str:
        return f"{self.field} is {self._get(ctx)}, not {self.pattern}"

    def implied_by(self, others: tuple[Condition, ...]) -> bool:
        return "*" in self.pattern.values or any(
            isinstance(o, FieldIs) and o.field == self.field and self.pattern.covers(o.pattern) for o in others
        )


@dataclass(frozen=True, slots=True)
class AttributeIs:
    """An attribute is there and is what is asked."""

    name: str
    pattern: Pattern

    def holds(self, ctx: RouteContext) -> bool:
        value = ctx.attributes.get(self.name)
        return value is not None and self.pattern.holds(value)

    def why_not(self, ctx: RouteContext) -> str:
        has = f"is {_show(ctx.attributes[self.name])}" if self.name in ctx.attributes else "is absent"
        return f"attribute {self.name} {has}, not {self.pattern}"

    def implied_by(self, others: tuple[Condition, ...]) -> bool:
        return any(
            isinstance(o, AttributeIs) and o.name == self.name and self.pattern.covers(o.pattern) for o in others
        )


@dataclass(frozen=True, slots=True)
class FeatureIs:
    """A feature flag is on, or is off or absent."""

    name: str
    wanted: bool

    def holds(self, ctx: RouteContext) -> bool:
        return ctx.features.get(self.name, False) is self.wanted

    def why_not(self, ctx: RouteContext) -> str:
        return f"feature {self.name} is {_show(not self.wanted)}, not {_show(self.wanted)}"

    def implied_by(self, others: tuple[Condition, ...]) -> bool:
        return self in others


@dataclass(frozen=True, slots=True)
class BucketIn:
    """The caller's position under a salt lies in `from_ ≤ position < below`."""

    by: str
    salt: Salt
    from_: float
    below: float

    def holds(self, ctx: RouteContext) -> bool:
        return self.from_ <= self.position(ctx) < self.below

    def position(self, ctx: RouteContext) -> float:
        """0 to 100."""
        return self.salt.bucket(key_value(ctx, self.by)[0])

    def why_not(self, ctx: RouteContext) -> str:
        return f"bucket of {_by(ctx, self.by)} is {self.position(ctx):.3f}, not in {self.from_:g} to {self.below:g}"

    def implied_by(self, others: tuple[Condition, ...]) -> bool:
        if self.from_ <= 0 and self.below >= 100:
            return True
        return any(
            isinstance(o, BucketIn)
            and (o.by, o.salt.text) == (self.by, self.salt.text)
            and self.from_ <= o.from_
            and o.below <= self.below
            for o in others
        )


def key_value(ctx: RouteContext, by: str) -> tuple[str, bool]:
    """What a bucket or split is keyed by, and whether `session_id` stands in for it.

    `by` is `session_id`, `tenant_id`, `region`, or an attribute. Where the attribute is absent the session's id takes
    its place, so that the shares still hold; such a caller is only as sticky as its session.
    """
    if by == "session_id":
        return ctx.session_id, False
    if by == "tenant_id":
        return ctx.tenant_id, False
    if by == "region":
        return ctx.region, False
    value = ctx.attributes.get(by)
    return (ctx.session_id, True) if value is None else (text_of(value), False)


def _by(ctx: RouteContext, by: str) -> str:
    return f"{by} (absent: session_id stands in)" if key_value(ctx, by)[1] else by


def _show(value: Attribute) -> str:
    return text_of(value) if isinstance(value, bool) else repr(value) if not isinstance(value, str) else value
