"""From the `type` in a route table to the class that serves it, imported when first asked for.

    find("espeak")                  a provider that ships with Patchbay
    find("acme.voices:Provider")    a class of the user's own, in any module that can be imported

Importing this module imports no provider and none of their libraries.

Raises   ConfigError for a type that is not known, does not import, or does not fulfil the protocol of its stage.
Used by  actors/catalog.py (to check a configuration), actors/provider_host.py (to build the provider).
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from functools import lru_cache
from typing import Any

from pydantic import BaseModel

from actors.providers.interface import (
    AgentCapabilities,
    Capabilities,
    S2sCapabilities,
    SttCapabilities,
    TtsCapabilities,
    TurnCapabilities,
    VadCapabilities,
)
from router.errors import ConfigError
from router.plan import STAGES, Stage

__all__ = ["TYPES", "find", "is_known", "missing_from_stream"]

TYPES: dict[str, str] = {
    "assemblyai": "actors.providers.assemblyai:Provider",
    "azure-stt": "actors.providers.azure_stt:Provider",
    "azure-tts": "actors.providers.azure_tts:Provider",
    "cartesia-stt": "actors.providers.cartesia_stt:Provider",
    "cartesia-tts": "actors.providers.cartesia_tts:Provider",
    "client": "actors.providers.client:Provider",
    "deepgram": "actors.providers.deepgram:Provider",
    "deepgram-flux": "actors.providers.deepgram_flux:Provider",
    "deepgram-tts": "actors.providers.deepgram_tts:Provider",
    "echo": "actors.providers.echo:Provider",
    "elevenlabs-stt": "actors.providers.elevenlabs_stt:Provider",
    "elevenlabs-tts": "actors.providers.elevenlabs_tts:Provider",
    "energy": "actors.providers.energy:Provider",
    "espeak": "actors.providers.espeak:Provider",
    "fake-agent": "actors.providers.fake_agent:Provider",
    "fake-s2s": "actors.providers.fake_s2s:Provider",
    "fake-stt": "actors.providers.fake_stt:Provider",
    "fake-tts": "actors.providers.fake_tts:Provider",
    "fake-turn": "actors.providers.fake_turn:Provider",
    "fake-vad": "actors.providers.fake_vad:Provider",
    "gemini-live": "actors.providers.gemini_live:Provider",
    "heuristic": "actors.providers.heuristic:Provider",
    "local-realtime": "actors.providers.local_realtime:Provider",
    "openai-chat": "actors.providers.openai_chat:Provider",
    "openai-realtime": "actors.providers.openai_realtime:Provider",
    "openai-stt": "actors.providers.openai_stt:Provider",
    "openai-transcribe": "actors.providers.openai_transcribe:Provider",
    "openai-tts": "actors.providers.openai_tts:Provider",
    "pocketsphinx": "actors.providers.pocketsphinx_stt:Provider",
    "script": "actors.providers.script:Provider",
    "silence": "actors.providers.silence:Provider",
    "silero": "actors.providers.silero:Provider",
    "smart-turn": "actors.providers.smart_turn:Provider",
    "webrtc": "actors.providers.webrtc:Provider",
}
"""What ships: type -> module:class. A provider of the user's own needs no line here."""

_CAPABILITIES: dict[Stage, type[Capabilities]] = {
    "vad": VadCapabilities,
    "turn": TurnCapabilities,
    "stt": SttCapabilities,
    "agent": AgentCapabilities,
    "tts": TtsCapabilities,
    "s2s": S2sCapabilities,
}
_COROUTINES = ("warm", "probe", "close")
_METHODS: dict[Stage, tuple[str, ...]] = {
    "vad": ("attach", "detach", "classify", "reset"),
    "turn": ("attach", "detach", "assess"),
    "stt": (),
    "agent": (),
    "tts": (),
    "s2s": (),
}
_STREAM_METHODS: dict[Stage, tuple[str, ...]] = {
    "vad": (),
    "turn": (),
    "stt": ("audio", "speech_start", "speech_end", "finalize", "pause", "resume"),
    "agent": ("reply", "tool_result", "cancel"),
    "tts": ("begin", "text", "flush", "end", "cancel"),
    "s2s": ("audio", "activity_start", "activity_end", "respond", "cancel", "heard", "tool_result", "inject"),
}


def is_known(type: str) -> bool:
    """True for a type that ships and for anything of the form `module:Class`."""
    return type in TYPES or ":" in type


@lru_cache(maxsize=512)
def find(type: str) -> Any:
    """The provider class behind `type`. Raises ConfigError saying what is wrong and what would be right."""
    if not is_known(type):
        near = difflib.get_close_matches(type, TYPES, n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise _wrong(type, f"no such type; {meant}there are {', '.join(sorted(TYPES))}, and module:Class for your own")
    found = _load(type, TYPES.get(type, type))
    wrong = _unfulfilled(found)
    if wrong:
        raise ConfigError(tuple(f"provider type {type}: {detail}" for detail in wrong))
    return found


def missing_from_stream(stage: Stage, stream: object) -> tuple[str, ...]:
    """Methods that a stream of `stage` should have and this one has not."""
    names = (*_STREAM_METHODS[stage], "update", "close")
    return tuple(name for name in names if not callable(getattr(stream, name, None)))


def _load(type: str, where: str) -> Any:
    module_name, _, class_name = where.partition(":")
    if not module_name or not class_name.isidentifier():
        raise _wrong(type, "a provider of your own is given as module:Class")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        # A user's module may raise anything at import; its text is shown, since it names the cause.
        raise _wrong(type, f"{module_name} does not import: {error.__class__.__name__}: {error}") from error
    found = getattr(module, class_name, None)
    if not inspect.isclass(found):
        raise _wrong(type, f"{module_name} has no class {class_name}")
    return found


def _unfulfilled(cls: Any) -> list[str]:
    """What the class lacks of `interface.Provider` and of the protocol of its stage."""
    wrong: list[str] = []
    options = getattr(cls, "Options", None)
    if not (inspect.isclass(options) and issubclass(options, BaseModel)):
        wrong.append("its attribute Options is no pydantic model (derive it from interface.Options)")
    wrong += [
        f"{name} is no coroutine method (async def {name}(self))"
        for name in _COROUTINES
        if not inspect.iscoroutinefunction(getattr(cls, name, None))
    ]
    try:
        capabilities = cls.capabilities({})
    except Exception as error:
        return [*wrong, f"capabilities({{}}) fails: {error.__class__.__name__}: {error}"]
    stage = getattr(capabilities, "stage", None)
    if stage not in STAGES:
        return [*wrong, f"capabilities({{}}) names no stage; there are {', '.join(STAGES)}"]
    if not isinstance(capabilities, _CAPABILITIES[stage]):
        wrong.append(f"capabilities({{}}) is no {_CAPABILITIES[stage].__name__}, which stage {stage} wants")
    if stage in ("vad", "turn"):
        missing = [name for name in _METHODS[stage] if not callable(getattr(cls, name, None))]
    else:
        missing = [] if inspect.iscoroutinefunction(getattr(cls, "open", None)) else ["open (async)"]
    wrong += [f"stage {stage} wants a method {name}" for name in missing]
    return wrong


def _wrong(type: str, detail: str) -> ConfigError:
    return ConfigError((f"provider type {type}: {detail}",))
