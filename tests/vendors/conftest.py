"""What this ring says at its end."""

from __future__ import annotations

from typing import Any


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The matrix of the contract, where it was run."""
    from tests.vendors.contract import cases
    from tests.vendors.matrix import MATRIX

    shown = [case for case in cases() if any(name == case.name for name, _ in MATRIX.outcomes)]
    if shown:
        terminalreporter.section("network adapters")
        terminalreporter.write_line("\n".join(MATRIX.lines(shown)))
