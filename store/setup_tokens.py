"""The one-time token with which an installation's first administrator is made; there is one at the most."""

from datetime import datetime

from sqlalchemy import bindparam, delete, insert

from store.database import Transaction
from store.instants import to_seconds
from store.statements import Statement
from store.tables import setup_tokens

_DELETE_ALL = Statement(delete(setup_tokens))
_INSERT = Statement(insert(setup_tokens))
_CONSUME = Statement(
    delete(setup_tokens).where(
        setup_tokens.c.digest == bindparam("presented"), setup_tokens.c.expires_at > bindparam("now")
    )
)


async def replace(tx: Transaction, *, digest: bytes, expires_at: datetime) -> None:
    """Make this the only setup token."""
    await tx.run(_DELETE_ALL)
    await tx.run(_INSERT, digest=digest, expires_at=to_seconds(expires_at))


async def consume(tx: Transaction, *, digest: bytes, now: datetime) -> bool:
    """Use the token up; return False when it is not the one, was used before, or has expired."""
    return await tx.run(_CONSUME, presented=digest, now=to_seconds(now)) == 1
