"""Whatever may travel is in the union of its direction: a record that is in none breaks the link that carries it."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest

from actors import events as ev
from actors import wire
from actors.providers import interface as pi

FAMILIES = [
    pytest.param(ev.Event, ev.AnyEvent, id="events to the caller"),
    pytest.param(ev.Op, ev.AnyOp, id="ops of the caller"),
    pytest.param(pi.ProviderEvent, pi.AnyProviderEvent, id="events of providers"),
    pytest.param(wire.StageOp, wire.AnyStageOp, id="ops to providers"),
    pytest.param(wire.RouterOp, wire.AnyRouterOp, id="ops of the router"),
    pytest.param(wire.WorkerOp, wire.AnyWorkerOp, id="what workers tell"),
]


@pytest.mark.parametrize(("base", "union"), FAMILIES)
def test_every_record_of_a_family_travels(base: type, union: Any) -> None:
    kinds = [kind for kind in base.__subclasses__() if kind.__module__.startswith("actors.")]
    assert set(kinds) == set(get_args(union))
    tags = [kind.__struct_config__.tag for kind in kinds]
    assert len(tags) == len(set(tags))
    msgspec.msgpack.Decoder(union)  # raises for a union that cannot be told apart
