"""What a server says of itself to a monitoring: for all of its processes at once, in Prometheus' text format.

Requests only count (`web.metrics_counts`); whatever takes longer is done when somebody asks.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from itertools import accumulate

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from auth import Auth
from auth.key_states import KeyStanding, KeyState
from schema.execution import Schema
from store import StoreUnavailable
from web.connections import Connections
from web.metrics_counts import BOUNDS, Counts
from web.metrics_families import METRICS, PREFIX, Metric, Snapshot, Value, snapshot
from web.metrics_names import OperationNames
from web.metrics_siblings import Siblings

_UPPER = (*(str(bound) for bound in BOUNDS), "+Inf")


class Metrics:
    """The counts of this process, and the page that shows them beside those of its siblings."""

    def __init__(self, schema: Schema, siblings: Siblings | None = None) -> None:
        self.counts = Counts(OperationNames(schema.trusted_operations))
        self.connections: Connections | None = None
        self._schema = schema
        self._siblings = siblings
        self._auth: Auth | None = None
        self._patience = timedelta()

    @asynccontextmanager
    async def running(self, auth: Auth, *, patience: timedelta) -> AsyncIterator[None]:
        """Speak of these services too, and to the siblings, while the block runs.

        `patience` is how long a database that does not answer is waited for.
        """
        self._auth, self._patience = auth, patience
        async with AsyncExitStack() as stack:
            if self._siblings is not None:
                await stack.enter_async_context(self._siblings.telling(self.snapshot))
            yield

    def snapshot(self) -> Snapshot:
        """Return what this process alone has to say."""
        return snapshot(self.counts, self._schema, self._auth, self.connections)

    async def page(self) -> bytes:
        """Return the text for a scrape."""
        slot = self._siblings.slot if self._siblings else 0
        others = await asyncio.to_thread(self._siblings.others) if self._siblings else {}
        return generate_latest(_Page({**others, slot: self.snapshot()}, await self._shared()))

    async def _shared(self) -> Snapshot:
        """Return what is the same whichever process is asked: of keys, as their rows have it."""
        if self._auth is None:
            return {}
        try:
            async with asyncio.timeout(self._patience.total_seconds()):
                standings = await self._auth.key_ring.standings()
        except (StoreUnavailable, TimeoutError):
            return {"database_up": [([], 0)]}
        return {"database_up": [([], 1)], **_of_keys(standings, self._auth)}


def _of_keys(standings: Iterable[KeyStanding], auth: Auth) -> Snapshot:
    now = auth.clock.now()
    ages: dict[KeyState, list[float]] = {state: [] for state in KeyState}
    in_use = []
    for key in standings:
        ages[key.state].append((now - key.created_at).total_seconds())
        if key.state is KeyState.CURRENT and key.signs_from is not None:
            in_use.append((now - key.signs_from).total_seconds())
    return {
        "signing_keys": [([state.name.lower()], len(found)) for state, found in ages.items()],
        "signing_key_age_seconds": [([state.name.lower()], max(found)) for state, found in ages.items() if found],
        "signing_key_in_use_seconds": [([], seconds) for seconds in in_use],
    }


class _Page(Collector):
    """Renders what each process said, under a label with its slot; and what is said for all of them."""

    def __init__(self, processes: Mapping[int, Snapshot], shared: Snapshot) -> None:
        self._processes = sorted(processes.items())
        self._shared = shared

    def collect(self) -> Iterable[Family]:
        """Return every metric."""
        for name, metric in METRICS.items():
            if metric.is_shared:
                yield _family(name, metric, metric.labels, [*self._shared.get(name, [])])
            else:
                samples = [
                    ([*labels, str(slot)], value)
                    for slot, said in self._processes
                    for labels, value in said.get(name, [])
                ]
                yield _family(name, metric, (*metric.labels, "process"), samples)


def _family(name: str, metric: Metric, labels: tuple[str, ...], samples: Iterable[tuple[list[str], Value]]) -> Family:
    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(PREFIX + name, metric.help, labels=labels)
        for values, value in samples:
            if isinstance(value, list):
                *buckets, total = value
                histogram.add_metric(values, list(zip(_UPPER, accumulate(buckets), strict=True)), total)
        return histogram
    family = (CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily)(
        PREFIX + name, metric.help, labels=labels
    )
    for values, value in samples:
        if not isinstance(value, list):
            family.add_metric(values, value)
    return family
