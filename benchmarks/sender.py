"""The load generator: what a gateway is to a host, many callers behind one link, in a process of its own.

    python -m benchmarks.sender --board FILE --wav FILE [--tick-ms 5] [--links 1]

It reads pickled messages on its standard input: ("", [(number, SessionHandle), ...]), where the text says with what
manners (`MANNERS`), ("hang up", [number, ...]), ("clear",) and ("stop",); it answers each with a JSON line, the last
one with its counts. The calls are those of the ordinary client, those of a tick leave as a
`Cohort`.

A gateway may keep audio for company up to `tick_ms`: a frame leaves with the first tick after it was due, and what it
waited counts as lateness. Sessions are spread evenly over the 20 ms of a frame.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import pickle
import sys
import time
import wave
from collections import Counter
from pathlib import Path
from time import monotonic_ns
from typing import Any

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from actors import client as client_module
from actors import events as ev
from actors.client import Client, SessionHandle
from actors.cohort import Cohort
from actors.suspicion import Suspicion
from benchmarks.board import FRAME_NS, Board
from router.errors import PatchbayError

FRAME_BYTES = 640
_NEVER_S = 1e6
_GOLDEN_NS = round(FRAME_NS * 0.6180339887)
_DRAIN_TICKS = 10


def frames_of(path: str) -> list[bytes]:
    """20 ms each; the file must be 16 kHz, 16-bit, mono."""
    with wave.open(path) as file:
        if (file.getframerate(), file.getsampwidth(), file.getnchannels()) != (16000, 2, 1):
            raise SystemExit(f"{path}: 16 kHz, 16-bit, mono is taken")
        pcm = file.readframes(file.getnframes())
    return [pcm[at : at + FRAME_BYTES] for at in range(0, len(pcm) - FRAME_BYTES + 1, FRAME_BYTES)]


MANNERS = frozenset({"apart", "each", "deaf", "pours", "mute"})
"""Of callers who come together, as words: `apart` they have one link of their own, `each` a link for each, `deaf` they
never read what comes, `pours` they send ten times real time without asking for credit, `mute` they send nothing."""


class Caller:
    """One session: its place in the 20 ms, in the file, and what its events told."""

    def __init__(self, number: int, call: Any, who: str = "") -> None:
        self.number, self.call = number, call
        self.who = who
        """Before what is counted of it, where it is not one of the good ones."""
        self.poured = self.slot = 0
        self.over = False
        self.stopped_s: float | None = None
        self.stopped_ns = 0
        self.pours = 1
        """Frames where one is due; more than one go out without asking for credit, as no client of ours would."""


class Slot:
    """Callers whose frames leave with the same tick. All below is made anew with the tick after one came or is over."""

    def __init__(self) -> None:
        self.callers: list[Caller] = []
        self.pouring: list[Caller] = []
        self.talking: list[Caller] = []
        self.cohort = Cohort([])
        self.stale = False
        self.numbers = np.zeros(0, np.int64)
        """Of those who talk: their rows of the board."""

    def renew(self) -> None:
        here = [caller for caller in self.callers if not caller.over]
        self.pouring = [caller for caller in here if caller.pours > 1]
        self.talking = [caller for caller in here if caller.pours == 1]
        self.cohort = Cohort([caller.call for caller in self.talking])
        self.stale = False
        self.numbers = np.array([caller.number for caller in self.talking], np.int64)


class Sender:
    def __init__(self, board: Board, chunks: list[bytes], tick_ns: int) -> None:
        self.board, self.chunks, self.tick_ns = board, chunks, tick_ns
        self.slots = [Slot() for _ in range(max(1, FRAME_NS // tick_ns))]
        self.start_ns = np.zeros(board.sessions, np.int64)
        self.sent = np.zeros(board.sessions, np.int64)
        self.callers: list[Caller] = []
        self.turns_ms: list[float] = []
        self.turns_seen_ms: list[float] = []
        self.seen: Counter[str] = Counter()
        self.dropped_ms: Counter[str] = Counter()
        self.late_ns_max = 0
        self.stopping = asyncio.Event()
        self.leaving: dict[int, asyncio.Event] = {}
        self.left: dict[int, asyncio.Event] = {}
        self.failed: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.concealed_ms = 0

    async def hold(
        self, number: int, handle: SessionHandle, client: Client, attached: Any, manners: frozenset[str] = frozenset()
    ) -> None:
        """One call from attach to close: the only task of a session here, and it sleeps."""
        who = "bad " if manners else ""
        try:
            async with handle.connect(client=client) as call:
                caller = Caller(number, call, who)
                self._watch(caller)
                caller.pours = 10 if "pours" in manners else 1
                caller.over = "mute" in manners
                self._place(caller)
                attached()
                await self.leaving.setdefault(number, asyncio.Event()).wait()
                caller.over = True
                self._unplace(caller)
            while (event := call.next_event_nowait()) is not None:
                if isinstance(event, ev.SessionClosed):
                    self.reasons[who + event.reason] += 1
                    self.concealed_ms += event.stats.get("concealed_ms", 0)
        except PatchbayError as error:
            if not self.failed and not who:
                print(f"the first that fails: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            self.failed[who + type(error).__name__] += 1
            attached()
        finally:
            self.left.setdefault(number, asyncio.Event()).set()

    async def hang_up(self, numbers: list[int]) -> None:
        """Close these calls and wait until they have closed."""
        for number in numbers:
            self.leaving.setdefault(number, asyncio.Event()).set()
        for number in numbers:
            await self.left.setdefault(number, asyncio.Event()).wait()
            del self.left[number], self.leaving[number]

    def clear(self) -> None:
        """Forget what was counted so far."""
        for counts in (self.seen, self.dropped_ms, self.failed, self.reasons):
            counts.clear()
        self.turns_ms.clear()
        self.turns_seen_ms.clear()
        self.late_ns_max = self.concealed_ms = 0

    def _place(self, caller: Caller) -> None:
        """Into the slot of its share of the 20 ms."""
        caller.slot = (share_ns(caller.number) // self.tick_ns + 1) % len(self.slots)
        self.start_ns[caller.number] = self.sent[caller.number] = 0
        self.slots[caller.slot].callers.append(caller)
        self.slots[caller.slot].stale = True
        self.callers.append(caller)

    def _unplace(self, caller: Caller) -> None:
        self.slots[caller.slot].callers.remove(caller)
        self.slots[caller.slot].stale = True
        self.callers.remove(caller)

    def _watch(self, caller: Caller) -> None:
        """Note when the two events that a turn is measured by arrive: the session's own clock is uvloop's, of 1 ms."""
        put = caller.call._put

        def noting(event: ev.Event) -> None:
            if isinstance(event, ev.SpeechStopped):
                caller.stopped_ns = monotonic_ns()
            elif isinstance(event, ev.SpeechStarted):
                caller.stopped_ns = 0
            elif isinstance(event, ev.VoiceStarted) and caller.stopped_ns:
                now_ns = monotonic_ns()
                if self.board.cells[0] <= now_ns < self.board.cells[1]:
                    self.turns_seen_ms.append((now_ns - caller.stopped_ns) / 1e6)
                caller.stopped_ns = 0
            put(event)

        caller.call._put = noting

    async def play(self) -> None:
        """Ticks until stopped. A tick that comes late sends what it has to; none is left out."""
        tick, began_ns = 0, monotonic_ns()
        while not self.stopping.is_set():
            due_ns = began_ns + tick * self.tick_ns
            wait_ns = due_ns - monotonic_ns()
            await asyncio.sleep(max(wait_ns, 0) / 1e9)
            if (early_ns := due_ns - monotonic_ns()) > 0:  # uvloop's timers count whole milliseconds
                time.sleep(early_ns / 1e9)  # noqa: ASYNC251
            if self.board.cells[0] <= due_ns < self.board.cells[1]:
                self.late_ns_max = max(self.late_ns_max, monotonic_ns() - due_ns)
            self._send(self.slots[tick % len(self.slots)], due_ns)
            if tick % _DRAIN_TICKS == 0:
                self._drain(tick // _DRAIN_TICKS % 4)
            tick += 1

    def _send(self, slot: Slot, tick_due_ns: int) -> None:
        """A frame of everybody who talks in this slot, and what those who pour have."""
        if slot.stale:
            slot.renew()
        for caller in slot.pouring:
            self._begin(caller.number, tick_due_ns)
            self._pour(caller)
        numbers, chunks = slot.numbers, self.chunks
        if not len(numbers):
            return
        for number in numbers[self.start_ns[numbers] == 0].tolist():
            self._begin(number, tick_due_ns)
        sent = self.sent[numbers]
        due_ns = self.start_ns[numbers] + sent * FRAME_NS
        which = (sent + numbers * 7) % len(chunks)
        failed = slot.cohort.send([chunks[k] for k in which.tolist()])
        if failed:
            for row, error in failed:
                caller = slot.talking[row]
                self.failed[caller.who + type(error).__name__] += 1
                caller.over = True
            slot.stale = True
            rows = [row for row, _ in failed]
            numbers, due_ns = np.delete(numbers, rows), np.delete(due_ns, rows)
        self.sent[numbers] += 1
        self.board.sent(numbers, due_ns)

    def _begin(self, number: int, tick_due_ns: int) -> None:
        """Due within the tick that just ended: what it waited for company counts."""
        if not self.start_ns[number]:
            start_ns = tick_due_ns - self.tick_ns + share_ns(number) % self.tick_ns
            self.start_ns[number] = start_ns
            self.board.begin(number, start_ns)

    def _pour(self, caller: Caller) -> None:
        """Past the client: straight to the link, whatever the session has accepted."""
        if caller.call.way is None:
            caller.over = True
            self.slots[caller.slot].stale = True
            return
        link, stream = caller.call.way
        for _ in range(caller.pours):
            at = caller.poured
            link.send_audio(stream, at, at * 320, self.chunks[at % len(self.chunks)])
            caller.poured += 1

    def _drain(self, part: int) -> None:
        """Read the events of a quarter of the callers."""
        counting = self.board.cells[0] <= monotonic_ns() < self.board.cells[1]
        for caller in self.callers[part::4]:
            while (event := caller.call.next_event_nowait()) is not None:
                if counting and not isinstance(event, ev.VoiceAudio):
                    self.seen[type(event).__name__] += 1
                    if isinstance(event, ev.Dropped):
                        self.dropped_ms[f"{caller.who}{event.stage}/{event.policy}"] += round(event.ms)
                self._turn(caller, event, counting)

    def _turn(self, caller: Caller, event: ev.Event, counting: bool) -> None:
        """From the decision that speech stopped to the first audio of the reply, on the session's own clock."""
        if isinstance(event, ev.SpeechStarted):
            caller.stopped_s = None
        elif isinstance(event, ev.SpeechStopped):
            caller.stopped_s = event.t
        elif isinstance(event, ev.VoiceStarted) and caller.stopped_s is not None:
            if counting:
                self.turns_ms.append((event.t - caller.stopped_s) * 1000)
            caller.stopped_s = None


def share_ns(number: int) -> int:
    """When within the 20 ms a caller's frames are due: however many there are, and whichever of them have left, they
    are spread about evenly, as multiples of the golden section are.

    >>> sorted(share_ns(n) // 5_000_000 for n in range(8))
    [0, 0, 0, 1, 1, 2, 2, 3]
    """
    return number * _GOLDEN_NS % FRAME_NS


def stop_reading(client: Client) -> None:
    """This client reads no more, and takes the silence that it hears from then on for nothing."""
    for link in [way._link for some in client._links.values() for way in some]:
        if link is not None and link._transport is not None:
            link._suspicion = Suspicion(_NEVER_S, link._tick_s, asyncio.get_running_loop().time())
            link._transport.pause_reading()


async def run(args: argparse.Namespace) -> None:
    board = Board(args.board)
    client_module.CALLS_PER_LINK = -(-board.sessions // args.links)
    sender = Sender(board, frames_of(args.wav), round(args.tick_ms * 1e6))
    client, n = Client(), 0
    clients: dict[str, Client] = {}
    wanted, all_here = 0, asyncio.Event()

    def attached() -> None:
        nonlocal n
        n += 1
        if n >= wanted:
            all_here.set()

    async with asyncio.TaskGroup() as tasks:
        player = tasks.create_task(sender.play())
        while True:
            message = await asyncio.to_thread(pickle.load, sys.stdin.buffer)
            if message[0] == "stop":
                break
            if message[0] == "hang up":
                await sender.hang_up(message[1])
                tell({"hung_up": len(message[1])})
                continue
            if message[0] == "clear":
                sender.clear()
                tell({})
                continue
            all_here.clear()
            wanted = n + len(message[1])
            manners = frozenset(message[0].split())
            if not manners <= MANNERS:
                raise SystemExit(f"no manners are called {sorted(manners - MANNERS)}")
            together = clients.setdefault(message[0], Client()) if manners else client
            for number, handle in message[1]:
                own = Client() if "each" in manners else together
                tasks.create_task(sender.hold(number, handle, own, attached, manners))
            async with asyncio.timeout(30):
                await all_here.wait()
            if "deaf" in manners:
                stop_reading(together)
            gc.collect()
            gc.freeze()
            tell({"attached": n, "links": [len(x) for x in client.statistics().values()], "failed": sender.failed})
        for leaving in sender.leaving.values():
            leaving.set()
        sender.stopping.set()
        await player
    tell(
        {
            "turns_ms": sender.turns_ms, "turns_seen_ms": sender.turns_seen_ms, "seen": sender.seen,
            "failed": sender.failed,
            "late_max_ms": sender.late_ns_max / 1e6,
            "concealed_ms": sender.concealed_ms,
            "reasons": sender.reasons,
            "dropped_ms": sender.dropped_ms,
        }
    )  # fmt: skip


def tell(what: dict[str, Any]) -> None:
    print(json.dumps(what), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--board", required=True)
    parser.add_argument("--wav", required=True)
    parser.add_argument("--tick-ms", type=float, default=5.0)
    parser.add_argument("--links", type=int, default=1)
    args = parser.parse_args()
    import uvloop

    gc.disable()  # the instrument does not stop to look for garbage
    uvloop.run(run(args))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
