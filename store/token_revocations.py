"""Rows of service accounts' access tokens that were revoked before they expired; kept until then."""

from datetime import datetime

from sqlalchemy import bindparam
from sqlalchemy.dialects.postgresql import insert as insert_with_conflicts

from store.database import Transaction
from store.forgetting import delete_unheld
from store.instants import to_seconds
from store.statements import Statement
from store.tables import token_revocations

_DELETED_AT_MOST = 100  # each adds one, so they do not pile up

_INSERT = Statement(
    insert_with_conflicts(token_revocations).on_conflict_do_nothing(index_elements=[token_revocations.c.token_id])
)
_DELETE_EXPIRED = Statement(
    delete_unheld(
        token_revocations.c.token_id,
        token_revocations.c.expires_at < bindparam("now"),
        at_most=_DELETED_AT_MOST,
        first=token_revocations.c.expires_at,
    )
)


async def add(tx: Transaction, token_id: str, *, expires_at: datetime, now: datetime) -> bool:
    """Revoke a token; return False when it was revoked already. Those that have expired are forgotten."""
    await tx.run(_DELETE_EXPIRED, now=to_seconds(now))
    return await tx.run(_INSERT, token_id=token_id, expires_at=to_seconds(expires_at)) == 1
