"""A configuration from its text to a table, or to one error that names everything wrong with it."""

from __future__ import annotations

import os
from pathlib import Path

from actors.catalog import catalog
from actors.tool_functions import shape
from router.config import load as load_config
from router.errors import ConfigError
from router.table import RouteTable

__all__ = ["load"]


def load(text: str, source: str, base_dir: str, *, check_environment: bool) -> RouteTable:
    """The route table. `file:PATH` is relative to `base_dir`. Raises ConfigError.

    `check_environment`: an `env:NAME` that is not set here is an error. Not for the router, whose own environment
    says nothing of the nodes where provider actors run.
    """

    def read_file(path: str) -> str:
        return (Path(base_dir) / path).read_text(encoding="utf-8")

    environment = os.environ if check_environment else None
    loaded = load_config(text, source, catalog, environment=environment, read_file=read_file, functions=shape)
    if loaded.table is None:
        raise ConfigError(tuple(str(p) for p in loaded.problems if p.severity == "error"))
    return loaded.table
