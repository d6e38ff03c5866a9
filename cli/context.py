"""From the words of a command line to a RouteContext.

    --attribute key=value      a whole number, a decimal, true or false become what they look like; the rest is text
    --feature name             or name=false
Raises   ContextError naming the option that does not hold.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from router.context import Attribute, RouteContext
from router.errors import ContextError

__all__ = ["context"]


def context(
    session_id: str, tenant: str, region: str, features: Iterable[str], attributes: Iterable[str]
) -> RouteContext:
    """The context that the options stand for."""
    return RouteContext(
        session_id=session_id,
        tenant_id=tenant,
        region=region,
        features=dict(_feature(word) for word in features),
        attributes=dict(_attribute(word) for word in attributes),
    )


def _feature(word: str) -> tuple[str, bool]:
    name, given, value = word.partition("=")
    if not name or (given and value not in ("true", "false")):
        raise ContextError("features", f"--feature {word!r}: NAME, NAME=true or NAME=false is taken")
    return name, value != "false"


def _attribute(word: str) -> tuple[str, Attribute]:
    name, given, value = word.partition("=")
    if not name or not given:
        raise ContextError("attributes", f"--attribute {word!r}: KEY=VALUE is taken")
    return name, _value(value)


def _value(text: str) -> Attribute:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        # 007 and 1_000 are names that happen to have digits; nan and inf are no numbers that a rule could compare.
        if str(number) == text and math.isfinite(number):
            return number
    return text
