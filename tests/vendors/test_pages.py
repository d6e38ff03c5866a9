"""Every network adapter has its page, and every option its row there; an SDK, or a reason, stands behind every fake."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from actors.providers import registry
from actors.providers.vendor_provider import VendorProvider
from tests.vendors.contract import cases

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "vendors"
TYPES = sorted(name for name in registry.TYPES if issubclass(registry.find(name), VendorProvider))


def test_every_adapter_has_its_case_in_the_contract() -> None:
    assert sorted({case.type for case in cases()}) == TYPES


@pytest.mark.parametrize("type", TYPES)
def test_its_page_has_settings_support_limits_costs_and_what_was_not_tried(type: str) -> None:
    page = (PAGES / f"{type}.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z0-9_]+)`", page))
    assert set(registry.find(type).Options.model_fields) <= named, "an option without a word"
    assert re.search(r"Not tried against (the|a) live service", page)
    assert re.search(r"\*\*Costs\.\*\*|^## Connections", page, re.MULTILINE)
    assert f"[{type}.md]({type}.md)" in (PAGES / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("type", TYPES)
def test_a_clients_own_words_stand_behind_its_fake(type: str) -> None:
    fake = next(case for case in cases() if case.type == type).fake()
    tests = [path.read_text(encoding="utf-8") for path in (ROOT / "tests/vendors/sdk").glob("test_*.py")]
    assert any(re.search(rf"\b{fake.__class__.__name__}\b", text) for text in tests)
