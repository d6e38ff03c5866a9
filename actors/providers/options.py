"""A provider's options: checked once, every problem named, never echoing a value that may be private.

Used by  actors/catalog.py when the configuration is read, and by providers when a stream opens or is updated.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from router.catalog import OptionProblem
from router.errors import ProviderError

__all__ = ["changed", "parse", "problems"]

M = TypeVar("M", bound=BaseModel)


def problems(model: type[BaseModel], options: Mapping[str, Any]) -> list[OptionProblem]:
    """Everything wrong with `options`; empty when they hold.

    The values themselves are left out: an option may hold instructions or a customer's name.
    """
    try:
        model.model_validate(dict(options))
    except ValidationError as error:
        return [
            OptionProblem(path=tuple(found["loc"]), detail=_detail(model, found["type"], found["loc"], found["msg"]))
            for found in error.errors(include_url=False, include_input=False, include_context=False)
        ]
    return []


def parse(model: type[M], provider: str, *layers: Mapping[str, Any]) -> M:
    """The options of `layers`, later over earlier. Raises ProviderError of kind `config` naming every problem."""
    merged: dict[str, Any] = {}
    for layer in layers:
        merged.update(layer)
    found = problems(model, merged)
    if found:
        raise ProviderError(provider, "config", "; ".join(f"{_dotted(p.path)}: {p.detail}" for p in found))
    return model.model_validate(merged)


def changed(options: M, changes: Mapping[str, Any]) -> tuple[M, tuple[str, ...]]:
    """`options` with the changes that hold, and the names of those that do not."""
    now, refused = dict(options), []
    for name, value in changes.items():
        if problems(type(options), {**now, name: value}):
            refused.append(name)
        else:
            now[name] = value
    return (options if len(refused) == len(changes) else type(options).model_validate(now)), tuple(refused)


def _detail(model: type[BaseModel], kind: str, path: tuple[int | str, ...], message: str) -> str:
    if kind != "extra_forbidden" or len(path) != 1:
        return message
    names = sorted(model.model_fields)
    near = difflib.get_close_matches(str(path[0]), names, n=1)
    meant = f"did you mean {near[0]}? " if near else ""
    return f"no such option; {meant}there are {', '.join(names) or 'none'}"


def _dotted(path: tuple[str | int, ...]) -> str:
    return ".".join(str(p) for p in path) or "options"
