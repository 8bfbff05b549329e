"""Every metric, and what this process has to say for each of them at one moment.

docs/metrics.md has an entry for each; a test holds the two together.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from auth import Auth
from auth.audit import Act
from schema.execution import Schema
from web.connections import Connections
from web.metrics_counts import Counts

PREFIX = "watchword_"

# By the name of a metric: its labels' values, and a number; of a histogram, how many were in each bucket, and the sum.
Value = float | list[float]
Sample = tuple[list[str], Value]
Snapshot = dict[str, list[Sample]]


class Metric(NamedTuple):
    """A metric as it is announced. One that `is_shared` is the installation's, and not one process's."""

    kind: str
    help: str
    labels: tuple[str, ...] = ()
    is_shared: bool = False


METRICS: Mapping[str, Metric] = {
    "operations": Metric("counter", "Operations of valid documents.", ("operation", "type", "outcome")),
    "operation_seconds": Metric("histogram", "How long queries and mutations took.", ("operation",)),
    "http_requests": Metric("counter", "Requests over HTTP.", ("path", "status")),
    "refusals": Metric("counter", "What was refused, by the first error's code.", ("code",)),
    "logins": Metric("counter", "Attempts to log in with a password.", ("outcome",)),
    "audit_events": Metric("counter", "Acts that were recorded.", ("act",)),
    "throttled_guesses": Metric("counter", "Attempts that were too many, and were not looked at.", ("door",)),
    "hashes_running": Metric("gauge", "Passwords that are being hashed."),
    "hashes_waiting": Metric("gauge", "Passwords that wait to be hashed."),
    "hashes_refused": Metric("counter", "Passwords that were not taken into the line, because it was full."),
    "streams_open": Metric("gauge", "Subscriptions that are followed."),
    "sockets_open": Metric("gauge", "WebSockets that are open."),
    "connections_open": Metric("gauge", "Connections that are open."),
    "connections_refused": Metric("counter", "Connections that were refused or ended early.", ("reason",)),
    "document_memory": Metric("counter", "Documents that were remembered, or had to be prepared.", ("outcome",)),
    "token_memory": Metric("counter", "Tokens that were remembered, or had to be verified.", ("outcome",)),
    "database_connections": Metric("gauge", "Connections to the database, by what they do.", ("state",)),
    "database_unavailable": Metric("counter", "How often the database could not be asked."),
    "database_up": Metric("gauge", "Whether the database answered this scrape.", is_shared=True),
    "signing_keys": Metric("gauge", "Signing keys.", ("state",), is_shared=True),
    "signing_key_age_seconds": Metric("gauge", "Since when the oldest key exists.", ("state",), is_shared=True),
    "signing_key_in_use_seconds": Metric("gauge", "Since when the current key signs.", is_shared=True),
}


def snapshot(counts: Counts, schema: Schema, auth: Auth | None, connections: Connections | None) -> Snapshot:
    """Return what this process has to say. What is not open yet, or not there, says nothing."""
    return {
        "operations": _by(counts.operations.items()),
        "operation_seconds": [
            ([label], [*times.buckets, times.seconds]) for label, times in tuple(counts.times.items())
        ],
        "http_requests": _by(counts.requests.items()),
        "refusals": _by(counts.refusals.items()),
        "streams_open": [([], schema.open_streams)],
        "sockets_open": [([], counts.sockets_open)],
        "document_memory": _memory(schema.documents_recalled, schema.documents_prepared),
        **(_of_connections(connections) if connections is not None else {}),
        **(_of_auth(auth) if auth is not None else {}),
    }


def _of_connections(connections: Connections) -> Snapshot:
    return {
        "connections_open": [([], len(connections))],
        "connections_refused": [([refusal.name], times) for refusal, times in connections.refusals.items()],
    }


def _of_auth(auth: Auth) -> Snapshot:
    acts = auth.audit.acts
    return {
        "logins": [
            (["succeeded"], acts[Act.SESSION_START]),
            (["failed"], acts[Act.LOGIN_FAIL]),
            (["throttled"], auth.throttles.refused["login"]),
        ],
        "audit_events": [([act.action], acts[act]) for act in Act],
        "throttled_guesses": _by(auth.throttles.refused.items()),
        "hashes_running": [([], auth.passwords.running)],
        "hashes_waiting": [([], auth.passwords.waiting)],
        "hashes_refused": [([], auth.passwords.refused)],
        "token_memory": _memory(auth.gate.tokens_recalled, auth.gate.tokens_verified),
        "database_connections": _by(auth.database.gauges().items()),
        "database_unavailable": [([], auth.database.unavailable)],
    }


def _memory(hits: int, misses: int) -> list[Sample]:
    return [(["hit"], hits), (["miss"], misses)]


def _by(items: Iterable[tuple[str | tuple[str | int, ...], int]]) -> list[Sample]:
    return [([key] if isinstance(key, str) else [str(part) for part in key], number) for key, number in items]
