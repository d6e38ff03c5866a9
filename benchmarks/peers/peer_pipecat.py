# ruff: noqa
# fmt: off
# A harness and not part of Patchbay: what a peer does with the same load, run by benchmarks/compare.py in an environment
# of its own (`make bench-peers`). But for the warm-up its text is as it was when the figures were first taken.
"""Sessions one process of Pipecat holds in real time: webrtcvad, stub STT/LLM/TTS, 20 ms frames.

usage: peer_pipecat.py WAV SESSIONS SECONDS [WARM_S]
Prints one JSON line: cpu seconds per session-second, lateness of a frame at the STT stage, turns.
"""
import asyncio, json, os, sys, time, wave
os.environ["LOGURU_LEVEL"] = "ERROR"
from loguru import logger
logger.remove()
import webrtcvad
from pipecat.audio.vad.vad_analyzer import VADAnalyzer, VADParams
from pipecat.frames.frames import (Frame, InputAudioRawFrame, TTSAudioRawFrame, TranscriptionFrame, TextFrame,
                                   VADUserStoppedSpeakingFrame, EndFrame)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.audio.vad_processor import VADProcessor
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.workers.runner import WorkerRunner

def cpu():
    return sum(int(open(f"/proc/self/task/{t}/schedstat").read().split()[0]) for t in os.listdir("/proc/self/task")) / 1e9

class WebRTC(VADAnalyzer):
    def __init__(self):
        super().__init__(sample_rate=16000, params=VADParams(min_volume=0.0))
        self.v = webrtcvad.Vad(2)
    def num_frames_required(self): return 320
    def voice_confidence(self, b): return 1.0 if self.v.is_speech(b, 16000) else 0.0

late, turns = [], []
class STT(FrameProcessor):
    async def process_frame(self, frame: Frame, d):
        await super().process_frame(frame, d)
        if isinstance(frame, InputAudioRawFrame):
            late.append(time.perf_counter() - frame.due)
        elif isinstance(frame, VADUserStoppedSpeakingFrame):
            f = TranscriptionFrame("hello there", "u", "now"); f.t0 = time.perf_counter()
            await self.push_frame(f, d); return
        await self.push_frame(frame, d)
class LLM(FrameProcessor):
    async def process_frame(self, frame: Frame, d):
        await super().process_frame(frame, d)
        if isinstance(frame, TranscriptionFrame):
            f = TextFrame("answer"); f.t0 = frame.t0
            await self.push_frame(f, d)
        else:
            await self.push_frame(frame, d)
class TTS(FrameProcessor):
    async def process_frame(self, frame: Frame, d):
        await super().process_frame(frame, d)
        if isinstance(frame, TextFrame) and hasattr(frame, "t0"):
            for i in range(50):
                f = TTSAudioRawFrame(b"\0" * 640, 16000, 1); f.t0 = frame.t0 if i == 0 else None
                await self.push_frame(f, d)
        else:
            await self.push_frame(frame, d)
class Sink(FrameProcessor):
    async def process_frame(self, frame: Frame, d):
        await super().process_frame(frame, d)
        if isinstance(frame, TTSAudioRawFrame) and frame.t0: turns.append(time.perf_counter() - frame.t0)
        elif not isinstance(frame, InputAudioRawFrame): await self.push_frame(frame, d)

async def main(path, n, secs, warm=0.0):
    w = wave.open(path); pcm = w.readframes(w.getnframes()); chunks = [pcm[i:i+640] for i in range(0, len(pcm) - 639, 640)]
    runner = WorkerRunner(handle_sigint=False)
    ws = []
    for _ in range(n):
        p = Pipeline([VADProcessor(vad_analyzer=WebRTC()), STT(), LLM(), TTS(), Sink()])
        ws.append(PipelineWorker(p, params=PipelineParams(audio_in_sample_rate=16000), idle_timeout_secs=None, enable_rtvi=False, enable_turn_tracking=False))
    for x in ws: await runner.add_workers(x) if asyncio.iscoroutinefunction(runner.add_workers) else runner.add_workers(x)
    run = asyncio.create_task(runner.run())
    await asyncio.sleep(2 + n * 0.02)
    late.clear(); turns.clear()
    c0, t0 = cpu(), time.perf_counter()
    ticks = int((warm + secs) * 50)
    async def feed(k, x):
        off = k * 0.02 / n
        for i in range(ticks):
            due = t0 + off + i * 0.02
            d = due - time.perf_counter()
            if d > 0: await asyncio.sleep(d)
            f = InputAudioRawFrame(chunks[(i + k * 7) % len(chunks)], 16000, 1); f.due = due
            await x.queue_frame(f)
    feeds = asyncio.gather(*(feed(k, x) for k, x in enumerate(ws)))
    await asyncio.sleep(warm)
    late.clear(); turns.clear()
    c0, began = cpu(), time.perf_counter()
    await feeds
    await asyncio.sleep(0.5)
    el = time.perf_counter() - began; c = cpu() - c0
    late.sort(); turns.sort()
    q = lambda a, p: round(a[min(len(a) - 1, int(len(a) * p))] * 1e3, 2) if a else None
    rss = int(open("/proc/self/statm").read().split()[1]) * 4 // 1024
    print(json.dumps(dict(peer="pipecat", sessions=n, cpu_per_session=round(c / n / secs, 5), frames=len(late), expected=n * int(secs * 50),
          late_p50_ms=q(late, .5), late_p99_ms=q(late, .99), turns=len(turns), turn_p50_ms=q(turns, .5), turn_p99_ms=q(turns, .99), rss_mb=rss, cores=round(c / el, 2))), flush=True)
    os._exit(0)
asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), *map(float, sys.argv[4:5])))
