"""google-genai: a conversation with a Live model, with a tool, an interruption and a handle. Arguments: base address.

Audio (16-bit, 16 kHz) of "call status" on standard input. Messages are validated with extra fields forbidden: the SDK
itself drops what it does not know.
"""

import asyncio
import base64
import json
import os
import sys

from google import genai
from google.genai import types

SCHEMA = {"type": "object", "properties": {"of": {"type": "string"}}}
CONFIG = {
    "response_modalities": ["AUDIO"],
    "system_instruction": "You are a telephone.",
    "input_audio_transcription": {},
    "output_audio_transcription": {},
    "session_resumption": {},
    "realtime_input_config": {"automatic_activity_detection": {"silence_duration_ms": 300}},
    "tools": [{"function_declarations": [{
        "name": "status", "description": "", "parameters_json_schema": SCHEMA,
    }]}],
}  # fmt: skip


class Talk:
    def __init__(self, session) -> None:
        self.session = session
        self.heard = self.said = self.handle = ""
        self.pcm, self.usage, self.unknown = b"", None, 0
        self.interrupted = False

    async def until(self, holds):
        """The next message of which something is so; all are collected."""
        while True:
            raw = json.loads(await asyncio.wait_for(self.session._ws.recv(decode=False), 10))
            if "somethingNew" in raw:
                self.unknown += 1
                continue
            message = types.LiveServerMessage.model_validate(raw)  # its models forbid what they do not name
            self.take(message)
            if holds(message):
                return message

    def take(self, message) -> None:
        content = message.server_content
        if message.usage_metadata is not None:
            self.usage = message.usage_metadata.model_dump(mode="json")
        if message.session_resumption_update is not None and message.session_resumption_update.resumable:
            self.handle = message.session_resumption_update.new_handle
        if content is None:
            return
        self.interrupted = self.interrupted or bool(content.interrupted)
        if content.input_transcription is not None:
            self.heard += content.input_transcription.text
        if content.output_transcription is not None:
            self.said += content.output_transcription.text
        for part in content.model_turn.parts if content.model_turn is not None else ():
            assert part.inline_data.mime_type == "audio/pcm;rate=24000"
            self.pcm += part.inline_data.data


def is_over(message) -> bool:
    return bool(message.server_content and message.server_content.turn_complete)


async def main(url: str, pcm: bytes) -> dict[str, object]:
    client = genai.Client(api_key=os.environ["VENDOR_KEY"])
    client._api_client._websocket_base_url = lambda http_options=None: url  # the SDK would say wss
    client._api_client._websocket_ssl_ctx = {}
    model = "gemini-2.5-flash-native-audio"
    async with client.aio.live.connect(model=model, config=CONFIG) as session:
        talk = Talk(session)
        for at in range(0, len(pcm), 3200):
            blob = types.Blob(data=pcm[at : at + 3200], mime_type="audio/pcm;rate=16000")
            await session.send_realtime_input(audio=blob)
        call = (await talk.until(lambda m: m.tool_call is not None)).tool_call.function_calls[0]
        result = types.FunctionResponse(id=call.id, name=call.name, response={"output": "on its way"})
        await session.send_tool_response(function_responses=[result])
        await talk.until(is_over)
        answer, said, usage = talk.pcm, talk.said, talk.usage
        text = "Say this.\n\n" + "All work and no play. " * 10
        await session.send_client_content(turns={"role": "user", "parts": [{"text": text}]}, turn_complete=True)
        await talk.until(lambda m: bool(m.server_content and m.server_content.model_turn))
        await session.send_client_content(turns={"role": "user", "parts": [{"text": "stop"}]}, turn_complete=True)
        await talk.until(is_over)
        talk.said = ""
        await talk.until(is_over)
        last = talk.said
        await talk.until(lambda m: m.session_resumption_update is not None)
    config = {**CONFIG, "session_resumption": {"handle": talk.handle}}
    async with client.aio.live.connect(model=model, config=config) as session:
        await Talk(session).until(lambda m: m.session_resumption_update is not None)
    return {
        "called": [call.name, call.args], "heard": talk.heard, "said": said, "last": last, "usage": usage,
        "pcm": base64.b64encode(answer).decode(), "interrupted": talk.interrupted, "unknown": talk.unknown,
    }  # fmt: skip


print(json.dumps(asyncio.run(main(sys.argv[1], sys.stdin.buffer.read()))))
