"""`patchbay call`, from its options to the recording: open a session, run the call, keep what happened.

With no cluster named, an embedded one is started: router, host and providers come up at the same time, progress goes
to standard error, and the caller's first frame is taken within ten seconds (measured: see the README).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli import audiofile, configuration, console, picture
from cli.calllog import CallLog
from cli.progress import Progress
from cli.run import Style, run
from cli.show import JsonLines, Transcript, route_line
from router.context import RouteContext
from router.errors import AudioError, ConfigError

__all__ = ["CallRequest", "make_call"]


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


async def make_call(request: CallRequest) -> CallLog:
    """Make the call; leaves recording and picture also of a call that failed or was interrupted."""
    samples, audio = audiofile.read(request.file)
    _check_names(request)
    stdout = console.claim_stdout()
    notes = console.notes()
    with Progress(notes) as progress:
        router = await _router(request, progress)
        progress("opening the session")
        handle = await router.open.remote(request.ctx)
        progress("waiting for the first frame to be taken")
        style = Style(full_duplex=request.full_duplex, lockstep=request.fast)
        title = f"{handle.tenant_id}, {request.ctx.region}: route {handle.route}"
        log = CallLog(audio.rate_hz, title=title, timed=not request.fast)
        show: JsonLines | Transcript
        if request.json:
            show = JsonLines(stdout, timed=log.timed)
        else:
            notes.print(route_line(handle), markup=False)
            show = Transcript(console.people(stdout), timed=log.timed)
        try:
            with show:
                await run(handle, samples, audio, style, show, log, taken=progress.done)
        finally:
            keep(log, request.out, request.picture)
    return log


def keep(log: CallLog, out: Path | None, page: Path | None) -> None:
    """Write what was asked for. Raises AudioError."""
    if out is not None:
        audiofile.write_stereo(out, log)
    if page is not None:
        picture.save(page, log)


def _check_names(request: CallRequest) -> None:
    """What would fail after the call fails before it."""
    if request.picture is not None:
        picture.check_name(request.picture)
    if request.out is not None and request.out.resolve() == request.file.resolve():
        raise AudioError("file", f"{request.out}: the recording would overwrite what is being played")
    if request.config is not None and request.address is not None:
        raise ConfigError(("--config is for an embedded cluster; the one at --address has its own",))


async def _router(request: CallRequest, progress: Progress) -> Any:
    """The router of the cluster at `address`, or of an embedded one. Ray's start blocks, so it has a thread."""
    if request.address is not None:
        from cluster.connect import connect

        progress(f"connecting to {request.address}")
        return await asyncio.to_thread(connect, request.address)
    chosen = configuration.read(request.config)
    chosen.check().required()  # wrong before Ray is started, not after
    progress("starting an embedded cluster")
    from cluster.connect import start

    return await asyncio.to_thread(start, chosen.text, chosen.source, progress=progress)
