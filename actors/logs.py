"""Logs are JSON lines, and nothing secret gets into one.

    log = get_logger("router")
    log.info("session.granted", route=..., tenant=..., region=..., session=..., trace=...)

`setup()` is called once per process that is ours. The first processor is `redact`: whatever comes after it, and
whatever is written, has seen only what it left.
"""

from __future__ import annotations

import re
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

__all__ = ["clean_text", "get_logger", "redact", "setup"]

_HIDDEN = "[hidden]"
_NAMES = re.compile(r"authori[sz]ation|api[-_]?key|(^|_)token$|secret|password|cookie", re.IGNORECASE)
_TEXTS = re.compile(
    r"(?i:(authorization\s*[:=]\s*)(?:(?:bearer|basic|token)\s+)?[^\s,;\"']+)"
    r"|(?i:((?:api[-_]?key|access[-_]?token|token|secret|password)\s*[=:]\s*[\"']?)[^\s&,;\"']+)"
    r"|(?i:(bearer\s+)[A-Za-z0-9._~+/=-]{8,})"
    r"|\bsk-[A-Za-z0-9_-]{8,}"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"
)
_DEPTH = 6


def redact(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Hide what looks like a credential, in keys that name one and in any text. A structlog processor."""
    for key, value in event.items():
        event[key] = _HIDDEN if _NAMES.search(key) else _clean(value, _DEPTH)
    return event


def clean_text(text: str) -> str:
    """`text` without what looks like a credential."""
    return _TEXTS.sub(lambda m: next((g for g in m.groups() if g), "") + _HIDDEN, text)


def _clean(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth == 0:
        return _HIDDEN
    if isinstance(value, dict):
        return {k: _HIDDEN if _NAMES.search(str(k)) else _clean(v, depth - 1) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(v, depth - 1) for v in value]
    return _clean(repr(value), depth - 1)


def setup(stream: TextIO | None = None) -> None:
    """JSON lines on `stream` (standard error) from now on."""
    structlog.configure(
        processors=[
            structlog.processors.format_exc_info,  # a traceback becomes text before it is looked at for secrets
            redact,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(stream or sys.stderr),
        cache_logger_on_first_use=False,
    )


def get_logger(part: str) -> Any:
    """A logger whose lines say which part of the house they come from."""
    return structlog.get_logger(part=part)
