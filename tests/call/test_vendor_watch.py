"""A vendor that owes something and is silent has stalled; one that owes nothing has not."""

from __future__ import annotations

import asyncio

from actors.providers.vendor_watch import StallWatch
from tests.simulation import simulate


def _stalls(steps: list[tuple[float, str]], limit_s: float = 5.0, until_s: float = 100.0) -> list[float]:
    """When it was said to have stalled, after these calls at these times."""

    async def scene() -> list[float]:
        loop, told = asyncio.get_running_loop(), []
        watch = StallWatch(limit_s, lambda: told.append(loop.time()))
        for at_s, call in steps:
            await asyncio.sleep(at_s - loop.time())
            getattr(watch, call)()
        await asyncio.sleep(until_s - loop.time())
        assert watch.owed is False
        watch.close()
        return told

    return simulate(scene())


def test_silence_is_no_stall() -> None:
    assert _stalls([]) == []
    assert _stalls([(1.0, "heard")]) == []


def test_what_is_owed_and_does_not_come_is_told_once() -> None:
    assert _stalls([(1.0, "owe")]) == [6.0]
    assert _stalls([(1.0, "owe"), (4.0, "owe")]) == [6.0]  # counted from the first


def test_a_sign_of_life_starts_the_time_again() -> None:
    assert _stalls([(1.0, "owe"), (4.0, "heard"), (8.0, "heard")]) == [13.0]
    assert _stalls([(1.0, "owe"), (4.0, "settle"), (7.0, "owe"), (11.0, "settle")]) == []
    assert _stalls([(1.0, "owe"), (2.0, "settle"), (3.0, "owe")]) == [8.0]


def test_closed_it_tells_nothing() -> None:
    assert _stalls([(1.0, "owe"), (2.0, "close")]) == []
