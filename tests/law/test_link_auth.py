"""The opening of a link, both ends as values: who proves what to whom, and what each refuses."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.link_auth import VERSION, Acceptor, Dialer, refusal
from router.errors import LinkAuthError, LinkError, LinkProtocolError, LinkVersionError

KEY, OTHER = b"k" * 32, b"o" * 32


def dialer(role="host", key=KEY, version=VERSION):
    return Dialer(key, role, max_bytes=5000, beat_s=0.1, peer="server", version=version)


def acceptor(key=KEY):
    return Acceptor(key, max_bytes={"host": 9000, "router": 9000, "caller": 3000}, beat_s=1.0, peer="client")


def run(d, a):
    """Errors of (dialer, acceptor); the one that fails tells the other, as the link does."""
    to_acceptor, errors = d.hello(), {}
    while to_acceptor is not None:
        try:
            to_dialer = a.take(to_acceptor)
        except LinkError as error:
            errors["acceptor"] = error
            to_dialer = refusal(error)
        if to_dialer is None:
            break
        try:
            to_acceptor = d.take(to_dialer)
        except LinkError as error:
            errors["dialer"] = error
            break
    return errors


@pytest.mark.parametrize("role", ["host", "router"])
def test_the_same_key_opens_and_tells_bounds_both_ways(role):
    d, a = dialer(role), acceptor()
    assert run(d, a) == {}
    assert (d.done, a.done, a.role) == (True, True, role)
    assert (d.peer_max_bytes, d.peer_wants_beat_s, a.peer_max_bytes, a.peer_wants_beat_s) == (9000, 1.0, 5000, 0.1)


def test_a_caller_has_no_key_and_is_only_a_caller():
    d, a = dialer("caller", None), acceptor()
    assert run(d, a) == {}
    assert (d.done, a.done, a.role, d.peer_max_bytes) == (True, True, "caller", 3000)


@pytest.mark.parametrize(
    ("d", "expected"),
    [
        pytest.param(lambda: dialer(key=OTHER), LinkAuthError, id="another cluster's key"),
        pytest.param(lambda: dialer(version=VERSION + 1), LinkVersionError, id="a newer version"),
        pytest.param(lambda: dialer(version=0), LinkVersionError, id="an older version"),
        pytest.param(lambda: dialer("caller", None, version=9), LinkVersionError, id="a caller of another version"),
        pytest.param(lambda: dialer("root"), LinkProtocolError, id="a role that is none"),
    ],
)
def test_a_refusal_is_the_same_typed_error_at_both_ends(d, expected):
    d, a = d(), acceptor()
    errors = run(d, a)
    assert {end: type(error) for end, error in errors.items()} == {"dialer": expected, "acceptor": expected}
    assert not d.done
    assert not a.done


def test_a_server_without_the_key_is_found_out():
    """It waves every proof through; its own welcome gives it away."""
    d, impostor = dialer(), acceptor(OTHER)
    proof = d.take(impostor.take(d.hello()))
    assert proof is not None
    with pytest.raises(LinkAuthError):
        d.take(impostor._welcome(b"x" * 32))
    assert not d.done


def test_a_keyed_dialer_takes_no_welcome_without_a_challenge():
    d, a = dialer(), acceptor()
    with pytest.raises(LinkAuthError):
        d.take(a.take(dialer("caller", None).hello()))


def test_a_proof_cannot_be_replayed_on_another_connection():
    d, a = dialer(), acceptor()
    hello = d.hello()
    proof = d.take(a.take(hello))
    again = acceptor()
    again.take(hello)
    with pytest.raises(LinkAuthError):
        again.take(proof)


def test_a_proof_cannot_be_reflected_as_a_welcome():
    d, a = dialer(), acceptor()
    proof = d.take(a.take(d.hello()))
    mac = msgspec.msgpack.decode(proof)["mac"]
    with pytest.raises(LinkAuthError):
        d.take(a._welcome(mac))


def test_the_key_is_in_no_message_and_no_error():
    d, a = dialer(key=OTHER), acceptor()
    told = [d.hello()]
    challenge = a.take(told[0])
    told += [challenge, d.take(challenge)]
    try:
        a.take(told[-1])
    except LinkAuthError as error:
        told += [refusal(error), repr(error).encode()]
    assert len(told) == 5
    assert not any(KEY[:8] in text or OTHER[:8] in text for text in told)


@given(st.binary(max_size=300))
def test_garbage_is_a_protocol_error_at_both_ends(payload):
    with pytest.raises(LinkProtocolError):
        acceptor().take(payload)
    with pytest.raises(LinkProtocolError):
        dialer().take(payload)
