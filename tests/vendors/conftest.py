"""The canary over the whole ring: no test here passes if the fakes' credential got into what it printed or logged.

Every fake takes one credential and no other, so every adapter carries it; Python's logging is at DEBUG, so libraries
say all that they ever say. The same holds for a test that fails for another reason: then both are told.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from tests.vendors.canary import leaks


@pytest.fixture(autouse=True)
def _every_library_says_all(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report: Any = yield
    for where, text in report.sections:
        found = leaks(text)
        if found:
            report.outcome = "failed"
            report.longrepr = f"the canary ({', '.join(found)}) is in: {where}\n\n{report.longrepr or ''}"
            report.sections = [s for s in report.sections if not leaks(s[1])]  # and it is not printed once more
            break
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The matrix of the contract, where it was run."""
    from tests.vendors.contract import cases
    from tests.vendors.matrix import MATRIX

    shown = [case for case in cases() if any(name == case.name for name, _ in MATRIX.outcomes)]
    if shown:
        terminalreporter.section("network adapters")
        terminalreporter.write_line("\n".join(MATRIX.lines(shown)))
