"""When a peer is held for dead, in exact time."""

from __future__ import annotations

from actors.suspicion import SUSPICION_MAX_S, Suspicion


def quiet_until(peer: Suspicion, from_s: float, *, late_s: float = 0.0) -> float:
    """Tick on without a word from the peer; the instant at which it is held for dead."""
    now_s = from_s
    while peer.tick(now_s := now_s + 0.1 + late_s) is None:
        assert now_s < from_s + 60
    return now_s - from_s


def steady(seconds: float, peer: Suspicion) -> float:
    now_s = 0.0
    while now_s < seconds:
        now_s += 0.1
        assert peer.tick(now_s) is None
        peer.heard()
    return now_s


def test_a_steady_peer_is_dead_at_the_first_tick_past_its_bound() -> None:
    peer = Suspicion(0.3, 0.1, 0.0)
    assert round(quiet_until(peer, steady(30, peer)), 3) == 0.4


def test_a_young_link_is_given_half_as_much_again() -> None:
    assert round(quiet_until(Suspicion(0.3, 0.1, 0.0), 0.0), 3) == 0.5


def test_a_peer_that_has_stalled_and_come_back_is_given_twice_that() -> None:
    peer = Suspicion(0.3, 0.1, 0.0)
    now_s = steady(30, peer)
    for _ in range(3):
        now_s += 0.1
        assert peer.tick(now_s) is None
    peer.heard()
    assert 0.59 < quiet_until(peer, now_s) < 0.71


def test_what_was_usual_fades() -> None:
    peer = Suspicion(0.3, 0.1, 0.0)
    peer.usual_s = 1.0
    assert round(quiet_until(peer, steady(30, peer)), 3) == 0.4


def test_a_machine_that_keeps_our_own_timer_waiting_excuses_its_neighbours() -> None:
    peer = Suspicion(0.3, 0.1, 0.0)
    assert quiet_until(peer, steady(30, peer), late_s=0.3) > 1.0


def test_nobody_is_excused_for_ever() -> None:
    peer = Suspicion(0.3, 0.1, 0.0)
    peer.usual_s = 50.0
    assert quiet_until(peer, 0.0) <= SUSPICION_MAX_S + 0.2


def test_a_longer_bound_that_was_declared_holds() -> None:
    peer = Suspicion(6.0, 2.0, 0.0)
    now_s = 0.0
    for _ in range(3):
        now_s += 2.0
        assert peer.tick(now_s) is None
    assert peer.tick(now_s + 2.0) == 8.0
