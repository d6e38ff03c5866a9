"""elevenlabs: its own realtime client, then its records for many contexts (it has no client for those).

Arguments: address.
"""

import asyncio
import base64
import json
import os
import sys

import websockets
from elevenlabs.client import ElevenLabs
from elevenlabs.types import (
    AudioOutputMulti,
    CloseContext,
    FinalOutputMulti,
    FlushContext,
    InitializeConnectionMulti,
    KeepContextAlive,
    RealtimeVoiceSettings,
    SendTextMulti,
)
from elevenlabs.url_utils import build_ws_url

VOICE = "JBFqnCBsd6RMkjVDRZzb"


def realtime(url: str) -> str:
    client = ElevenLabs(api_key=os.environ["VENDOR_KEY"], base_url=url.replace("ws", "http", 1))
    client.text_to_speech._ws_base_url = url  # it takes wss for granted
    sound = client.text_to_speech.convert_realtime(
        VOICE, text=iter(["Your table ", "is booked. "]), model_id="eleven_flash_v2_5", output_format="pcm_24000"
    )
    return base64.b64encode(b"".join(sound)).decode()


def record(made) -> str:
    return json.dumps(made.model_dump(exclude_none=True))


async def contexts(url: str) -> dict[str, object]:
    query = {"model_id": "eleven_flash_v2_5", "output_format": "pcm_24000", "sync_alignment": "true"}
    address = build_ws_url(url, ["v1", "text-to-speech", VOICE, "multi-stream-input"], query)
    pcm, letters, finals = {"a": b"", "b": b""}, {"a": "", "b": ""}, []
    async with websockets.connect(address, additional_headers={"xi-api-key": os.environ["VENDOR_KEY"]}) as socket:
        for name, text in (("a", "Your table is booked. "), ("b", "Goodbye. ")):
            settings = RealtimeVoiceSettings(stability=0.5, similarity_boost=0.8)
            await socket.send(record(InitializeConnectionMulti(context_id=name, voice_settings=settings)))
            await socket.send(record(SendTextMulti(context_id=name, text=text)))
            await socket.send(record(KeepContextAlive(context_id=name)))
            await socket.send(record(FlushContext(context_id=name, flush=True)))
            await socket.send(record(CloseContext(context_id=name, close_context=True)))
        while len(finals) < 2:
            message = json.loads(await asyncio.wait_for(socket.recv(), 10))
            if message.get("isFinal"):
                finals.append(FinalOutputMulti.model_validate(message).context_id)
            elif "audio" in message:
                told = AudioOutputMulti.model_validate(message, strict=True)
                pcm[told.context_id] += base64.b64decode(told.audio, validate=True)
                letters[told.context_id] += "".join(told.alignment.chars or [])
                assert len(told.alignment.chars) == len(told.alignment.char_start_times_ms)
                assert len(told.alignment.chars) == len(told.alignment.char_durations_ms)
    return {"pcm": {n: base64.b64encode(p).decode() for n, p in pcm.items()}, "letters": letters, "finals": finals}


print(json.dumps({"realtime": realtime(sys.argv[1]), **asyncio.run(contexts(sys.argv[1]))}))
