"""The shape of the configuration: one frozen model for each block, and pydantic's complaints put in our words.

Shapes only: what one block alone can get wrong. Whether blocks fit each other is `router.checks`' business.
Data comes from `router.yaml_reader` and is validated as JSON is, strictly: text is not made a number, nor 1 true.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from router.catalog import Ability
from router.plan import Placement, Stage
from router.price import Price
from router.problem import Path, Problems, nearest
from router.settings import BargeIn, Endpointing, SessionSettings, Silence, Vad
from router.tools import DEADLINE_S, RESULT_MAX_CHARS

__all__ = ["Bucket", "EndpointBlock", "Hosts", "Plain", "Pool", "Provider", "Records", "Route", "Slot", "Split",
           "Startup", "Tool", "Top", "Use", "UseOne", "Webhooks", "When", "checked"]  # fmt: skip

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
"""Names of routes, providers and data regions become labels of metrics: short, and without surprises."""
Name = Annotated[str, Field(pattern=NAME)]
ProviderRef = Annotated[str, Field(min_length=1, max_length=256)]
"""The name of a provider, a type, or `module:Class`."""
ToolName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,63}$")]
"""What OpenAI and Gemini take for the name of a function."""
Percent = Annotated[float, Field(ge=0, le=100)]
Weight = Annotated[float, Field(ge=0, le=1_000_000)]


def _as_list(value: object) -> object:
    return value if isinstance(value, list) else [value]


Names = Annotated[list[Name], BeforeValidator(_as_list), Field(min_length=1)]
ToolNames = Annotated[list[ToolName], BeforeValidator(_as_list)]
Texts = Annotated[list[Annotated[str, Field(min_length=1)]], BeforeValidator(_as_list), Field(min_length=1)]


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Top(_Block):
    """The file. The blocks inside are validated one by one, so that one mistake does not hide others."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)

    version: Literal[1] = Field(alias="schema")
    providers: dict[str, Any] = {}
    pools: dict[str, Any] = {}
    tools: dict[str, Any] = {}
    webhooks: dict[str, Any] = {}
    session: dict[str, Any] = {}
    routes: list[Any] = []
    default: dict[str, Any] | None = None
    records: dict[str, Any] = {}
    hosts: dict[str, Any] = {}
    prices: dict[str, Any] = {}
    startup: dict[str, Any] = {}


class EndpointBlock(_Block):
    url: str
    data_region: Name | None = None


def _endpoint(value: object) -> object:
    return {"url": value} if isinstance(value, str) else value


class CapacityBlock(_Block):
    streams_per_actor: int | None = Field(default=None, ge=1, le=100_000)
    streams_per_key: int | None = Field(default=None, ge=1, le=10_000_000)


class Provider(_Block):
    stage: Stage
    type: ProviderRef
    options: dict[str, Any] = {}
    endpoints: dict[str, Annotated[EndpointBlock, BeforeValidator(_endpoint)]] = {}
    data_region: Name | None = None
    secrets: dict[str, str] = {}
    capacity: CapacityBlock = CapacityBlock()
    placement: Placement = None  # type: ignore[assignment]  # as the type says; not validated, as in When


class Tool(_Block):
    """A function or a webhook that a model may call."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)

    python: str | None = Field(default=None, pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    url: str | None = Field(default=None, max_length=2_000)
    description: str | None = Field(default=None, max_length=1_024)
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    secret: str | None = None
    deadline_s: float = Field(default=DEADLINE_S, gt=0, le=120)
    result_max_chars: int = Field(default=RESULT_MAX_CHARS, ge=16, le=100_000)
    idempotent: bool = False


class Webhooks(_Block):
    hosts: list[str] = []
    private_hosts: list[str] = []


class Pool(_Block):
    min: int | None = Field(default=None, ge=0, le=10_000)
    max: int | None = Field(default=None, ge=1, le=10_000)
    target: float | None = Field(default=None, gt=0, le=1)
    idle_s: float | None = Field(default=None, gt=0, le=86_400)


class Hosts(_Block):
    max_sessions: int = Field(default=250, ge=1, le=100_000)
    warm: int = Field(default=1, ge=0, le=1_000)
    max: int = Field(default=64, ge=1, le=1_000)


class Records(_Block):
    path: str | None = Field(default=None, min_length=1)


class Startup(_Block):
    check: Literal["none", "live"] = "none"
    on_failure: Literal["stop", "warn"] = "stop"
    attempts: int = Field(default=3, ge=1, le=10)
    deadline_s: float = Field(default=40.0, gt=0, le=300)
    together: int = Field(default=8, ge=1, le=64)


class Bucket(_Block):
    by: str = Field(default="session_id", min_length=1, max_length=128)
    salt: str = Field(min_length=1, max_length=128)
    from_: Percent = Field(alias="from")
    below: Percent


def _attribute(value: object) -> object:
    if isinstance(value, (str, int, float)):
        return value
    raise PydanticCustomError("attribute", "is no text, number, true or false")


Attributes = Annotated[
    list[Annotated[Any, BeforeValidator(_attribute)]], BeforeValidator(_as_list), Field(min_length=1)
]


class When(_Block):
    """Defaults are not validated: a condition that is not given is None, and one that is given empty is an error."""

    tenant: Texts = None  # type: ignore[assignment]
    region: Texts = None  # type: ignore[assignment]
    session_id: Texts = None  # type: ignore[assignment]
    features: dict[str, bool] = {}
    attributes: dict[str, Attributes] = {}
    bucket: Bucket = None  # type: ignore[assignment]


class UseOne(_Block):
    """A provider with stream options of this route."""

    provider: ProviderRef
    with_: dict[str, Any] = Field(default={}, alias="with")


Plain = ProviderRef


def _one_kind(value: object) -> str | None:
    if isinstance(value, str):
        return "?name"
    return "?use" if isinstance(value, (dict, UseOne)) else None


One = Annotated[
    Annotated[ProviderRef, Tag("?name")] | Annotated[UseOne, Tag("?use")],
    Discriminator(_one_kind, custom_error_type="one", custom_error_message="{ONE}"),
]


class Split(_Block):
    split: dict[str, Weight] = Field(min_length=1)
    by: str = Field(default="session_id", min_length=1, max_length=128)
    salt: str = Field(min_length=1, max_length=128)
    then: list[One] = []


def _slot_kind(value: object) -> str | None:
    if isinstance(value, dict) and "split" in value:
        return "?split"
    return "?list" if isinstance(value, list) else _one_kind(value)


Slot = Annotated[
    Annotated[ProviderRef, Tag("?name")]
    | Annotated[UseOne, Tag("?use")]
    | Annotated[Split, Tag("?split")]
    | Annotated[list[One], Tag("?list"), Field(min_length=1)],
    Discriminator(_slot_kind, custom_error_type="slot", custom_error_message="{SLOT}"),
]


class Use(_Block):
    vad: Slot = None  # type: ignore[assignment]  # not validated, as in When
    turn: Slot = None  # type: ignore[assignment]
    stt: Slot = None  # type: ignore[assignment]
    agent: Slot = None  # type: ignore[assignment]
    tts: Slot = None  # type: ignore[assignment]
    s2s: Slot = None  # type: ignore[assignment]


class Limits(_Block):
    sessions: int = Field(default=None, ge=1, le=10_000_000)  # type: ignore[assignment]


class Default(_Block):
    """The route of last resort: no name, no conditions."""

    use: Use
    session: dict[str, Any] = {}
    limits: Limits = Limits()
    isolation: Literal["packed", "dedicated"] = "packed"
    residency: Names = []
    needs: list[Ability] = []
    tools: ToolNames = []


class Route(Default):
    name: Name
    when: When = When()


T = TypeVar("T")

_KEYS: tuple[tuple[tuple[str, ...], type], ...] = (
    ((), Top),
    (("providers", "*"), Provider),
    (("providers", "*", "endpoints", "*"), EndpointBlock),
    (("providers", "*", "capacity"), CapacityBlock),
    (("tools", "*"), Tool),
    (("webhooks",), Webhooks),
    (("pools", "*"), Pool),
    (("prices", "*"), Price),
    (("hosts",), Hosts),
    (("records",), Records),
    (("startup",), Startup),
    (("routes", "*"), Route),
    (("routes", "*", "when"), When),
    (("routes", "*", "when", "bucket"), Bucket),
    (("default",), Default),
)
_SESSION: dict[tuple[str, ...], type] = {
    (): SessionSettings,
    ("endpointing",): Endpointing,
    ("barge_in",): BargeIn,
    ("vad",): Vad,
    ("silence",): Silence,
}
_WORDS = {
    "missing": "is missing",
    "string_type": "is no text; write it in quotes if text is meant",
    "bool_type": "is neither true nor false",
    "bool_parsing": "is neither true nor false",
    "int_type": "is no whole number",
    "int_from_float": "is no whole number",
    "float_type": "is no number",
    "dict_type": "is no mapping (`key: value`)",
    "model_type": "is no mapping (`key: value`)",
    "model_attributes_type": "is no mapping (`key: value`)",
    "dataclass_type": "is no mapping (`key: value`)",
    "list_type": "is no list",
    "one": "is neither a provider's name nor {provider: NAME, with: {...}}",
    "slot": "is neither a provider's name, {provider: NAME, with: {...}}, {split: {NAME: WEIGHT}, ...} nor a list",
}


_ADAPTERS: dict[type, TypeAdapter[Any]] = {}
"""By kind: making one for SessionSettings takes 5 ms."""


def checked(kind: type[T], data: object, at: Path, problems: Problems) -> T | None:
    """`data` as a `kind`; None where it is not, with a problem for each reason. `at` is where it stands."""
    try:
        adapter = _ADAPTERS.get(kind)
        if adapter is None:
            adapter = _ADAPTERS[kind] = TypeAdapter(kind)
        valid: T = adapter.validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        for found in error.errors(include_url=False, include_context=True, include_input=False):
            path = (*at, *_inside(data, found["loc"]))
            problems.error(path, _detail(found, path))
        return None
    return valid


def _inside(data: object, loc: tuple[int | str, ...]) -> Path:
    """pydantic's place as a path of the file: without tags of unions and indices of lists that were single values."""
    path: list[int | str] = []
    for number, step in enumerate(loc):
        in_mapping = isinstance(data, dict) and step in data
        in_list = isinstance(data, list) and isinstance(step, int) and step < len(data)
        if in_mapping or in_list:
            data = data[step]  # type: ignore[index]
        elif number + 1 < len(loc) or not isinstance(data, dict) or not _is_key(step):
            continue
        path.append(step)
    return tuple(path)


def _is_key(step: int | str) -> bool:
    """False for an index, for the tag of a union and for pydantic's mark of a mapping's key."""
    return isinstance(step, str) and not step.startswith(("?", "["))


def _detail(found: ErrorDetails, path: Path) -> str:
    kind = found["type"]
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        name = str(path[-1])
        return f"unknown key `{name}`: this version does not enforce it{nearest(name, _known_keys(path[:-1]))}"
    if kind == "string_pattern_mismatch" and found.get("ctx", {}).get("pattern") == NAME:
        return "is no name: 1 to 64 of A-Z a-z 0-9 . _ - that begin with a letter or digit are taken"
    if kind in _WORDS:
        return _WORDS[kind]
    message = found["msg"]
    return re.sub(r"^Input should be", "should be", message)[:200]


def _known_keys(block: Path) -> list[str]:
    """The keys that the block at this path may have; empty where it is not known."""
    steps = tuple(str(s) for s in block)
    for session_at in range(len(steps)):
        if steps[session_at] == "session" and (session_at == 0 or steps[0] in ("routes", "default")):
            kind = _SESSION.get(steps[session_at + 1 :])
            return list(kind.__dataclass_fields__) if kind else []  # type: ignore[attr-defined]
    if "use" in steps:
        inside = steps[steps.index("use") + 1 :]
        kinds: dict[int, type[BaseModel]] = {0: Use}
        model: type[BaseModel] = kinds.get(len(inside), UseOne)
        return sorted({*_names(model), *(_names(Split) if len(inside) == 1 else ())})
    if steps[-1:] == ("limits",):
        return _names(Limits)
    for pattern, kind in _KEYS:
        if len(pattern) == len(steps) and all(p in ("*", s) for p, s in zip(pattern, steps, strict=True)):
            return _names(kind)
    return []


def _names(model: type) -> list[str]:
    if not issubclass(model, BaseModel):
        return list(model.__dataclass_fields__)  # type: ignore[attr-defined]
    return [field.alias or name for name, field in model.model_fields.items()]
