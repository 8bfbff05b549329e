"""What requests are counted in: plain numbers of this process, a few increments each, under a bounded number of names.

Nothing here knows how it is shown. A request pays for all of it with less than two microseconds.
"""

from bisect import bisect_left
from collections import defaultdict

from schema.context import Context
from schema.prepared import Operation
from web.metrics_names import OTHER, OperationNames

# Seconds; the last bucket is for whatever took longer.
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
OK = "ok"

PATHS = frozenset(
    {
        "/",
        "/graphql",
        "/healthz",
        "/readyz",
        "/metrics",
        "/oauth/token",
        "/oauth/introspect",
        "/oauth/revoke",
        "/.well-known/jwks.json",
        "/.well-known/oauth-authorization-server",
    }
)
STATIC = "/static"


class Times:
    """How long something took, each time."""

    __slots__ = ("buckets", "seconds")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0


class Counts:
    """The counts of one process, from its start on."""

    def __init__(self, names: OperationNames) -> None:
        self._names = names
        self.operations: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        self.times: defaultdict[str, Times] = defaultdict(Times)
        self.requests: defaultdict[tuple[str, int], int] = defaultdict(int)
        self.refusals: defaultdict[str, int] = defaultdict(int)
        self.sockets_open = 0

    def request(self, path: str, status: int, context: Context | None, code: str | None, seconds: float) -> None:
        """Count a request over HTTP; `code` is that of what was refused, and `context` the operation's that it was."""
        known = path if path in PATHS else STATIC if path.startswith(STATIC + "/") else OTHER
        self.requests[known, status] += 1
        if context is not None:
            self.operation(context, code, seconds)
        elif code is not None:
            self.refusals[code] += 1

    def operation(self, context: Context, code: str | None, seconds: float) -> None:
        """Count an operation, by whatever transport it came; one whose document is not valid is a refusal and no more.

        How long somebody follows something is no latency.
        """
        if code is not None:
            self.refusals[code] += 1
        operation = context.operation
        if operation is not None:
            label, kind = self.label(operation, context), operation.kind
            self.operations[label, kind, code or OK] += 1
            if kind != "subscription":
                times = self.times[label]
                times.buckets[bisect_left(BOUNDS, seconds)] += 1
                times.seconds += seconds

    def label(self, operation: Operation, context: Context) -> str:
        """Return the name that an operation is counted under."""
        return self._names.known(operation.name) or self._names.new(operation.name, is_strangers=context.is_strangers)

    def refused(self, code: str) -> None:
        """Count what was refused before there was anything to run."""
        self.refusals[code] += 1
