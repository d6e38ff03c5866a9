"""What hearing costs: audio formats, voice detection, sentences, and pocketsphinx live.

    python benchmarks/ears.py [--seconds 60] [--seed 0]

The first table is CPU per frame of 20 ms. The second plays the demo's callers to one provider in real time order but as
fast as they are heard, `streams` at once, and tells for each utterance how long `finalize` took, what it would have
taken had the decoder kept up with a live caller (the last piece and the last pass), and the longest hold of the loop.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import sys
import time
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from actors.audio import Decoder, Encoder  # noqa: E402  # after the path is set
from actors.formats import AudioFormat  # noqa: E402
from actors.providers import energy, webrtc  # noqa: E402
from actors.providers.interface import Finalized, ProviderEvent, StreamSpec  # noqa: E402
from actors.providers.pocketsphinx_stt import Provider as Pocketsphinx  # noqa: E402
from actors.sentences import Splitter  # noqa: E402

FRAME = 320


def spec(stream: int) -> StreamSpec:
    return StreamSpec(stream=stream, epoch=1, session_id=f"s{stream}", tenant_id="bench", rate_hz=16_000)


def per_item_us(work: Callable[[], object], items: int, repeat: int = 200) -> tuple[float, float]:
    """Median and p99 of CPU per item, microseconds."""
    taken = []
    for _ in range(repeat):
        begin = time.thread_time_ns()
        work()
        taken.append((time.thread_time_ns() - begin) / 1000 / items)
    return float(np.median(taken)), float(np.percentile(taken, 99))


def print_frames(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pcm = {rate: rng.normal(0, 3000, rate // 50).astype("<i2").tobytes() for rate in (8000, 16000, 24000)}
    law = bytes(rng.integers(0, 256, 160, dtype=np.uint8))
    rows: list[tuple[str, Callable[[], object], int]] = []
    for name, format, rate, data in (
        ("pcm16 16 kHz in, 16 kHz", AudioFormat(), 16000, pcm[16000]),
        ("mu-law 8 kHz in, 16 kHz", AudioFormat("mulaw", 8000), 16000, law),
        ("pcm16 24 kHz in, 16 kHz", AudioFormat("pcm16", 24000), 16000, pcm[24000]),
    ):
        door = Decoder(format, rate)
        rows.append((name, lambda door=door, data=data: [door.feed(data) for _ in range(50)], 50))
    mouth = Encoder(AudioFormat("mulaw", 8000), 24000)
    rows.append(("24 kHz out, mu-law 8 kHz", lambda: [mouth.feed(pcm[24000]) for _ in range(50)], 50))
    for module in (webrtc, energy):
        for n in (1, 100):
            vad = module.Provider({})
            for stream in range(n):
                vad.attach(spec(stream))
            streams, frames = list(range(n)), [pcm[16000]] * n
            rows.append((f"{module.TYPE}, batch of {n}", lambda v=vad, s=streams, f=frames: v.classify(s, f), n))
    text = "Your order no. 5 was sent on Monday, **as promised**. Dr. Who will bring it at 3.5 p.m. on time! " * 5
    rows.append(("sentences, per character", lambda: [Splitter().feed(text)], len(text)))
    print(f"{'what':32} {'p50 us':>9} {'p99 us':>9}")
    for name, work, items in rows:
        work()
        p50, p99 = per_item_us(work, items)
        print(f"{name:32} {p50:9.2f} {p99:9.2f}")


def callers() -> list[bytes]:
    found = []
    for path in sorted((ROOT / "examples" / "speech").glob("*.wav")):
        with wave.open(str(path)) as file:
            found.append(file.readframes(file.getnframes()))
    return found


async def call(provider: Pocketsphinx, number: int, pcm: bytes, end_s: float, finals_ms: list[float]) -> float:
    """One caller in real time; returns seconds of audio that were played."""
    loop = asyncio.get_running_loop()
    asked: dict[int, float] = {}

    def emit(event: ProviderEvent) -> None:
        if isinstance(event, Finalized):
            finals_ms.append(1000 * (loop.time() - asked.pop(event.utt)))

    stream = await provider.open(spec(number), emit)
    vad = webrtc.Provider({})
    vad.attach(spec(1))
    recent, utt, last_voiced, is_speaking, begin_s, at = [False] * 5, 0, 0, False, loop.time(), 0
    while loop.time() < end_s:
        frame = pcm[2 * at % len(pcm) : 2 * at % len(pcm) + 2 * FRAME].ljust(2 * FRAME, b"\0")
        stream.audio(at, frame)
        at += FRAME
        recent = [*recent[1:], vad.classify((1,), (frame,))[0]]
        last_voiced = at if recent[-1] else last_voiced
        if not is_speaking and sum(recent) >= 3:
            utt, is_speaking = utt + 1, True
            stream.speech_start(utt, max(0, at - 3 * FRAME - 4800))
        elif is_speaking and at - last_voiced >= 3200:
            is_speaking, recent = False, [False] * 5
            asked[utt] = loop.time()
            stream.finalize(utt, at)
        await asyncio.sleep(max(0.0, begin_s + at / 16_000 - loop.time()))
    await stream.close(drain=False)
    return at / 16_000


async def lag(end_s: float, lags_ms: list[float]) -> None:
    """How late the loop is, every 10 ms."""
    loop = asyncio.get_running_loop()
    while (due_s := loop.time() + 0.01) < end_s:
        await asyncio.sleep(0.01)
        lags_ms.append(1000 * (loop.time() - due_s))


async def live(streams: int, seconds: float) -> None:
    provider = Pocketsphinx({"decoders": streams})
    begin = time.monotonic()
    await provider.warm()
    warm_s = time.monotonic() - begin
    finals_ms: list[float] = []
    lags_ms: list[float] = []
    speech, end_s, cpu = callers(), asyncio.get_running_loop().time() + seconds, time.process_time()
    async with asyncio.TaskGroup() as group:
        for n in range(streams):
            group.create_task(call(provider, n, speech[n % len(speech)], end_s, finals_ms))
        group.create_task(lag(end_s, lags_ms))
    cores = (time.process_time() - cpu) / seconds
    print(
        f"{streams:7} {warm_s:7.2f} {len(finals_ms):10} {np.median(finals_ms):9.0f} {np.percentile(finals_ms, 99):9.0f}"
        f" {np.percentile(lags_ms, 99):11.0f} {max(lags_ms):11.0f} {cores:7.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(f"Python {platform.python_version()}, {platform.machine()}, seed {given.seed}\n")
    print_frames(given.seed)
    print(f"\npocketsphinx, {given.seconds:g} s live of callers who speak 40 % of the time")
    print(
        f"{'streams':>7} {'warm s':>7} {'utterances':>10} {'final p50':>9} {'p99 ms':>9} {'lag p99 ms':>11}"
        f" {'lag max ms':>11} {'cores':>7}"
    )
    for streams in (1, 2, 4):
        asyncio.run(live(streams, given.seconds))


if __name__ == "__main__":
    main()
