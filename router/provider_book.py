"""The providers of a configuration: entries checked, types looked up, references to secrets and files resolved.

A name in a route means the entry of `providers` by that name, else the type by that name, which is then a provider
without options of its own. What is wrong goes to `Problems`; a name that is wrong gives None.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from typing import Any

from router import schema
from router.catalog import Catalog, Kind
from router.errors import ConfigError
from router.match import is_glob
from router.plan import Capacity, Placement, Stage
from router.price import Price
from router.problem import Path, Problems, nearest
from router.table import Endpoint, ProviderSpec

__all__ = ["MAX_INSTRUCTIONS", "ProviderBook"]

MAX_INSTRUCTIONS = 65_536
"""Characters of instructions: they travel in every plan, and no model reads more of them with profit."""

_SECRET = re.compile(r"(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)\Z", re.S)
_URL = re.compile(r"(wss?|https?|grpcs?)://[^/\s@?#]+(/[^\s?#]*)?(\?[^\s#]*)?\Z")
_SECRET_WORDS = re.compile(
    r"(^|_)(api_?key|secret|password|passwd|auth_token|access_token|bearer|authorization)$", re.I
)
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+-]{0,127}\Z")
_KNOWN_TYPES = (
    "webrtc",
    "energy",
    "heuristic",
    "silence",
    "pocketsphinx",
    "espeak",
    "echo",
    "script",
    "client",
    "local-realtime",
)
"""Types worth suggesting, where the catalogue has them: those that need no entry."""


def _usual(kind: Kind) -> Placement:
    return "inline" if kind.inline else "actor"


class ProviderBook:
    """Every provider that is named, by its name: `specs` and `kinds`."""

    def __init__(
        self,
        blocks: Mapping[str, Any],
        catalog: Catalog,
        problems: Problems,
        environment: Mapping[str, str] | None,
        read_file: Callable[[str], str] | None,
        prices: Mapping[str, Price],
    ) -> None:
        self.specs: dict[str, ProviderSpec] = {}
        self.kinds: dict[str, Kind] = {}
        self.used: set[str] = set()
        self.entries = frozenset(blocks)
        self._catalog, self._problems = catalog, problems
        self._environment, self._read_file, self._prices = environment, read_file, prices
        self._looked_up: dict[str, Kind | None] = {}
        self._unloadable: set[str] = set()
        for name, block in blocks.items():
            self._entry(name, block, ("providers", name))

    def resolve(self, name: str, stage: Stage, at: Path) -> tuple[ProviderSpec, Kind] | None:
        """The provider `name` for a slot of `stage`; None, with a problem, where it cannot serve there."""
        self.used.add(name)
        spec = self.specs.get(name)
        if spec is None:
            if name in self.entries:
                return None  # its own problem has been told
            kind = self.kind(name, at)
            if kind is None:
                if name not in self._unloadable:
                    self._problems.error(at, f"unknown provider `{name}`{nearest(name, self._names(stage))}")
                return None
            spec = ProviderSpec(
                name=name, stage=kind.stage, type=name, price=self._prices.get(name), placement=_usual(kind)
            )
            if kind.stage == stage:
                self.specs[name], self.kinds[name] = spec, kind
        if spec.stage != stage:
            fitting = ", ".join(sorted(self._names(stage))) or "none yet"
            self._problems.error(
                at, f"`{name}` is a provider of {spec.stage}, not of {stage}; of {stage} are: {fitting}"
            )
            return None
        return spec, self.kinds[name]

    def kind(self, type_: str, at: Path) -> Kind | None:
        """What is known of a type; None where there is none by that name."""
        if type_ not in self._looked_up:
            try:
                self._looked_up[type_] = self._catalog(type_)
            except ConfigError as error:
                self._problems.error(at, f"type `{type_}` cannot be loaded: {error}")
                self._looked_up[type_] = None
                self._unloadable.add(type_)
        return self._looked_up[type_]

    def is_known(self, name: str, at: Path) -> bool:
        return name in self.entries or self.kind(name, at) is not None

    def stage_of(self, name: str, at: Path) -> Stage | None:
        """The stage of an entry, or of the type by that name; None where there is none or it is wrong."""
        if name in self.entries:
            return self.specs[name].stage if name in self.specs else None
        kind = self.kind(name, at)
        return None if kind is None else kind.stage

    def texts(self, options: Mapping[str, Any], at: Path) -> dict[str, Any]:
        """`options` with every `file:PATH` replaced by the text in that file: provider actors run on other nodes."""
        made = dict(options)
        for name, value in options.items():
            if name == "instructions" or (isinstance(value, str) and value.startswith("file:")):
                made[name] = self.text(value, (*at, name))
        return made

    def text(self, value: Any, at: Path) -> Any:
        """The text behind `file:PATH`, bounded; any other value as it is."""
        if not isinstance(value, str):
            return value
        if value.startswith("file:"):
            read = self._read(value.removeprefix("file:"), at)
            value = "" if read is None else read
        if len(value) > MAX_INSTRUCTIONS:
            self._problems.error(at, f"{len(value)} characters; at most {MAX_INSTRUCTIONS} are taken")
        return value

    def _names(self, stage: Stage) -> list[str]:
        known = [t for t in _KNOWN_TYPES if (kind := self._catalog(t)) is not None and kind.stage == stage]
        return [*known, *(n for n, spec in self.specs.items() if spec.stage == stage)]

    def _entry(self, name: str, data: Any, at: Path) -> None:
        if not re.match(schema.NAME, name) or name == "default":
            self._problems.error(at, "is no name for a provider: letters, digits, . _ - are taken, and not `default`")
            return
        block = schema.checked(schema.Provider, data, at, self._problems)
        if block is None:
            return
        kind = self.kind(block.type, (*at, "type"))
        if kind is None:
            if block.type not in self._unloadable:
                known = [t for t in _KNOWN_TYPES if self._catalog(t) is not None]
                self._problems.error((*at, "type"), f"unknown type `{block.type}`{nearest(block.type, known)}")
            return
        if kind.stage != block.stage:
            self._problems.error((*at, "stage"), f"type `{block.type}` is of stage {kind.stage}, not {block.stage}")
            return
        self._secrets(block.secrets, kind, block.options, at)
        self._options(block.options, (*at, "options"))
        self.kinds[name] = kind
        self.specs[name] = ProviderSpec(
            name=name,
            stage=block.stage,
            type=block.type,
            options=self.texts(block.options, (*at, "options")),
            endpoints=self._endpoints(block, (*at, "endpoints")),
            data_region=block.data_region,
            secrets=block.secrets,
            capacity=Capacity(
                streams_per_actor=block.capacity.streams_per_actor, streams_per_key=block.capacity.streams_per_key
            ),
            price=self._prices.get(name),
            placement=self._placement(block, kind, at),
        )

    def _placement(self, block: schema.Provider, kind: Kind, at: Path) -> Placement:
        counts_actors = block.capacity != schema.CapacityBlock()
        if block.placement is None:
            return "actor" if counts_actors else _usual(kind)
        if block.placement == "inline" and not kind.inline:
            self._problems.error(
                (*at, "placement"), f"type `{kind.type}` does not run in the session host: it needs an actor"
            )
        elif block.placement == "inline" and counts_actors:
            self._problems.error((*at, "capacity"), "is of actors, and with `placement: inline` there is none")
        return block.placement

    def _options(self, options: Mapping[str, Any], at: Path) -> None:
        for key in options:
            if _SECRET_WORDS.search(key):
                self._problems.error(
                    (*at, key), "a secret is no option; give it under `secrets` as env:NAME or file:PATH"
                )

    def _secrets(self, secrets: Mapping[str, str], kind: Kind, options: Mapping[str, Any], at: Path) -> None:
        if not secrets and kind.with_options is not None and not kind.check_options(options):
            with contextlib.suppress(ConfigError):  # told where a route uses it
                kind = kind.with_options(options)  # a server of one's own may need none
        if kind.needs_secret and not secrets:
            self._problems.error(at, f'type `{kind.type}` needs a secret; write secrets: {{"*": env:NAME}}')
        for tenant, reference in secrets.items():
            here = (*at, "secrets", tenant)
            if tenant != "*" and not _TENANT.match(tenant):
                self._problems.error(here, 'the key is a tenant by its whole name, or "*" for all others')
            self.secret(reference, here)

    def secret(self, reference: str, at: Path) -> None:
        """Look at a reference to a secret, and, where this process can, at what it refers to."""
        if not _SECRET.match(reference):  # and it is not repeated here
            self._problems.error(at, "a secret is given as env:NAME or file:PATH, never as itself")
        elif reference.startswith("env:") and self._environment is not None:
            if not self._environment.get(reference[4:]):
                self._problems.error(at, f"the environment variable {reference[4:]} is not set")
        elif reference.startswith("file:") and self._read_file is not None:
            held = self._read(reference[5:], at)
            if held is not None and not held.strip():
                self._problems.error(at, f"the file {reference[5:]} is empty")

    def _endpoints(self, block: schema.Provider, at: Path) -> tuple[tuple[str, Endpoint], ...]:
        for pattern, endpoint in block.endpoints.items():
            if not _URL.match(endpoint.url):
                self._problems.error(
                    (*at, pattern), "is no address as wss://host/path or https://host/path (without user, password, #)"
                )
        # Names, then globs by their fixed characters; Python's sort keeps the order of the file among equals.
        ordered = sorted(block.endpoints.items(), key=lambda e: (is_glob(e[0]), -len(re.sub(r"[*?]", "", e[0]))))
        return tuple((pattern, Endpoint(e.url, e.data_region)) for pattern, e in ordered)

    def _read(self, path: str, at: Path) -> str | None:
        if self._read_file is None:
            self._problems.error(at, f"file:{path} cannot be read here; write the text itself")
            return None
        try:
            return self._read_file(path)
        except OSError as error:
            self._problems.error(at, f"file:{path} cannot be read: {error.strerror or 'no such file'}")
        except UnicodeError:
            self._problems.error(at, f"file:{path} is no UTF-8 text")
        return None
