"""Connections: how many handshakes a hundred turns cost with each network adapter, and how long they take.

Every adapter talks to the fake of its vendor, in a process of its own, through a door that lets a connection in only
after `--connect-ms`: what TCP, TLS and the upgrade cost on the way to a vendor (three round trips of 30 ms, unless said
otherwise). The door counts, too: what an adapter says of its handshakes is held against it.

    warm     a provider for `--sessions` calls at once that share `--turns`; counted from when all of them are open
    cold     a provider for each turn, opened for it: what would be if nothing were kept

A turn is a sentence spoken (tts: asked to first audio), answered (agent: asked to first text) or heard (stt: asked to
its final, at once, not at the speed of speech); in `cold` with the opening before it. `handshake_ms_100` is the
adapter's own count: of a request it is the TCP connection alone, which the kernel makes at once; what the door costs it
is in the times of its turns.

    python benchmarks/handshakes.py [--turns 100] [--sessions 5] [--connect-ms 90] [--stages tts stt agent]
                                    [--only NAME]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from actors.providers import interface as i  # after the path is set
from actors.providers import registry
from actors.providers.fake_tones import say
from actors.secrets import Secret
from benchmarks import measure
from tests.vendors.contract import SAID, VendorCase, cases, spec_of, work
from tests.vendors.contract import is_right as came_out_right
from tests.vendors.live import Ear
from tests.vendors.server import KEY

ROOT = Path(__file__).resolve().parent.parent
_START_S = 20.0
_TURN_S = 30.0
_PAUSE_S = 0.05
"""Most that a caller waits between two turns: replies of several calls meet, as they do."""


class Door:
    """In front of a fake: counts connections, and lets each of them in after `connect_s`."""

    def __init__(self, port: int, connect_s: float) -> None:
        self.connections = 0
        self._port, self._connect_s = port, connect_s
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def __aenter__(self) -> Door:
        self._server = await asyncio.start_server(self._enter, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        for writer in self._open.values():
            writer.transport.abort()
        if self._open:
            await asyncio.wait(list(self._open), timeout=_START_S)

    async def _enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = writer
        task.add_done_callback(self._open.pop)
        with contextlib.suppress(OSError):
            await asyncio.sleep(self._connect_s)
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
            try:
                await asyncio.gather(_carry(reader, far_writer), _carry(far_reader, writer))
            finally:
                far_writer.close()
        writer.close()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextlib.asynccontextmanager
async def served(chosen: list[VendorCase]) -> AsyncIterator[dict[str, int]]:
    """The fakes in a process of their own: their ports."""
    ports = {case.name: _free_port() for case in chosen}
    named = [f"{name}={port}" for name, port in ports.items()]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.vendors.serve", *named, cwd=ROOT, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_START_S):
            while not (await process.stdout.readline()).startswith(b"key"):
                pass
        yield ports
    finally:
        process.terminate()
        await process.wait()


def provider(case: VendorCase, door: Door, **options: Any) -> Any:
    scheme = "ws" if case.by == "socket" else "http"
    known = registry.find(case.type).Options.model_fields
    given = {**case.options, **{name: value for name, value in options.items() if name in known}}
    url = f"{scheme}://127.0.0.1:{door.port}{case.prefix}"
    return registry.find(case.type)(given, Secret(KEY, "env:FAKE_KEY"), url)


class Call:
    """A caller: one stream, its turns one after the other."""

    def __init__(self, case: VendorCase, made: Any, number: int) -> None:
        self.case, self.made, self.number = case, made, number
        self.ear = Ear()
        self.turns = self.pos = 0

    async def open(self) -> None:
        self.stream = await self.made.open(spec_of(self.case, self.number), self.ear)

    async def turn(self) -> float:
        """Seconds until it was answered; ends the benchmark where it was not, or not rightly."""
        loop = asyncio.get_running_loop()
        self.turns += 1
        began_s, told = loop.time(), len(self.ear.told)
        async with asyncio.timeout(_TURN_S):
            if self.case.stage == "stt":
                await self._speak()
            else:
                await work(self.case, self.stream, self.ear, self.turns)
        if self.case.stage == "stt":
            finals = [f.text for f in self.ear.all(i.Final) if f.utt == self.turns and f.text]
            is_right, took_s = " ".join(finals) == SAID, loop.time() - began_s
        else:
            is_right = came_out_right(self.case, self.ear, self.turns)
            kind = i.TtsAudio if self.case.stage == "tts" else i.TextDelta
            first = next((n for n in range(told, len(self.ear.told)) if isinstance(self.ear.told[n], kind)), None)
            took_s = 0.0 if first is None else self.ear.at_s[first] - began_s
        if not is_right:
            raise SystemExit(f"{self.case.name}: turn {self.turns} came out wrong: {self.ear.all(i.Fault)}")
        return took_s

    async def _speak(self) -> None:
        """An utterance, where the one before ended, all at once."""
        rate_hz, number = self.case.rate_hz, self.turns
        self.stream.speech_start(number, self.pos)
        self._feed(say(SAID, rate_hz).pcm)
        self.stream.speech_end(number, self.pos)
        self._feed(bytes(rate_hz // 5 * 2))
        self.stream.finalize(number, self.pos)
        await self.ear.until(
            lambda: any(f.utt == number for f in self.ear.all(i.Finalized)) or bool(self.ear.all(i.Fault))
        )

    def _feed(self, pcm: bytes) -> None:
        step = self.case.rate_hz // 50 * 2
        for at in range(0, len(pcm), step):
            self.stream.audio(self.pos, pcm[at : at + step])
            self.pos += len(pcm[at : at + step]) // 2


async def warm(case: VendorCase, door: Door, turns: int, sessions: int, rng: random.Random) -> dict[str, Any]:
    made = provider(case, door)
    await made.warm()
    calls = [Call(case, made, number) for number in range(1, sessions + 1)]
    for call in calls:
        await call.open()
    await asyncio.sleep(3 * door._connect_s + 0.1)  # what is prewarmed is there by now
    opening, spent_s, reused = made.counts.handshakes, made.counts.handshake_s, made.counts.reused
    seen = door.connections
    took: list[float] = []

    async def talk(call: Call, count: int) -> None:
        for _ in range(count):
            await asyncio.sleep(rng.random() * _PAUSE_S)
            took.append(await call.turn())

    shares = [turns // sessions + (n < turns % sessions) for n in range(sessions)]
    await asyncio.gather(*(talk(call, count) for call, count in zip(calls, shares, strict=True)))
    counts = made.counts
    row = _row(case, "warm", turns, counts.handshakes - opening, counts.handshake_s - spent_s, took)
    row |= {"opening": opening, "seen": door.connections - seen, "reused": counts.reused - reused}
    for call in calls:
        await call.stream.close(drain=False)
    await made.close()
    return row


async def cold(case: VendorCase, door: Door, turns: int) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    seen = door.connections
    handshakes, spent_s, took = 0, 0.0, []
    for number in range(1, turns + 1):
        made = provider(case, door, prewarm=0, keep_warm_s=0.0)
        began_s = loop.time()
        call = Call(case, made, number)
        await call.open()
        opened_s = loop.time() - began_s
        took.append(opened_s + await call.turn())
        handshakes += made.counts.handshakes
        spent_s += made.counts.handshake_s
        await call.stream.close(drain=False)
        await made.close()
    row = _row(case, "cold", turns, handshakes, spent_s, took)
    return row | {"opening": 0, "seen": door.connections - seen, "reused": 0}


def _row(case: VendorCase, mode: str, turns: int, handshakes: int, spent_s: float, took: list[float]) -> dict[str, Any]:
    return {
        "adapter": case.name, "stage": case.stage, "mode": mode, "turns": turns,
        "handshakes_100": round(handshakes * 100 / turns, 1), "handshake_ms_100": round(spent_s * 100_000 / turns, 1),
        "p50_ms": round((measure.quantile(sorted(took), 0.5) or 0.0) * 1000, 2),
        "p95_ms": round((measure.quantile(sorted(took), 0.95) or 0.0) * 1000, 2),
    }  # fmt: skip


async def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    chosen = [c for c in cases() if c.stage in args.stages and (not args.only or c.name in args.only)]
    rng = random.Random(args.seed)
    rows = []
    async with served(chosen) as ports:
        for case in chosen:
            async with Door(ports[case.name], args.connect_ms / 1000) as door:
                rows.append(await warm(case, door, args.turns, args.sessions, rng))
                rows.append(await cold(case, door, args.cold_turns or args.turns))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--turns", type=int, default=100)
    parser.add_argument("--cold-turns", type=int, default=20, help="0: as many as --turns")
    parser.add_argument("--sessions", type=int, default=5)
    parser.add_argument("--connect-ms", type=float, default=90.0)
    parser.add_argument("--stages", nargs="+", default=["tts", "stt", "agent"])
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows = asyncio.run(run(args))
    result = {
        "benchmark": "handshakes", "machine": measure.machine(), "seed": args.seed, "sessions": args.sessions,
        "connect_ms": args.connect_ms, "rows": rows,
    }  # fmt: skip
    measure.print_result(result, as_json=args.json, human=human)


def human(result: Mapping[str, Any]) -> str:
    columns = [
        "adapter", "mode", "turns", "opening", "handshakes_100", "handshake_ms_100", "seen", "reused", "p50_ms",
        "p95_ms",
    ]  # fmt: skip
    told = f"{result['sessions']} calls at once, {result['connect_ms']:g} ms to connect; seed {result['seed']}"
    return f"{measure.table(result['rows'], columns)}\n{told}; machine {result['machine']}"


if __name__ == "__main__":
    main()
