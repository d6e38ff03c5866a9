"""What the contract of network adapters found, as a table: adapter by row, and how long many streams took.

`make vendors` prints it. A cell says how a row came out (`right`, or the kind of fault), `-` where it does not apply.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.vendors.contract import ROWS, VendorCase

__all__ = ["MANY", "MATRIX", "PACED_S", "Matrix", "spread"]

PACED_S = 0.01
"""Between two streams of the row `many`: callers do not all end their sentence in the same millisecond."""
MANY = {"many": f"asked {PACED_S * 1000:.0f} ms apart", "many_at_once": "asked in the same moment"}
"""The rows whose latencies are printed, and how their streams are asked."""


def spread(took: list[float]) -> str:
    """The middle and the far end of these seconds, in milliseconds."""
    took = sorted(took)
    ends_ms = took[len(took) // 2] * 1000, took[min(len(took) - 1, len(took) * 99 // 100)] * 1000
    p50, p99 = (f"{ms:.0f}" if ms >= 10 else f"{ms:.1f}" for ms in ends_ms)
    return f"p50 {p50} ms, p99 {p99} ms"


@dataclass
class Matrix:
    outcomes: dict[tuple[str, str], str] = field(default_factory=dict)
    """(case, row) -> outcome; of rows that were run and held."""
    latencies: dict[tuple[str, str], tuple[int, list[float]]] = field(default_factory=dict)
    """(case, row of `MANY`) -> streams that are open at once, seconds from due to be asked until answered."""

    def lines(self, cases: list[VendorCase]) -> list[str]:
        width = max(len(row.name) for row in ROWS)
        names = [case.name for case in cases]
        told = ["  ".join(["".ljust(width), *names])]
        for row in ROWS:
            cells = [self._cell(case, row.name, case.applies(row)).ljust(len(case.name)) for case in cases]
            told.append("  ".join([row.name.ljust(width), *cells]).rstrip())
        told += [self._latency(case.name) for case in cases if any((case.name, row) in self.latencies for row in MANY)]
        for case in cases:
            told += [f"{case.name}: {row} does not apply: {why}" for row, why in sorted(case.skip.items())]
        return told

    def _latency(self, name: str) -> str:
        told = []
        for row, how in MANY.items():
            streams, took = self.latencies.get((name, row), (0, []))
            if took:
                told.append(f"{streams} {how}: {spread(took)}")
        return f"{name}: streams open at once, asked to answered: {'; '.join(told)}"

    def _cell(self, case: VendorCase, row: str, applies: bool) -> str:
        if not applies or row in case.skip:
            return "-"
        return self.outcomes.get((case.name, row), "?")


MATRIX = Matrix()
"""Of this run."""
