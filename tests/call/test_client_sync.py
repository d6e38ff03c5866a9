"""The client for programs without asyncio: the same call from a plain thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

import pytest

from actors import wire
from actors.client import SessionHandle
from actors.events import SessionClosed, SessionOpened
from router.errors import SessionRefused
from tests.call.host_double import PATIENCE_S, Host


@contextmanager
def host_in_a_thread(denied: wire.Denied | None = None) -> Iterator[tuple[Host, SessionHandle]]:
    """A host on a loop of its own, since the test's thread has none."""
    ready: Future[tuple[Host, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def live() -> None:
        host, leave = Host(), asyncio.Event()
        host.accept = lambda attach: denied
        await host.start()
        ready.set_result((host, asyncio.get_running_loop(), leave))
        await leave.wait()
        await host.stop()

    thread = threading.Thread(target=lambda: asyncio.run(live()))
    thread.start()
    host, loop, leave = ready.result(PATIENCE_S)
    try:
        yield host, host.handle()
    finally:
        loop.call_soon_threadsafe(leave.set)
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def test_a_call_without_asyncio() -> None:
    with host_in_a_thread() as (host, handle):
        with handle.connect(mode="file") as call:
            call.send(bytes(640 * 3))
            call.end_input()
            events = list(call)
        assert [type(e) for e in events] == [SessionOpened, SessionClosed]
        assert len(host.legs[0].frames) == 3
    assert not [t.name for t in threading.enumerate() if t.name == "patchbay-call"]


def test_what_connecting_raises_is_raised_in_the_callers_thread() -> None:
    with (
        host_in_a_thread(wire.Denied(kind="draining", detail="closing")) as (_, handle),
        pytest.raises(SessionRefused, match="closing"),
        handle.connect(),
    ):
        pass


def test_a_block_left_by_an_error_hangs_up() -> None:
    with host_in_a_thread() as (host, handle):
        with pytest.raises(ZeroDivisionError), handle.connect():
            1 / 0  # noqa: B018
        assert [op.__struct_config__.tag for op in host.legs[0].ops] in ([], ["close"])
