"""What carries a link: `websockets` or a bare asyncio stream, under the same batches of audio.

One process sends for all sessions (50 frames a second each, 640 B), the other answers each batch with one verdict
per frame. Every 5 ms a quarter of the sessions has a frame; `--tick-ms 1` is the case without company.
Printed: CPU of both ends together per frame (from /proc/PID/task/*/schedstat), how late a frame is decoded at the
other end, and how many sessions one core carries there and back.

    python benchmarks/links.py [--sessions 300 1000] [--carriers websockets stream link] [--seconds 10] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from actors.link_codec import AUDIO, Batch, Splitter, decode_audio  # after the path is set

FRAME = b"\x01\x02" * 320
FRAME_S = 0.02
MASK = 0xFFFFFFFF
KEY = b"k" * 32


def now_us() -> int:
    return time.monotonic_ns() // 1000 & MASK  # CLOCK_MONOTONIC is the same in both processes


class Counter:
    """Receives batches, knows how late each frame is (`pos` carries when it was due)."""

    def __init__(self) -> None:
        self.frames = 0
        self.late_us: list[int] = []

    def batch(self, batch: Any) -> None:
        now = now_us()
        self.frames += len(batch)
        self.late_us.extend((now - due) & MASK for due in batch.poss)


class Stream(asyncio.Protocol):
    """The bare carrier: the codec's own length prefix over TCP."""

    def __init__(self, on_message: Callable[[Stream, int, int, memoryview], None]) -> None:
        self.on_message = on_message
        self.splitter = Splitter(1 << 24)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        for kind, count, view in self.splitter.feed(data):
            self.on_message(self, kind, count, view)


def answer(batch: Any) -> bytes:
    out = Batch()
    out.bits(batch.streams, batch.poss, bytes(len(batch)))
    return out.take()


async def receive(carrier: str, seconds: float) -> None:
    """The far end: decodes, answers; prints its port first and its counts last."""
    counter = Counter()
    loop = asyncio.get_running_loop()

    def on_message(stream: Stream, kind: int, count: int, view: memoryview) -> None:
        if kind == AUDIO:
            batch = decode_audio(view, count)
            counter.batch(batch)
            stream.transport.write(answer(batch))

    if carrier == "websockets":
        from websockets.asyncio.server import serve as ws_serve

        async def handler(ws: Any) -> None:
            splitter = Splitter(1 << 24)
            async for data in ws:
                for _, count, view in splitter.feed(data):
                    batch = decode_audio(view, count)
                    counter.batch(batch)
                    await ws.send(answer(batch))

        server: Any = await ws_serve(handler, "127.0.0.1", 0, compression=None, max_size=1 << 24, max_queue=64)
        port = next(iter(server.sockets)).getsockname()[1]
    elif carrier == "stream":
        server = await loop.create_server(lambda: Stream(on_message), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
    else:
        from actors.link import serve

        server = await serve(lambda link: LinkEnd(counter), KEY)
        port = int(server.address.rpartition(":")[2])
    print(port, flush=True)
    await asyncio.to_thread(sys.stdin.readline)  # the parent says when the warm-up is over
    counter.frames, counter.late_us = 0, []
    await asyncio.to_thread(sys.stdin.readline)
    late = sorted(counter.late_us) or [0]
    print(
        json.dumps(
            {
                "frames": counter.frames,
                "p50_ms": late[len(late) // 2] / 1e3,
                "p99_ms": late[len(late) * 99 // 100] / 1e3,
            }
        ),
        flush=True,
    )


class LinkEnd:
    """Handler of the product's own link, for both ends."""

    def __init__(self, counter: Counter) -> None:
        self.counter = counter

    def on_audio(self, link: Any, batch: Any) -> None:
        self.counter.batch(batch)
        link.send_bits(batch.streams, batch.poss, bytes(len(batch)))

    def on_bits(self, link: Any, streams: memoryview, poss: memoryview, bits: bytes) -> None:
        self.counter.frames += len(streams)

    def on_credit(self, link: Any, streams: list[int], seqs: list[int]) -> None: ...
    def on_control(self, link: Any, stream: int, body: memoryview) -> None: ...
    def on_closed(self, link: Any, error: Any) -> None: ...


async def send(carrier: str, port: int, sessions: int, tick_s: float, seconds: float) -> None:
    """The near end: every `tick_s` the sessions whose frame is due, one batch."""
    async with contextlib.AsyncExitStack() as stack:
        group = await stack.enter_async_context(asyncio.TaskGroup())
        loop = asyncio.get_running_loop()
        link: Any = None
        if carrier == "websockets":
            from websockets.asyncio.client import connect as ws_connect

            ws = await stack.enter_async_context(
                ws_connect(f"ws://127.0.0.1:{port}", compression=None, max_size=1 << 24, max_queue=64)
            )

            async def read() -> None:
                async for _ in ws:
                    pass

            reader = group.create_task(read())
        elif carrier == "stream":
            transport, _ = await loop.create_connection(lambda: Stream(lambda *_: None), "127.0.0.1", port)
        else:
            from actors.link import connect

            link = await connect(f"127.0.0.1:{port}", LinkEnd(Counter()), key=KEY, role="host", timeout_s=5)
        slots = max(1, round(FRAME_S / tick_s))
        due = loop.time()
        batch, tick, late_by = Batch(), 0, 0.0
        end = due + seconds
        while due < end:
            await asyncio.sleep(max(0.0, due - loop.time()))
            late_by = loop.time() - due
            stamp = (now_us() - int(late_by * 1e6)) & MASK
            audio = link.send_audio if link else batch.audio
            for stream in range(tick % slots, sessions, slots):
                audio(stream, 1, tick, stamp, FRAME)
            if carrier == "websockets" and batch:
                await ws.send(batch.take())
            elif carrier == "stream" and batch:
                transport.write(batch.take())
            due, tick = due + tick_s, tick + 1
        if carrier == "websockets":
            reader.cancel()
        elif link:
            await link.close("done")


def cpu_and_wait_ns(pid: int) -> tuple[int, int]:
    """Time on a CPU, and time waiting for one, of every thread of a process."""
    totals = [0, 0]
    for task in Path(f"/proc/{pid}/task").iterdir():
        on, wait, _ = (task / "schedstat").read_text().split()
        totals[0] += int(on)
        totals[1] += int(wait)
    return totals[0], totals[1]


def measure(carrier: str, sessions: int, tick_ms: float, seconds: float, warm_s: float) -> dict[str, Any]:
    me = [sys.executable, __file__]
    whole = str(seconds + warm_s + 3)
    far = subprocess.Popen(
        [*me, "--child", "receive", carrier, whole], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert far.stdin
    assert far.stdout
    port = far.stdout.readline().strip()
    near = subprocess.Popen([*me, "--child", "send", carrier, port, str(sessions), str(tick_ms / 1e3), whole])
    try:
        time.sleep(warm_s + 1)
        far.stdin.write("\n")
        far.stdin.flush()
        t0, a, b = time.monotonic(), cpu_and_wait_ns(near.pid), cpu_and_wait_ns(far.pid)
        time.sleep(seconds)
        c, d = cpu_and_wait_ns(near.pid), cpu_and_wait_ns(far.pid)
        took = time.monotonic() - t0
        far.stdin.write("\n")
        far.stdin.flush()
        told = json.loads(far.stdout.readline())
    finally:
        for process in (near, far):  # the sender first: it would complain about a peer that went
            process.terminate()
            process.wait(timeout=10)
    frames = max(1, told["frames"])
    near_us, far_us = (c[0] - a[0]) / 1e3 / frames, (d[0] - b[0]) / 1e3 / frames
    return {
        "carrier": carrier, "sessions": sessions, "tick_ms": tick_ms, "frames": frames,
        "expected": round(sessions * took / FRAME_S), "sender_us_per_frame": round(near_us, 2),
        "receiver_us_per_frame": round(far_us, 2), "us_per_frame": round(near_us + far_us, 2),
        "p50_ms": told["p50_ms"], "p99_ms": told["p99_ms"], "cores": round((c[0] - a[0] + d[0] - b[0]) / 1e9 / took, 3),
        "sessions_per_core": round(1e6 * FRAME_S / (near_us + far_us)),
        "waited_ms": [round((c[1] - a[1]) / 1e6), round((d[1] - b[1]) / 1e6)],
    }  # fmt: skip


def child(arguments: list[str]) -> None:
    import uvloop

    what, carrier, *rest = arguments
    if what == "receive":
        uvloop.run(receive(carrier, float(rest[0])))
    else:
        uvloop.run(send(carrier, int(rest[0]), int(rest[1]), float(rest[2]), float(rest[3])))


def main() -> None:
    if len(sys.argv) > 1 and sys.argv[1] == "--child":
        return child(sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--sessions", type=int, nargs="+", default=[300, 1000])
    parser.add_argument("--carriers", nargs="+", default=["websockets", "stream", "link"])
    parser.add_argument("--tick-ms", type=float, nargs="+", default=[5.0])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--warm-s", type=float, default=1.0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows = [
        measure(carrier, sessions, tick, args.seconds, args.warm_s)
        for tick in args.tick_ms
        for sessions in args.sessions
        for carrier in args.carriers
    ]
    if args.json:
        print(json.dumps({"benchmark": "links", "cpus": os.cpu_count(), "rows": rows}))
        return None
    print(f"{'carrier':11} {'sessions':>8} {'tick':>5} {'us/frame':>9} {'cores':>6} {'p50 ms':>7} {'p99 ms':>7} "
          f"{'sessions/core':>13} {'lost':>5} {'waited ms':>12}")  # fmt: skip
    for r in rows:
        lost = r["expected"] - r["frames"]
        print(f"{r['carrier']:11} {r['sessions']:>8} {r['tick_ms']:>5g} {r['us_per_frame']:>9} {r['cores']:>6} "
              f"{r['p50_ms']:>7.2f} {r['p99_ms']:>7.2f} {r['sessions_per_core']:>13} "
              f"{lost if abs(lost) > 0.02 * r['expected'] else 0:>5} {r['waited_ms']!s:>12}")  # fmt: skip
    return None


if __name__ == "__main__":
    main()
