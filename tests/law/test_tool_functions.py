"""A Python function as a tool: what the model is told, what arguments are taken, what cannot be a tool."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from actors.tool_functions import find, shape
from actors.tools import ToolContext, ToolError
from router.errors import ConfigError
from tests.tool_functions import Guest

CONTEXT = ToolContext(session_id="s", tenant_id="acme", turn=1, call_id="c", key="s:1:c", deadline_s=1.0)


def test_docstring_and_hints_are_what_the_model_is_told() -> None:
    told = shape("tests.tool_functions:status")
    assert told.description == "What became of an order."
    assert told.schema == {
        "type": "object",
        "properties": {
            "order": {"type": "string", "description": "as on the receipt"},
            "loud": {"type": "boolean", "default": False},
        },
        "required": ["order"],
        "additionalProperties": False,
    }


def test_the_context_is_no_argument_and_a_parameter_may_have_any_name() -> None:
    assert list(shape("tests.tool_functions:remember").schema["properties"]) == ["schema"]
    made = find("tests.tool_functions:remember").arguments({"schema": "x"}, CONTEXT)
    assert made == {"schema": "x", "context": CONTEXT}


def test_arguments_become_what_the_hints_say() -> None:
    given = {"people": 4, "day": "2026-12-24", "where": "out", "guest": {"name": "Ann"}}
    made = find("tests.tool_functions:book").arguments(given, CONTEXT)
    assert made == {"people": 4, "day": date(2026, 12, 24), "where": "out", "guest": Guest(name="Ann")}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        pytest.param({}, "people: Field required", id="one is missing"),
        pytest.param({"people": "many", "day": "2026-12-24"}, "people: Input should be a valid", id="no number"),
        pytest.param({"people": 1, "day": "2026-12-24", "when": 1}, "when: Extra inputs", id="one too many"),
        pytest.param({"people": 1, "day": "2026-12-24", "guest": {}}, "guest.name: Field required", id="inside one"),
    ],
)
def test_arguments_that_do_not_fit_are_told_by_name_and_without_their_value(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ToolError) as caught:
        find("tests.tool_functions:book").arguments(given, CONTEXT)
    assert says in str(caught.value)
    assert "many" not in str(caught.value)


@pytest.mark.parametrize(
    ("where", "says"),
    [
        pytest.param("tests.nowhere:f", "tests.nowhere does not import: ModuleNotFoundError", id="no such module"),
        pytest.param("tests.tool_functions:f", "has no function f", id="no such function"),
        pytest.param("tests.tool_functions:Guest", "has no function Guest", id="a class"),
        pytest.param("tests.tool_functions:no_hints", "order has no type hint", id="no type hint"),
        pytest.param("tests.tool_functions:starred", "orders has no name", id="arguments without a name"),
        pytest.param("tests.tool_functions:unknowable", "have no JSON schema", id="a type that is no JSON"),
    ],
)
def test_what_cannot_be_a_tool_says_why(where: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        find(where)
    assert says in caught.value.problems[0]
