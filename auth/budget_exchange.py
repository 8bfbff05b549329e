"""What the processes tell each other of budgets: as soon as one has spent a small share, it adds that to a common row.

From the row it learns what the others have spent. Who spends little writes nothing, and no operation waits for it: what
a process lets through beyond the budget, because it has not heard yet, is a share and what it does while it asks.
"""

import asyncio
import hmac
import math
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from hashlib import sha256
from operator import itemgetter
from typing import Protocol

import structlog

import store.throttles
from auth.clock import Clock
from auth.rates import MINUTE, MOST_SKEW
from auth.secret import Secret, derived_key
from store import Database, StoreUnavailable

_log = structlog.get_logger("watchword.auth")

# A budget is what comes back in a minute; this is 2 % of it, in seconds. Whoever spends a whole budget at once makes
# fifty exchanges of it, and then one in 1.2 seconds.
SHARE = 1.2

# Processes that spend at the same moment can together have spent more than there was. They wait for that, but whoever
# was not reached by the others for an hour does not leave an hour's debt.
_DEEPEST_DEBT = 2 * MINUTE

# Between two exchanges of one process; and before a database that failed is asked again.
_PAUSE = timedelta(milliseconds=20)
_PAUSE_AFTER_FAILURE = timedelta(seconds=1)

_MOST_AT_ONCE = 100  # in one transaction
_PURPOSE = "watchword budgets v1"


class Ledger(Protocol):
    """Where one process keeps what was spent, in seconds until it has come back."""

    def take_untold(self, key: str) -> float:
        """Return how many seconds' worth is to be told; it counts as told."""

    def put_back(self, key: str, untold: float) -> None:
        """Keep what could not be told."""

    def learn(self, key: str, full_at: float) -> None:
        """Believe what all have spent together, and add what was spent here since it was told."""


class BudgetExchange:
    """Tells and learns, by one task at a time, which there is only while there is something to tell."""

    def __init__(self, database: Database, clock: Clock, secret_keys: Sequence[Secret]) -> None:
        self._database = database
        self._clock = clock
        self._key = derived_key(secret_keys[0], _PURPOSE)
        self._ledgers: dict[str, Ledger] = {}
        self._due: dict[tuple[str, str], None] = {}
        self._turn = asyncio.Lock()
        self._telling: asyncio.Task[None] | None = None
        self._is_closed = False

    def join(self, name: str, ledger: Ledger) -> Callable[[str], None]:
        """Exchange what a ledger has; return what is to be called with a key of which a share was spent."""
        self._ledgers[name] = ledger
        return partial(self._note, name)

    async def exchange(self) -> None:
        """Tell what is due at this moment, and learn of the same keys. Raises `StoreUnavailable`, and then tells later.

        Of a lost answer to a COMMIT nobody knows what came of it. It is told again: a budget may have less in it, and
        never more.
        """
        async with self._turn:
            due = [*self._due]
            for first in range(0, len(due), _MOST_AT_ONCE):
                await self._exchange(due[first : first + _MOST_AT_ONCE])

    async def close(self) -> None:
        """Tell nothing any more."""
        self._is_closed = True
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.wait([self._telling])

    def _note(self, name: str, key: str) -> None:
        self._due[name, key] = None
        if self._telling is None and not self._is_closed:
            self._telling = asyncio.create_task(self._tell(), name="watchword-budgets")

    async def _tell(self) -> None:
        is_failing = False
        try:
            while self._due:
                try:
                    await self.exchange()
                    is_failing = False
                except StoreUnavailable as error:
                    if not is_failing:
                        _log.warning("budgets_not_exchanged", why=str(error))
                    is_failing = True
                await asyncio.sleep((_PAUSE_AFTER_FAILURE if is_failing else _PAUSE).total_seconds())
        finally:
            self._telling = None

    async def _exchange(self, due: list[tuple[str, str]]) -> None:
        told: list[tuple[bytes, Ledger, str, float]] = []
        for name, key in due:
            del self._due[name, key]
            ledger = self._ledgers[name]
            if untold := ledger.take_untold(key):
                told.append((self._digest(name, key), ledger, key, untold))
        # In one order, so that no two processes wait for each other.
        told.sort(key=itemgetter(0))
        try:
            full_at = await self._add([(digest, untold) for digest, _, _, untold in told])
        except BaseException:
            for _, ledger, key, untold in told:
                ledger.put_back(key, untold)
            self._due.update(dict.fromkeys(due))
            raise
        for (_, ledger, key, _), instant in zip(told, full_at, strict=True):
            ledger.learn(key, instant)

    async def _add(self, spent: list[tuple[bytes, float]]) -> list[float]:
        """Add what was spent, and return when each is full again, in seconds since 1970."""
        async with self._database.transaction() as tx:
            now = int(self._clock.now().timestamp() * 1_000)
            full_at = [
                await store.throttles.add(
                    tx,
                    digest,
                    math.ceil(untold * 1_000),
                    now=now,
                    latest=now + _DEEPEST_DEBT,
                    implausible=now + _DEEPEST_DEBT + MOST_SKEW,
                )
                for digest, untold in spent
            ]
            for _ in range(0, len(spent), store.throttles.PRUNED_AT_MOST):
                await store.throttles.prune(tx, now)
        return [instant / 1_000 for instant in full_at]

    def _digest(self, name: str, key: str) -> bytes:
        # Whose budget it is, the row does not say, nor from which network a stranger came.
        return hmac.digest(self._key, f"{name} {key}".encode(), sha256)
