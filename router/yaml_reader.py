"""YAML read strictly: plain data, a line for every path, and no surprises.

PyYAML's C parser gives events; the tree is built from them here, so that nothing is ever constructed by tag, every
key and item keeps its line, and nesting, size and aliases are bounded before they cost anything. (Composing PyYAML's
own nodes recurses in C and crashes the process at some ten thousand brackets; it also takes four times as long.)

A plain scalar that YAML 1.1 and 1.2 read differently (`NO`, `on`, `017`, `1e3`, `12:30`, `1_000`, a date) is a
problem: the text in quotes or the plain number is asked for. Everything else is read as JSON would: null, true and
false, whole and decimal numbers, text.

Source   YAML 1.2.2 section 10.3.2 (core schema); the YAML 1.1 type repository for what differs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamStartEvent,
)

from router.problem import Path, Problem, dotted

__all__ = ["Document", "read"]

MAX_BYTES = 1_000_000
"""Ten thousand routes of a hundred bytes; more is no hand-written table."""
MAX_DEPTH = 32
"""The deepest key of a route is at 6; the rest is room for provider options."""
MAX_ALIASED = 10_000
"""Nodes that aliases may add, in all: enough for shared blocks, too few for a bomb."""

_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq")} | {"!"}
_NULL = {"", "~", "null", "Null", "NULL"}
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"-?(0|[1-9][0-9]*)\Z")
_FLOAT = re.compile(r"-?(0|[1-9][0-9]*)\.[0-9]*([eE][-+]?[0-9]+)?\Z")
_SURPRISES = (
    (re.compile(r"(y|n|yes|no|on|off)\Z", re.I), "is a yes-or-no to some readers of YAML and text to others"),
    (re.compile(r"[-+]?[0-9][0-9_.]*[eE][-+]?[0-9]+\Z"), "is a number to some readers of YAML and text to others"),
    (re.compile(r"[-+]?(0[0-9_]+|0o[0-7]+|0b[01_]+|0x[0-9a-fA-F_]+)\Z"), "is another number to some readers of YAML"),
    (re.compile(r"[-+]?[0-9]+(_[0-9]+)+(\.[0-9_]*)?\Z"), "is a number to some readers of YAML and text to others"),
    (re.compile(r"\+[0-9]+(\.[0-9]*)?\Z|[-+]?\.[0-9]+\Z"), "could be a number or text"),
    (re.compile(r"[-+]?[0-9]+(:[0-5]?[0-9])+(\.[0-9]*)?\Z"), "is a number of base 60 to some readers of YAML"),
    (re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt \t].*)?\Z"), "is a date to some readers of YAML"),
    (re.compile(r"[-+]?\.(inf|nan)\Z", re.I), "is no number that can be used here"),
)


@dataclass(slots=True)
class _Lines:
    """The line of a node, and of what is in it: by key, or by index."""

    line: int
    inside: dict[str | int, _Lines] = field(default_factory=dict)
    size: int = 1
    """Nodes in it, itself included."""


@dataclass(slots=True)
class Document:
    """What was read. `data` is None where nothing usable was."""

    data: Any
    problems: list[Problem]
    _lines: _Lines

    def line_of(self, path: Path) -> int:
        """Line of the deepest part of `path` that is in the file, from 1."""
        at = self._lines
        for step in path:
            if step not in at.inside:
                break
            at = at.inside[step]
        return at.line


class _Stop(Exception):
    """Reading cannot go on: where, and why."""

    def __init__(self, line: int, path: Path, detail: str) -> None:
        super().__init__(line, path, detail)
        self.line, self.path, self.detail = line, path, detail


def read(text: str | bytes, source: str) -> Document:
    """The one document in `text`, with every problem of form; `source` is the file's name, for messages."""
    reader = _Reader(source)
    try:
        data, lines = reader.document(_decoded(text))
        return Document(data, reader.problems, lines)
    except _Stop as stop:
        reader.problem(stop.line, stop.path, stop.detail)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        detail = ", ".join(part for part in (error.context, error.problem) if part)
        reader.problem(mark.line + 1 if mark else 1, (), f"this is no YAML: {detail}")
    except yaml.YAMLError as error:
        line = 1 + str(_text_before(text, error)).count("\n")
        reader.problem(line, (), f"this is no YAML: {getattr(error, 'reason', 'it cannot be read')}")
    return Document(None, reader.problems, _Lines(1))


def _decoded(text: str | bytes) -> str:
    n_bytes = len(text) if isinstance(text, bytes) else len(text.encode("utf-8", "surrogatepass"))
    if n_bytes > MAX_BYTES:
        raise _Stop(1, (), f"{n_bytes} bytes; at most {MAX_BYTES} are read")
    if isinstance(text, str):
        return text
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = 1 + text[: error.start].count(b"\n")
        raise _Stop(line, (), f"byte {error.start} is no UTF-8; the file is read as UTF-8") from None


def _text_before(text: str | bytes, error: yaml.YAMLError) -> str:
    position = getattr(error, "position", 0)
    decoded = text if isinstance(text, str) else text.decode("utf-8", "replace")
    return decoded[:position] if isinstance(position, int) else ""


class _Reader:
    def __init__(self, source: str) -> None:
        self.problems: list[Problem] = []
        self._source = source
        self._anchors: dict[str, tuple[Any, _Lines]] = {}
        self._aliased = 0

    def problem(self, line: int, path: Path, detail: str) -> None:
        self.problems.append(Problem("error", self._source, line, dotted(path), detail))

    def document(self, text: str) -> tuple[Any, _Lines]:
        # C where PyYAML was built with libyaml (its wheels are), else the same in Python.
        events = yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        assert isinstance(next(events), StreamStartEvent)
        if not isinstance(next(events), DocumentStartEvent):
            return None, _Lines(1)
        read = self._node(next(events), events, (), 0)
        next(events)  # the document's end
        after = next(events)
        if isinstance(after, DocumentStartEvent):
            raise _Stop(_line(after), (), "a second document begins; one is read")
        return read

    def _node(self, event: Event, events: Iterator[Event], path: Path, depth: int) -> tuple[Any, _Lines]:
        line = _line(event)
        if isinstance(event, AliasEvent):
            return self._alias(event, path)
        tag = getattr(event, "tag", None)
        if tag is not None and tag not in _TAGS:
            self.problem(
                line, path, f"the tag {_short(tag)} is not taken; write plain text, numbers, lists and mappings"
            )
        if depth > MAX_DEPTH:
            raise _Stop(line, path[:8], f"nested deeper than {MAX_DEPTH}")
        read: tuple[Any, _Lines]
        if isinstance(event, MappingStartEvent):
            read = self._mapping(line, events, path, depth)
        elif isinstance(event, SequenceStartEvent):
            read = self._sequence(line, events, path, depth)
        else:
            assert isinstance(event, ScalarEvent)
            read = self._scalar(event, path), _Lines(line)
        if isinstance(event, NodeEvent) and event.anchor is not None:
            self._anchors[event.anchor] = read
        return read

    def _mapping(self, line: int, events: Iterator[Event], path: Path, depth: int) -> tuple[dict[str, Any], _Lines]:
        data: dict[str, Any] = {}
        lines = _Lines(line)
        while not isinstance(event := next(events), MappingEndEvent):
            key_line = _line(event)
            key, _ = self._node(event, events, path, depth + 1)
            value, inside = self._node(next(events), events, (*path, key if isinstance(key, str) else "?"), depth + 1)
            if isinstance(key, (bool, int, float)) or key is None:
                self.problem(key_line, path, f"the key {_short(key)} is no text; write it in quotes")
            elif not isinstance(key, str):
                self.problem(key_line, path, "a key is text, not a list or a mapping")
            elif key == "<<":
                self.problem(key_line, path, "merge keys (`<<`) are not taken; write the keys out")
            elif key in data:
                first = lines.inside[key].line
                self.problem(
                    key_line, (*path, key), f"the key stands twice, first in line {first}; one of them must go"
                )
            else:
                data[key] = value
                lines.inside[key] = _Lines(key_line, inside.inside)
            lines.size += 1 + inside.size
        return data, lines

    def _sequence(self, line: int, events: Iterator[Event], path: Path, depth: int) -> tuple[list[Any], _Lines]:
        data: list[Any] = []
        lines = _Lines(line)
        while not isinstance(event := next(events), SequenceEndEvent):
            value, inside = self._node(event, events, (*path, len(data)), depth + 1)
            lines.inside[len(data)] = inside
            lines.size += inside.size
            data.append(value)
        return data, lines

    def _alias(self, event: AliasEvent, path: Path) -> tuple[Any, _Lines]:
        line = _line(event)
        if event.anchor not in self._anchors:
            raise _Stop(line, path, f"the alias *{_short(event.anchor)} has no anchor before it (or lies inside it)")
        data, lines = self._anchors[event.anchor]
        self._aliased += lines.size
        if self._aliased > MAX_ALIASED:
            raise _Stop(line, path, f"aliases repeat more than {MAX_ALIASED} nodes; write them out")
        return data, _Lines(line, lines.inside, lines.size)

    def _scalar(self, event: ScalarEvent, path: Path) -> Any:
        text = event.value
        if not event.implicit[0]:  # quoted, block, or with a tag of its own
            return text
        if text in _NULL:
            return None
        if text in _BOOL:
            return _BOOL[text]
        for pattern, why in _SURPRISES:
            if pattern.match(text):
                shown = "this" if "secrets" in path else f"`{text[:40]}`"
                self.problem(_line(event), path, f"{shown} {why}; {_right(text)}")
                return text
        if _INT.match(text) and len(text) <= 18:
            return int(text)
        return float(text) if _FLOAT.match(text) else text


def _right(text: str) -> str:
    """What to write instead of a surprising scalar."""
    if text.lower() in ("y", "yes", "on"):
        return f'write "{text}" for text, or true'
    if text.lower() in ("n", "no", "off"):
        return f'write "{text}" for text, or false'
    return "write it in quotes for text, or as a plain decimal number"


def _line(event: Event) -> int:
    return int(event.start_mark.line) + 1 if event.start_mark else 1


def _short(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
