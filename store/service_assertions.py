"""Rows of assertions that were taken once, so that nobody takes them twice; kept until they expire."""

from datetime import datetime

from sqlalchemy import bindparam
from sqlalchemy.dialects.postgresql import insert as insert_with_conflicts

from store.database import Transaction
from store.forgetting import delete_unheld
from store.instants import to_seconds
from store.statements import Statement
from store.tables import service_assertions

_DELETED_AT_MOST = 100  # each adds one, so they do not pile up

_INSERT = Statement(
    insert_with_conflicts(service_assertions).on_conflict_do_nothing(index_elements=[service_assertions.c.digest])
)
_DELETE_EXPIRED = Statement(
    delete_unheld(
        service_assertions.c.digest,
        service_assertions.c.expires_at < bindparam("now"),
        at_most=_DELETED_AT_MOST,
        first=service_assertions.c.expires_at,
    )
)


async def take(tx: Transaction, digest: bytes, *, expires_at: datetime, now: datetime) -> bool:
    """Take an assertion; return False when it was taken before. Those that have expired are forgotten."""
    await tx.run(_DELETE_EXPIRED, now=to_seconds(now))
    return await tx.run(_INSERT, digest=digest, expires_at=to_seconds(expires_at)) == 1
