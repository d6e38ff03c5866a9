"""A catalogue of provider types written by hand, for the tests of routing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from router.catalog import Kind, OptionProblem
from router.errors import ConfigError


def options(*known: str, **kinds: type) -> Callable[[Mapping[str, Any]], list[OptionProblem]]:
    """A check that takes the `known` options, and those of a type given by keyword."""

    def check(given: Mapping[str, Any]) -> list[OptionProblem]:
        found = [
            OptionProblem((name,), f"unknown option `{name}`")
            for name in given
            if name not in known and name not in kinds
        ]
        for name, kind in kinds.items():
            if name in given and not isinstance(given[name], kind):
                found.append(OptionProblem((name,), f"is no {kind.__name__}"))
        return found

    return check


def _kind(type_: str, stage: Any, *names: str, **more: Any) -> Kind:
    return Kind(type=type_, stage=stage, check_options=options(*names), per_stream_options=frozenset(names), **more)


KINDS: dict[str, Kind] = {
    k.type: k
    for k in (
        _kind("webrtc", "vad", "aggressiveness", rates_hz=(8000, 16000)),
        _kind("heuristic", "turn"),
        _kind("words", "turn", needs=frozenset({"partials"})),
        _kind("pocketsphinx", "stt", "rate_hz", languages=("en",), rates_hz=(16000,)),
        _kind("deepgram", "stt", "model", "language", features=frozenset({"partials"}), needs_secret=True),
        _kind("echo", "agent"),
        _kind("client", "agent"),
        _kind("openai-chat", "agent", "model", "instructions", features=frozenset({"tools"}), needs_secret=True),
        _kind("espeak", "tts", "voice", "language"),
        _kind("openai-realtime", "s2s", "model", "voice", "instructions", "language", needs_secret=True),
    )
}


def catalog(type_: str) -> Kind | None:
    """The kinds above; `my.module:Broken` cannot be loaded."""
    if type_ == "my.module:Broken":
        raise ConfigError(("no module named my",))
    return KINDS.get(type_)
