"""The tools of a configuration: entries checked, webhooks held to the allow-list, functions asked for their shape.

A name in a route's `tools` means the entry of `tools` by that name, else the action of a session by that name
(`hang_up`, `transfer`, `send_dtmf`, `set_language`). What is wrong goes to `Problems`.

A webhook's host must be listed, whole or as `*.domain`: under `webhooks.hosts` if it is a public one, under
`private_hosts` if it may be one of ours. The list is looked at here, what a name resolves to when the tool is called.

Source   faults, S15 (requests to addresses of the caller's choice); RFC 6761 (`localhost`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from router import schema
from router.catalog import Functions
from router.errors import ConfigError
from router.problem import Path, Problems, nearest
from router.tools import ACTIONS, ToolSpec

__all__ = ["SCHEMA_MAX_CHARS", "TOOLS_MAX", "ToolBook", "is_loopback"]

TOOLS_MAX = 64
"""Of one route: they travel with every request to a model, and models get lost among more."""
SCHEMA_MAX_CHARS = 16_384
_NO_ARGUMENTS: Mapping[str, Any] = {"type": "object", "properties": {}}


class ToolBook:
    """Every tool that the file declares, by its name."""

    def __init__(
        self,
        blocks: Mapping[str, Any],
        webhooks: Mapping[str, Any],
        problems: Problems,
        secret: Callable[[str, Path], None],
        functions: Functions | None,
    ) -> None:
        self.specs: dict[str, ToolSpec] = {}
        self.used: set[str] = set()
        self.entries = frozenset(blocks)
        self._problems, self._secret, self._functions = problems, secret, functions
        self._webhooks = schema.checked(schema.Webhooks, webhooks, ("webhooks",), problems) or schema.Webhooks()
        for name, data in blocks.items():
            at: Path = ("tools", name)
            schema.checked(schema.ToolName, name, at, problems)
            block = schema.checked(schema.Tool, data, at, problems)
            if name in ACTIONS:
                problems.error(at, f"`{name}` is an action of every session; choose another name")
            elif block is not None:
                self.specs[name] = self._spec(name, block, at)

    def offered(self, names: Sequence[str], at: Path) -> tuple[ToolSpec, ...]:
        """The tools that a route names, in its order."""
        found: dict[str, ToolSpec] = {}
        for number, name in enumerate(names):
            self.used.add(name)
            spec = self.specs.get(name) or ACTIONS.get(name)
            if name in found:
                self._problems.error((*at, number), f"`{name}` is named twice")
            elif spec is not None:
                found[name] = spec
            elif name not in self.entries:
                known = nearest(name, [*self.entries, *ACTIONS])
                self._problems.error((*at, number), f"unknown tool `{name}`{known}")
        if len(found) > TOOLS_MAX:
            self._problems.error(at, f"{len(found)} tools; at most {TOOLS_MAX} are taken")
        return tuple(found.values())

    def _spec(self, name: str, block: schema.Tool, at: Path) -> ToolSpec:
        if (block.python is None) == (block.url is None):
            self._problems.error(at, "a tool has either `python: module:function` or `url: https://...`")
        description, arguments = block.description, block.schema_
        if block.python is not None:
            description, arguments = self._function(block.python, description, arguments, at)
        private = block.url is not None and self._url(block.url, (*at, "url"))
        self._signing(block, at)
        if arguments is not None:
            self._arguments(arguments, (*at, "schema"))
        if not description:
            self._problems.error(at, "has no `description`: the model would not know when to call it")
        return ToolSpec(
            name=name,
            description=description or "",
            schema=dict(_NO_ARGUMENTS) if arguments is None else arguments,
            python=block.python,
            url=block.url,
            secret=block.secret,
            private=private,
            deadline_s=block.deadline_s,
            result_max_chars=block.result_max_chars,
            idempotent=block.idempotent,
        )

    def _function(
        self, where: str, description: str | None, arguments: dict[str, Any] | None, at: Path
    ) -> tuple[str | None, dict[str, Any] | None]:
        """What the function says of itself, under what the file says of it."""
        if self._functions is None:
            if arguments is None:
                self._problems.error(at, "a function cannot be looked at here; give its `schema`")
            return description, arguments
        try:
            shape = self._functions(where)
        except ConfigError as error:
            self._problems.error((*at, "python"), "; ".join(error.problems))
            return description or "unknown", arguments
        return description or shape.description, shape.schema if arguments is None else arguments

    def _signing(self, block: schema.Tool, at: Path) -> None:
        if block.secret is not None and block.url is None:
            self._problems.error((*at, "secret"), "only requests of webhooks are signed; a function finds its own")
        elif block.secret is not None:
            self._secret(block.secret, (*at, "secret"))
        elif block.url is not None:
            self._problems.error(at, "a webhook's requests are signed; give the key as `secret: env:NAME`")

    def _url(self, url: str, at: Path) -> bool:
        """Whether the host is one of ours. Every reason why the address does not hold is told."""
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").rstrip("."), parts.port
        except ValueError:
            host, port, parts = "", None, urlsplit("")
        if parts.scheme not in ("https", "http") or not host or port == 0 or not url.isprintable() or " " in url:
            self._problems.error(at, "is no address as https://host/path")
        elif "@" in parts.netloc or parts.fragment or "#" in url:
            self._problems.error(at, "is an address with a user, a password or a #; the key goes under `secret`")
        elif parts.scheme == "http" and not is_loopback(host):
            self._problems.error(at, "is not encrypted; http is taken for this machine alone (127.0.0.1)")
        elif _listed(host, self._webhooks.private_hosts):
            return True
        elif not _listed(host, self._webhooks.hosts):
            self._problems.error(at, f"host `{host}` is not in `webhooks.hosts`, the list of those that may be called")
        elif not _is_public(host):
            self._problems.error(at, f"host `{host}` is not public; list it under `webhooks.private_hosts`")
        return False

    def _arguments(self, arguments: Mapping[str, Any], at: Path) -> None:
        if arguments.get("type") != "object":
            self._problems.error(at, "is no JSON schema of an object: arguments have names (`type: object`)")
        elif not isinstance(arguments.get("properties", {}), dict):
            self._problems.error((*at, "properties"), "is no mapping from a name to a schema")
        if len(json.dumps(arguments)) > SCHEMA_MAX_CHARS:
            self._problems.error(at, f"is longer than {SCHEMA_MAX_CHARS} characters")


def _listed(host: str, patterns: Sequence[str]) -> bool:
    host = host.lower()
    return any(host.endswith(p[1:].lower()) if p.startswith("*.") else host == p.lower() for p in patterns)


def is_loopback(host: str) -> bool:
    """True for this machine, by name or by address."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _is_public(host: str) -> bool:
    """False for an address that is not, and for `localhost`; a name is looked up when it is called."""
    try:
        return ip_address(host).is_global
    except ValueError:
        return host.lower() != "localhost" and not host.lower().endswith(".localhost")
