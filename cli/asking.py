"""The commands that ask or tell a router: explain, up, pools, sessions, scale.

For people a table; with `--json` one JSON value on standard output and nothing else there.
"""

from __future__ import annotations

import asyncio
import json as jsonlib
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

from rich.table import Table

from actors.live_check import LiveResult
from cli import console
from cli.configuration import Configuration
from cli.live import table_of
from cli.progress import Progress
from router.context import RouteContext
from router.explain import explain as explain_locally

__all__ = ["explain", "pools", "scale", "sessions", "up"]

ANSWER_S = 15.0
"""A router answers in milliseconds; one that restarts needs some seconds to adopt what lives."""


def explain(ctx: RouteContext, chosen: Configuration, address: str | None, *, json: bool) -> None:
    """Why this caller gets its route: from the file, or from the cluster's own table (always JSON)."""
    if address is not None:
        _put(console.claim_stdout(), _asked(address, lambda router: router.explain.remote(ctx)))
        return
    explanation = explain_locally(ctx, chosen.check().required())
    print(jsonlib.dumps(explanation.as_dict(), indent=2) if json else explanation.as_text())


def up(chosen: Configuration) -> None:
    """Start a cluster and stay until SIGINT or SIGTERM."""
    chosen.check().required()
    notes = console.notes()
    console.claim_stdout()
    tried: list[LiveResult] = []
    try:
        with Progress(notes) as progress:
            from cluster.connect import address, start, stop

            router = start(chosen.text, chosen.source, progress=progress, live=tried.append)
    finally:
        if tried:
            notes.print(table_of(tried))
    with Progress(notes):
        ready = asyncio.run(_answer(router, lambda r: r.ready.remote(providers=True)))
    for provider, wrong in sorted(ready["providers"].items()):
        notes.print(f"{provider}: {wrong or 'ready'}", markup=False, style="red" if wrong else None)
    where = f"RAY_AUTH_MODE=token RAY_ADDRESS={address()}"  # Ray looks for its token by itself for a found one alone
    said = f"up; patchbay call FILE.wav --address auto; Ctrl-C ends it; where several run: {where}"
    try:
        asyncio.run(_until_told_to_end(lambda: notes.print(said, markup=False, soft_wrap=True)))
    finally:
        stop(router)
    raise KeyboardInterrupt


async def _until_told_to_end(announce: Callable[[], None]) -> None:
    """Announce, then wait for SIGINT or SIGTERM: one that comes while it is being announced counts, too.

    `signal.pause` would sleep through a signal that comes just before it.
    """
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told.set)
    announce()
    await told.wait()


def pools(address: str, *, json: bool) -> None:
    """What runs, by provider, owner and region."""
    stdout = console.claim_stdout()
    rows = _asked(address, lambda router: router.pools.remote())
    if json:
        _put(stdout, rows)
        return
    columns = (
        "stage",
        "provider",
        "owner",
        "region",
        "actors",
        "starting",
        "streams",
        "capacity",
        "min",
        "max",
        "fault",
    )
    _table(stdout, rows, columns)


def sessions(address: str, *, json: bool) -> None:
    """Who is being served."""
    stdout = console.claim_stdout()
    rows = _asked(address, lambda router: router.sessions.remote())
    if json:
        _put(stdout, rows)
        return
    _table(stdout, rows, ("session_id", "tenant_id", "region", "route", "state", "age_s", "host", "providers"))


def scale(address: str, region: str, provider: str, replicas: int, *, json: bool) -> None:
    """Keep at least so many actors of a provider in a region."""
    stdout = console.claim_stdout()
    told = _asked(address, lambda router: router.scale.remote(region, provider, replicas))
    if json:
        _put(stdout, told)
    else:
        console.people(stdout).print(f"{told['region']}/{told['provider']}: {told['replicas']} actors", markup=False)


def _asked(address: str, ask: Callable[[Any], Any]) -> Any:
    from cluster.connect import connect

    return asyncio.run(_answer(connect(address), ask))


async def _answer(router: Any, ask: Callable[[Any], Any]) -> Any:
    async with asyncio.timeout(ANSWER_S):
        return await ask(router)


def _put(stdout: IO[bytes], value: object) -> None:
    stdout.write(jsonlib.dumps(value, default=str).encode() + b"\n")


def _table(stdout: IO[bytes], rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    table = Table(box=None, header_style="bold")
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    console.people(stdout).print(table if rows else "none")


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case dict():
            return " ".join(f"{key}={item}" for key, item in value.items())
        case list() | tuple():
            return str(len(value))
        case _:
            return str(value)
