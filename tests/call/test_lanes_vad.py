"""As `test_lanes.py`, of sessions whose voice detector is an actor: its verdicts come late, and as a batch.

The same calls, with detectors that answer after some ticks, that are mute for seconds, that are replaced in mid-call
and whose link is lost, once with everything in batches and once one by one.
"""

from __future__ import annotations

import asyncio
import random
from array import array
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from actors import wire
from actors.lanes import MANY, Lanes
from actors.link_port import LinkPort, _Peer
from actors.providers import interface as pi
from actors.stream_rows import WINDOW_MAX, StreamRows
from router.plan import Candidate, RoutePlan
from tests.call import test_lanes as inline
from tests.call.test_lanes import FRAME, LOUD, SOFT, Caller, Ears
from tests.simulation import simulate

MINE = (1, 2, 3)
"""Streams of callers whose detector is in the host: both kinds stand on one table."""


class Detectors:
    """The actor of one VAD candidate, and the host's link to it: loud is voiced, some ticks later."""

    closed = False

    def __init__(self, ears: Ears) -> None:
        self.ears = ears
        self.peer = _Peer("x:2", lambda peer: None)
        self.peer.link = self  # type: ignore[assignment]
        self.given: dict[str, list[tuple[int, int]]] = {}
        self.owed: list[tuple[int, int, bool]] = []
        self.frames_of: Counter[int] = Counter()
        self.sessions: dict[int, str] = {}

    def open(self, lease: wire.Lease, spec: pi.StreamSpec, sink: Any, provider: str) -> LinkPort:
        op = wire.OpenStream(
            epoch=spec.epoch, lease_id="", session_id=spec.session_id, tenant_id="t", rate_hz=spec.rate_hz,
            pos=spec.pos, options={},
        )  # fmt: skip
        stream = self.peer.number()
        self.sessions[stream] = spec.session_id
        port = self.peer.ports[stream] = LinkPort(provider, self.peer, stream, spec, op, sink)
        if self.peer.link is not None:
            self._begin(port)
        return port

    def _begin(self, port: LinkPort) -> None:
        port.begin(self)  # type: ignore[arg-type]
        asyncio.get_running_loop().call_soon(port.hear, pi.Ready())

    def dialled(self) -> None:
        """The link is there, as if it had taken its time."""
        self.peer.link = self  # type: ignore[assignment]
        for port in self.peer.ports.values():
            self._begin(port)

    def send(self, stream: int, op: Any) -> None: ...

    def send_audio(self, stream: int, gen: int, seq: int, pos: int, pcm: bytes) -> None:
        self.frames_of[stream] += 1
        assert len(pcm) == 2 * FRAME
        self.given.setdefault(self.sessions[stream], []).append((pos, seq))
        self.owed.append((stream, pos + FRAME, bytes(pcm[2:]) == LOUD[2:]))

    def send_audio_block(self, columns: np.ndarray[Any, Any], pcm: bytes) -> None:
        at = 0
        for stream, gen, seq, pos, n in columns.T.tolist():
            self.send_audio(stream, gen, seq, pos, pcm[at : at + n])
            at += n

    def tell(self, rows: list[tuple[int, int, bool]], *, apart: bool) -> None:
        for some in [[row] for row in rows] if apart else [rows] if rows else []:
            streams = memoryview(array("I", [r[0] for r in some]))
            poss = memoryview(array("I", [r[1] for r in some]))
            self.peer.on_bits(self, streams, poss, bytes(r[2] for r in some))  # type: ignore[arg-type]


class Links(Ears):
    """Ears and the detectors of two candidates."""

    def __init__(self) -> None:
        super().__init__()
        self.vads = [Detectors(self), Detectors(self)]

    def open(self, lease: wire.Lease, spec: pi.StreamSpec, sink: Any, *, provider: str, ack_ms: int = 0) -> LinkPort:
        if lease.stage == "vad":
            return self.vads[lease.candidate].open(lease, spec, sink, provider)
        return super().open(lease, spec, sink, provider=provider, ack_ms=ack_ms)


def plan(stream: int) -> RoutePlan:
    made = inline.plan()
    if stream in MINE:
        return made
    vads = tuple(Candidate(stage="vad", provider=f"vad-{i}", type="fake-vad", placement="actor") for i in (0, 1))
    return replace(made, stages={**made.stages, "vad": vads})


class Scene(inline.Scene):
    def __init__(self, n: int, clock: Any) -> None:
        super().__init__(n, clock)
        self.ears = self.links = Links()
        self.ears.link = self.ears

    def plan_of(self, stream: int) -> RoutePlan:
        return plan(stream)

    def leases_of(self, stream: int) -> tuple[wire.Lease, ...]:
        leases = super().leases_of(stream)
        if stream in MINE:
            return leases
        return leases + tuple(
            wire.Lease(lease_id=f"v{stream}-{i}", stage="vad", candidate=i, address="x:2", actor=f"vad-{i}")
            for i in (0, 1)
        )

    def end_of(self, stream: int) -> tuple[Any, ...]:
        """Every position of a session."""
        seat = self.host._seats.get(f"s{stream}")
        if seat is None:
            return ()
        session = seat.session
        session._sync()
        listening, slot = session.listening, session.slots["vad"]
        gate, port = listening.gate, slot.port
        assert listening.vad is not None
        credit = (port.sent, port.accepted, port.epoch) if isinstance(port, LinkPort) else ()
        bits = 0 if gate.speaking else gate.bits
        return (
            session.ear.pos, listening.words.sent, listening.vad.sent, listening.vad.dropped, listening.vad_pos, bits,
            gate.speaking, gate.last_voiced, gate.began, slot.provider, slot.stale, credit, seat.next_sample, seat.seq,
        )  # fmt: skip


def played(seed: int, n: int, ticks: int, *, apart: bool) -> tuple[Scene, dict[str, int], list[tuple[Any, ...]]]:
    """The scene at its end, what went by the table, and the end of each session."""

    async def scene() -> tuple[Scene, dict[str, int], list[tuple[Any, ...]]]:
        made = Scene(n, asyncio.get_running_loop().time)
        await made.open()
        callers = [Caller(s, random.Random(f"{seed}-{s}")) for s in range(1, n + 1)]
        rng = random.Random(f"verdicts-{seed}")
        late: list[tuple[int, int, tuple[int, int, bool]]] = []  # tick, which detectors, verdict
        lag = {(v, stream): rng.randrange(6) for v in (0, 1) for stream in range(1, 4 * n)}
        mute = {(v, rng.randrange(1, n)): (at := rng.randrange(ticks), at + rng.randrange(50, 200)) for v in (0, 0, 1)}
        lost = {0: rng.randrange(ticks // 2, ticks), 1: rng.randrange(ticks // 2, 2 * ticks)}
        faults = {rng.randrange(20, ticks): rng.randrange(1, n) for _ in range(3)}
        gone = {rng.randrange(20, ticks): rng.randrange(4, n + 1)}
        for tick in range(ticks):
            await asyncio.sleep(0.02)
            rows = [row for caller in callers for row in caller.due()]
            first = rng.random() < 0.5
            if first and rows:
                made.give(rows, apart=apart)
            for v, detectors in enumerate(made.links.vads):
                owed, detectors.owed = detectors.owed, []
                for verdict in sorted(owed):
                    silent = mute.get((v, verdict[0]), (0, 0))
                    due = silent[1] if silent[0] <= tick < silent[1] else tick + lag[v, verdict[0]]
                    late.append((due, v, verdict))
                told = [verdict for due, which, verdict in late if which == v and due <= tick]
                late = [row for row in late if row[1] != v or row[0] > tick]
                detectors.tell(told, apart=apart)
                port = detectors.peer.ports.get(faults.get(tick, 0))
                if port is not None:
                    port.hear(pi.Fault(kind="protocol", detail="it fails"))
                if lost[v] == tick:
                    detectors.peer.lose("cut")
            if tick in gone and f"s{gone[tick]}" in made.host._seats:
                made.host._seats[f"s{gone[tick]}"].session.close("ended")
            if not first and rows:
                made.give(rows, apart=apart)
        ends = [made.end_of(stream) for stream in range(1, n + 1)]
        await made.host.stop()
        return made, dict(counted), ends

    counted: Counter[str] = Counter()
    with pytest.MonkeyPatch.context() as patch:
        step, gates = Lanes._pass, Lanes._gates

        def passing(self: Any, link: Any, r: Any, *rest: Any) -> None:
            counted["frames"] += len(r)
            counted["apart"] += int((self.vads.link.of[r] >= 0).sum())
            step(self, link, r, *rest)

        def judging(self: Any, r: Any, *rest: Any) -> None:
            counted["verdicts"] += int((self.vads.link.of[r] >= 0).sum())
            gates(self, r, *rest)

        patch.setattr(Lanes, "_pass", passing)
        patch.setattr(Lanes, "_gates", judging)
        return simulate(scene())


@pytest.mark.parametrize("seed", range(16))
def test_a_call_whose_detector_is_an_actor_is_the_same_whichever_way_it_goes(seed: int) -> None:
    n, ticks = MANY + 6, 400
    whole, table, ends = played(seed, n, ticks, apart=False)
    single, _, single_ends = played(seed, n, ticks, apart=True)
    assert table["frames"] > 0.5 * n * ticks, "most frames took the table, or this compares nothing"
    assert table["apart"] > 0.1 * n * ticks
    assert table["verdicts"] > 0.8 * table["apart"]
    assert ends == single_ends
    for stream in range(1, n + 1):
        assert whole.given(stream) == single.given(stream)
        assert whole.told(stream) == single.told(stream)
    for a, b in zip(whole.links.vads, single.links.vads, strict=True):
        assert a.given == b.given
        assert a.peer.stale == b.peer.stale
        assert a.peer.failed == b.peer.failed == 0


def test_while_the_next_detector_is_dialled_no_call_stands_on_the_table_and_none_ends() -> None:
    async def scene() -> None:
        made = Scene(MANY + len(MINE), asyncio.get_running_loop().time)
        await made.open()

        async def give(ticks: range) -> int:
            for tick in ticks:
                await asyncio.sleep(0.02)
                made.give([(s, tick, tick * FRAME, SOFT) for s in range(1, made.n + 1)], apart=False)
            return sum(seat.session.lane is not None for seat in made.host._seats.values())

        first, second = made.links.vads
        assert await give(range(20)) == made.n
        second.peer.link = None
        first.peer.lose("cut")
        assert await give(range(20, 40)) == len(MINE)
        second.dialled()
        assert await give(range(40, 60)) == made.n
        assert (made.host.failed_sessions, len(made.host._seats)) == (0, made.n)
        await made.host.stop()

    simulate(scene())


def test_a_detector_that_does_not_answer_gets_no_more_than_its_window_from_the_table() -> None:
    async def scene() -> None:
        made = Scene(MANY + len(MINE), asyncio.get_running_loop().time)
        await made.open()
        detectors = made.links.vads[0]
        for tick in range(350):
            await asyncio.sleep(0.02)
            made.give([(s, tick, tick * FRAME, SOFT) for s in range(1, made.n + 1)], apart=False)
        assert list(detectors.frames_of.values()) == [100] * MANY  # 2 s
        dropped = [e for e in made.link.heard[4] if e["type"] == "dropped"]
        assert {e["stage"] for e in dropped} == {"vad"}
        assert not [e for e in made.link.heard[1] if e["type"] == "dropped"]
        detectors.tell(detectors.owed[: MANY * 50], apart=False)
        made.give([(s, 350, 350 * FRAME, SOFT) for s in range(1, made.n + 1)], apart=False)
        assert list(detectors.frames_of.values()) == [150] * MANY, "its credit is back, and the cursor catches up"
        await made.host.stop()

    simulate(scene())


def test_a_session_that_raises_at_a_verdict_ends_alone_and_its_later_verdicts_are_stale(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scene() -> None:
        made = Scene(MANY + len(MINE), asyncio.get_running_loop().time)
        await made.open()
        detectors = made.links.vads[0]
        broken = made.host._seats["s5"].session
        monkeypatch.setattr(broken._listen, "verdict", lambda *a: 1 / 0)
        for tick in range(20):
            await asyncio.sleep(0.02)
            made.give([(s, tick, tick * FRAME, LOUD) for s in range(1, made.n + 1)], apart=False)
        detectors.tell(detectors.owed, apart=False)
        assert "s5" not in made.host._seats
        assert made.host.failed_sessions == 1
        assert detectors.peer.stale == 17, "the third of 20 opened the gate"
        assert detectors.peer.rows.used == MANY - 1
        kinds = {s: [e["type"] for e in made.link.heard[s]] for s in range(1, made.n + 1)}
        assert all("speech.started" in kinds[s] for s in kinds if s != 5)
        await made.host.stop()
        assert detectors.peer.rows.used == 0

    simulate(scene())


def test_rows_of_streams_follow_the_numbers_of_a_link_upwards() -> None:
    rng, rows, known = random.Random(3), StreamRows(), dict[int, int]()
    for number in range(1, 30_000):
        assert rows.put(number, number % 2_000 + 1)
        known[number] = number % 2_000 + 1
        while len(known) > 100:
            gone = rng.choice(list(known)[:50])
            rows.drop(gone)
            del known[gone]
        if number % 500 == 0:
            asked = [*known, *(rng.randrange(2**32) for _ in range(50)), 0, 2**32 - 1]
            assert rows.of(np.array(asked, dtype=np.uint32)).tolist() == [known.get(one, 0) for one in asked]
    assert rows.used == len(known)
    assert len(rows._rows) < 40_000
    assert not rows.put(max(known) + WINDOW_MAX, 1), "too far from the oldest"
    assert rows.put(min(known) - 1, 7), "back on the table, below the window"
    assert rows.of(np.array([min(known) - 1, min(known)], dtype=np.uint32)).tolist() == [7, known[min(known)]]
