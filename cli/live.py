"""`patchbay check --live`: a row for each provider, credential and address, with what came of it and how long it took.

It runs in this process, without a cluster: what is tried is what a provider actor would do on this machine, with this
environment, from this address. Each word costs what the vendor takes for it.

Exit     0 all serve, 1 one does not, 2 the configuration has an error.
"""

from __future__ import annotations

import asyncio
import json as jsonlib
import sys
from collections.abc import Collection, Sequence

from rich.table import Table
from rich.text import Text

from actors import live_check, logs
from actors.live_check import LiveLimits, LiveResult
from cli import console
from cli.configuration import Configuration
from cli.progress import Progress
from router.errors import ConfigError
from router.readiness import LiveCheck, live_checks
from router.table import RouteTable

__all__ = ["check_live", "table_of"]

_TOO_MANY = 4
"""Routes named in one cell."""


def check_live(chosen: Configuration, providers: Collection[str], *, json: bool) -> int:
    """Try them, print what came of it, and say the exit status. Raises ConfigError."""
    table = chosen.check().required()
    checks = _chosen(table, providers)
    logs.setup()
    with Progress(console.notes()) as progress:
        progress(f"{len(checks)} to try")
        limits, folder = LiveLimits.of(table.startup), str(chosen.folder)
        results = asyncio.run(live_check.run(checks, limits, lambda r: progress(_line(r)), base_dir=folder))
    if json:
        sys.stdout.write(jsonlib.dumps([result.as_dict() for result in results]) + "\n")
    else:
        console.plain().print(table_of(results))
        console.plain().print(_summary(results), markup=False)
    return 0 if all(result.serves for result in results) else 1


def _chosen(table: RouteTable, providers: Collection[str]) -> tuple[LiveCheck, ...]:
    unknown = sorted(set(providers) - set(table.providers))
    if unknown:
        raise ConfigError(
            tuple(f"no provider {n} is configured; there are {', '.join(sorted(table.providers))}" for n in unknown)
        )
    return tuple(c for c in live_checks(table) if not providers or c.provider in providers)


def table_of(results: Sequence[LiveResult]) -> Table:
    """For people."""
    table = Table(box=None, header_style="bold")
    for name in (
        "stage",
        "provider",
        "owner",
        "region",
        "address",
        "routes",
        "outcome",
        "connect",
        "word",
        "total",
        "",
    ):
        table.add_column(name, justify="right" if name in ("connect", "word", "total") else "left", overflow="fold")
    for result in results:
        table.add_row(
            result.stage, result.provider, result.owner, result.region, result.address, _routes(result.routes),
            _outcome(result), _ms(_connect_s(result)), _ms(result.steps_s.get("word")), _ms(result.total_s),
            Text(_detail(result)),
        )  # fmt: skip
    return table


def _connect_s(result: LiveResult) -> float | None:
    """Until a stream was open: the address, the connection, the credential."""
    some = [result.steps_s[step] for step in ("address", "warm", "probe", "open") if step in result.steps_s]
    return sum(some) if some else None


def _outcome(result: LiveResult) -> Text:
    return Text("serves", style="green") if result.kind is None else Text(result.kind, style="bold red")


def _detail(result: LiveResult) -> str:
    tries = f" ({result.attempts} attempts)" if result.attempts > 1 else ""
    return f"{result.detail}{tries}" if result.serves else f"{result.step}: {result.detail}{tries}"


def _routes(names: tuple[str, ...]) -> str:
    more = f" +{len(names) - _TOO_MANY}" if len(names) > _TOO_MANY else ""
    return f"{', '.join(names[:_TOO_MANY])}{more}" if names else "none"


def _ms(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1000:.0f} ms"


def _line(result: LiveResult) -> str:
    return f"{result.provider} ({result.owner}, {result.region}): {result.kind or 'serves'}"


def _summary(results: Sequence[LiveResult]) -> str:
    bad = [result for result in results if not result.serves]
    return f"{len(results) - len(bad)} of {len(results)} serve"
