"""cartesia: one conversation over its WebSocket, two contexts side by side, one cancelled. Arguments: address."""

import asyncio
import base64
import json
import os
import sys

from cartesia import AsyncCartesia
from cartesia.types import websocket_response as types

MODELS = {
    "chunk": types.Chunk,
    "timestamps": types.Timestamps,
    "flush_done": types.FlushDone,
    "done": types.Done,
    "error": types.Error,
}
FORMAT = {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 24000}
VOICE = {"mode": "id", "id": "a0e99841-0000-4000-8000-000000000001"}


async def speak(connection, *sentences: str) -> dict[str, object]:
    context = connection.context(
        model_id="sonic-3.5", voice=VOICE, output_format=FORMAT, language="en", add_timestamps=True, timeout=10
    )
    for sentence in sentences:
        await context.push(sentence)
        await context.push("", flush=True)
    await context.no_more_inputs()
    pcm, kinds, words = b"", [], []
    async for event in context.receive():
        # The SDK builds its records without validating them.
        told = MODELS[event.type].model_validate(event.model_dump(exclude_none=True))
        kinds.append(told.type)
        if told.type == "chunk":
            pcm += told.audio
        elif told.type == "timestamps":
            words += told.word_timestamps.words
    return {"pcm": base64.b64encode(pcm).decode(), "kinds": kinds, "words": words}


async def main(url: str) -> dict[str, object]:
    client = AsyncCartesia(api_key=os.environ["VENDOR_KEY"], websocket_base_url=url)
    async with client.tts.websocket_connect() as connection:
        one, two = await asyncio.gather(
            speak(connection, "Your table is booked.", " Anything else?"), speak(connection, "Goodbye.")
        )
        context = connection.context(model_id="sonic-3.5", voice=VOICE, output_format=FORMAT, timeout=10)
        await context.push("All work and no play.")
        await context.cancel()
        three = await speak(connection, "After that.")
    return {"one": one, "two": two, "three": three}


print(json.dumps(asyncio.run(main(sys.argv[1]))))
