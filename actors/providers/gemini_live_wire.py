"""What is said on Gemini's Live socket (BidiGenerateContent), as far as a call needs it.

Every message is an object with one field or several, and no type; the vendor may send it in a binary frame. Audio is
16-bit mono, 16 kHz in and 24 kHz out. Fields that are not read are left out of the records.

Source   python-genai 3.6 `types.py`, `_live_converters.py`; the vendor's WebSockets reference.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from actors.providers.interface import Tool
from actors.providers.vendor_json import encode

if TYPE_CHECKING:
    from actors.providers.gemini_live import GeminiLiveOptions

__all__ = [
    "IN_HZ", "OUT_HZ", "Content", "FunctionCall", "ServerContent", "ServerMessage", "Transcription", "UsageMetadata",
    "amounts", "audio", "client_content", "realtime", "seconds", "setup", "tool_response", "turn", "verbatim",
]  # fmt: skip

IN_HZ, OUT_HZ = 16_000, 24_000
_MIME = f"audio/pcm;rate={IN_HZ}"


class Record(msgspec.Struct, frozen=True, rename="camel"):
    pass


class Blob(Record, frozen=True):
    data: str = ""
    mime_type: str = ""


class Part(Record, frozen=True):
    inline_data: Blob | None = None


class Content(Record, frozen=True):
    parts: tuple[Part, ...] = ()


class Transcription(Record, frozen=True):
    text: str | None = None
    finished: bool | None = None


class ServerContent(Record, frozen=True):
    model_turn: Content | None = None
    input_transcription: Transcription | None = None
    interim_input_transcription: Transcription | None = None
    output_transcription: Transcription | None = None
    interrupted: bool = False
    generation_complete: bool = False
    turn_complete: bool = False
    turn_complete_reason: str | None = None


class FunctionCall(Record, frozen=True):
    id: str | None = None
    name: str | None = None
    args: dict[str, Any] | None = None


class ToolCall(Record, frozen=True):
    function_calls: tuple[FunctionCall, ...] = ()


class ToolCallCancellation(Record, frozen=True):
    ids: tuple[str, ...] = ()


class GoAway(Record, frozen=True):
    time_left: str | None = None


class ResumptionUpdate(Record, frozen=True):
    new_handle: str | None = None
    resumable: bool = False


class ModalityCount(Record, frozen=True):
    modality: str = ""
    token_count: int = 0


class UsageMetadata(Record, frozen=True):
    prompt_token_count: int = 0
    cached_content_token_count: int = 0
    tool_use_prompt_token_count: int = 0
    response_token_count: int = 0
    thoughts_token_count: int = 0
    prompt_tokens_details: tuple[ModalityCount, ...] | None = None
    cache_tokens_details: tuple[ModalityCount, ...] | None = None
    response_tokens_details: tuple[ModalityCount, ...] | None = None


class Status(Record, frozen=True):
    code: int = 0
    message: str = ""
    status: str = ""


class ServerMessage(Record, frozen=True):
    setup_complete: dict[str, Any] | None = None
    server_content: ServerContent | None = None
    tool_call: ToolCall | None = None
    tool_call_cancellation: ToolCallCancellation | None = None
    go_away: GoAway | None = None
    session_resumption_update: ResumptionUpdate | None = None
    usage_metadata: UsageMetadata | None = None
    error: Status | None = None

    @property
    def is_known(self) -> bool:
        return any(getattr(self, name) is not None for name in self.__struct_fields__)


def seconds(duration: str | None) -> float | None:
    """Of a protobuf duration in JSON: `50s`, `3.25s`."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)s", duration or "")
    return float(found.group(1)) if found else None


def amounts(usage: UsageMetadata) -> dict[str, float]:
    """Audio and text apart, what was cached out of both; thoughts are text that was made."""
    cached_audio, audio_in = _audio(usage.cache_tokens_details), _audio(usage.prompt_tokens_details)
    audio_out, cached = _audio(usage.response_tokens_details), usage.cached_content_token_count
    told = {
        "tokens_in": usage.prompt_token_count - audio_in - (cached - cached_audio) + usage.tool_use_prompt_token_count,
        "tokens_cached": cached,
        "audio_tokens_in": audio_in - cached_audio,
        "tokens_out": usage.response_token_count - audio_out + usage.thoughts_token_count,
        "audio_tokens_out": audio_out,
    }
    return {name: float(max(0, value)) for name, value in told.items()}


def _audio(details: Iterable[ModalityCount] | None) -> int:
    return sum(one.token_count for one in details or () if one.modality == "AUDIO")


# ------------------------------------------------------------------------------------------------- client messages


def audio(pcm: bytes) -> str:
    data = base64.b64encode(pcm).decode()
    return f'{{"realtimeInput":{{"audio":{{"mimeType":"{_MIME}","data":"{data}"}}}}}}'


def realtime(**fields: Any) -> str:
    return encode({"realtimeInput": fields})


def turn(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"text": text}]}


def client_content(turns: Sequence[dict[str, Any]], complete: bool) -> str:
    content: dict[str, Any] = {"turnComplete": complete}
    return encode({"clientContent": {"turns": list(turns), **content} if turns else content})


def tool_response(id: str, name: str, result: str, ok: bool) -> str:
    """`output` and `error` are the keys that the vendor looks for."""
    response = {"output" if ok else "error": result}
    return encode({"toolResponse": {"functionResponses": [{"id": id, "name": name, "response": response}]}})


def verbatim(text: str) -> str:
    """A question whose answer is just this text."""
    return (
        f"Say exactly the text below, word for word, in its own language. Add nothing and leave nothing out.\n\n{text}"
    )


def setup(options: GeminiLiveOptions, tools: Sequence[Tool], handle: str | None) -> str:
    """The first message. `handle`: the conversation that is taken up again."""
    o = options
    made: dict[str, Any] = {
        "model": o.model if "/" in o.model else f"models/{o.model}",
        "generationConfig": _generation(o),
        "realtimeInputConfig": {
            "automaticActivityDetection": _detection(o),
            "activityHandling": "START_OF_ACTIVITY_INTERRUPTS" if o.interrupts else "NO_INTERRUPTION",
        },
        "outputAudioTranscription": {},
    }
    if o.input_transcripts:
        made["inputAudioTranscription"] = {}
    if o.instructions:
        made["systemInstruction"] = {"parts": [{"text": o.instructions}]}
    if tools:
        made["tools"] = [{"functionDeclarations": [_function(tool) for tool in tools]}]
    if o.resumption:
        made["sessionResumption"] = {"handle": handle} if handle else {}
    if o.compression:
        made["contextWindowCompression"] = {"slidingWindow": {}}
    if o.takes_text == "realtime" and not handle:
        made["historyConfig"] = {"initialHistoryInClientContent": True}
    return encode({"setup": made})


def _generation(o: GeminiLiveOptions) -> dict[str, Any]:
    made: dict[str, Any] = {"responseModalities": ["AUDIO"]}
    speech: dict[str, Any] = {}
    if o.voice is not None:
        speech["voiceConfig"] = {"prebuiltVoiceConfig": {"voiceName": o.voice}}
    if o.language is not None:
        speech["languageCode"] = o.language
    if speech:
        made["speechConfig"] = speech
    named = {"temperature": o.temperature, "topP": o.top_p, "maxOutputTokens": o.max_output_tokens}
    made |= {name: value for name, value in named.items() if value is not None}
    if o.thinking_budget is not None:
        made["thinkingConfig"] = {"thinkingBudget": o.thinking_budget}
    elif o.thinking_level is not None:
        made["thinkingConfig"] = {"thinkingLevel": o.thinking_level.upper()}
    return made


def _detection(o: GeminiLiveOptions) -> dict[str, Any]:
    if o.vad == "local":
        return {"disabled": True}
    made: dict[str, Any] = {}
    if o.start_sensitivity is not None:
        made["startOfSpeechSensitivity"] = f"START_SENSITIVITY_{o.start_sensitivity.upper()}"
    if o.end_sensitivity is not None:
        made["endOfSpeechSensitivity"] = f"END_SENSITIVITY_{o.end_sensitivity.upper()}"
    if o.prefix_padding_ms is not None:
        made["prefixPaddingMs"] = o.prefix_padding_ms
    if o.silence_ms is not None:
        made["silenceDurationMs"] = o.silence_ms
    return made


def _function(tool: Tool) -> dict[str, Any]:
    made: dict[str, Any] = {"name": tool.name, "description": tool.description}
    if tool.schema.get("properties"):
        made["parametersJsonSchema"] = tool.schema
    return made
