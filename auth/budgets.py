"""Budgets: how much work an identity may ask for in a while, in points of cost.

A budget holds a minute's worth of points, and they come back evenly. They are taken from this process's memory, and
what was taken is told to the others as soon as it is more than a small share (`auth.budget_exchange`).
"""

from collections import OrderedDict
from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple

from auth.budget_exchange import SHARE, BudgetExchange
from auth.clock import Clock
from auth.identity import Identity
from auth.policy import Policy
from auth.rates import MINUTE
from auth.refusals import BudgetUsedUp
from store.networks import network_of

# An entry takes some 300 bytes. Whoever has not called for longest is forgotten first, and begins anew.
MOST_REMEMBERED = 50_000

_MINUTE = MINUTE / 1_000
_ROUNDING = 1e-6

# Processes that spend at the same moment can have spent more than a budget. Whatever lacks much more than that was
# written down before the clock was set back.
_MOST_LACKING = 2 * _MINUTE + _ROUNDING


class Budget(NamedTuple):
    """What is left after an operation was paid for; `reset_at` is when all of it is back, in seconds since 1970."""

    limit: int
    cost: int
    remaining: int
    reset_at: float


class Budgets:
    """Takes what operations cost from whoever asks for them; without an exchange, for this process alone."""

    def __init__(self, policy: Policy, clock: Clock, exchange: BudgetExchange | None = None) -> None:
        self._exchange = exchange
        self._spend_known = self._ledger("known", policy.budget).spend
        # Of their own, so that a crowd of strangers makes nobody known forgotten.
        self._spend_anonymous = self._ledger("anonymous", policy.anonymous_budget).spend
        self._now = clock.now

    def spend(self, identity: Identity, cost: int) -> Budget | None:
        """Take the cost of an operation, and return what is left; None where there is no limit.

        A person and their API tokens have one budget, each service account has its own, and all strangers of one
        network share one. What costs more than a whole budget needs a full one. Raises `BudgetUsedUp`, having taken
        nothing; never for what costs nothing, by which one only asks.
        """
        now = self._now().timestamp()
        if identity.subject is not None:
            return self._spend_known(identity.subject, cost, now)
        return self._spend_anonymous(network_of(identity.origin.address) or "", cost, now)

    async def exchange(self) -> None:
        """Tell the other processes of every share that was spent, and learn what they have spent of the same budgets.

        It happens by itself as soon as a share is spent. Raises `StoreUnavailable`; then nothing is lost.
        """
        if self._exchange is not None:
            await self._exchange.exchange()

    async def close(self) -> None:
        """Tell nothing any more."""
        if self._exchange is not None:
            await self._exchange.close()

    def _ledger(self, name: str, limit: int) -> "_Ledger":
        ledger = _Ledger(limit)
        if self._exchange is not None:
            ledger.on_share_spent = self._exchange.join(name, ledger)
        return ledger


class _Account:
    """When a budget is full again, and of what is lacking the seconds that nobody else was told of."""

    __slots__ = ("full_at", "untold")

    def __init__(self, full_at: float) -> None:
        self.full_at = full_at
        self.untold = 0.0


class _Ledger:
    """By GCRA: for each key the instant at which its budget is full again."""

    def __init__(self, limit: int) -> None:
        self.on_share_spent: Callable[[str], None] = lambda _: None
        self._limit = limit
        self._seconds_per_point = _MINUTE / limit if limit else 0.0
        self._accounts: OrderedDict[str, _Account] = OrderedDict()

    def spend(self, key: str, cost: int, now: float) -> Budget | None:
        limit = self._limit
        if not limit:
            return None
        # Every operation comes by here, so no `min` and no `max`: each takes as long as the rest.
        accounts, per_point = self._accounts, self._seconds_per_point
        account = accounts.get(key)
        if account is None:
            account = accounts[key] = _Account(now)
            if len(accounts) > MOST_REMEMBERED:
                accounts.popitem(last=False)
        lacking = account.full_at - now
        if lacking < 0.0 or lacking > _MOST_LACKING:
            lacking = 0.0
        taken = cost * per_point if cost < limit else _MINUTE
        lacking += taken
        if lacking > _MINUTE + _ROUNDING:
            if not cost:
                return Budget(limit, 0, 0, account.full_at)
            raise BudgetUsedUp(timedelta(seconds=lacking - _MINUTE))
        account.full_at = full_at = now + lacking
        account.untold = untold = account.untold + taken
        accounts.move_to_end(key)
        if untold > SHARE:
            self.on_share_spent(key)
        return Budget(limit, cost, int(limit - lacking / per_point + _ROUNDING), full_at)

    def take_untold(self, key: str) -> float:
        """Return how many seconds' worth is to be told; it counts as told."""
        account = self._accounts.get(key)
        if account is None:
            return 0.0
        # What was spent while nobody could be told is much, and came back long ago.
        untold, account.untold = min(account.untold, _MINUTE), 0.0
        return untold

    def put_back(self, key: str, untold: float) -> None:
        """Keep what could not be told."""
        if account := self._accounts.get(key):
            account.untold += untold

    def learn(self, key: str, full_at: float) -> None:
        """Believe what all have spent together, and add what was spent here since it was told."""
        if account := self._accounts.get(key):
            account.full_at = full_at + account.untold
