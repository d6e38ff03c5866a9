"""The table of sessions in step against the long way of a frame: the same calls, whichever way their audio goes.

The same seeded callers (talking, silent, mute for a while, dropping frames, telling some twice, sending some in other
lengths, coming late in heaps) are given to a host in batches that hold all of them, and to another one frame by frame.
What each caller hears, what its ear was given, and all positions at the end have to be the same.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pytest

from actors import wire
from actors.caller_end import CallerEnd
from actors.grant import sign
from actors.lanes import MANY, Lanes
from actors.link_codec import Batch, Splitter, decode_audio
from actors.link_port import LinkPort
from actors.providers import interface as pi
from actors.session import VoiceSession
from actors.session_host import SessionHost
from router.plan import Candidate, RoutePlan
from router.settings import Endpointing, SessionSettings
from tests.simulation import simulate

KEY = b"k" * 32
FRAME = 320
LOUD = (b"\x00\x20" * FRAME)[: 2 * FRAME]
SOFT = bytes(2 * FRAME)


class CallerLink:
    """What a caller hears, by stream."""

    role, peer, closed = "caller", "test", False

    def __init__(self) -> None:
        self.heard: dict[int, list[Any]] = defaultdict(list)
        self.audio: dict[int, list[tuple[int, int, bytes]]] = defaultdict(list)
        self.credit: dict[int, int] = {}

    def admit(self, stream: int) -> bool:
        return True

    def release(self, stream: int) -> None: ...

    def send(self, stream: int, body: Any) -> None: ...

    def send_encoded(self, stream: int, body: bytes) -> None:
        self.heard[stream].append(msgspec.msgpack.decode(body))

    def send_audio(self, stream: int, gen: int, seq: int, pos: int, pcm: bytes) -> None:
        self.audio[stream].append((gen, pos, bytes(pcm)))

    def send_credit(self, stream: int, seq: int) -> None:
        self.credit[stream] = seq

    def owe_credits(self, streams: list[int], seqs: list[int]) -> None:
        self.credit.update(zip(streams, seqs, strict=True))


@dataclass
class Ears:
    """An STT actor's link and all its streams: a final for each `finalize`, credit after five frames."""

    ports: dict[int, LinkPort] = field(default_factory=dict)
    given: dict[int, list[tuple[int, bytes]]] = field(default_factory=lambda: defaultdict(list))
    ops: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    settled: dict[int, int] = field(default_factory=dict)
    credited: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    made: dict[int, LinkPort] = field(default_factory=dict)
    """Every port ever; `ports` those that are open."""
    mute: bool = False
    """It gives no credit."""
    closed = False
    link: Any = None

    def send(self, stream: int, op: Any) -> None:
        self.ops[stream].append(type(op).__name__)
        port = self.ports.get(stream)
        if port is None:
            return
        if isinstance(op, wire.OpenStream):
            self.settled[stream] = op.pos
            asyncio.get_running_loop().call_soon(port.hear, pi.Ready())
        elif isinstance(op, wire.SttFinalize):
            heard = self.settled[stream]
            if op.pos > heard:
                self.settled[stream] = op.pos
                port.hear(pi.Final(utt=op.utt, text="so it is", from_pos=heard, to_pos=op.pos))
            port.hear(pi.Finalized(utt=op.utt, to_pos=op.pos))

    def send_audio(self, stream: int, gen: int, seq: int, pos: int, pcm: bytes) -> None:
        self.given[stream].append((pos, bytes(pcm)))
        if not self.mute and seq - self.credited[stream] >= 5 * FRAME:
            self.credited[stream] = seq
            self.made[stream].credit(seq)

    def flush(self) -> None: ...

    def send_audio_block(self, columns: np.ndarray[Any, Any], pcm: bytes) -> None:
        at = 0
        for stream, gen, seq, pos, n in columns.T.tolist():
            self.send_audio(stream, gen, seq, pos, pcm[at : at + n])
            at += n

    # as `ProviderLinks`, which has one peer: itself
    def open(self, lease: wire.Lease, spec: pi.StreamSpec, sink: Any, *, provider: str, ack_ms: int = 0) -> LinkPort:
        stream = len(self.made) + 1
        op = wire.OpenStream(
            epoch=spec.epoch, lease_id="", session_id=spec.session_id, tenant_id="t", rate_hz=spec.rate_hz,
            pos=spec.pos, options={},
        )  # fmt: skip
        port = LinkPort(provider, self, stream, spec, op, sink)  # type: ignore[arg-type]
        self.ports[stream] = self.made[stream] = port
        port.begin(self)  # type: ignore[arg-type]
        return port

    def soon(self, port: LinkPort, event: Any) -> None: ...

    async def close(self) -> None: ...

    def statistics(self) -> Any: ...


def plan() -> RoutePlan:
    def one(stage: str, type: str, placement: str = "actor") -> tuple[Candidate, ...]:
        return (Candidate(stage=stage, provider=type, type=type, placement=placement),)  # type: ignore[arg-type]

    return RoutePlan(
        route="test", version="v", tenant_id="acme", region="eu", pool_region="eu",
        stages={"vad": one("vad", "fake-vad", "inline"), "turn": one("turn", "silence", "inline"),
                "stt": one("stt", "fake-stt"), "agent": one("agent", "client"),
                "tts": one("tts", "fake-tts", "inline")},
        settings=SessionSettings(endpointing=Endpointing(min_s=0.3, max_s=0.6)),
    )  # fmt: skip


class Scene:
    """A host and `n` callers on one link."""

    def __init__(self, n: int, clock: Any) -> None:
        self.link, self.ears, self.n = CallerLink(), Ears(), n
        self.ears.link = self.ears
        self.host = SessionHost("host-1")
        self.host._key = KEY
        self.end: CallerEnd
        self.clock = clock

    async def open(self) -> None:
        host = self.host
        await host.start("eu", KEY, max_sessions=self.n)
        await host.links.close()
        host.links = self.ears  # type: ignore[assignment]
        self.end = host._ends[self.link] = CallerEnd(host)  # type: ignore[index]
        for stream in range(1, self.n + 1):
            grant = wire.Grant(
                session_id=f"s{stream}", host="host-1", plan=self.plan_of(stream), leases=self.leases_of(stream),
                issued_unix_s=datetime.now(UTC).timestamp(), ttl_s=15.0,
            )  # fmt: skip
            host.attach(self.link, self.end, stream, wire.Attach(token=sign(grant, KEY), mode="live"))  # type: ignore[arg-type]
        for _ in range(self.n + 3):  # one is seated in each turn of the loop, and what it opens answers
            await asyncio.sleep(0)
        assert len(host._seats) == self.n

    def plan_of(self, stream: int) -> RoutePlan:
        return plan()

    def leases_of(self, stream: int) -> tuple[wire.Lease, ...]:
        return (wire.Lease(lease_id=f"l{stream}", stage="stt", candidate=0, address="x:1", actor="ears"),)

    def give(self, rows: list[tuple[int, int, int, bytes]], *, apart: bool) -> None:
        for some in [[row] for row in rows] if apart else [rows]:
            batch = Batch()
            for stream, seq, pos, pcm in some:
                batch.audio(stream, 0, seq, pos, pcm)
            for _, count, view in Splitter(1 << 22).feed(batch.take()):
                self.end.on_audio(self.link, decode_audio(view, count))  # type: ignore[arg-type]

    def told(self, stream: int) -> list[Any]:
        """Everything the caller heard, without the session's own numbering."""
        heard = [{k: v for k, v in e.items() if k not in ("session_id", "stats")} for e in self.link.heard[stream]]
        return [heard, self.link.audio[stream]]

    def given(self, stream: int) -> list[tuple[int, bytes]]:
        port = next(p for p in self.ears.made.values() if p._op.session_id == f"s{stream}")
        return self.ears.given[port.stream]


class Caller:
    """One caller's frames, with its faults, from a seed: `due(tick)` gives what arrives in that tick of 20 ms."""

    def __init__(self, stream: int, rng: random.Random) -> None:
        self.stream, self.rng = stream, rng
        self.seq = self.pos = 0
        self.voiced = False
        self.heap: list[tuple[int, int, int, bytes]] = []
        self.late = self.away = 0

    def due(self) -> list[tuple[int, int, int, bytes]]:
        rng = self.rng
        if self.away:
            self.away -= 1
            return []
        if rng.random() < 0.004:
            self.away = rng.randrange(5, 40)
        if rng.random() < 0.02:
            self.voiced = not self.voiced
        frame = bytearray(LOUD if self.voiced and rng.random() < 0.9 else SOFT)
        frame[0:2] = (self.seq % 200).to_bytes(2, "little")  # each is known again
        if rng.random() < 0.004:
            self.pos += FRAME * rng.randrange(1, 20)  # it let go of some
        if self.stream < 4 and rng.random() < 0.003:  # from then on its frames are not the ear's
            frame = frame[: 2 * rng.randrange(1, FRAME)]
        row = (self.stream, self.seq, self.pos, bytes(frame))
        self.seq += 1
        self.pos += len(frame) // 2
        rows = [row, row] if rng.random() < 0.005 else [row]
        self.heap += rows
        if self.late:
            self.late -= 1
            return []
        if rng.random() < 0.01:
            self.late = rng.randrange(1, 8)
        heap, self.heap = self.heap, []
        return heap


def played(seed: int, n: int, ticks: int, *, apart: bool) -> tuple[Scene, int]:
    async def scene() -> tuple[Scene, int]:
        loop = asyncio.get_running_loop()
        made = Scene(n, loop.time)
        await made.open()
        callers = [Caller(s, random.Random(f"{seed}-{s}")) for s in range(1, n + 1)]
        stepped = 0
        before = Lanes._pass

        def counting(self: Any, link: Any, r: Any, *rest: Any) -> None:
            nonlocal stepped
            stepped += len(r)
            before(self, link, r, *rest)

        Lanes._pass = counting  # type: ignore[method-assign]
        try:
            for _ in range(ticks):
                await asyncio.sleep(0.02)
                rows = [row for caller in callers for row in caller.due()]
                if rows:
                    made.give(rows, apart=apart)
        finally:
            Lanes._pass = before  # type: ignore[method-assign]
        for seat in made.host._seats.values():
            seat.session._sync()
        await made.host.stop()
        return made, stepped

    return simulate(scene())


@pytest.mark.parametrize("seed", range(12))
def test_a_call_is_the_same_whichever_way_its_frames_go(seed: int) -> None:
    n, ticks = MANY + 4, 400
    whole, by_table = played(seed, n, ticks, apart=False)
    single, _ = played(seed, n, ticks, apart=True)
    assert by_table > 0.6 * n * ticks, "most frames took the table, or this compares nothing"
    for stream in range(1, n + 1):
        assert whole.given(stream) == single.given(stream)
        assert whole.told(stream) == single.told(stream)


def test_an_ear_without_credit_gets_no_more_than_its_window_from_the_table() -> None:
    async def scene() -> None:
        made = Scene(MANY, asyncio.get_running_loop().time)
        await made.open()
        made.ears.mute = True
        for tick in range(350):
            await asyncio.sleep(0.02)
            made.give([(s, tick, tick * FRAME, SOFT) for s in range(1, MANY + 1)], apart=False)
        assert [len(made.given(s)) for s in range(1, MANY + 1)] == [100] * MANY  # 2 s
        dropped = [e for e in made.link.heard[1] if e["type"] == "dropped"]
        assert dropped
        assert dropped[0]["stage"] == "stt"
        await made.host.stop()

    simulate(scene())


def test_what_a_stage_says_in_one_turn_of_the_loop_is_followed_by_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        made = Scene(2, asyncio.get_running_loop().time)
        await made.open()
        await asyncio.sleep(0.1)
        steps: list[str] = []
        step = VoiceSession.step
        monkeypatch.setattr(VoiceSession, "step", lambda self: (steps.append(self.session_id), step(self)))
        first, second = made.ears.made[1], made.ears.made[2]
        for word in ("so", "so it", "so it is"):
            first.hear(pi.Partial(utt=1, text=word))
        second.hear(pi.Partial(utt=1, text="no"))
        assert steps == []
        made.host._seats["s2"].session.close("drained")
        await asyncio.sleep(0)
        assert steps[:2] == ["s1", "s2"]  # of the closed one nothing is done
        assert steps.count("s1") == 1
        assert [e["text"] for e in made.link.heard[1] if e["type"] == "transcript.partial"] == [
            "so",
            "so it",
            "so it is",
        ]
        assert made.host.failed_sessions == 0
        await made.host.stop()

    simulate(scene())


def test_a_session_that_raises_ends_alone_and_its_row_serves_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        made = Scene(MANY, asyncio.get_running_loop().time)
        await made.open()
        spare = len(made.host.lanes._spare)

        def frames(tick: int) -> list[tuple[int, int, int, bytes]]:
            return [(s, tick, tick * FRAME, LOUD if tick > 20 else SOFT) for s in range(1, MANY + 1)]

        broken = made.host._seats["s3"].session
        monkeypatch.setattr(broken._listen, "verdict", lambda *a: 1 / 0)
        for tick in range(40):
            await asyncio.sleep(0.02)
            made.give(frames(tick), apart=False)
        assert "s3" not in made.host._seats
        assert made.host.failed_sessions == 1
        assert len(made.host._seats) == MANY - 1
        assert len(made.host.lanes._spare) == spare + 1
        assert len(made.given(4)) == 40
        await made.host.stop()

    simulate(scene())


def test_a_detector_that_raises_for_one_stream_leaves_the_others_their_verdicts() -> None:
    async def scene() -> None:
        made = Scene(MANY, asyncio.get_running_loop().time)
        await made.open()
        detector = made.host._inline["fake-vad"]
        bad, classify = made.host._seats["s2"].session.slots["vad"].port.number, detector.classify  # type: ignore[union-attr]

        def failing(keys: Any, frames: Any) -> Any:
            if bad in keys:
                raise ValueError("this one")
            return classify(keys, frames)

        detector.classify = failing
        for tick in range(60):
            await asyncio.sleep(0.02)
            made.give([(s, tick, tick * FRAME, LOUD if tick > 10 else SOFT) for s in range(1, MANY + 1)], apart=False)
        kinds = {s: [e["type"] for e in made.link.heard[s]] for s in range(1, MANY + 1)}
        assert all("speech.started" in kinds[s] for s in range(1, MANY + 1)), "energy stands in for the one"
        assert "degraded" in kinds[2]
        assert not any("degraded" in kinds[s] for s in kinds if s != 2)
        await made.host.stop()

    simulate(scene())
