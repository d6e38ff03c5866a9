"""The configuration that a command works with: the user's file, or one that serves everybody offline.

Raises   ConfigError with every problem, each as `file:line: where: what`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from actors.catalog import catalog
from actors.tool_functions import shape
from router.config import Loaded, load
from router.errors import ConfigError

__all__ = ["DEFAULT", "Configuration", "read"]

DEFAULT = """\
schema: 1
default:
  use: {vad: webrtc, turn: heuristic, stt: pocketsphinx, agent: echo, tts: espeak}
"""
"""What `patchbay call` uses without a file: everything offline, and an agent that says what it heard."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """The text that travels to the router, and its name in messages."""

    text: str
    source: str
    folder: Path
    """Where a `file:PATH` in it begins."""

    def check(self) -> Loaded:
        """Every problem, and the table where there is no error. Looks at this process's environment and files."""
        return load(self.text, self.source, catalog, environment=os.environ, read_file=self._read_file, functions=shape)

    def _read_file(self, path: str) -> str:
        return (self.folder / path).read_text(encoding="utf-8")


def read(path: Path | None) -> Configuration:
    """The file at `path`, or the built-in one. Raises ConfigError if it cannot be read."""
    if path is None:
        return Configuration(DEFAULT, "(built in)", Path())
    try:
        return Configuration(path.read_text(encoding="utf-8"), str(path), path.resolve().parent)
    except OSError as error:
        raise ConfigError((f"{path}: {error.strerror}",)) from None
    except UnicodeDecodeError as error:
        raise ConfigError((f"{path}: is no UTF-8 text (byte {error.start})",)) from None
