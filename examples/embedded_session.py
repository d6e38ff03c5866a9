"""One voice session in this process, without a router, links or Ray: `python examples/embedded_session.py FILE.wav`.

For an application that wants the conversation (turns, barge-in, transcripts, replies) and nothing to run beside it.
The plan is written by hand here; with a route table it would come from `router.choose.choose(ctx, table)`.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from actors.events import AgentText, EndInput, SessionClosed, TranscriptFinal, VoiceAudio
from actors.formats import FRAME_MS
from actors.local import LocalCall
from actors.providers import registry
from cli import audiofile
from router.plan import Candidate, RoutePlan, Stage
from router.settings import SessionSettings

PROVIDERS: dict[Stage, str] = {
    "vad": "webrtc",
    "turn": "heuristic",
    "stt": "pocketsphinx",
    "agent": "echo",
    "tts": "espeak",
}


async def main(path: Path) -> None:
    providers = {name: registry.find(name)({}, None, None) for name in PROVIDERS.values()}
    for provider in providers.values():
        await provider.warm()
    plan = RoutePlan(
        route="by-hand", version="1", tenant_id="demo", region="default", pool_region="default",
        stages={s: (Candidate(stage=s, provider=name, type=name),) for s, name in PROVIDERS.items()},
        settings=SessionSettings(),
    )  # fmt: skip
    samples, audio = audiofile.read(path)
    pcm = samples.astype("<i2").tobytes()
    async with LocalCall(plan, providers, audio_in=audio) as call, asyncio.TaskGroup() as tasks:
        speaking = tasks.create_task(speak(call, pcm, audio.frame_bytes))
        heard_ms = 0.0
        while True:
            event = await call.events.get()
            match event:
                case TranscriptFinal(text=text) if text:
                    print(f"{event.t:6.2f}  caller  {text}")
                case AgentText(delta=text):
                    print(f"{event.t:6.2f}  agent   {text}")
                case VoiceAudio(pcm=voice):
                    heard_ms += len(voice) / 2 / audio.rate_hz * 1000
                case SessionClosed(reason=reason):
                    print(f"{event.t:6.2f}  closed  {reason}, {heard_ms / 1000:.1f} s of replies")
                    break
        speaking.cancel()
    for provider in providers.values():
        await provider.close()


async def speak(call: LocalCall, pcm: bytes, frame_bytes: int) -> None:
    """The file at the speed of speech."""
    loop = asyncio.get_running_loop()
    due_s = loop.time()
    for start in range(0, len(pcm), frame_bytes):
        call.session.caller_audio(pcm[start : start + frame_bytes])
        due_s += FRAME_MS / 1000
        await asyncio.sleep(max(0.0, due_s - loop.time()))
    call.session.caller_op(EndInput())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/embedded_session.py FILE.wav")
    asyncio.run(main(Path(sys.argv[1])))
