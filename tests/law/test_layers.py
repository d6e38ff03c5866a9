"""The house's rules of building, read from the source: who may import what, and who may do what."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAYERS = ("router", "actors", "cluster")
FILES = sorted(p for layer in LAYERS for p in (ROOT / layer).rglob("*.py"))
PURE = {
    "asyncio",
    "threading",
    "time",
    "random",
    "logging",
    "socket",
    "subprocess",
    "structlog",
    "os",
    "secrets",
    "ray",
}
"""What decisions must not reach for. Chance is given to them: `from random import Random`, a type, is taken."""
ROOT_TASKS = {"actors/task_home.py", "cluster/process.py"}
"""Where a process, or an object without a main block, gets its one task that has no parent."""


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Names of the modules that a file imports, also inside functions, and on which line."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            is_type = node.module == "random" and [alias.name for alias in node.names] == ["Random"]
            yield "random.Random" if is_type else node.module or "", node.lineno


def calls(path: Path, name: str) -> Iterator[tuple[str, int]]:
    """Calls of `something.name(...)` or `name(...)`: what they are called on, and on which line."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute) and node.func.attr == name:
                yield ast.unparse(node.func.value), node.lineno
            elif isinstance(node.func, ast.Name) and node.func.id == name:
                yield "", node.lineno


def short(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", FILES, ids=short)
def test_imports_point_one_way(path: Path) -> None:
    layer = LAYERS.index(path.relative_to(ROOT).parts[0])
    outer = {*LAYERS[layer + 1 :], "cli", "gateway", "tests"}
    wrong = [f"{short(path)}:{line}: {name}" for name, line in imports(path) if name.split(".")[0] in outer]
    assert not wrong


@pytest.mark.parametrize("path", [p for p in FILES if short(p).startswith("router/")], ids=short)
def test_the_router_is_pure(path: Path) -> None:
    used = [(name, line) for name, line in imports(path) if name != "random.Random"]
    assert not [f"{short(path)}:{line}: {name}" for name, line in used if name.split(".")[0] in PURE]
    assert not [line for name in ("open", "print", "input") for on, line in calls(path, name) if not on]


@pytest.mark.parametrize("path", FILES, ids=short)
def test_only_the_cluster_knows_ray(path: Path) -> None:
    if not short(path).startswith("cluster/"):
        assert not [line for name, line in imports(path) if name.split(".")[0] == "ray"]


def test_ray_remote_is_said_in_one_file() -> None:
    said = {short(p) for p in FILES for n in ast.walk(tree(p)) if isinstance(n, ast.Attribute)
            and n.attr == "remote" and isinstance(n.value, ast.Name) and n.value.id == "ray"}  # fmt: skip
    assert said == {"cluster/launch.py"}


@pytest.mark.parametrize("path", FILES, ids=short)
def test_every_task_has_a_parent(path: Path) -> None:
    if short(path) in ROOT_TASKS:
        return
    bare = [*calls(path, "ensure_future")]
    bare += [(on, line) for on, line in calls(path, "create_task") if "loop" in on or on in ("asyncio", "")]
    assert not [f"{short(path)}:{line}: on {on}" for on, line in bare]


@pytest.mark.parametrize("path", FILES, ids=short)
def test_nobody_measures_with_the_wall_clock(path: Path) -> None:
    assert not [line for on, line in calls(path, "time") if on == "time"]


@pytest.mark.parametrize("path", FILES, ids=short)
def test_a_file_begins_with_its_idea(path: Path) -> None:
    assert (ast.get_docstring(tree(path)) or "").strip()
