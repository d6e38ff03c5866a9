"""What waits while a conversation changes its connection."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actors.providers.vendor_held import MESSAGES_MAX, Held


def test_audio_and_messages_come_out_in_the_order_they_went_in() -> None:
    held = Held(100)
    assert held.audio(0, b"ab") == 0
    assert held.message("start")
    assert held.audio(1, b"cd") == 0
    assert list(held.items()) == [(b"ab", 0), ("start", None), (b"cd", 1)]


@given(st.lists(st.one_of(st.binary(min_size=1, max_size=9), st.text(max_size=3)), max_size=60))
def test_the_oldest_audio_goes_and_no_message_does(things: list[bytes | str]) -> None:
    held, gone = Held(20), 0
    for at, thing in enumerate(things):
        if isinstance(thing, bytes):
            gone += held.audio(at, thing)
        else:
            assert held.message(thing)
    kept = [thing for thing, _ in held.items()]
    audio = b"".join(thing for thing in kept if isinstance(thing, bytes))
    given_ = b"".join(thing for thing in things if isinstance(thing, bytes))
    assert len(audio) <= 20
    assert given_.endswith(audio)
    assert len(given_) - len(audio) == gone
    assert [t for t in kept if isinstance(t, str)] == [t for t in things if isinstance(t, str)]


def test_messages_have_a_bound_and_are_not_dropped_for_it() -> None:
    held = Held(20)
    assert all(held.message(str(n)) for n in range(MESSAGES_MAX))
    assert not held.message("one more")
    assert len(list(held.items())) == MESSAGES_MAX
