"""The configuration, read and checked as a whole before any of it is used.

    load(text, "routes.yaml", catalog) → Loaded(table or None, every problem)

Pure: the environment and the files are given as values. With `environment=None` nothing is said about variables that
are not set; without `read_file`, `file:` references to secrets are not looked at, and instructions from a file are an
error, since the text would be missing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from router import schema
from router.catalog import Catalog, Functions
from router.errors import ConfigError
from router.policy import HostPolicy, PoolPolicy, RecordPolicy, StartupPolicy
from router.price import Price, wrong
from router.problem import Path, Problem, Problems, nearest
from router.provider_book import ProviderBook
from router.reach import unreachable
from router.route_builder import Built, RouteBuilder
from router.table import ProviderSpec, RouteTable
from router.tool_book import ToolBook
from router.yaml_reader import Document, read

__all__ = ["Loaded", "Problem", "load"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """What came of a configuration: a table, or the errors; warnings either way."""

    table: RouteTable | None
    problems: tuple[Problem, ...]
    """In the order of their lines."""

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(p for p in self.problems if p.severity == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return tuple(p for p in self.problems if p.severity == "warning")

    def required(self) -> RouteTable:
        """The table. Raises ConfigError with every error."""
        if self.table is None:
            raise ConfigError(tuple(str(p) for p in self.errors))
        return self.table


def load(
    text: str | bytes,
    source: str,
    catalog: Catalog,
    *,
    environment: Mapping[str, str] | None = None,
    read_file: Callable[[str], str] | None = None,
    functions: Functions | None = None,
) -> Loaded:
    """The table in `text`, or everything that is wrong with it. Raises nothing for what a file can contain.

    `source` is the file's name in messages. `read_file` takes the PATH of `file:PATH` and gives its text, or raises
    OSError or UnicodeError. `functions` looks at the Python functions of `tools`; without it each needs its schema.
    """
    document = read(text, source)
    problems = Problems(source, document.line_of)
    for problem in document.problems:
        problems.add(problem)
    if document.data is None and problems.has_errors:
        return Loaded(None, problems.in_order())
    if not isinstance(document.data, dict):
        problems.error((), "the file is no mapping; it begins with `schema: 1`")
        return Loaded(None, problems.in_order())
    table = _Loading(document, problems, catalog, environment, read_file, functions).table()
    return Loaded(None if problems.has_errors else table, problems.in_order())


class _Loading:
    """One file on its way to a table. Every block is looked at, whatever was wrong with the ones before."""

    def __init__(
        self,
        document: Document,
        problems: Problems,
        catalog: Catalog,
        environment: Mapping[str, str] | None,
        read_file: Callable[[str], str] | None,
        functions: Functions | None,
    ) -> None:
        self._data: dict[str, Any] = document.data
        self._line_of, self._problems = document.line_of, problems
        schema.checked(schema.Top, self._data, (), problems)
        prices = self._prices()
        self._book = ProviderBook(self._block("providers"), catalog, problems, environment, read_file, prices)
        self._check_prices(prices)
        self._tools = ToolBook(self._block("tools"), self._block("webhooks"), problems, self._book.secret, functions)

    def table(self) -> RouteTable | None:
        problems, book = self._problems, self._book
        builder = RouteBuilder(book, self._tools, problems, self._block("session"))
        hosts = schema.checked(schema.Hosts, self._block("hosts"), ("hosts",), problems)
        records = schema.checked(schema.Records, self._block("records"), ("records",), problems)
        startup = schema.checked(schema.Startup, self._block("startup"), ("startup",), problems)
        routes, default = self._routes(builder), self._default(builder)
        pools = self._pools()
        self._reach(routes)
        if problems.has_errors or hosts is None or records is None or startup is None:
            return None
        self._unused()
        host_policy = HostPolicy(max_sessions=hosts.max_sessions, warm=hosts.warm, max=hosts.max)
        record_policy = RecordPolicy(path=records.path)
        content = {
            "providers": {name: _provider_content(spec) for name, spec in book.specs.items()},
            "pools": {name: asdict(pool) for name, pool in pools.items()},
            "routes": [built.content for built in routes],
            "default": default.content if default else None,
            "hosts": asdict(host_policy),
            "records": asdict(record_policy),
        }
        return RouteTable(
            version=_version(content),
            routes=[built.route for built in routes],
            default=default.route if default else None,
            providers=book.specs,
            pools=pools,
            hosts=host_policy,
            records=record_policy,
            startup=StartupPolicy(**startup.model_dump()),
        )

    def _block(self, name: str) -> dict[str, Any]:
        """A block of the file; empty where it is absent, or (which has been told) no mapping."""
        block = self._data.get(name, {})
        return block if isinstance(block, dict) else {}

    def _routes(self, builder: RouteBuilder) -> list[Built]:
        blocks = self._data.get("routes", [])
        if not isinstance(blocks, list):
            return []
        if not blocks and "default" not in self._data:
            self._problems.error(("routes",), "there is no route and no default, so every call would be refused")
        made: list[Built] = []
        names: dict[str, int] = {}
        for number, data in enumerate(blocks):
            at: Path = ("routes", number)
            block = schema.checked(schema.Route, data, at, self._problems)
            if isinstance(data, dict) and isinstance(data.get("name"), str):
                self._name(data["name"], (*at, "name"), names)
            built = builder.build(block, at, self._line_of(at)) if block is not None else None
            if built is not None:
                made.append(built)
        return made

    def _name(self, name: str, at: Path, names: dict[str, int]) -> None:
        if name == "default":
            self._problems.error(at, "`default` is the name of the default route; choose another")
        elif name in names:
            self._problems.error(at, f"a route `{name}` stands in line {names[name]} already; names are unique")
        names.setdefault(name, self._line_of(at))

    def _default(self, builder: RouteBuilder) -> Built | None:
        if not isinstance(self._data.get("default"), dict):
            return None
        block = schema.checked(schema.Default, self._data["default"], ("default",), self._problems)
        return builder.build(block, ("default",), self._line_of(("default",))) if block is not None else None

    def _pools(self) -> dict[str, PoolPolicy]:
        blocks = self._block("pools")
        usual = asdict(PoolPolicy())
        made = {"default": PoolPolicy()}
        for name in sorted(blocks, key=lambda n: n != "default"):
            at: Path = ("pools", name)
            block = schema.checked(schema.Pool, blocks[name], at, self._problems)
            if name != "default" and not self._book.is_known(name, at):
                self._problems.error(at, f"unknown provider `{name}`{nearest(name, self._book.specs)}")
            spec = self._book.specs.get(name)
            if spec is not None and spec.placement == "inline":
                self._problems.error(at, f"`{name}` runs in the session host and has no pool; give it placement: actor")
            if block is None:
                continue
            policy = PoolPolicy(**{**usual, **{k: v for k, v in block.model_dump().items() if v is not None}})
            if policy.min > policy.max:
                self._problems.error(at, f"min {policy.min} is above max {policy.max}")
            if name == "default":
                usual = asdict(policy)
            made[name] = policy
        return made

    def _prices(self) -> dict[str, Price]:
        blocks = ((name, data, ("prices", name)) for name, data in self._block("prices").items())
        made = ((name, schema.checked(Price, data, at, self._problems)) for name, data, at in blocks)
        return {name: price for name, price in made if price is not None}

    def _check_prices(self, prices: dict[str, Price]) -> None:
        for name, price in prices.items():
            at: Path = ("prices", name)
            if not self._book.is_known(name, at):
                self._problems.error(at, f"unknown provider `{name}`{nearest(name, self._book.specs)}")
                continue
            stage = self._book.stage_of(name, at)
            detail = None if stage is None else wrong(price, stage)
            if detail is not None:
                self._problems.error(at, detail)

    def _unused(self) -> None:
        for name in self._book.entries - self._book.used:
            self._problems.warn(("providers", name), "no route uses this provider")
        for name in self._tools.entries - self._tools.used:
            self._problems.warn(("tools", name), "no route offers this tool")

    def _reach(self, routes: list[Built]) -> None:
        found, stopped = unreachable([built.route.conditions for built in routes])
        for position, earlier in found:
            first = routes[earlier].route
            detail = f"no call comes here: `{first.name}` in line {first.line} takes all that this one would"
            self._problems.warn(routes[position].at, detail)
        if stopped is not None:
            self._problems.warn(routes[stopped].at, "from here on, routes were not checked for being reachable")


def _provider_content(spec: ProviderSpec) -> dict[str, Any]:
    return {
        "stage": spec.stage,
        "type": spec.type,
        "options": spec.options,
        "endpoints": [[pattern, e.url, e.data_region] for pattern, e in spec.endpoints],
        "data_region": spec.data_region,
        "secrets": spec.secrets,
        "capacity": asdict(spec.capacity),
        "price": None if spec.price is None else asdict(spec.price),
        "placement": spec.placement,
    }


def _version(content: dict[str, Any]) -> str:
    """16 hexadecimal digits that depend on what the file says and not on how it is written."""
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
