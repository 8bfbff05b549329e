"""Budgets: how much work an identity may ask for in a while, in points of cost, kept in this process's memory.

A budget holds a minute's worth of points, and they come back evenly. Several processes each have their own count: it
bounds load, and no secret depends on it. What bounds guesses is stored (`auth.throttles`).
"""

from collections import OrderedDict
from datetime import timedelta
from typing import NamedTuple

from auth.clock import Clock
from auth.identity import Identity
from auth.policy import Policy
from auth.refusals import BudgetUsedUp
from store.networks import network_of

# An entry takes some 200 bytes. Whoever has not called for longest is forgotten first, and begins anew.
MOST_REMEMBERED = 50_000

_MINUTE = 60.0
_ROUNDING = 1e-6


class Budget(NamedTuple):
    """What is left after an operation was paid for; `reset_at` is when all of it is back, in seconds since 1970."""

    limit: int
    cost: int
    remaining: int
    reset_at: float


class Budgets:
    """Takes what operations cost from whoever asks for them."""

    def __init__(self, policy: Policy, clock: Clock) -> None:
        self._spend_known = _Ledger(policy.budget).spend
        # Of their own, so that a crowd of strangers makes nobody known forgotten.
        self._spend_anonymous = _Ledger(policy.anonymous_budget).spend
        self._now = clock.now

    def spend(self, identity: Identity, cost: int) -> Budget | None:
        """Take the cost of an operation, and return what is left; None where there is no limit.

        A person and their API tokens have one budget, each service account has its own, and all strangers of one
        network share one. What costs more than a whole budget needs a full one. Raises `BudgetUsedUp`, having taken
        nothing.
        """
        now = self._now().timestamp()
        if identity.subject is not None:
            return self._spend_known(identity.subject, cost, now)
        return self._spend_anonymous(network_of(identity.origin.address) or "", cost, now)


class _Ledger:
    """By GCRA: for each key the instant at which its budget is full again."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._seconds_per_point = _MINUTE / limit if limit else 0.0
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def spend(self, key: str, cost: int, now: float) -> Budget | None:
        limit = self._limit
        if not limit:
            return None
        # Every operation comes by here, so no `min` and no `max`: each takes as long as the rest.
        remembered, per_point = self._full_at, self._seconds_per_point
        lacking = remembered.get(key, now) - now
        if lacking < 0.0 or lacking > _MINUTE + _ROUNDING:  # more than an empty budget lacks: the clock was set back
            lacking = 0.0
        lacking += cost * per_point if cost < limit else _MINUTE
        if lacking > _MINUTE + _ROUNDING:
            raise BudgetUsedUp(timedelta(seconds=lacking - _MINUTE))
        remembered[key] = full_at = now + lacking
        remembered.move_to_end(key)
        if len(remembered) > MOST_REMEMBERED:
            remembered.popitem(last=False)
        return Budget(limit, cost, int(limit - lacking / per_point + _ROUNDING), full_at)
