"""What is wrong with a configuration: every problem at once, each with its line and what would be right.

    routes.yaml:31: routes[1].use.stt: unknown provider `eers`; did you mean `ears`?

Used by  the YAML reader and the checks of `router.config`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

__all__ = ["Path", "Problem", "Problems", "dotted", "nearest"]

Path = tuple[str | int, ...]

MAX_PROBLEMS = 200
"""More than a person reads; a generated file with a systematic mistake would otherwise fill a log."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong, or (a warning) one thing that is hardly meant."""

    severity: Literal["error", "warning"]
    source: str
    line: int
    """From 1; 0 where the problem has no line."""
    path: str
    """Of the field, as in `routes[1].use.stt`; empty for the file as a whole."""
    detail: str
    """What is wrong, and what would be right."""

    def __str__(self) -> str:
        return ": ".join(part for part in (f"{self.source}:{self.line}", self.path, self.detail) if part)


class Problems:
    """Collects problems of one file; `line_of` finds the line of a path."""

    def __init__(self, source: str, line_of: Callable[[Path], int]) -> None:
        self._source, self._line_of = source, line_of
        self._found: dict[Problem, None] = {}
        self._left_out = 0
        self.has_errors = False

    def error(self, path: Path, detail: str) -> None:
        self._add("error", path, detail)

    def warn(self, path: Path, detail: str) -> None:
        self._add("warning", path, detail)

    def _add(self, severity: Literal["error", "warning"], path: Path, detail: str) -> None:
        self.add(Problem(severity, self._source, self._line_of(path), dotted(path), detail))

    def add(self, problem: Problem) -> None:
        """Keep it, once; beyond the bound the first error is kept, and of the rest the number."""
        if problem in self._found:
            return
        if len(self._found) >= MAX_PROBLEMS and (problem.severity == "warning" or self.has_errors):
            self._left_out += 1
        else:
            self._found[problem] = None
            self.has_errors |= problem.severity == "error"

    def in_order(self) -> tuple[Problem, ...]:
        """By line; the first of a line first."""
        found = sorted(self._found, key=lambda p: p.line)
        if self._left_out:
            found.append(Problem("warning", self._source, 0, "", f"{self._left_out} more problems are not shown"))
        return tuple(found)


def dotted(path: Path) -> str:
    """`("routes", 1, "use")` as `routes[1].use`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean ...?` for a name that is nearly one of `known`, else the known ones (the first twenty)."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"; did you mean `{close[0]}`?"
    if not names:
        return ""
    return f"; there are {', '.join(names[:20])}{' ...' if len(names) > 20 else ''}"
