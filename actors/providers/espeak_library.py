"""The espeak-ng library through ctypes: one text in, audio and word positions out, one caller at a time.

    engine().speak("Hello there.", Voice("gmw/en-US"), on_chunk)

The library is one per process, keeps its voice and rate in globals and is not re-entrant, so a lock guards each call;
the call blocks, and `on_chunk` runs on the calling thread with the interpreter's lock taken only for that. Text is
spoken as text: neither SSML nor phoneme mnemonics nor the library's embedded commands (control characters) reach it.

Units    `sample` and rates in Hz, 22,050 always; characters count as Python counts them.
Source   espeak-ng's speak_lib.h, version 1.52 as shipped by espeakng-loader.
"""

from __future__ import annotations

import ctypes
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

__all__ = ["RATE_HZ", "Engine", "EspeakError", "Voice", "WordMark", "engine", "languages", "resolve_voice"]

RATE_HZ = 22050
BUFFER_MS = 200
"""Audio per callback. Made in 0.2 ms, so it does not delay the first audio, and each callback has to win the
interpreter's lock from the loop's thread: fewer of them is kinder to both."""

_SYNCHRONOUS, _CHARS_UTF8, _POS_CHARACTER = 2, 1, 1
_EVENT_LIST_END, _EVENT_WORD = 0, 1
_RATE, _VOLUME, _PITCH = 1, 2, 3


class EspeakError(Exception):
    """The library is not there or refuses; the provider turns it into a ProviderError."""


@dataclass(frozen=True, slots=True)
class Voice:
    identifier: str
    """As the library names it: `gmw/en-US`, with a variant `gmw/en-US+f3`."""
    rate_wpm: int = 175
    pitch: int = 50
    volume: int = 100


@dataclass(frozen=True, slots=True)
class WordMark:
    """The word at this character begins with this sample; the word before it has ended."""

    sample: int
    char: int


OnChunk = Callable[[bytes, list[WordMark]], bool]
"""Takes pcm and the marks found while it was made; False stops the synthesis."""


class _EventId(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class Engine:
    """The loaded library. Made by `engine()`, once in a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._voice: Voice | None = None
        self._on_chunk: OnChunk | None = None
        self._library = self._load()
        self._callback = _Callback(self._called)  # kept: the library holds only its address
        self._library.espeak_SetSynthCallback(self._callback)

    def speak(self, text: str, voice: Voice, on_chunk: OnChunk) -> None:
        """Synthesize `text`, blocking. Raises EspeakError where the library does not take the voice."""
        spoken = _plain(text).encode("utf-8", errors="replace") + b"\0"
        with self._lock:
            self._use(voice)
            self._on_chunk = on_chunk
            try:
                result = self._library.espeak_Synth(spoken, len(spoken), 0, _POS_CHARACTER, 0, _CHARS_UTF8, None, None)
            finally:
                self._on_chunk = None
        if result != 0:
            raise EspeakError(f"espeak_Synth answered {result}")

    def _use(self, voice: Voice) -> None:
        if voice == self._voice:
            return
        self._voice = None
        if self._library.espeak_SetVoiceByName(voice.identifier.encode()) != 0:
            raise EspeakError(f"no voice {voice.identifier}")
        for parameter, value in ((_RATE, voice.rate_wpm), (_VOLUME, voice.volume), (_PITCH, voice.pitch)):
            self._library.espeak_SetParameter(parameter, value, 0)
        self._voice = voice

    def _called(self, wave: Any, count: int, events: Any) -> int:
        """The library's callback. 0 goes on, 1 stops. Nothing may be raised through C."""
        try:
            pcm = ctypes.string_at(wave, 2 * count) if wave and count > 0 else b""
            keep_on = self._on_chunk is not None and self._on_chunk(pcm, _marks(events))
        except Exception:
            keep_on = False
        return 0 if keep_on else 1

    @staticmethod
    def _load() -> Any:
        try:
            import espeakng_loader

            library = ctypes.CDLL(espeakng_loader.get_library_path())
            data = espeakng_loader.get_data_path()
        except (ImportError, OSError, RuntimeError) as error:
            raise EspeakError(f"the espeak-ng library does not load: {error.__class__.__name__}") from error
        library.espeak_Synth.argtypes = (
            ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint,
            ctypes.c_void_p, ctypes.c_void_p,
        )  # fmt: skip
        library.espeak_SetSynthCallback.restype = None
        rate_hz = library.espeak_Initialize(_SYNCHRONOUS, BUFFER_MS, str(data).encode(), 1 << 15)
        if rate_hz != RATE_HZ:
            raise EspeakError(f"espeak_Initialize answered {rate_hz}, not {RATE_HZ} Hz")
        return library


_ENGINE_LOCK = threading.Lock()


@lru_cache(maxsize=1)
def _only_engine() -> Engine:
    return Engine()


def engine() -> Engine:
    """The process's engine, loaded at the first call (3 ms). Raises EspeakError."""
    with _ENGINE_LOCK:
        return _only_engine()


def resolve_voice(name: str) -> str | None:
    """The library's identifier for a voice or language, with its `+variant`; None if there is none.

    >>> resolve_voice("en-gb"), resolve_voice("en-US+f3"), resolve_voice("de-AT"), resolve_voice("nobody")
    ('gmw/en', 'gmw/en-US+f3', 'gmw/de', None)
    """
    base, plus, variant = name.partition("+")
    if plus and variant not in _variants():
        return None
    key = base.lower().replace("_", "-")
    found = _voices().get(key)
    while found is None and "-" in key and re.fullmatch(r"[a-z]{2,3}(-[a-z0-9]+)+", key):
        key = key.rpartition("-")[0]  # BCP 47 lookup, RFC 4647 section 3.4: ever less specific
        found = _voices().get(key)
    return None if found is None else found + plus + variant


@lru_cache(maxsize=1)
def languages() -> tuple[str, ...]:
    """Primary BCP 47 subtags for which there is a voice."""
    return tuple(sorted({key.partition("-")[0] for key in _voices() if re.fullmatch(r"[a-z]{2,3}(-[a-z0-9]+)*", key)}))


@lru_cache(maxsize=1)
def _voices() -> dict[str, str]:
    """Lower-case language, file or voice name -> identifier, from the voice files: 4 ms, no library loaded."""
    ranked: dict[str, tuple[int, str]] = {}
    lang = _data_path() / "lang"
    for path in sorted(p for p in lang.rglob("*") if p.is_file()):
        identifier = path.relative_to(lang).as_posix()
        names = [(0, identifier), (1, path.name)]
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, rest = line.partition(" ")
            words = rest.split()
            if key == "name" and words:
                names.append((0, rest.strip()))
            elif key == "language" and words:
                names.append((int(words[1]) if len(words) > 1 and words[1].isdigit() else 5, words[0]))
        for rank, name in names:
            ranked[name.lower()] = min(ranked.get(name.lower(), (99, "")), (rank, identifier))
    return {name: identifier for name, (_, identifier) in ranked.items()}


@lru_cache(maxsize=1)
def _variants() -> frozenset[str]:
    return frozenset(p.name for p in (_data_path() / "voices" / "!v").iterdir())


def _data_path() -> Path:
    import espeakng_loader

    return Path(espeakng_loader.get_data_path())


def _marks(events: Any) -> list[WordMark]:
    """The words in the library's list of events. (Ends of clauses lie where the next word begins.)"""
    marks, at = [], 0
    while events and events[at].type != _EVENT_LIST_END:
        event = events[at]
        if event.type == _EVENT_WORD:
            marks.append(WordMark(event.sample, event.text_position - 1))
        at += 1
    return marks


def _plain(text: str) -> str:
    """As many characters, none of which the library takes for a command."""
    return "".join(c if c.isprintable() else " " for c in text)
