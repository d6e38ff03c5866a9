"""What the local models cost: a frame by the number of streams in a batch, a question by the number asked at once.

    python benchmarks/models.py --silero silero_vad.onnx --smart-turn smart-turn-v3.2-cpu.onnx [--json]

Voice detectors hear the demo's speech, each stream from another place in it; the whole of `classify` is timed, so a
model's windows and our own handling are in it. `webrtc` and `energy` stand beside for comparison. A turn detector is
asked about eight seconds. CPU time of this process, the median of `--rounds`.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from actors.providers import energy, silero, smart_turn, webrtc
from actors.providers.interface import Assess, StreamSpec
from benchmarks.measure import machine, print_result, table

ROOT = Path(__file__).resolve().parent.parent
RATE_HZ, FRAME_BYTES = 16_000, 640
FRAMES = 50
"""Timed together: a second of every stream."""


def speech() -> bytes:
    with wave.open(str(ROOT / "examples" / "speech" / "order.wav")) as file:
        return file.readframes(file.getnframes())


def spec(stream: int) -> StreamSpec:
    return StreamSpec(stream=stream, epoch=1, session_id=f"s{stream}", tenant_id="t", rate_hz=RATE_HZ)


def cpu_s(work: Callable[[], object], rounds: int) -> float:
    """The median of CPU seconds that `work` takes."""
    work()
    taken = []
    for _ in range(rounds):
        began_s = time.process_time()
        work()
        taken.append(time.process_time() - began_s)
    return statistics.median(taken)


def warmed(provider: Any) -> Any:
    asyncio.run(provider.warm())
    return provider


def frame_row(name: str, provider: Any, streams: int, pcm: bytes, rounds: int) -> dict[str, Any]:
    """Of one detector with so many streams in every batch."""
    numbers = list(range(streams))
    for number in numbers:
        provider.attach(spec(number))
    last = len(pcm) // FRAME_BYTES - FRAMES
    starts = [number * 37 % last * FRAME_BYTES for number in numbers]
    batches = [[pcm[at + n * FRAME_BYTES : at + (n + 1) * FRAME_BYTES] for at in starts] for n in range(FRAMES)]
    taken_s = cpu_s(lambda: [provider.classify(numbers, batch) for batch in batches], rounds)
    for number in numbers:
        provider.detach(number)
    frame_us = taken_s / FRAMES / streams * 1e6
    return {
        "detector": name, "streams": streams, "us a frame": round(frame_us, 1),
        "ms a batch": round(taken_s / FRAMES * 1e3, 2), "streams a core": round(1e6 / (frame_us * 50)),
    }  # fmt: skip


def question_row(provider: Any, asked: int, pcm: bytes, rounds: int) -> dict[str, Any]:
    """Of the turn detector, with so many questions at once."""
    for number in range(asked):
        provider.attach(spec(number))
    questions = [
        Assess(stream=n, utt=1, text="", pause_ms=200.0, audio=pcm[n * FRAME_BYTES :][: 16 * RATE_HZ])
        for n in range(asked)
    ]
    taken_s = cpu_s(lambda: provider.assess(questions), rounds)
    return {"questions": asked, "ms a question": round(taken_s / asked * 1e3, 1), "ms all": round(taken_s * 1e3, 1)}


def human(result: dict[str, Any]) -> str:
    parts = []
    if result["frames"]:
        parts.append(table(result["frames"], ("detector", "streams", "us a frame", "ms a batch", "streams a core")))
    if result["questions"]:
        parts.append(table(result["questions"], ("questions", "ms a question", "ms all")))
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--silero", type=Path, help="silero_vad.onnx")
    parser.add_argument("--smart-turn", type=Path, help="smart-turn-v3.x-cpu.onnx")
    parser.add_argument("--streams", default="1,8,32,100,200")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    words = parser.parse_args()
    pcm, sizes = speech(), [int(n) for n in words.streams.split(",")]
    detectors: dict[str, Any] = {"webrtc": webrtc.Provider({}), "energy": energy.Provider({})}
    if words.silero:
        detectors["silero"] = warmed(silero.Provider({"model": str(words.silero.resolve())}))
    questions = []
    if words.smart_turn:
        turn = warmed(smart_turn.Provider({"model": str(words.smart_turn.resolve())}))
        questions = [question_row(turn, asked, pcm, words.rounds) for asked in (1, 2, 8)]
    frames = [frame_row(name, made, n, pcm, words.rounds) for name, made in detectors.items() for n in sizes]
    result = {"machine": machine(), "frames": frames, "questions": questions}
    print_result(result, as_json=words.json, human=human)


if __name__ == "__main__":
    main()
