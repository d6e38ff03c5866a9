"""The books as plain data, for people and programs that ask. Pure: the time is an argument."""

from __future__ import annotations

from typing import Any

from actors.books import Books, Session
from actors.host_book import HostBook
from actors.observe import PoolSize
from actors.pool_book import PoolBook

__all__ = ["pool_size", "pools_of", "sessions_of"]


def sessions_of(books: Books, now_s: float) -> list[dict[str, Any]]:
    """Every session, granted or live: whose, where, on which providers and actors."""
    return [_session(books, session, now_s) for session in books.sessions.values()]


def _session(books: Books, session: Session, now_s: float) -> dict[str, Any]:
    booked = [books.leases[lease_id] for lease_id in sorted(session.leases)]
    return {
        "session_id": session.session_id,
        "tenant_id": session.tenant_id,
        "route": session.route,
        "version": session.version,
        "region": session.region,
        "host": session.host,
        "state": "live" if session.live else "granted",
        "age_s": round(now_s - session.since_s, 3),
        "providers": {b.lease.stage: b.pool.provider for b in booked},
        "actors": {b.lease.stage: b.lease.actor for b in booked},
    }


def pools_of(books: Books) -> list[dict[str, Any]]:
    """Every pool of provider actors, then the session hosts of every region (their `stage` is `host`)."""
    pools = [_pool(pool) for _, pool in sorted(books.pools.items())]
    return pools + [_hosts(book) for _, book in sorted(books.hosts.items())]


def _pool(pool: PoolBook) -> dict[str, Any]:
    infos = [actor.info for actor in pool.actors.values()]
    return {
        "provider": pool.key.provider,
        "stage": pool.spec.stage,
        "type": pool.spec.type,
        "owner": pool.key.owner,
        "region": pool.key.region,
        "actors": sorted(i.actor for i in infos),
        "nodes": sorted({i.node for i in infos}),
        "pids": sorted(i.pid for i in infos),
        "starting": len(pool.starting),
        "streams": pool.used,
        "capacity": sum(i.capacity for i in infos),
        "min": pool.bounds.min,
        "max": pool.bounds.max,
        "waiting": pool.waiting,
        "fault": pool.fault.detail if pool.fault else None,
    }


def _hosts(book: HostBook) -> dict[str, Any]:
    infos = [host.info for host in book.hosts.values()]
    return {
        "provider": "",
        "stage": "host",
        "type": "",
        "owner": "*",
        "region": book.region,
        "actors": sorted(i.actor for i in infos),
        "nodes": sorted({i.node for i in infos}),
        "pids": sorted(i.pid for i in infos),
        "starting": len(book.starting),
        "streams": sum(len(host.sessions) for host in book.hosts.values()),
        "capacity": sum(i.capacity for i in infos),
        "min": 1,
        "max": book.bounds.max,
        "waiting": book.waiting,
        "fault": book.fault.detail if book.fault else None,
    }


def pool_size(pool: PoolBook) -> PoolSize:
    """The record of a pool's size, for metrics."""
    return PoolSize(
        provider=pool.key.provider,
        region=pool.key.region,
        stage=pool.spec.stage,
        owner=pool.key.owner,
        actors=len(pool.actors),
        streams=pool.used,
        capacity=sum(actor.info.capacity for actor in pool.actors.values()),
    )
