"""A grant is believed by the host that it names, for as long as it holds, and only as it was signed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.grant import fingerprint, sign, verify
from actors.wire import Grant, Lease
from router.context import RouteContext
from router.errors import LinkAuthError
from router.plan import Candidate, RoutePlan
from router.settings import Endpointing, SessionSettings

KEY = b"k" * 32
PLAN = RoutePlan(
    route="acme", version="v1", tenant_id="acme", region="eu-1", pool_region="eu-1",
    stages={"stt": (Candidate(stage="stt", provider="ears", type="fake-stt", options={"words": ["a", 1, None]}),)},
    settings=SessionSettings(endpointing=Endpointing(min_s=0.25)), residency=("eu",),
)  # fmt: skip
GRANT = Grant(
    session_id="s1", host="h1", plan=PLAN, issued_unix_s=1000.0, ttl_s=15.0, attributes={"name": "Ann"},
    leases=(Lease(lease_id="r-1", stage="stt", candidate=0, address="127.0.0.1:1", actor="p1"),), fingerprint="f",
)  # fmt: skip


def test_what_was_signed_comes_out_whole() -> None:
    assert verify(sign(GRANT, KEY), KEY, now_unix_s=1001.0, host="h1") == GRANT


@pytest.mark.parametrize(
    ("key", "now_unix_s", "host", "why"),
    [
        pytest.param(b"x" * 32, 1001.0, "h1", "not signed by this cluster", id="another cluster's key"),
        pytest.param(KEY, 1001.0, "h2", "is for host h1", id="another host, or another life of this one"),
        pytest.param(KEY, 1046.0, "h1", "46 s old", id="too old, leeway included"),
        pytest.param(KEY, 969.0, "h1", "s old", id="from the future, leeway included"),
    ],
)
def test_a_grant_is_denied(key: bytes, now_unix_s: float, host: str, why: str) -> None:
    with pytest.raises(LinkAuthError, match=why):
        verify(sign(GRANT, KEY), key, now_unix_s=now_unix_s, host=host)


def test_a_clock_that_is_half_a_minute_off_is_forgiven() -> None:
    token = sign(GRANT, KEY)
    for now_unix_s in (971.0, 1044.0):
        assert verify(token, KEY, now_unix_s=now_unix_s, host="h1").session_id == "s1"


@given(where=st.integers(0, len(sign(GRANT, KEY)) - 1), bit=st.integers(0, 7))
def test_one_changed_bit_anywhere_is_denied(where: int, bit: int) -> None:
    token = bytearray(sign(GRANT, KEY))
    token[where] ^= 1 << bit
    with pytest.raises(LinkAuthError, match="not signed"):
        verify(bytes(token), KEY, now_unix_s=1001.0, host="h1")


@given(st.binary(max_size=200))
def test_garbage_is_denied_and_never_shown(token: bytes) -> None:
    with pytest.raises(LinkAuthError) as caught:
        verify(token, KEY, now_unix_s=1001.0, host="h1")
    assert len(str(caught.value)) < 200


def context(**fields: object) -> RouteContext:
    return RouteContext.of({"session_id": "s", "tenant_id": "t", **fields})


def test_the_fingerprint_is_of_the_fields_not_of_their_order_or_the_trace() -> None:
    one = context(attributes={"a": 1, "b": "x"}, features={"p": True, "q": False})
    two = context(features={"q": False, "p": True}, attributes={"b": "x", "a": 1}, trace=f"00-{'a' * 32}-{'b' * 16}-01")
    assert fingerprint(one) == fingerprint(two)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"region": "eu"}, id="region"),
        pytest.param({"features": {"s2s": True}}, id="feature"),
        pytest.param({"attributes": {"a": "1"}}, id="a text is no number"),
        pytest.param({"tenant_id": "u"}, id="tenant"),
    ],
)
def test_other_fields_have_another_fingerprint(other: dict[str, object]) -> None:
    assert fingerprint(context(attributes={"a": 1})) != fingerprint(context(**{"attributes": {"a": 1}, **other}))
