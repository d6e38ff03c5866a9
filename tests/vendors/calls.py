"""A whole call through the fake of every vendor: `make vendors-call`, or with the names of some routes behind it.

    python -m tests.vendors.calls [ROUTE ...]

Of `examples/vendors.yaml`: the fakes of its providers and a cluster are started as processes of their own, `patchbay
call` calls each route, and a table says what came of it. A caller says two things, in tones; both must be heard,
answered and spoken, by the vendor of the route and no other, and have a cost. The fakes take ports that are free, so
the configuration that is used is a copy with these. It is left in `out/vendors`, with recordings and events.

Exit status 0: every call is as it should be, every adapter has a route, and no vendor was asked what it does not take.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
import wave
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from actors.providers.fake_tones import hear, say
from actors.providers.vendor_pcm import wav_header
from tests.vendors.contract import cases
from tests.vendors.server import KEY

__all__ = ["CONFIG", "SAID", "Route", "main", "problems", "routeless", "routes"]

CONFIG = Path(__file__).resolve().parents[2] / "examples" / "vendors.yaml"
SAID = ("ten of clubs", "queen of hearts")
_OUT = Path("out/vendors")
_RATE_HZ = 16000
_PAUSE_S = 1.5
"""After each: longer than the pause that ends a turn."""
_UP_S, _CALL_S, _END_S = 90.0, 60.0, 20.0
_TOGETHER = 2
"""Calls at once: most of a call is waiting, but each starts two processes, and a live call beside it must not lag."""


class NotUp(Exception):
    """The fakes or the cluster did not start."""


@dataclass(frozen=True, slots=True)
class Route:
    """A route of the example, which is there for one vendor."""

    name: str
    stage: str
    type: str
    port: int
    """Of the example; another one in a run."""


@dataclass(slots=True)
class Outcome:
    events: list[dict[str, Any]] = field(default_factory=list)
    heard: str = ""
    """The words in the recording of what the caller heard."""
    took_s: float = 0.0
    wrong: list[str] = field(default_factory=list)

    @property
    def record(self) -> dict[str, Any]:
        """The call record; empty where the call did not get so far."""
        stats = next((e["stats"] for e in self.events if e["type"] == "session.closed"), {})
        return dict(stats)


def routes(text: str) -> list[Route]:
    """Each is named after the provider that it is for, whose endpoint is a port of its own."""
    config = yaml.safe_load(text)
    found = []
    for route in config["routes"]:
        provider = config["providers"][route["name"]]
        port = provider["endpoints"]["*"].partition("://")[2].partition("/")[0].rpartition(":")[2]
        found.append(Route(route["name"], provider["stage"], provider["type"], int(port)))
    return found


def routeless(known: list[Route]) -> list[str]:
    """Types that have a case in the contract and no route in the example."""
    return sorted({case.type for case in cases()} - {route.type for route in known})


def problems(route: Route, events: list[dict[str, Any]], heard: str) -> list[str]:
    """What of a call is not as it should be."""
    told = {kind: [e for e in events if e["type"] == kind] for kind in {e["type"] for e in events}}
    wrong = [
        f"{e['type']}: {e.get('stage', '')} {e.get('detail', '')}".strip()
        for kind in ("error", "degraded", "provider.changed", "dropped")
        for e in told.get(kind, ())
    ]
    closed = told.get("session.closed")
    if not closed:
        return [*wrong, "the call did not end"]
    record = closed[0]["stats"]
    if closed[0]["reason"] != "input_ended":
        wrong.append(f"ended with {closed[0]['reason']}")
    if record["route"] != route.name or record["providers"].get(route.stage) != [route.name]:
        wrong.append(f"served by {record['providers'].get(route.stage)} on route {record['route']}")
    turns = [turn["text"] for turn in record["turns"]]
    if [_plain(text) for text in turns] != list(SAID):
        wrong.append(f"turns {turns}")
    replies = [_plain(reply["said"]) for reply in record["replies"]]
    if not (len(replies) == len(SAID) and all(text in reply for text, reply in zip(SAID, replies, strict=True))):
        wrong.append(f"replies {replies}")
    if _plain(heard) != " ".join(replies):
        wrong.append(f"heard {heard!r}")
    cost = (record["cost"] or {"providers": {}})["providers"].get(route.name)
    if cost is None or cost["estimated"] or not cost["cost"]:
        wrong.append(f"cost {cost}")
    return wrong


def _plain(text: str) -> str:
    """Words alone: vendors set points and capitals, tones have none."""
    return " ".join("".join(c for c in text.lower() if c.isalnum() or c.isspace()).split())


# ------------------------------------------------------------------------------------------------ the processes


@contextlib.asynccontextmanager
async def _process(*command: str, ready: str, within_s: float, env: dict[str, str]) -> AsyncIterator[list[str]]:
    """Runs until the block ends, which is entered when a line begins with `ready`; its lines so far, and on."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=env
    )
    lines: list[str] = []
    is_ready = asyncio.Event()
    assert process.stdout is not None
    stdout = process.stdout

    async def read() -> None:
        while line := await stdout.readline():
            lines.append(line.decode(errors="replace").rstrip())
            if lines[-1].startswith(ready):
                is_ready.set()

    reader = asyncio.create_task(read())
    try:
        entered = asyncio.create_task(is_ready.wait())
        await asyncio.wait({reader, entered}, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        entered.cancel()
        if not is_ready.is_set():
            why = f"{' '.join(command[1:])}: it ended, or was not there within {within_s:g} s"
            raise NotUp("\n".join([why, *lines[-5:]]))
        yield lines
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        try:
            async with asyncio.timeout(_END_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        await reader


async def _call(route: Route, env: dict[str, str]) -> Outcome:
    outcome, recording = Outcome(), _OUT / f"{route.name}.wav"
    recording.unlink(missing_ok=True)
    began_s = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        _bin("patchbay"), "call", str(_OUT / "caller.wav"), "--address", "auto", "--tenant", route.name, "--json",
        "--out", str(recording), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=env,
    )  # fmt: skip
    try:
        async with asyncio.timeout(_CALL_S):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.communicate()
        outcome.wrong.append(f"not over within {_CALL_S:g} s")
        return outcome
    outcome.took_s = time.monotonic() - began_s
    (_OUT / f"{route.name}.jsonl").write_bytes(out)
    outcome.events = [json.loads(line) for line in out.splitlines()]
    if process.returncode:
        outcome.wrong.append(f"exit status {process.returncode}: {err.decode(errors='replace').strip()[-200:]}")
    if recording.exists():
        outcome.heard = _words(recording)
    outcome.wrong += problems(route, outcome.events, outcome.heard)
    return outcome


def _bin(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def _words(recording: Path) -> str:
    with wave.open(str(recording)) as file:
        rate_hz, frames = file.getframerate(), file.readframes(file.getnframes())
    right = b"".join(frames[at : at + 2] for at in range(2, len(frames), 4))
    return " ".join(word.text for word in hear(right, rate_hz))


def _write_caller(path: Path) -> None:
    pcm = bytes(_RATE_HZ // 5 * 2)
    for text in SAID:
        pcm += say(text, _RATE_HZ).pcm + bytes(2 * round(_PAUSE_S * _RATE_HZ))
    path.write_bytes(wav_header(_RATE_HZ, len(pcm) // 2) + pcm)


# ---------------------------------------------------------------------------------------------------- the whole


async def run(text: str, wanted: list[Route]) -> tuple[dict[str, Outcome], list[str]]:
    """What came of each call, and what clients did that a vendor does not take."""
    fakes: dict[str, str] = {}
    for case in cases():
        fakes.setdefault(case.type, case.name)
    outcomes: dict[str, Outcome] = {}
    gate = asyncio.Semaphore(_TOGETHER)
    env = {**os.environ, "VENDOR_KEY": KEY}
    serve = [f"{fakes[route.type]}=0" for route in wanted]
    async with _process(
        sys.executable, "-m", "tests.vendors.serve", *serve, ready="key", within_s=30.0, env=env
    ) as said:
        served = len(said)
        config = _placed(text, wanted, said)
        async with _process(_bin("patchbay"), "up", "--config", config, ready="up;", within_s=_UP_S, env=env) as up:
            where = up[-1].partition("where several run: ")[2].split()  # not `auto` alone: others may run here too
            here = {**env, **dict(pair.split("=", 1) for pair in where)}

            async def one(route: Route) -> None:
                async with gate:
                    outcomes[route.name] = await _call(route, here)

            await asyncio.gather(*(one(route) for route in wanted))
            await asyncio.sleep(1.0)  # the fakes tell twice a second
    return outcomes, said[served:]


def _placed(text: str, wanted: list[Route], said: list[str]) -> str:
    """The name of a copy of the configuration in which the endpoints are where the fakes said that they are."""
    for route, line in zip(wanted, said, strict=False):
        port = line.rpartition("127.0.0.1:")[2].partition("/")[0]
        text = text.replace(f"127.0.0.1:{route.port}/", f"127.0.0.1:{port}/")
        text = text.replace(f'127.0.0.1:{route.port}"', f'127.0.0.1:{port}"')
    (_OUT / CONFIG.name).write_text(text)
    return str(_OUT / CONFIG.name)


def _table(wanted: list[Route], outcomes: dict[str, Outcome]) -> Table:
    table = Table(box=None, header_style="bold")
    for name, justify in (("route", "left"), ("stage", "left"), ("turns", "right"), ("answer after", "right"),
                          ("cost", "right"), ("call", "right"), ("outcome", "left")):  # fmt: skip
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for route in wanted:
        outcome = outcomes[route.name]
        record = outcome.record
        waits = [f"{latency['total']:.2f}" for latency in record.get("latencies", ())]
        cost = (record.get("cost") or {}).get("providers", {}).get(route.name, {}).get("cost")
        table.add_row(
            route.name, route.stage, str(len(record.get("turns", ()))), f"{' '.join(waits)} s" if waits else "",
            "" if cost is None else f"{cost:.6f}", f"{outcome.took_s:.1f} s", "; ".join(outcome.wrong) or "right",
            style="red" if outcome.wrong else None,
        )  # fmt: skip
    return table


def main(names: list[str]) -> int:
    text = CONFIG.read_text()
    known = routes(text)
    strangers = sorted(set(names) - {route.name for route in known})
    if strangers:
        print(f"no route {', '.join(strangers)}; there are {', '.join(r.name for r in known)}", file=sys.stderr)
        return 2
    wanted = [route for route in known if not names or route.name in names]
    _OUT.mkdir(parents=True, exist_ok=True)
    _write_caller(_OUT / "caller.wav")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a run that is ended ends what it started
    try:
        outcomes, taken_ill = asyncio.run(run(text, wanted))
    except NotUp as error:
        print(error, file=sys.stderr)
        return 2
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(_table(wanted, outcomes), markup=False)
    for text in taken_ill:
        console.print(f"a vendor would not have taken this: {text}", markup=False, style="red")
    missing = [] if names else routeless(known)
    for type in missing:
        console.print(f"{type}: an adapter without a route in {CONFIG.name}", markup=False, style="red")
    right = sum(not outcome.wrong for outcome in outcomes.values())
    console.print(f"{right} of {len(wanted)} calls are as they should be; recordings and events: {_OUT}", markup=False)
    return 0 if right == len(wanted) and not taken_ill and not missing else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
