"""What is done to a backup before it takes the place of the database: afterwards nobody could come in between.

It knows nothing of what came after it. What was revoked since is good again, unless all of it is revoked here.
"""

from dataclasses import dataclass
from datetime import datetime

import store.api_tokens
import store.sessions
from auth.audit import Act, Audit
from auth.clock import Clock
from auth.origin import NOWHERE
from store import Database


@dataclass(frozen=True, slots=True)
class Settled:
    """How many sessions, and how many API tokens, were ended."""

    sessions: int = 0
    api_tokens: int = 0


async def settle(
    database: Database, clock: Clock, audit: Audit, *, last_act: datetime | None, sessions: bool, api_tokens: bool
) -> Settled:
    """Record that a backup is put back, whose `last_act` was then, and end what is to be ended, all in one.

    Raises `StoreUnavailable`.
    """
    async with database.transaction() as tx:
        now = clock.now()
        settled = Settled(
            await store.sessions.revoke_all(tx, now) if sessions else 0,
            await store.api_tokens.revoke_all(tx, now) if api_tokens else 0,
        )
        detail = None if last_act is None else f"{last_act:%Y-%m-%dT%H:%M:%SZ}"
        await audit.record(tx, Act.DATABASE_RESTORE, NOWHERE, detail=detail)
    return settled
