"""openai: one realtime transcription. Arguments: address, model. Audio (16-bit, 24 kHz) on standard input."""

import asyncio
import base64
import json
import os
import sys

import openai
from openai.types import realtime

MODELS = {
    "session.created": realtime.SessionCreatedEvent,
    "session.updated": realtime.SessionUpdatedEvent,
    "input_audio_buffer.committed": realtime.InputAudioBufferCommittedEvent,
    "input_audio_buffer.speech_started": realtime.InputAudioBufferSpeechStartedEvent,
    "input_audio_buffer.speech_stopped": realtime.InputAudioBufferSpeechStoppedEvent,
    "conversation.item.added": realtime.ConversationItemAdded,
    "conversation.item.done": realtime.ConversationItemDone,
    "conversation.item.input_audio_transcription.delta": realtime.ConversationItemInputAudioTranscriptionDeltaEvent,
    "conversation.item.input_audio_transcription.completed":
        realtime.ConversationItemInputAudioTranscriptionCompletedEvent,
    "error": realtime.RealtimeErrorEvent,
}  # fmt: skip


async def main(url: str, model: str, pcm: bytes) -> dict[str, object]:
    client = openai.AsyncOpenAI(
        api_key=os.environ["VENDOR_KEY"], websocket_base_url=f"{url}/v1", base_url="http://none"
    )
    detection = None if model.startswith("gpt-live") else {"type": "server_vad", "silence_duration_ms": 300}
    kinds, deltas, said = [], "", ""
    async with client.realtime.connect(extra_query={"intent": "transcription"}) as connection:
        heard = {"format": {"type": "audio/pcm", "rate": 24000}, "transcription": {"model": model, "language": "en"},
                 "turn_detection": detection}  # fmt: skip
        await connection.session.update(session={"type": "transcription", "audio": {"input": heard}})
        for at in range(0, len(pcm), 4800):
            await connection.input_audio_buffer.append(audio=base64.b64encode(pcm[at : at + 4800]).decode())
        if detection is None:
            await connection.input_audio_buffer.commit()
        while not said:
            # Not connection.recv(): the SDK builds its records without validating them.
            message = json.loads(await asyncio.wait_for(connection.recv_bytes(), 10))
            kinds.append(message["type"])
            if message["type"] not in MODELS:
                continue
            told = MODELS[message["type"]].model_validate(message)
            if message["type"].endswith(".delta"):
                deltas += told.delta
            elif message["type"].endswith(".completed"):
                said = told.transcript
        for _ in range(2):  # of what is left, and of nothing
            await connection.input_audio_buffer.commit()
        while "error" not in kinds:
            message = json.loads(await asyncio.wait_for(connection.recv_bytes(), 10))
            kinds.append(message["type"])
            if message["type"] == "error":
                MODELS["error"].model_validate(message)
    return {"said": said, "deltas": deltas, "kinds": sorted(set(kinds))}


print(json.dumps(asyncio.run(main(sys.argv[1], sys.argv[2], sys.stdin.buffer.read()))))
