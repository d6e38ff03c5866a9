# ruff: noqa
# fmt: off
# A harness and not part of Patchbay: what a peer does with the same load, run by benchmarks/compare.py in an environment
# of its own (`make bench-peers`). But for the warm-up its text is as it was when the figures were first taken.
"""Sessions one process of LiveKit Agents holds in real time: webrtcvad, stub STT/LLM/TTS, 20 ms frames.

usage: peer_livekit.py WAV SESSIONS SECONDS [WARM_S]      (one process for all: kinder than its process per job)
"""
import asyncio, json, os, sys, time, wave, logging
logging.disable(logging.CRITICAL)
import webrtcvad
from livekit import rtc
from livekit.agents import Agent, AgentSession, APIConnectOptions, stt, tts, vad, llm
from livekit.agents.voice import io
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS

def cpu():
    return sum(int(open(f"/proc/self/task/{t}/schedstat").read().split()[0]) for t in os.listdir("/proc/self/task")) / 1e9
late, turns, stops = [], [], {}

class VStream(vad.VADStream):
    async def _main_task(self):
        v = webrtcvad.Vad(2); speaking = False; up = down = 0; idx = 0; buf = []
        async for f in self._input_ch:
            if isinstance(f, self._FlushSentinel): continue
            t = time.perf_counter()
            s = v.is_speech(bytes(f.data), 16000); idx += f.samples_per_channel
            buf.append(f); buf = buf[-100:]
            up, down = (up + 1, 0) if s else (0, down + 1)
            mk = lambda ty: vad.VADEvent(type=ty, samples_index=idx, timestamp=time.time(), speech_duration=up * .02, silence_duration=down * .02, frames=list(buf) if ty != vad.VADEventType.INFERENCE_DONE else [f], speaking=speaking, probability=float(s), inference_duration=time.perf_counter() - t, raw_accumulated_silence=down*.02, raw_accumulated_speech=up*.02)
            self._event_ch.send_nowait(mk(vad.VADEventType.INFERENCE_DONE))
            if not speaking and up >= 10:
                speaking = True; self._event_ch.send_nowait(mk(vad.VADEventType.START_OF_SPEECH))
            elif speaking and down >= 10:
                speaking = False
                cb = self._vad.on_stop
                if cb: cb()
                self._event_ch.send_nowait(mk(vad.VADEventType.END_OF_SPEECH))
class V(vad.VAD):
    on_stop = None
    def __init__(self): super().__init__(capabilities=vad.VADCapabilities(update_interval=0.02))
    def stream(self): return VStream(self)
class RS(stt.RecognizeStream):
    async def _run(self):
        self._stt.cur = self
        async for f in self._input_ch:
            if isinstance(f, self._FlushSentinel): continue
            due = self._stt.inp.due
            if due: late.append(time.perf_counter() - due.pop(0))
    def final(self):
        self._event_ch.send_nowait(stt.SpeechEvent(type=stt.SpeechEventType.FINAL_TRANSCRIPT, alternatives=[stt.SpeechData(language="en", text="hello there")]))
class S(stt.STT):
    cur = None
    def __init__(self): super().__init__(capabilities=stt.STTCapabilities(streaming=True, interim_results=False))
    async def _recognize_impl(self, *a, **k): raise NotImplementedError
    def stream(self, *, language=None, conn_options=DEFAULT_API_CONNECT_OPTIONS): return RS(stt=self, conn_options=conn_options)
class LS(llm.LLMStream):
    async def _run(self):
        self._event_ch.send_nowait(llm.ChatChunk(id="x", delta=llm.ChoiceDelta(role="assistant", content="this is the answer.")))
class L(llm.LLM):
    def chat(self, *, chat_ctx, tools=None, conn_options=DEFAULT_API_CONNECT_OPTIONS, **k): return LS(self, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options)
class CS(tts.ChunkedStream):
    async def _run(self, e):
        e.initialize(request_id="x", sample_rate=16000, num_channels=1, mime_type="audio/pcm", frame_size_ms=20)
        e.push(b"\0" * 32000); e.flush()
class T(tts.TTS):
    def __init__(self): super().__init__(capabilities=tts.TTSCapabilities(streaming=False), sample_rate=16000, num_channels=1)
    def synthesize(self, text, *, conn_options=DEFAULT_API_CONNECT_OPTIONS): return CS(tts=self, input_text=text, conn_options=conn_options)
class In(io.AudioInput):
    def __init__(self, chunks, off, ticks, t0, k):
        super().__init__(label="in"); self.c, self.off, self.ticks, self.i, self.t0, self.k, self.due = chunks, off, ticks, 0, t0, k, []
    async def __anext__(self):
        if self.i >= self.ticks: await asyncio.Event().wait()
        due = self.t0() + self.off + self.i * 0.02
        d = due - time.perf_counter()
        if d > 0: await asyncio.sleep(d)
        f = rtc.AudioFrame(self.c[(self.i + self.k * 7) % len(self.c)], 16000, 1, 320); self.i += 1; self.due.append(due)
        return f
class Out(io.AudioOutput):
    def __init__(self, key): super().__init__(label="out", capabilities=io.AudioOutputCapabilities(pause=False), sample_rate=16000); self.key = key; self.n = 0.
    async def capture_frame(self, f):
        await super().capture_frame(f)
        t = stops.pop(self.key, None)
        if t: turns.append(time.perf_counter() - t)
        self.n += f.duration
    def flush(self):
        super().flush()
        if self.n: self.on_playback_finished(playback_position=self.n, interrupted=False); self.n = 0.
    def clear_buffer(self):
        if self.n: self.on_playback_finished(playback_position=self.n, interrupted=True); self.n = 0.

async def main(path, n, secs, warm=0.0):
    w = wave.open(path); pcm = w.readframes(w.getnframes()); chunks = [pcm[i:i+640] for i in range(0, len(pcm) - 639, 640)]
    ticks = int((warm + secs) * 50); start = [float("inf")]
    ss = []
    for k in range(n):
        s_, v_ = S(), V()
        i = In(chunks, k * .02 / n, ticks, lambda: start[0], k); s_.inp = i
        def stop(k=k, s_=s_):
            stops[k] = time.perf_counter()
            if s_.cur: s_.cur.final()
        v_.on_stop = stop
        a = AgentSession(stt=s_, vad=v_, llm=L(), tts=T(), turn_detection="vad", min_endpointing_delay=0.0, user_away_timeout=None)
        a.output.audio = Out(k)
        ss.append((a, i))
    start[0] = time.perf_counter() + 3 + n * .05
    for a, i in ss:
        a.input.audio = i
        await a.start(Agent(instructions="x"), record=False)
    await asyncio.sleep(max(0, start[0] + warm - time.perf_counter()))
    late.clear(); turns.clear(); c0, t0 = cpu(), time.perf_counter()
    await asyncio.sleep(secs + .5)
    c = cpu() - c0; late.sort(); turns.sort()
    q = lambda a, p: round(a[min(len(a) - 1, int(len(a) * p))] * 1e3, 2) if a else None
    rss = int(open("/proc/self/statm").read().split()[1]) * 4 // 1024
    print(json.dumps(dict(peer="livekit", sessions=n, cpu_per_session=round(c / n / secs, 5), frames=len(late), expected=n * int(secs * 50), late_p50_ms=q(late, .5), late_p99_ms=q(late, .99),
          turns=len(turns), turn_p50_ms=q(turns, .5), turn_p99_ms=q(turns, .99), rss_mb=rss, cores=round(c / (time.perf_counter() - t0), 2))), flush=True)
    os._exit(0)
asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), *map(float, sys.argv[4:5])))
