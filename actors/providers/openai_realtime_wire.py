"""What is said on OpenAI's Realtime socket (GA shape), as far as a call needs it.

Server events are records that name only the fields that are read; the vendor may add others. Client events are made by
the functions below. Audio is 16-bit mono at 24 kHz both ways: the only PCM rate there is.

Source   openai-python 3.57 `types/realtime`, the vendor's API reference.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from actors.providers.interface import Tool
from actors.providers.vendor_json import encode

if TYPE_CHECKING:
    from actors.providers.openai_realtime import OpenAiRealtimeOptions

__all__ = [
    "RATE_HZ", "UNREAD", "Delta", "ErrorEvent", "Item", "ItemEvent", "ResponseEvent", "SessionEvent", "Spoke",
    "Transcribed", "UsageBody", "amounts", "append", "create_message", "event", "session", "tool_output", "verbatim",
]  # fmt: skip

RATE_HZ = 24_000
_FORMAT = {"type": "audio/pcm", "rate": RATE_HZ}
UNREAD = frozenset({
    "session.created", "conversation.created", "conversation.item.created", "conversation.item.added",
    "conversation.item.done", "conversation.item.deleted", "conversation.item.truncated", "rate_limits.updated",
    "conversation.item.retrieved", "conversation.item.input_audio_transcription.segment", "input_audio_buffer.cleared",
    "input_audio_buffer.timeout_triggered", "response.content_part.added", "response.content_part.done",
    "response.output_audio.done", "response.output_audio_transcript.done", "response.output_text.delta",
    "response.output_text.done", "response.function_call_arguments.done",
})  # fmt: skip
"""Known, and of no use here."""


class Error(msgspec.Struct, frozen=True):
    type: str = ""
    code: str | None = None
    message: str | None = None
    event_id: str | None = None


class ErrorEvent(msgspec.Struct, frozen=True):
    error: Error


class Format(msgspec.Struct, frozen=True):
    type: str = ""
    rate: int | None = None


class Direction(msgspec.Struct, frozen=True):
    format: Format | None = None


class Audio(msgspec.Struct, frozen=True):
    input: Direction | None = None
    output: Direction | None = None


class Session(msgspec.Struct, frozen=True):
    audio: Audio | None = None


class SessionEvent(msgspec.Struct, frozen=True):
    session: Session = Session()


class Spoke(msgspec.Struct, frozen=True):
    """`speech_started`, `speech_stopped`, `committed`."""

    item_id: str = ""
    audio_start_ms: int = 0
    audio_end_ms: int = 0


class Transcribed(msgspec.Struct, frozen=True):
    """`conversation.item.input_audio_transcription.*`"""

    item_id: str
    delta: str | None = None
    transcript: str | None = None


class Item(msgspec.Struct, frozen=True):
    id: str | None = None
    type: str = ""
    status: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None


class ItemEvent(msgspec.Struct, frozen=True):
    """`response.output_item.added` and `.done`"""

    response_id: str
    item: Item


class Delta(msgspec.Struct, frozen=True):
    """A piece of a response: audio in base64, or text."""

    response_id: str
    item_id: str = ""
    content_index: int = 0
    delta: str = ""


class CachedDetails(msgspec.Struct, frozen=True):
    text_tokens: int | None = None
    audio_tokens: int | None = None


class TokenDetails(msgspec.Struct, frozen=True):
    text_tokens: int | None = None
    audio_tokens: int | None = None
    cached_tokens: int | None = None
    cached_tokens_details: CachedDetails | None = None


class UsageBody(msgspec.Struct, frozen=True):
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_token_details: TokenDetails | None = None
    output_token_details: TokenDetails | None = None


class StatusDetails(msgspec.Struct, frozen=True):
    reason: str | None = None
    error: Error | None = None


class ResponseBody(msgspec.Struct, frozen=True):
    id: str
    status: str | None = None
    status_details: StatusDetails | None = None
    metadata: dict[str, str] | None = None
    usage: UsageBody | None = None


class ResponseEvent(msgspec.Struct, frozen=True):
    """`response.created`, `response.done`"""

    response: ResponseBody


def amounts(usage: UsageBody) -> dict[str, float]:
    """As the vendor bills them: audio and text apart, what was cached out of both (one price for both, and a lower)."""
    given, made = usage.input_token_details or TokenDetails(), usage.output_token_details or TokenDetails()
    cached = given.cached_tokens_details or CachedDetails()
    audio_in, audio_out = given.audio_tokens or 0, made.audio_tokens or 0
    all_cached = given.cached_tokens or 0
    text_in = (usage.input_tokens or 0) - audio_in - (all_cached - (cached.audio_tokens or 0))
    told = {
        "tokens_in": text_in,
        "tokens_cached": all_cached,
        "audio_tokens_in": audio_in - (cached.audio_tokens or 0),
        "tokens_out": (usage.output_tokens or 0) - audio_out,
        "audio_tokens_out": audio_out,
    }
    return {name: float(max(0, value)) for name, value in told.items()}


# ------------------------------------------------------------------------------------------------- client events


def event(type: str, **fields: Any) -> str:
    return encode({"type": type, **fields})


def append(pcm: bytes) -> str:
    return f'{{"type":"input_audio_buffer.append","audio":"{base64.b64encode(pcm).decode()}"}}'


def create_message(role: str, text: str, event_id: str) -> str:
    """A message of `user`, `assistant` or `system`. Audio of the assistant cannot be put back, its words can."""
    content = {"type": "output_text" if role == "assistant" else "input_text", "text": text}
    item = {"type": "message", "role": role, "content": [content]}
    return event("conversation.item.create", event_id=event_id, item=item)


def tool_output(call_id: str, output: str, event_id: str) -> str:
    item = {"type": "function_call_output", "call_id": call_id, "output": output}
    return event("conversation.item.create", event_id=event_id, item=item)


def verbatim(text: str) -> dict[str, Any]:
    """A response that speaks just this text: without the conversation before it, which would tempt to answer, and
    without tools; what it says becomes part of the conversation."""
    asked = (
        f"Say exactly the text below, word for word, in its own language. Add nothing and leave nothing out.\n\n{text}"
    )
    return {"instructions": asked, "input": [], "tool_choice": "none"}


def session(options: OpenAiRealtimeOptions, tools: Sequence[Tool] = (), *, spoke: bool = False) -> dict[str, Any]:
    """The whole `session` of a `session.update`. `spoke`: the model has spoken, so that its voice is fixed."""
    o = options
    output: dict[str, Any] = {"format": _FORMAT, "speed": o.speed}
    if not spoke:
        output["voice"] = o.voice
    made: dict[str, Any] = {
        "type": "realtime",
        "output_modalities": ["audio"],
        "audio": {
            "input": {
                "format": _FORMAT,
                "noise_reduction": {"type": o.noise_reduction} if o.noise_reduction else None,
                "transcription": _transcription(o),
                "turn_detection": _turn_detection(o),
            },
            "output": output,
        },
        "tools": [_tool(tool) for tool in tools],
        "max_output_tokens": o.max_output_tokens or "inf",
        "truncation": _truncation(o),
    }
    if o.instructions is not None:
        made["instructions"] = o.instructions
    if tools and o.tool_choice is not None:
        made["tool_choice"] = o.tool_choice
    if tools and o.parallel_tool_calls is not None:
        made["parallel_tool_calls"] = o.parallel_tool_calls
    if o.reasoning_effort is not None:
        made["reasoning"] = {"effort": o.reasoning_effort}
    return made


def _truncation(o: OpenAiRealtimeOptions) -> Any:
    if o.retention_ratio is None:
        return "auto"
    return {"type": "retention_ratio", "retention_ratio": o.retention_ratio}


def _transcription(o: OpenAiRealtimeOptions) -> dict[str, Any] | None:
    if o.transcription_model is None:
        return None
    made: dict[str, Any] = {"model": o.transcription_model}
    if o.language is not None:
        made["language"] = o.language.partition("-")[0].lower()  # ISO 639-1
    if o.transcription_prompt is not None:
        made["prompt"] = o.transcription_prompt
    if o.keyterms:
        made["keywords"] = list(o.keyterms)
    return made


def _turn_detection(o: OpenAiRealtimeOptions) -> dict[str, Any] | None:
    if o.vad == "local":
        return None
    answers = {"create_response": True, "interrupt_response": o.interrupt_response}
    if o.turn_detection == "semantic_vad":
        return {"type": "semantic_vad", "eagerness": o.eagerness, **answers}
    return {
        "type": "server_vad", "threshold": o.threshold, "prefix_padding_ms": o.prefix_padding_ms,
        "silence_duration_ms": o.silence_ms, **answers,
    }  # fmt: skip


def _tool(tool: Tool) -> dict[str, Any]:
    schema = tool.schema or {"type": "object", "properties": {}}
    return {"type": "function", "name": tool.name, "description": tool.description, "parameters": schema}
