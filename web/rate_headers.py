"""What a client is told of its budget, and of when to come back, for programs that know nothing of GraphQL."""

import math

from schema.context import Context

_POLICY = "default"
_WINDOW = 60  # seconds in which a whole budget comes back


def rate_headers(context: Context) -> list[tuple[bytes, bytes]]:
    """Return `Retry-After` (RFC 9110 §10.2.3), and the fields of the IETF's draft on rate limit headers."""
    headers = []
    if context.retry_after is not None:
        if context.budget is None:
            context.pay(0)  # nothing was taken, so nothing was noted: this says what there is
        headers.append((b"retry-after", str(context.retry_after).encode()))
    if (budget := context.budget) is not None:
        until_full = max(0, math.ceil(budget.reset_at - context.auth.clock.now().timestamp()))
        headers += [
            (b"ratelimit-policy", f'"{_POLICY}";q={budget.limit};w={_WINDOW}'.encode()),
            (b"ratelimit", f'"{_POLICY}";r={budget.remaining};t={until_full}'.encode()),
        ]
    return headers
