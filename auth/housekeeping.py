"""What nobody needs any more is taken away: by one process at a time, a few rows in each transaction.

Every process looks about once an hour whether it is due. Who finds it so claims it for a while; if that process dies,
the claim runs out, and another one goes on.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import timedelta

import structlog

import store.chores
import store.leftovers
from auth.audit import Act
from auth.foundation import Foundation
from auth.ids import id_at
from auth.key_ring import KeyRing
from auth.origin import NOWHERE
from auth.publications import KEPT
from auth.rates import MOST_SKEW
from store import StoreUnavailable, Transaction

# How many rows one transaction takes away: it holds the write lock of SQLite for some 5 ms, and then it is free for
# three times as long. More at once, and who writes beside it waits longer than 50 ms.
_AT_ONCE = 100
_FREE_FOR = 3

# A bucket that is full has no row that anybody needs; for so long the clocks of other processes may disagree.
_CLOCKS_DIFFER = timedelta(milliseconds=MOST_SKEW)

_EVERY = timedelta(hours=1)
_CLAIMED_FOR = timedelta(minutes=10)
_CHORE = "housekeeping"

_log = structlog.get_logger("watchword.auth")

_Removal = Callable[[Transaction], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class Swept:
    """How many rows were taken away."""

    sessions: int = 0
    api_tokens: int = 0
    audit_events: int = 0
    assertions: int = 0
    revocations: int = 0
    throttles: int = 0
    publications: int = 0
    signing_keys: int = 0


class Housekeeping:
    """Takes away what has had its time."""

    def __init__(self, foundation: Foundation, key_ring: KeyRing) -> None:
        self._database = foundation.database
        self._clock = foundation.clock
        self._policy = foundation.policy
        self._audit = foundation.audit
        self._key_ring = key_ring
        self._watching: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Look about once an hour whether there is something to do, until closed."""
        self._watching = asyncio.create_task(self._watch(), name="watchword-housekeeping")

    async def close(self) -> None:
        """Stop looking, also in the middle of something: what is left is found the next time."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])

    async def sweep_if_due(self) -> Swept | None:
        """Take everything away that has had its time, if nobody has within the hour; None if it is not due.

        Raises `StoreUnavailable`.
        """
        now = self._clock.now()
        async with self._database.transaction() as tx:
            if not await store.chores.claim(tx, _CHORE, now=now, until=now + _CLAIMED_FOR):
                return None
        swept = await self._sweep()
        async with self._database.transaction() as tx:
            await store.chores.postpone(tx, _CHORE, now + _EVERY)
        _log.info("housekeeping_done", **asdict(swept))
        return swept

    async def prune_sessions(self) -> int:
        """Remove the sessions that ended, or expired, longer ago than they are kept; return how many."""
        before = self._clock.now() - self._policy.session_retention
        return await self._in_batches(lambda tx: store.leftovers.remove_ended_sessions(tx, before, _AT_ONCE))

    async def _sweep(self) -> Swept:
        now, leftovers = self._clock.now(), store.leftovers
        kept_since = now - self._policy.session_retention
        return Swept(
            sessions=await self.prune_sessions(),
            api_tokens=await self._in_batches(
                lambda tx: leftovers.remove_expired_api_tokens(tx, kept_since, _AT_ONCE),
            ),
            audit_events=await self._prune_record(),
            assertions=await self._in_batches(lambda tx: leftovers.remove_expired_assertions(tx, now, _AT_ONCE)),
            revocations=await self._in_batches(lambda tx: leftovers.remove_expired_revocations(tx, now, _AT_ONCE)),
            throttles=await self._in_batches(
                lambda tx: leftovers.remove_full_throttles(tx, now - _CLOCKS_DIFFER, _AT_ONCE)
            ),
            publications=await self._in_batches(lambda tx: leftovers.remove_old_publications(tx, now - KEPT, _AT_ONCE)),
            signing_keys=await self._key_ring.remove_dead(),
        )

    async def _prune_record(self) -> int:
        kept_for = self._policy.audit_retention
        if not kept_for:
            return 0
        oldest = id_at(self._clock.now() - kept_for)
        removed = await self._in_batches(lambda tx: store.leftovers.remove_old_events(tx, oldest, _AT_ONCE))
        if removed:
            # A record from which something is missing says so itself.
            await self._audit.record_alone(Act.AUDIT_PRUNE, NOWHERE, detail=str(removed))
        return removed

    async def _in_batches(self, remove: _Removal) -> int:
        loop, removed = asyncio.get_running_loop(), 0
        while True:
            async with self._database.transaction() as tx:
                began = loop.time()
                batch = await remove(tx)
            removed += batch
            if batch < _AT_ONCE:
                return removed
            # Of another process, whoever waits to write tries again after up to 100 ms: it has to be free just then.
            await asyncio.sleep(_FREE_FOR * (loop.time() - began))

    async def _watch(self) -> None:
        # Processes that were started together do not look together.
        pause = _EVERY.total_seconds() * random.uniform(0.01, 0.1)  # noqa: S311 - no secret
        while True:
            await asyncio.sleep(pause)
            try:
                with suppress(StoreUnavailable):
                    await self.sweep_if_due()
            except Exception:  # noqa: BLE001 - whatever it is, it is tried again
                # Nobody waits for this task: it has to be seen.
                _log.exception("housekeeping_failed")
            pause = _EVERY.total_seconds() * random.uniform(0.5, 1)  # noqa: S311 - no secret
