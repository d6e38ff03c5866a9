"""A secret in memory: it can be used, and cannot be shown, pickled or logged.

References are `env:NAME` or `file:PATH`; they are resolved in the process that uses them and nowhere else.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NoReturn

from actors.logs import get_logger
from router.errors import ConfigError

__all__ = ["Secret", "placed", "resolve"]


log = get_logger("secrets")


class Secret:
    """Text that shows itself only to `reveal`."""

    __slots__ = ("_text", "reference")

    def __init__(self, text: str, reference: str) -> None:
        self._text = text
        self.reference = reference

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"Secret({self.reference})"

    __str__ = __repr__

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret does not leave its process; send its reference")


def placed(reference: str | None, base_dir: str) -> str | None:
    """The reference with the path of a `file:PATH` below `base_dir`, where the configuration stands: the process that
    resolves it has a folder of its own."""
    if reference is None or not reference.startswith("file:"):
        return reference
    return f"file:{Path(base_dir) / reference.removeprefix('file:')}"


def resolve(reference: str | None) -> Secret | None:
    """The secret behind `env:NAME` or `file:PATH`; None for None. Raises ConfigError naming the reference."""
    if reference is None:
        return None
    kind, _, where = reference.partition(":")
    if kind == "env" and where:
        text = os.environ.get(where)
        if not text:
            raise ConfigError((f"secret {reference}: the environment variable {where} is not set in this process",))
        return Secret(text, reference)
    if kind == "file" and where:
        try:
            text = Path(where).read_text(encoding="utf-8").strip()
            others = Path(where).stat().st_mode & stat.S_IROTH
        except OSError as error:
            raise ConfigError((f"secret {reference}: {error.strerror}",)) from None
        except UnicodeError:
            raise ConfigError((f"secret {reference}: the file is no UTF-8 text",)) from None
        if others:  # a warning and no error: what an orchestrator mounts is often readable, in a place that is not
            log.warning("secret_file.readable_by_everybody", reference=reference)
        if not text:
            raise ConfigError((f"secret {reference}: the file is empty",))
        return Secret(text, reference)
    raise ConfigError(("a secret is given as env:NAME or file:PATH, never as itself",))
