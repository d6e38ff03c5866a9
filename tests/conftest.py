"""The canary over the whole suite: no test passes if a planted credential got into what it printed or logged.

Python's logging is at DEBUG (`log_level` in pyproject.toml), so libraries say all that they ever say. The same holds
for a test that fails for another reason: then both are told, and what is shown of it has no canary in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.canary import hidden, leaks

_TOLD = pytest.StashKey[set[str]]()
_FAILURE = "the failure"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report: Any = yield
    told = item.stash.setdefault(_TOLD, set())  # the report of the teardown has the sections of the call once more
    failure = str(report.longrepr or "")
    sections = [(where, text) for where, text in report.sections if where not in told]
    found = {where: forms for where, text in [*sections, (_FAILURE, failure)] if (forms := leaks(text))}
    if found:
        rows = [f"the canary ({', '.join(forms)}) is in: {where}" for where, forms in found.items()]
        report.outcome = "failed"
        report.longrepr = "\n".join([*rows, "", hidden(failure)])
        told.update(found.keys() - {_FAILURE})
    if found or told:
        report.sections = [(where, hidden(text)) for where, text in report.sections]
    return report
