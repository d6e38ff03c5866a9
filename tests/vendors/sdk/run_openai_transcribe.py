"""openai: one file transcribed as it is written, and in one piece. Arguments: address. A WAV file on standard input."""

import asyncio
import json
import os
import sys

import openai
from openai.types import audio

EVENTS = {
    "transcript.text.delta": audio.TranscriptionTextDeltaEvent,
    "transcript.text.done": audio.TranscriptionTextDoneEvent,
}


async def main(url: str, wav: bytes) -> dict[str, object]:
    client = openai.AsyncOpenAI(api_key=os.environ["VENDOR_KEY"], base_url=f"{url}/v1", max_retries=0)
    deltas, said = "", ""
    stream = await client.audio.transcriptions.create(
        file=("speech.wav", wav, "audio/wav"), model="gpt-transcribe", language="en", keywords=["clubs", "hearts"],
        response_format="json", stream=True,
    )  # fmt: skip
    async for event in stream:
        if event.type in EVENTS:
            EVENTS[event.type].model_validate(event.model_dump())  # the SDK builds its records without validating them
        if event.type == "transcript.text.delta":
            deltas += event.delta
        elif event.type == "transcript.text.done":
            said = event.text
    whole = await client.audio.transcriptions.create(
        file=("speech.wav", wav, "audio/wav"), model="whisper-1", response_format="verbose_json",
        timestamp_granularities=["word"],
    )  # fmt: skip
    audio.TranscriptionVerbose.model_validate(whole.model_dump())
    return {"said": said, "deltas": deltas, "whole": whole.text, "words": [w.word for w in whole.words or ()]}


print(json.dumps(asyncio.run(main(sys.argv[1], sys.stdin.buffer.read()))))
