"""cartesia: one conversation, asked for its finals or (second argument) with turns. Arguments: address, kind."""

import asyncio
import json
import os
import sys

from cartesia import AsyncCartesia
from cartesia.types import stt, stt_error_response

MODELS = {
    "transcript": stt.STTManualFinalizeTranscriptResponse,
    "flush_done": stt.STTManualFinalizeFlushDoneResponse,
    "done": stt.STTManualFinalizeDoneResponse,
    "connected": stt.STTAutoFinalizeConnected,
    "turn.start": stt.STTAutoFinalizeTurnStart,
    "turn.update": stt.STTAutoFinalizeTurnUpdate,
    "turn.eager_end": stt.STTAutoFinalizeTurnEagerEnd,
    "turn.resume": stt.STTAutoFinalizeTurnResume,
    "turn.end": stt.STTAutoFinalizeTurnEnd,
    "error": stt_error_response.STTErrorResponse,
}


def known(event):
    """The SDK builds its records without validating them; one of a type that it does not know is none of its own."""
    model = MODELS.get(event.type)
    return None if model is None else model.model_validate(event.model_dump(exclude_none=True))


async def manual(connection, pcm: bytes) -> dict[str, object]:
    for at in range(0, len(pcm), 3200):
        await connection.send_raw(pcm[at : at + 3200])
    await connection.send("finalize")
    text, kinds = "", []
    async for event in connection:
        told = known(event)
        kinds.append(event.type)
        if event.type == "transcript" and told.is_final:
            text += told.text
        elif event.type == "flush_done":
            await connection.send("close")
        elif event.type == "done":
            break
    return {"said": [text], "kinds": sorted(set(kinds))}


async def turns(connection, pcm: bytes) -> dict[str, object]:
    await connection.send({"type": "config", "turn": {"end_threshold": 0.1}})
    for at in range(0, len(pcm), 3200):
        await connection.send_raw(pcm[at : at + 3200])
    await connection.send({"type": "close"})
    said, kinds = [], []
    async for event in connection:
        told = known(event)
        kinds.append(event.type)
        if event.type == "turn.end":
            said.append(told.transcript)
    return {"said": said, "kinds": sorted(set(kinds))}


async def main(url: str, kind: str, pcm: bytes) -> dict[str, object]:
    client = AsyncCartesia(
        api_key=os.environ["VENDOR_KEY"], base_url=url.replace("ws", "http", 1), websocket_base_url=url
    )
    resource = client.stt.auto_finalize if kind == "turns" else client.stt.manual_finalize
    async with resource.websocket(
        model="ink-2", encoding="pcm_s16le", sample_rate=16000, keyterm=["clubs"], max_retries=0
    ) as connection:
        return await asyncio.wait_for((turns if kind == "turns" else manual)(connection, pcm), 20)


print(json.dumps(asyncio.run(main(sys.argv[1], sys.argv[2], sys.stdin.buffer.read()))))
