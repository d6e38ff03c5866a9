"""What a frame costs on its way through a host: caller -> relay -> VAD actor -> relay -> caller, over two links.

The relay does what a session host does with a frame and nothing else: a port per session, verdicts back to the
caller. Printed: CPU per frame of each process, and how long a frame takes there and back.

    python benchmarks/link_relay.py [--sessions 300 1000] [--vad fake-vad] [--seconds 10] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from actors import wire  # after the path is set
from actors.link import connect, serve
from actors.link_port import ProviderLinks
from actors.provider_host import ProviderHost
from actors.providers.interface import StreamSpec
from benchmarks.links import FRAME, FRAME_S, KEY, MASK, cpu_and_wait_ns, now_us


async def provider(vad: str, sessions: str) -> None:
    host = ProviderHost("bench-vad")
    spec = wire.ProviderSpec(provider="vad", type=vad, stage="vad", streams_per_actor=int(sessions) + 1)
    print((await host.start(spec, KEY)).address, flush=True)
    await asyncio.Event().wait()


class Relay:
    """The caller's end at the relay, and the sink of every port."""

    def __init__(self, links: ProviderLinks, address: str, sessions: int) -> None:
        self.links, self.address = links, address
        self.caller: Any = None
        self.ports: dict[int, Any] = {}
        self.stream_of: dict[Any, int] = {}
        self.out: tuple[list[int], list[int], list[bool]] = ([], [], [])
        for stream in range(sessions):
            lease = wire.Lease(lease_id=str(stream), stage="vad", candidate=0, address=address, actor="bench-vad")
            spec = StreamSpec(stream=0, epoch=1, session_id=str(stream), tenant_id="t", rate_hz=16000)
            port = links.open(lease, spec, self, provider="vad")
            self.ports[stream], self.stream_of[port] = port, stream

    def take(self, link: Any) -> Relay:
        self.caller = link
        link.admit(0)
        return self

    def on_audio(self, link: Any, batch: Any) -> None:
        ports = self.ports
        for stream, pos, frame in zip(batch.streams, batch.poss, batch.frames(), strict=True):
            ports[stream].audio(pos, frame)

    def on_voiced(self, port: Any, pos: int, voiced: bool) -> None:
        streams, poss, bits = self.out
        if not streams:
            asyncio.get_running_loop().call_soon(self.flush)
        streams.append(self.stream_of[port])
        poss.append(pos)
        bits.append(voiced)

    def flush(self) -> None:
        self.caller.send_bits(*self.out)
        self.out = ([], [], [])

    def on_event(self, port: Any, event: Any) -> None: ...
    def on_accepted(self, port: Any) -> None: ...
    def on_bits(self, *_: Any) -> None: ...
    def on_credit(self, *_: Any) -> None: ...
    def on_control(self, *_: Any) -> None: ...
    def on_closed(self, *_: Any) -> None: ...


async def relay(address: str, sessions: str) -> None:
    async with asyncio.TaskGroup() as group:
        relaying = Relay(ProviderLinks(KEY, group), address, int(sessions))
        server = await serve(relaying.take, KEY)
        print(server.address, flush=True)
        await asyncio.Event().wait()


class Caller(Relay):
    def __init__(self) -> None:
        self.took_us: list[int] = []

    def on_bits(self, link: Any, streams: memoryview, poss: memoryview, bits: bytes) -> None:  # type: ignore[override]
        now = now_us() + 320
        self.took_us.extend((now - pos) & MASK for pos in poss)


async def caller(address: str, sessions: str, tick_s: str, warm_s: str, seconds: str) -> None:
    loop, ear = asyncio.get_running_loop(), Caller()
    link = await connect(address, ear, key=None, role="caller", timeout_s=5, silence_bound_s=3)
    n, tick, slots = int(sessions), 0, max(1, round(FRAME_S / float(tick_s)))
    due = start = loop.time()
    counting = False
    while due < start + float(warm_s) + float(seconds):
        await asyncio.sleep(max(0.0, due - loop.time()))
        if not counting and due >= start + float(warm_s):
            counting, ear.took_us, sent = True, [], 0
            print("counting", flush=True)
        stamp = (now_us() - int((loop.time() - due) * 1e6)) & (MASK >> 1)
        for stream in range(tick % slots, n, slots):
            link.send_audio(stream, 1, tick, stamp, FRAME)
        if counting:
            sent += len(range(tick % slots, n, slots))
        due, tick = due + float(tick_s), tick + 1
    took = sorted(us & (MASK >> 1) for us in ear.took_us) or [0]
    told = {
        "sent": sent,
        "back": len(took),
        "p50_ms": took[len(took) // 2] / 1e3,
        "p99_ms": took[len(took) * 99 // 100] / 1e3,
    }
    print(json.dumps(told), flush=True)
    await asyncio.sleep(5)


def spawn(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, __file__, "--child", *arguments], stdout=subprocess.PIPE, text=True)


def measure(vad: str, sessions: int, tick_ms: float, seconds: float, warm_s: float) -> dict[str, Any]:
    started: list[subprocess.Popen[str]] = []

    def line() -> str:
        assert started[-1].stdout
        return started[-1].stdout.readline().strip()

    try:
        started.append(spawn("provider", vad, str(sessions)))
        address = line()
        started.append(spawn("relay", address, str(sessions)))
        address = line()
        started.append(spawn("caller", address, str(sessions), str(tick_ms / 1e3), str(warm_s), str(seconds)))
        assert line() == "counting"
        before = [cpu_and_wait_ns(process.pid) for process in started]
        told = json.loads(line())
        after = [cpu_and_wait_ns(process.pid) for process in started]
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(timeout=10)
    us = [round((b[0] - a[0]) / 1e3 / told["sent"], 2) for a, b in zip(before, after, strict=True)]
    waited = [round((b[1] - a[1]) / 1e6) for a, b in zip(before, after, strict=True)]
    names = ("provider_us", "relay_us", "caller_us")
    return {"vad": vad, "sessions": sessions, "tick_ms": tick_ms, **told, **dict(zip(names, us, strict=True)),
            "us_per_frame": round(sum(us), 2), "waited_ms": waited}  # fmt: skip


def main() -> None:
    if len(sys.argv) > 1 and sys.argv[1] == "--child":
        import uvloop

        uvloop.run({"provider": provider, "relay": relay, "caller": caller}[sys.argv[2]](*sys.argv[3:]))
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sessions", type=int, nargs="+", default=[300])
    parser.add_argument("--vad", nargs="+", default=["fake-vad"])
    parser.add_argument("--tick-ms", type=float, default=5.0)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--warm-s", type=float, default=2.0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows = [measure(v, n, args.tick_ms, args.seconds, args.warm_s) for n in args.sessions for v in args.vad]
    if args.json:
        print(json.dumps({"benchmark": "link_relay", "cpus": os.cpu_count(), "rows": rows}))
        return
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))


if __name__ == "__main__":
    main()
