"""openai: a chat with a tool, streamed. Arguments: base address."""

import asyncio
import json
import os
import sys

import openai
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionChunk

TOOL = {
    "type": "function",
    "function": {
        "name": "status",
        "description": "What became of it.",
        "parameters": {"type": "object", "properties": {"order": {"type": "string"}}},
    },
}


async def ask(client: AsyncOpenAI, messages: list) -> tuple[dict, dict]:
    """The assistant's message and the usage. Every chunk is validated: the SDK builds them without."""
    text, calls, usage, reason = "", {}, None, None
    stream = await client.chat.completions.create(
        model="test-1", messages=messages, tools=[TOOL], stream=True, stream_options={"include_usage": True}
    )
    async for built in stream:
        chunk = ChatCompletionChunk.model_validate(built.model_dump(exclude_unset=True), strict=False)
        if chunk.usage is not None:
            usage = chunk.usage.model_dump()
        for choice in chunk.choices:
            text += choice.delta.content or ""
            reason = choice.finish_reason or reason
            for call in choice.delta.tool_calls or []:
                held = calls.setdefault(call.index, {"id": "", "name": "", "arguments": ""})
                held["id"] = call.id or held["id"]
                held["name"] = call.function.name or held["name"]
                held["arguments"] += call.function.arguments or ""
    tool_calls = [
        {"id": c["id"], "type": "function", "function": {"name": c["name"], "arguments": c["arguments"]}}
        for c in calls.values()
    ]
    assert (reason == "tool_calls") == bool(tool_calls), reason
    return {"role": "assistant", "content": text, **({"tool_calls": tool_calls} if tool_calls else {})}, usage


async def main(url: str) -> dict:
    client = AsyncOpenAI(api_key=os.environ["VENDOR_KEY"], base_url=url, max_retries=0)
    models = [model.id async for model in client.models.list()]
    messages = [{"role": "system", "content": "You are a telephone."}, {"role": "user", "content": "call status"}]
    first, _ = await ask(client, messages)
    call = first["tool_calls"][0]
    messages += [first, {"role": "tool", "tool_call_id": call["id"], "content": "on its way"}]
    second, usage = await ask(client, messages)
    refused = ""
    try:
        await AsyncOpenAI(api_key="wrong", base_url=url, max_retries=0).models.list()
    except openai.AuthenticationError as error:
        refused = error.code
    return {
        "models": models,
        "said": first["content"] + second["content"],
        "called": call["function"],
        "usage": [usage["prompt_tokens"], usage["completion_tokens"], usage["prompt_tokens_details"]["cached_tokens"]],
        "refused": refused,
    }


print(json.dumps(asyncio.run(main(sys.argv[1]))))
