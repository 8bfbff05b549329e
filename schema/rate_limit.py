"""`rateLimit`: what is left of the caller's budget, this operation included."""

import math
from datetime import UTC, datetime

import strawberry

from schema.context import Info
from schema.guards import Public


@strawberry.type(description="How much the caller may still ask for; points come back evenly within a minute.")
class RateLimit:
    """A budget, as `auth.budgets` has it."""

    limit: int = strawberry.field(description="How many points a full budget has.")
    cost: int = strawberry.field(
        description="How many this operation cost: a point for each field, and for a document that the server did not "
        "remember 100 more, and one for each 10 characters. Send values as variables, so that it does."
    )
    remaining: int = strawberry.field(description="How many are left.")
    reset_at: datetime = strawberry.field(description="When all of them are back, if nothing more is asked for.")


@strawberry.type
class RateLimitQuery:
    """Asking what is left."""

    @strawberry.field(
        permission_classes=[Public],
        description="What is left of your budget: a person's, a service account's, or that of all strangers at your "
        "address. Null where there is no limit.",
    )
    def rate_limit(self, info: Info) -> RateLimit | None:
        budget = info.context.budget
        if budget is None:
            return None
        return RateLimit(
            limit=budget.limit,
            cost=budget.cost,
            remaining=budget.remaining,
            reset_at=datetime.fromtimestamp(math.ceil(budget.reset_at), UTC),
        )
