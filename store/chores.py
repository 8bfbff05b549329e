"""Rows of chores: work that one process does for all, and the instant from which it is due again."""

from datetime import datetime

from sqlalchemy import bindparam, update
from sqlalchemy.dialects.postgresql import insert as insert_with_conflicts

from store.database import Transaction
from store.instants import to_seconds
from store.statements import Statement
from store.tables import chores

_MAKE = Statement(insert_with_conflicts(chores).on_conflict_do_nothing(index_elements=[chores.c.name]))
_CLAIM = Statement(
    update(chores)
    .where(chores.c.name == bindparam("chore"), chores.c.due_at <= bindparam("now"))
    .values(due_at=bindparam("until"))
)
_POSTPONE = Statement(update(chores).where(chores.c.name == bindparam("chore")).values(due_at=bindparam("until")))


async def claim(tx: Transaction, chore: str, *, now: datetime, until: datetime) -> bool:
    """Take a chore that is due; False when it is not, or another process was quicker. `until` then it is not due."""
    await tx.run(_MAKE, name=chore, due_at=0)
    return await tx.run(_CLAIM, chore=chore, now=to_seconds(now), until=to_seconds(until)) == 1


async def postpone(tx: Transaction, chore: str, until: datetime) -> None:
    """Say from when on a chore is due again, now that it is done."""
    await tx.run(_POSTPONE, chore=chore, until=to_seconds(until))
