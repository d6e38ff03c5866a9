"""elevenlabs: one live transcription. Arguments: address. Audio (16-bit, 16 kHz) on standard input."""

import asyncio
import base64
import json
import os
import sys

from elevenlabs import types
from elevenlabs.realtime.connection import RealtimeEvents
from elevenlabs.realtime.scribe import AudioFormat, CommitStrategy, ScribeRealtime

MODELS = {
    "session_started": types.SessionStartedPayload,
    "partial_transcript": types.PartialTranscriptPayload,
    "committed_transcript": types.CommittedTranscriptPayload,
    "committed_transcript_with_timestamps": types.CommittedTranscriptWithTimestampsPayload,
    "commit_throttled": types.ScribeThrottledErrorPayload,
}


async def main(url: str, pcm: bytes) -> dict[str, object]:
    scribe = ScribeRealtime(api_key=os.environ["VENDOR_KEY"], base_url=url)
    connection = await scribe.connect({
        "model_id": "scribe_v2_realtime", "audio_format": AudioFormat.PCM_16000, "sample_rate": 16000,
        "commit_strategy": CommitStrategy.MANUAL, "language_code": "en", "include_timestamps": True,
        "keyterms": ["clubs"],
    })  # fmt: skip
    messages: asyncio.Queue[dict] = asyncio.Queue()
    for event in RealtimeEvents:
        if event.value in MODELS:
            connection.on(event, messages.put_nowait)
    for at in range(0, len(pcm), 3200):
        await connection.send({"audio_base_64": base64.b64encode(pcm[at : at + 3200]).decode()})
    await connection.commit()
    await connection.commit()  # of nothing
    kinds, said, words = [], "", []
    while "commit_throttled" not in kinds:
        message = await asyncio.wait_for(messages.get(), 10)
        kinds.append(message["message_type"])
        told = MODELS[message["message_type"]].model_validate(message)
        if message["message_type"] == "committed_transcript":
            said = told.text
        elif message["message_type"] == "committed_transcript_with_timestamps":
            words = [word.text for word in told.words]
    await connection.close()
    return {"said": said, "words": words, "kinds": sorted(set(kinds))}


print(json.dumps(asyncio.run(main(sys.argv[1], sys.stdin.buffer.read()))))
