"""deepgram-sdk: one conversation with Flux. Arguments: address. Audio (16-bit, 16 kHz) on standard input."""

import asyncio
import json
import os
import sys

from deepgram import AsyncDeepgramClient
from deepgram.environment import DeepgramClientEnvironment
from deepgram.listen.v2 import types

MODELS = {
    "Connected": types.ListenV2Connected,
    "TurnInfo": types.ListenV2TurnInfo,
    "ConfigureSuccess": types.ListenV2ConfigureSuccess,
}


async def main(url: str, pcm: bytes) -> dict[str, object]:
    base = url.replace("ws", "http", 1)
    places = DeepgramClientEnvironment(base=base, production=url, agent=url, agent_rest=base)
    client = AsyncDeepgramClient(api_key=os.environ["VENDOR_KEY"], environment=places)
    said, kinds, events, sequence = [], [], [], []
    async with client.listen.v2.connect(
        model="flux-general-multi", encoding="linear16", sample_rate="16000", eager_eot_threshold="0.4",
        eot_threshold="0.8", language_hint=["en", "de"], keyterm=["clubs"],
    ) as socket:  # fmt: skip
        await socket.send_configure(types.ListenV2Configure(type="Configure", keyterms=["hearts"]))
        for at in range(0, len(pcm), 2560):
            await socket.send_media(pcm[at : at + 2560])
        await socket.send_force_end_turn()
        await socket.send_close_stream()
        try:
            while True:
                # Not socket.recv(): the SDK builds its records without validating them.
                message = json.loads(await asyncio.wait_for(socket._websocket.recv(), 10))
                kinds.append(message["type"])
                if message["type"] not in MODELS:
                    continue
                told = MODELS[message["type"]].model_validate(message)
                sequence.append(told.sequence_id)
                if isinstance(told, types.ListenV2TurnInfo):
                    events.append(told.event)
                    if told.event == "EndOfTurn":
                        said.append([told.transcript, told.trigger, [w.start is not None for w in told.words]])
        except Exception as error:
            end = type(error).__name__
    return {"said": said, "kinds": sorted(set(kinds)), "events": events, "sequence": sequence, "end": end}


print(json.dumps(asyncio.run(main(sys.argv[1], sys.stdin.buffer.read()))))
