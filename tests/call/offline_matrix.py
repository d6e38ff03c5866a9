"""What the contract of offline providers found, as a table: provider by row, and how long many streams took.

`make vendors` prints it below that of the network adapters. A test of `test_contract.py` says by its mark `row` what it
shows; a cell is `right` when every such test of the provider passed, `-` where the row makes no sense for its stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.vendors.contract import ROWS
from tests.vendors.matrix import MANY, spread

__all__ = ["OFFLINE", "OFFLINE_ROWS", "ONE_CALL", "VIRTUAL", "WHY_NOT", "OfflineMatrix"]

OFFLINE_ROWS = ("happy", "cancel_open", "cancel_close", "close_busy", "after_cancel", "many_at_once")
_ITS_OWN = ("usage", "many")
"""Rows that need no network, and that the contract of offline providers does not have."""

VIRTUAL = ", its clock is virtual: delays of its own take no time"
ONE_CALL = ", one call for all"

_NO_STREAM = "a detector is not opened, and answers within the call: nothing to cancel, nothing that is busy"
WHY_NOT = {
    **{(stage, row): _NO_STREAM for stage in ("vad", "turn") for row in OFFLINE_ROWS[1:5]},
    ("stt", "after_cancel"): "an ear has no cancel: what was said is heard to its end",
}
"""(stage, row) -> why the row is not run."""


@dataclass
class OfflineMatrix:
    stages: dict[str, str] = field(default_factory=dict)
    """case -> stage, in the order in which they were run first."""
    outcomes: dict[tuple[str, str], bool] = field(default_factory=dict)
    """(case, row) -> whether every test of it that was run has passed."""
    latencies: dict[str, tuple[int, list[float], str]] = field(default_factory=dict)
    """case -> streams open at once, wall seconds from asked to answered, and what is to be known of them."""

    def note(self, case: str, stage: str, rows: Sequence[str], passed: bool) -> None:
        self.stages.setdefault(case, stage)
        for row in rows:
            self.outcomes[case, row] = passed and self.outcomes.get((case, row), True)

    def lines(self) -> list[str]:
        width = max(map(len, self.stages))
        told = ["  ".join(["".ljust(width), *OFFLINE_ROWS])]
        for case in self.stages:
            cells = [self._cell(case, row).ljust(len(row)) for row in OFFLINE_ROWS]
            told.append("  ".join([case.ljust(width), *cells]).rstrip())
        for case, (streams, took, note) in self.latencies.items():
            how = f"{streams} {MANY['many_at_once']}{note}"
            told.append(f"{case}: streams open at once, asked to answered: {how}: {spread(took)}")
        told += [f"{stage}: {row} does not apply: {why}" for (stage, row), why in WHY_NOT.items()]
        network = ", ".join(row.name for row in ROWS if row.name not in (*OFFLINE_ROWS, *_ITS_OWN))
        told.append(f"all: no network, so nobody there who refuses, cuts, is silent or sends garbage: {network}")
        told.append(f"all: not in the contract of offline providers: {', '.join(_ITS_OWN)}")
        return told

    def _cell(self, case: str, row: str) -> str:
        if (self.stages[case], row) in WHY_NOT:
            return "-"
        return {True: "right", False: "failed", None: "?"}[self.outcomes.get((case, row))]


OFFLINE = OfflineMatrix()
"""Of this run."""
