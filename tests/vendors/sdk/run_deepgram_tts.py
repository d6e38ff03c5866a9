"""deepgram-sdk: a conversation over `/v1/speak`, one reply cleared. Arguments: address."""

import asyncio
import base64
import json
import os
import sys

from deepgram import AsyncDeepgramClient
from deepgram.environment import DeepgramClientEnvironment
from deepgram.speak.v1 import types

MODELS = {
    "Metadata": types.SpeakV1Metadata,
    "Flushed": types.SpeakV1Flushed,
    "Cleared": types.SpeakV1Cleared,
    "Warning": types.SpeakV1Warning,
}


async def until(socket, kind: str) -> bytes:
    """Audio up to a message of that kind."""
    pcm = b""
    while True:
        # Not socket.recv(): the SDK builds its records without validating them.
        message = await asyncio.wait_for(socket._websocket.recv(), 10)
        if isinstance(message, bytes):
            pcm += message
            continue
        told = json.loads(message)
        if told["type"] in MODELS:
            MODELS[told["type"]].model_validate(told, strict=True)
        if told["type"] == kind:
            return pcm


async def main(url: str) -> dict[str, object]:
    base = url.replace("ws", "http", 1)
    places = DeepgramClientEnvironment(base=base, production=url, agent=url, agent_rest=base)
    client = AsyncDeepgramClient(api_key=os.environ["VENDOR_KEY"], environment=places)
    spoken = []
    async with client.speak.v1.connect(model="aura-2-thalia-en", encoding="linear16", sample_rate="24000") as socket:
        await until(socket, "Metadata")
        for text in ("Your table is booked. ", "Anything else?"):
            await socket.send_text(types.SpeakV1Text(type="Speak", text=text))
            await socket.send_flush()
            spoken.append(await until(socket, "Flushed"))
        await socket.send_text(types.SpeakV1Text(type="Speak", text="A long answer that is interrupted"))
        await socket.send_clear()
        await until(socket, "Cleared")
        await socket.send_text(types.SpeakV1Text(type="Speak", text="Goodbye."))
        await socket.send_flush()
        spoken.append(await until(socket, "Flushed"))
        await socket.send_close()
    return {"spoken": [base64.b64encode(pcm).decode() for pcm in spoken]}


print(json.dumps(asyncio.run(main(sys.argv[1]))))
