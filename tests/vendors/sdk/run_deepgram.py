"""deepgram-sdk: one live conversation. Arguments: address. Audio (16-bit, 16 kHz) on standard input."""

import asyncio
import json
import os
import sys

from deepgram import AsyncDeepgramClient
from deepgram.environment import DeepgramClientEnvironment
from deepgram.listen.v1 import types

MODELS = {
    "Results": types.ListenV1Results,
    "Metadata": types.ListenV1Metadata,
    "SpeechStarted": types.ListenV1SpeechStarted,
    "UtteranceEnd": types.ListenV1UtteranceEnd,
    "ConfigureSuccess": types.ListenV1ConfigureSuccess,
}


async def main(url: str, pcm: bytes) -> dict[str, object]:
    base = url.replace("ws", "http", 1)
    places = DeepgramClientEnvironment(base=base, production=url, agent=url, agent_rest=base)
    client = AsyncDeepgramClient(api_key=os.environ["VENDOR_KEY"], environment=places)
    said, kinds = [], []
    async with client.listen.v1.connect(
        model="nova-3", language="en", encoding="linear16", sample_rate="16000", channels="1", interim_results="true",
        endpointing="300", utterance_end_ms="1000", vad_events="true", keyterm=["clubs"],
    ) as socket:  # fmt: skip
        await socket.send_configure(types.ListenV1Configure(type="Configure", keyterms=["hearts"]))
        for at in range(0, len(pcm), 3200):
            await socket.send_media(pcm[at : at + 3200])
        await socket.send_keep_alive()
        await socket.send_finalize()
        is_closing = False
        while "Metadata" not in kinds:
            # Not socket.recv(): the SDK builds its records without validating them.
            message = json.loads(await asyncio.wait_for(socket._websocket.recv(), 10))
            kinds.append(message["type"])
            if message["type"] not in MODELS:
                continue
            told = MODELS[message["type"]].model_validate(message)
            if isinstance(told, types.ListenV1Results) and told.is_final:
                said.append(told.channel.alternatives[0].transcript)
                if told.from_finalize and not is_closing:
                    is_closing = True
                    await socket.send_close_stream()
    return {"said": " ".join(filter(None, said)), "kinds": sorted(set(kinds))}


print(json.dumps(asyncio.run(main(sys.argv[1], sys.stdin.buffer.read()))))
