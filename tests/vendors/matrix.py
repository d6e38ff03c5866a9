"""What the contract of network adapters found, as a table: adapter by row, and how long many streams took.

`make vendors` prints it. A cell says how a row came out (`right`, or the kind of fault), `-` where it does not apply.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.vendors.contract import ROWS, VendorCase

__all__ = ["MATRIX", "Matrix"]


@dataclass
class Matrix:
    outcomes: dict[tuple[str, str], str] = field(default_factory=dict)
    """(case, row) -> outcome; of rows that were run and held."""
    latencies: dict[str, tuple[int, list[float]]] = field(default_factory=dict)
    """case -> streams that are open at once, seconds from asked to answered: they are asked one after the other."""

    def lines(self, cases: list[VendorCase]) -> list[str]:
        width = max(len(row.name) for row in ROWS)
        names = [case.name for case in cases]
        told = ["  ".join(["".ljust(width), *names])]
        for row in ROWS:
            cells = [self._cell(case, row.name, case.applies(row)).ljust(len(case.name)) for case in cases]
            told.append("  ".join([row.name.ljust(width), *cells]).rstrip())
        for name, (streams, took) in sorted(self.latencies.items()):
            took = sorted(took)
            p50, p99 = took[len(took) // 2] * 1000, took[min(len(took) - 1, len(took) * 99 // 100)] * 1000
            how = f"{streams} streams open at once, asked 10 ms apart"
            told.append(f"{name}: {how}; asked to answered p50 {p50:.0f} ms, p99 {p99:.0f} ms")
        for case in cases:
            told += [f"{case.name}: {row} does not apply: {why}" for row, why in sorted(case.skip.items())]
        return told

    def _cell(self, case: VendorCase, row: str, applies: bool) -> str:
        if not applies or row in case.skip:
            return "-"
        return self.outcomes.get((case.name, row), "?")


MATRIX = Matrix()
"""Of this run."""
