"""openai: a conversation with a Realtime model, with a tool and an interruption. Arguments: base address.

Audio (16-bit, 24 kHz) of "call status" on standard input. Every event is validated: the SDK builds them without.
"""

import asyncio
import base64
import json
import os
import sys

from openai import AsyncOpenAI
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

EVENTS = TypeAdapter(RealtimeServerEvent)
FORMAT = {"type": "audio/pcm", "rate": 24000}
SESSION = {
    "type": "realtime",
    "output_modalities": ["audio"],
    "instructions": "You are a telephone.",
    "audio": {
        "input": {
            "format": FORMAT,
            "transcription": {"model": "gpt-transcribe"},
            "turn_detection": {"type": "server_vad", "silence_duration_ms": 300, "create_response": True,
                               "interrupt_response": True},
        },
        "output": {"format": FORMAT, "voice": "marin"},
    },
    "tools": [{"type": "function", "name": "status", "description": "", "parameters": {"type": "object"}}],
}  # fmt: skip


class Talk:
    def __init__(self, connection) -> None:
        self.connection, self.kinds = connection, []
        self.spoken = self.heard = ""
        self.pcm = b""
        self.usage = None

    async def until(self, *types: str):
        """The next event of one of these types; everything is validated and collected on the way."""
        while True:
            raw = json.loads(await asyncio.wait_for(self.connection.recv_bytes(), 10))
            if raw["type"] == "SomethingNew":
                self.kinds.append(raw["type"])
                continue
            event = EVENTS.validate_python(raw)
            assert event.type == raw["type"], raw
            self.kinds.append(event.type)
            assert event.type != "error", event
            if event.type == "response.output_audio.delta":
                self.pcm += base64.b64decode(event.delta)
            elif event.type == "response.output_audio_transcript.done":
                self.spoken += f"{event.transcript}."
            elif event.type == "conversation.item.input_audio_transcription.completed":
                self.heard += event.transcript
            elif event.type == "response.done":
                self.usage = event.response.usage.model_dump()
            if event.type in types:
                return event


async def main(url: str, pcm: bytes) -> dict[str, object]:
    client = AsyncOpenAI(api_key=os.environ["VENDOR_KEY"], websocket_base_url=url, max_retries=0)
    async with client.realtime.connect(model="gpt-realtime-2.1") as connection:
        talk = Talk(connection)
        await talk.until("session.created")
        await connection.session.update(session=SESSION)
        await talk.until("session.updated")
        for at in range(0, len(pcm), 9600):
            await connection.input_audio_buffer.append(audio=base64.b64encode(pcm[at : at + 9600]).decode())
        call = await talk.until("response.function_call_arguments.done")
        await talk.until("response.done")
        output = {"type": "function_call_output", "call_id": call.call_id, "output": "on its way"}
        await connection.conversation.item.create(item=output)
        await connection.response.create()
        await talk.until("response.done")
        answer, talk.pcm = talk.pcm, b""
        await connection.response.create(response={"instructions": "Say this.\n\n" + "All work and no play. " * 10})
        started = await talk.until("response.output_audio.delta")
        await connection.response.cancel()
        await connection.conversation.item.truncate(item_id=started.item_id, content_index=0, audio_end_ms=100)
        last = [await talk.until("response.done", "conversation.item.truncated") for _ in range(2)]
        done = next(event for event in last if event.type == "response.done")
        return {
            "called": [call.name, call.arguments], "heard": talk.heard, "said": talk.spoken.split(".")[0],
            "pcm": base64.b64encode(answer).decode(), "usage": talk.usage, "kinds": sorted(set(talk.kinds)),
            "last": [done.response.status, done.response.status_details.reason],
        }  # fmt: skip


print(json.dumps(asyncio.run(main(sys.argv[1], sys.stdin.buffer.read()))))
