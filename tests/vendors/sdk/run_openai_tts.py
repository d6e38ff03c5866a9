"""openai: speech, raw and as events, and an error. Arguments: base address."""

import asyncio
import base64
import json
import os
import sys

import openai
from openai import AsyncOpenAI


async def speak(client: AsyncOpenAI, text: str, **asked: str) -> tuple[str, bytes]:
    """Content type and body, read as it comes."""
    body = b""
    async with client.audio.speech.with_streaming_response.create(
        model="gpt-4o-mini-tts", voice="alloy", input=text, response_format="pcm", **asked
    ) as response:
        async for piece in response.iter_bytes(1000):
            body += piece
        return response.headers["content-type"], body


async def main(url: str) -> dict[str, object]:
    client = AsyncOpenAI(api_key=os.environ["VENDOR_KEY"], base_url=url, max_retries=0)
    raw_type, raw = await speak(client, "Your table is booked.", instructions="Be kind.")
    events_type, events = await speak(client, "Goodbye.", stream_format="sse")
    pcm, usage = b"", {}
    for block in events.decode().strip().split("\n\n"):
        told = json.loads(block.removeprefix("data: "))
        if told["type"] == "speech.audio.delta":
            pcm += base64.b64decode(told["audio"], validate=True)
        else:
            usage = told["usage"]
    try:
        await client.audio.speech.create(model="gpt-4o-mini-tts", voice="nobody", input="x", response_format="pcm")
        refused = None
    except openai.BadRequestError as error:
        refused = error.param
    return {
        "types": [raw_type, events_type],
        "spoken": [base64.b64encode(raw).decode(), base64.b64encode(pcm).decode()],
        "usage": usage,
        "refused": refused,
        "model": (await client.models.retrieve("gpt-4o-mini-tts")).id,
    }


print(json.dumps(asyncio.run(main(sys.argv[1]))))
