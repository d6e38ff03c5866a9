"""Who comes in a burst is seated a few a turn, and whatever else is due goes on between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any, cast

import pytest

from actors import arrivals
from actors.arrivals import SEATING_S, Arrivals
from actors.wire import Attach
from tests.simulation import simulate

Told = list[str]


def _come(
    script: Callable[[Callable[[str, Any], bool], Told], Coroutine[Any, Any, None]], seating_s: float = SEATING_S
) -> Told:
    """`seating_s`: what seating one takes."""
    told: Told = []

    async def scene() -> None:
        def seat(link: Any, *rest: Any) -> None:
            told.append(link.name)
            cast(Any, asyncio.get_running_loop()).now_s += seating_s

        queue = Arrivals(seat)

        def come(name: str, link: Any = None) -> bool:
            link = link or SimpleNamespace(closed=False)
            link.name = name
            return queue.add(link, cast(Any, None), 1, cast(Attach, None))

        await script(come, told)

    simulate(scene())
    return told


def test_others_have_their_turn_between_two_who_came_together() -> None:
    async def script(come: Callable[..., bool], told: Told) -> None:
        loop = asyncio.get_running_loop()

        def frame(left: int) -> None:
            told.append("frame")
            if left > 1:
                loop.call_soon(frame, left - 1)

        loop.call_soon(frame, 3)
        assert all(come(name) for name in "abc")
        assert told == ["a"], "the first waits for nothing"
        for _ in range(5):
            await asyncio.sleep(0)
        come("d")
        assert told[-1] == "d", "nor does one who comes alone"

    told = _come(script)
    assert [name for name in told if name != "frame"] == ["a", "b", "c", "d"]
    assert sorted(told[1:3]) == ["b", "frame"]
    assert sorted(told[3:5]) == ["c", "frame"]


def test_a_second_burst_within_a_turn_does_not_pass_the_first() -> None:
    async def script(come: Callable[..., bool], told: Told) -> None:
        come("a")
        come("b")
        come("c")
        await asyncio.sleep(0)
        come("d")
        assert told == ["a", "b"]
        for _ in range(3):
            await asyncio.sleep(0)

    assert _come(script) == ["a", "b", "c", "d"]


def test_a_few_are_seated_in_a_turn_while_it_has_time() -> None:
    async def script(come: Callable[..., bool], told: Told) -> None:
        for name in "abcde":
            come(name)
        await asyncio.sleep(0)
        assert told == ["a", "b", "c"], "one at once, then two in the turn"
        await asyncio.sleep(0)

    assert _come(script, seating_s=0.6 * SEATING_S) == ["a", "b", "c", "d", "e"]


def test_nobody_is_seated_whose_link_has_gone_meanwhile() -> None:
    async def script(come: Callable[..., bool], told: Told) -> None:
        gone = SimpleNamespace(closed=False)
        come("a")
        come("b", gone)
        come("c")
        gone.closed = True
        for _ in range(4):
            await asyncio.sleep(0)

    assert _come(script) == ["a", "c"]


def test_more_than_the_bound_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "ARRIVALS_MAX", 2)

    async def script(come: Callable[..., bool], told: Told) -> None:
        assert [come(name) for name in "abcd"] == [True, True, True, False]
        for _ in range(4):
            await asyncio.sleep(0)

    assert _come(script) == ["a", "b", "c"]
