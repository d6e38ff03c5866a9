"""`patchbay call`, from its options to the recording: open a session, run the call, keep what happened.

With no cluster named, an embedded one is started: router, host and providers come up at the same time, progress goes
to standard error, and the caller's first frame is taken within ten seconds (measured: see the README).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from actors.client import SessionHandle
from actors.events import ErrorEvent, SessionClosed
from cli import audiofile, configuration, console, picture
from cli.calllog import CallLog
from cli.progress import Progress
from cli.run import Style, run
from cli.show import JsonLines, Transcript, route_line
from router.context import RouteContext
from router.errors import AudioError, ConfigError, SessionGone

__all__ = ["CallRequest", "keep", "make_call", "router_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRequest:
    """The options of `patchbay call`."""

    file: Path
    ctx: RouteContext
    config: Path | None
    address: str | None
    json: bool
    out: Path | None
    picture: Path | None
    full_duplex: bool
    fast: bool


async def make_call(request: CallRequest) -> None:
    """Make the call; leaves recording and picture also of a call that failed or was interrupted."""
    samples, audio = audiofile.read(request.file)
    _check_names(request)
    stdout = console.claim_stdout()
    with Progress(console.notes()) as progress:
        async with router_of(request.config, request.address, progress) as router:
            progress("opening the session")
            handle = await router.open.remote(request.ctx)
            progress("waiting for the first frame to be taken")
            title = f"{handle.tenant_id}, {request.ctx.region}: route {handle.route}"
            log = CallLog(audio.rate_hz, title=title, timed=not request.fast)
            style = Style(full_duplex=request.full_duplex, lockstep=request.fast)
            try:
                with _show(request, handle, stdout) as show:
                    await run(handle, samples, audio, style, show, log, taken=progress.done)
            finally:
                keep(log, request.out, request.picture)
            _check_end(log, handle.session_id)


def _check_end(log: CallLog, session_id: str) -> None:
    """Raises SessionGone for a call that did not end as a call does, so that the command does not end well either."""
    events = [event for _, event in log.entries]
    closed = next((e for e in reversed(events) if isinstance(e, SessionClosed)), None)
    if closed is not None and closed.reason in ("error", "open_failed", "lost"):
        why = next((f"{e.stage} {e.provider}: {e.detail or e.kind}" for e in events if isinstance(e, ErrorEvent)), "")
        raise SessionGone(session_id, f"the call ended with {closed.reason}{': ' + why if why else ''}")


@asynccontextmanager
async def router_of(config: Path | None, address: str | None, progress: Progress) -> AsyncIterator[Any]:
    """The router of the cluster at `address`, or of an embedded one that ends with the block.

    Ray's start and end block, so they have a thread. Raises ConfigError before Ray is started, ClusterError.
    """
    if address is not None:
        from cluster.connect import connect

        progress(f"connecting to {address}")
        yield await asyncio.to_thread(connect, address)
        return
    chosen = configuration.read(config)
    chosen.check().required()
    progress("starting an embedded cluster")
    from cluster.connect import start, stop

    router = await asyncio.to_thread(start, chosen.text, chosen.source, progress=progress)
    try:
        yield router
    finally:
        await asyncio.to_thread(stop, router)


def keep(log: CallLog, out: Path | None, page: Path | None) -> None:
    """Write what was asked for. Raises AudioError."""
    if out is not None:
        audiofile.write_stereo(out, log)
    if page is not None:
        picture.save(page, log)


def _show(request: CallRequest, handle: SessionHandle, stdout: IO[bytes]) -> JsonLines | Transcript:
    timed = not request.fast
    if request.json:
        return JsonLines(stdout, timed=timed)
    people = console.people(stdout)
    people.print(route_line(handle), markup=False, soft_wrap=True)
    return Transcript(people, timed=timed)


def _check_names(request: CallRequest) -> None:
    """What would fail after the call fails before it."""
    if request.picture is not None:
        picture.check_name(request.picture)
    if request.out is not None and request.out.resolve() == request.file.resolve():
        raise AudioError("file", f"{request.out}: the recording would overwrite what is being played")
    if request.config is not None and request.address is not None:
        raise ConfigError(("--config is for an embedded cluster; the one at --address has its own",))
