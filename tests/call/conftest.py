"""The table of the offline providers' contract: filled by what the tests marked `row` came to, printed at the end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.call.offline_matrix import OFFLINE


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report: Any = yield
    mark = item.get_closest_marker("row")
    if mark is not None and (report.failed or (report.passed and report.when == "call")):
        case = item.callspec.params["case"]  # type: ignore[attr-defined]
        OFFLINE.note(case.name, case.stage, mark.args, report.passed)
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The table, where the contract was run."""
    if OFFLINE.stages:
        terminalreporter.section("offline providers")
        terminalreporter.write_line("\n".join(OFFLINE.lines()))
