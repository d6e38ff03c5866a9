"""A Python function as a tool: what the model is told about it, and the arguments it is then called with.

    found = find("acme.orders:status")
    found.shape                                  # description and JSON schema, from docstring and type hints
    found.arguments({"order": "17"}, context)    # checked and made what the hints say; raises ToolError for the model

Raises   `find`: ConfigError for a module that does not import, a function that is not there or cannot be a tool.
Used by  cluster and cli when the configuration is read (`shape`); actors/tool_runner.py.
"""

from __future__ import annotations

import importlib
import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.errors import PydanticUserError

from actors.tools import ToolContext, ToolError
from router.catalog import FunctionShape
from router.errors import ConfigError

__all__ = ["Function", "find", "shape"]

_STRICT = ConfigDict(extra="forbid", protected_namespaces=())
_ERRORS_MAX = 5


@dataclass(frozen=True, slots=True)
class Function:
    """One function, ready to be called."""

    call: Callable[..., Any]
    is_async: bool
    shape: FunctionShape
    _model: type[BaseModel]
    _fields: Mapping[str, str]
    """Parameter -> the model's field."""
    _context: str | None
    """The parameter that takes the `ToolContext`."""

    def arguments(self, given: Mapping[str, Any], context: ToolContext) -> dict[str, Any]:
        """By name, as the type hints say. Raises ToolError naming what does not fit, without its value."""
        try:
            held = self._model.model_validate(dict(given))
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False, include_context=False)[:_ERRORS_MAX]
            wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'arguments'}: {e['msg']}" for e in found)
            raise ToolError(f"the arguments do not fit: {wrong}") from None
        made = {name: getattr(held, field) for name, field in self._fields.items()}
        return {**made, self._context: context} if self._context is not None else made


def shape(where: str) -> FunctionShape:
    """What `module:function` says of itself. A `router.catalog.Functions`."""
    return find(where).shape


@lru_cache(maxsize=512)
def find(where: str) -> Function:
    """The function behind `module:function`. Raises ConfigError saying what is wrong with it."""
    function = _load(where)
    try:
        hints = typing.get_type_hints(function, include_extras=True)
        parameters = inspect.signature(function).parameters
    except Exception as error:  # a hint is evaluated: it may raise anything
        raise _wrong(where, f"its type hints do not hold: {type(error).__name__}: {error}") from None
    fields: dict[str, Any] = {}
    names: dict[str, str] = {}
    context: str | None = None
    for name, parameter in parameters.items():
        hint = hints.get(name)
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise _wrong(where, f"parameter {name} has no name that arguments could be given by")
        if hint is None:
            raise _wrong(where, f"parameter {name} has no type hint, so the model would not know what to give")
        if hint is ToolContext:
            context = name
            continue
        names[name] = f"a{len(names)}"  # a field's own name may not be `schema`, `copy` or begin with `_`
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[names[name]] = (hint, Field(default, alias=name))
    try:
        model = create_model(function.__name__, __config__=_STRICT, **fields)
        schema = _untitled(model.model_json_schema())
    except (PydanticUserError, TypeError, ValueError) as error:
        raise _wrong(where, f"its parameters have no JSON schema: {str(error).splitlines()[0]}") from None
    told = FunctionShape(_first_paragraph(function), {"type": "object", "properties": {}, **schema})
    return Function(function, inspect.iscoroutinefunction(function), told, model, names, context)


def _load(where: str) -> Callable[..., Any]:
    module_name, _, name = where.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        # A user's module may raise anything at import; its text is shown, since it names the cause.
        raise _wrong(where, f"{module_name} does not import: {type(error).__name__}: {error}") from error
    found = getattr(module, name, None)
    if not inspect.isfunction(found):
        raise _wrong(where, f"{module_name} has no function {name}")
    return found


def _first_paragraph(function: Callable[..., Any]) -> str:
    return " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split())


def _untitled(schema: Any, *, names: bool = False) -> Any:
    """Without the titles that pydantic makes up: each is a token of every request. `names`: keys are no keywords."""
    if isinstance(schema, list):
        return [_untitled(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _untitled(value, names=not names and key in ("properties", "$defs"))
        for key, value in schema.items()
        if names or key != "title" or not isinstance(value, str)
    }


def _wrong(where: str, detail: str) -> ConfigError:
    return ConfigError((f"tool {where}: {detail}",))
