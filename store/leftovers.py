"""Rows that have had their time, taken away a few at a time: on SQLite, all others who write wait meanwhile."""

from datetime import datetime

from sqlalchemy import BindParameter, ColumnElement, Table, bindparam, delete, or_, select

from store.database import Transaction
from store.instants import to_seconds
from store.statements import Statement
from store.tables import (
    api_tokens,
    audit_events,
    publications,
    service_assertions,
    sessions,
    throttles,
    token_revocations,
)


def _deletion(table: Table, key: ColumnElement[str], condition: ColumnElement[bool]) -> Statement:
    # What another transaction holds is in use, and no leftover, whatever it was before: on PostgreSQL a bucket that is
    # taken from at this moment would be forgotten with what was taken (see also store/forgetting.py).
    few = select(key).where(condition).limit(bindparam("at_most")).with_for_update(skip_locked=True)
    return Statement(delete(table).where(key.in_(few)))


_BEFORE: BindParameter[int] = bindparam("before")
_ENDED_SESSIONS = _deletion(
    sessions, sessions.c.id, or_(sessions.c.expires_at < _BEFORE, sessions.c.revoked_at < _BEFORE)
)
_EXPIRED_API_TOKENS = _deletion(api_tokens, api_tokens.c.id, api_tokens.c.expires_at < _BEFORE)
_OLD_EVENTS = _deletion(audit_events, audit_events.c.id, audit_events.c.id < bindparam("before_id"))
_EXPIRED_ASSERTIONS = _deletion(
    service_assertions, service_assertions.c.digest, service_assertions.c.expires_at < _BEFORE
)
_EXPIRED_REVOCATIONS = _deletion(
    token_revocations, token_revocations.c.token_id, token_revocations.c.expires_at < _BEFORE
)
_FULL_THROTTLES = _deletion(throttles, throttles.c.key, throttles.c.full_at < _BEFORE)
_OLD_PUBLICATIONS = _deletion(publications, publications.c.id, publications.c.at < _BEFORE)


async def remove_ended_sessions(tx: Transaction, before: datetime, at_most: int) -> int:
    """Remove sessions that were ended, or expired, before an instant; return how many."""
    return await tx.run(_ENDED_SESSIONS, before=to_seconds(before), at_most=at_most)


async def remove_expired_api_tokens(tx: Transaction, before: datetime, at_most: int) -> int:
    """Remove API tokens that expired before an instant, revoked ones among them; return how many."""
    return await tx.run(_EXPIRED_API_TOKENS, before=to_seconds(before), at_most=at_most)


async def remove_old_events(tx: Transaction, before_id: str, at_most: int) -> int:
    """Remove events of the record that are older than an id; return how many."""
    return await tx.run(_OLD_EVENTS, before_id=before_id, at_most=at_most)


async def remove_expired_assertions(tx: Transaction, before: datetime, at_most: int) -> int:
    """Forget assertions that would be refused as expired; return how many."""
    return await tx.run(_EXPIRED_ASSERTIONS, before=to_seconds(before), at_most=at_most)


async def remove_expired_revocations(tx: Transaction, before: datetime, at_most: int) -> int:
    """Forget revocations of tokens that have expired; return how many."""
    return await tx.run(_EXPIRED_REVOCATIONS, before=to_seconds(before), at_most=at_most)


async def remove_full_throttles(tx: Transaction, before: datetime, at_most: int) -> int:
    """Forget buckets that were full before an instant; return how many."""
    return await tx.run(_FULL_THROTTLES, before=int(before.timestamp() * 1000), at_most=at_most)


async def remove_old_publications(tx: Transaction, before: datetime, at_most: int) -> int:
    """Remove publications of before an instant; return how many."""
    return await tx.run(_OLD_PUBLICATIONS, before=to_seconds(before), at_most=at_most)
