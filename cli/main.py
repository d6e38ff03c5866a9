"""`patchbay`: the command line.

    call FILE.wav     make a call from a file          up         start a cluster and stay
    check FILE        every problem of a configuration  pools      what is running, by region
     ... --live       and whether every provider serves
    explain           why a caller gets its route       sessions   who is being served
    scale             more or fewer actors of a provider

Every error ends as one clear line (or one for each problem) on standard error and exit status 2; an interrupted
command ends with 130. Ray is imported only by the commands that need it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from cli import asking, configuration, console, context
from cli.calling import CallRequest, make_call
from cli.live import check_live
from router.errors import PatchbayError

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="A voice session router on Ray."
)

Tenant = Annotated[str, typer.Option(help="Whose call it is.")]
Region = Annotated[str, typer.Option(help="Where the caller is.")]
Features = Annotated[list[str] | None, typer.Option("--feature", help="NAME or NAME=false; may be given again.")]
Attributes = Annotated[list[str] | None, typer.Option("--attribute", help="KEY=VALUE; may be given again.")]
Config = Annotated[Path | None, typer.Option(help="Routes (YAML); without it, everything offline and an echo.")]
Address = Annotated[str | None, typer.Option(help="A running cluster: auto, or host:port of its head.")]
Running = Annotated[str, typer.Option(help="The cluster: auto, or host:port of its head.")]
SessionId = Annotated[str | None, typer.Option(help="Unique for ever; made up if not given.")]
Json = Annotated[bool, typer.Option("--json", help="For programs: JSON on standard output, nothing else there.")]


@app.command()
def call(
    file: Annotated[Path, typer.Argument(help="What the caller says: a WAV file.")],
    tenant: Tenant = "demo",
    region: Region = "default",
    feature: Features = None,
    attribute: Attributes = None,
    config: Config = None,
    address: Address = None,
    session_id: SessionId = None,
    json: Json = False,
    out: Annotated[Path | None, typer.Option(help="Stereo WAV: left what was said, right what was heard.")] = None,
    picture: Annotated[Path | None, typer.Option(help="The call on one time axis: .svg or .png.")] = None,
    full_duplex: Annotated[bool, typer.Option("--full-duplex", help="The file goes on as recorded.")] = False,
    fast: Annotated[bool, typer.Option("--fast", help="Lock-step: same turns, no waiting, no latencies.")] = False,
) -> None:
    """Make a call from a WAV file, at the speed of speech; the file is held while the agent speaks."""
    ctx = context.context(session_id or made_up_id(), tenant, region, feature or (), attribute or ())
    request = CallRequest(
        file=file,
        ctx=ctx,
        config=config,
        address=address,
        json=json,
        out=out,
        picture=picture,
        full_duplex=full_duplex,
        fast=fast,
    )
    asyncio.run(make_call(request))


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="Routes (YAML).")],
    live: Annotated[
        bool, typer.Option("--live", help="Then try every provider: connect, authenticate, a word.")
    ] = False,
    provider: Annotated[list[str] | None, typer.Option(help="With --live: only this one; may be given again.")] = None,
    json: Json = False,
) -> None:
    """Print every problem of a configuration with file and line; exit status 2 if one is an error.

    With --live it also tries every provider, with each credential and address; exit status 1 if one does not serve.
    """
    if live:
        raise typer.Exit(check_live(configuration.read(file), provider or (), json=json))
    if json or provider:
        raise typer.BadParameter("--json and --provider go with --live")
    loaded = configuration.read(file).check()
    for problem in loaded.problems:
        print(f"{problem.severity}: {problem}")
    if loaded.table is None:
        raise typer.Exit(2)
    table = loaded.table
    default = "and a default route" if table.default is not None else "and no default route"
    print(f"{file}: {len(table.routes)} routes {default}, {len(table.providers)} providers, version {table.version}")


@app.command()
def explain(
    tenant: Tenant = "demo",
    region: Region = "default",
    feature: Features = None,
    attribute: Attributes = None,
    config: Config = None,
    address: Address = None,
    session_id: SessionId = None,
    json: Json = False,
) -> None:
    """Say which route a caller would take and why every other one would not."""
    ctx = context.context(session_id or "explain", tenant, region, feature or (), attribute or ())
    asking.explain(ctx, configuration.read(config), address, json=json)


@app.command()
def up(config: Config = None) -> None:
    """Start an embedded cluster and stay until interrupted; other commands reach it with --address auto."""
    asking.up(configuration.read(config))


@app.command()
def pools(address: Running = "auto", json: Json = False) -> None:
    """List the pools of a running cluster: provider, credential owner, region, actors, streams."""
    asking.pools(address, json=json)


@app.command()
def sessions(address: Running = "auto", json: Json = False) -> None:
    """List the sessions of a running cluster."""
    asking.sessions(address, json=json)


@app.command()
def scale(
    region: str,
    provider: str,
    replicas: Annotated[int, typer.Argument(min=0)],
    address: Running = "auto",
    json: Json = False,
) -> None:
    """Set how many actors of PROVIDER run in REGION, between the pool's min and max."""
    asking.scale(address, region, provider, replicas, json=json)


def made_up_id() -> str:
    """Unique enough for a session typed by hand: 64 random bits."""
    return f"call-{os.urandom(8).hex()}"


def main(program: typer.Typer = app) -> None:
    """Run `program`: whatever goes wrong is one clear line and exit status 2."""
    try:
        sys.exit(program(standalone_mode=False) or 0)  # `typer.Exit` comes back as its status
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except BrokenPipeError:  # `patchbay sessions | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(0)
    except Exception as error:
        lines = explained(error)
        if lines is None:
            raise
        for line in filter(None, lines):  # without arguments the help was all that there is to say
            console.notes().print(f"patchbay: {line}", markup=False, style="red")
        sys.exit(2)


def explained(error: BaseException) -> list[str] | None:
    """What to say about `error`; None for a bug, which deserves its traceback.

    Ray wraps what an actor raised and keeps it as `cause`; a task group keeps the first of several.
    """
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    cause = getattr(error, "cause", None)
    if isinstance(cause, BaseException):
        error = cause
    if isinstance(error, PatchbayError):
        return str(error).splitlines() or [type(error).__name__]
    shown = getattr(error, "format_message", None)  # what the option parser raises
    if callable(shown):
        return [str(shown())]
    if isinstance(error, OSError):
        return [f"{error.filename}: {error.strerror}" if error.filename else str(error)]
    return None


if __name__ == "__main__":
    main()
