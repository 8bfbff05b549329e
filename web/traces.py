"""Traces for OpenTelemetry: how long a request took, and within it the hash of a password and each transaction.

A span says which operation, of what type, with what outcome, under which of the log's ids. It has no argument, no
variable, no document, no header and no address, and no text that a stranger wrote but the name of an operation that is
counted (`web.metrics_names`). Where spans are sent is said by OTEL's own variables, which the SDK reads by itself.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from threading import Thread

from opentelemetry.context import Context as Linked
from opentelemetry.context import attach, detach
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import NoOpTracer, Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from auth import Auth
from schema.context import Context
from schema.errors import Code
from schema.execution import Answer
from schema.requests import GraphQLRequest
from web.metrics_counts import OK, Counts
from web.request_headers import RequestHeaders
from web.socket_operations import Followed
from web.state import context_of, refusal_of, request_id_of
from web.trusted_proxies import Network, TrustedProxies

_NAME = "watchword"
# Asked every few seconds by machines, and nobody looks at what came of it.
_NOT_TRACED = frozenset({"/healthz", "/readyz", "/metrics"})
_METHODS = frozenset({"GET", "POST", "HEAD", "OPTIONS"})
_FAULTS = frozenset({Code.INTERNAL.name, Code.UNAVAILABLE.name})
_LAST_SECONDS = 3.0  # to send what is left when the server ends


def _otlp() -> SpanProcessor:
    return BatchSpanProcessor(OTLPSpanExporter())


class Traces:
    """Keeps the contract of `web.tracing.Tracing`.

    A trace that was begun elsewhere is continued for trusted proxies alone: a stranger who could say so would have
    whatever they like recorded, and in whose trace they like.
    """

    def __init__(self, proxies: Sequence[Network] = (), processor: Callable[[], SpanProcessor] = _otlp) -> None:
        self._proxies = TrustedProxies(proxies)
        self._processor = processor
        self._tracer: Tracer = NoOpTracer()
        self._propagator = TraceContextTextMapPropagator()

    @asynccontextmanager
    async def running(self, auth: Auth) -> AsyncIterator[None]:
        """Trace what these services do, too, and send what was traced, while the block runs."""
        # Made here and not before: its thread must be the process's that serves.
        provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        provider.add_span_processor(self._processor())
        self._tracer = provider.get_tracer(_NAME)
        auth.passwords.around = lambda: self._part("hash a password")
        auth.database.around = lambda: self._part("database transaction")
        try:
            yield
        finally:
            self._tracer = NoOpTracer()
            # A thread that nothing waits for: a collector that does not answer must not keep a server from ending.
            ending = Thread(target=provider.shutdown, name="watchword-traces", daemon=True)
            ending.start()
            await asyncio.to_thread(ending.join, _LAST_SECONDS)

    def around(self, app: ASGIApp, counts: Counts) -> ASGIApp:
        """Return an application that does the same, with a span for each request."""

        async def traced(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or scope["path"] in _NOT_TRACED:
                await app(scope, receive, send)
                return
            status = 0

            async def send_noted(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                await send(message)

            with self._span(self._parent(scope)) as span:
                try:
                    await app(scope, receive, send_noted)
                finally:
                    method = scope["method"]
                    span.set_attribute("http.request.method", method if method in _METHODS else "_OTHER")
                    span.set_attribute("http.response.status_code", status)
                    span.update_name(f"HTTP {method if method in _METHODS else 'request'}")
                    _describe(span, counts, context_of(scope), refusal_of(scope).get("code"), request_id_of(scope))

        return traced

    def followed(self, schema: Followed, counts: Counts) -> Followed:
        """Return what runs the operations of a socket, with a span for each: of a subscription for its beginning."""
        return _TracedOperations(schema, counts, lambda: self._span(Linked()))

    @contextmanager
    def _span(self, parent: Linked) -> Iterator[Span]:
        span = self._tracer.start_span("operation", parent, SpanKind.SERVER)
        token = attach(set_span_in_context(span, parent))
        try:
            yield span
        finally:
            detach(token)
            span.end()

    @contextmanager
    def _part(self, name: str) -> Iterator[None]:
        # Not what is current meanwhile: nothing within it has a span of its own. And no exception: its text may be
        # anything.
        span = self._tracer.start_span(name)
        try:
            yield
        finally:
            span.end()

    def _parent(self, scope: Scope) -> Linked:
        peer = scope.get("client")
        if peer is None or peer[0] not in self._proxies:
            return Linked()
        # Not `tracestate`, nor baggage: both are free text.
        shown = RequestHeaders(scope["headers"]).only(b"traceparent")
        return self._propagator.extract({"traceparent": shown}, Linked()) if shown else Linked()


class _TracedOperations:
    """Runs operations by a schema, each within a span."""

    def __init__(self, schema: Followed, counts: Counts, span: Callable[[], AbstractContextManager[Span]]) -> None:
        self._schema = schema
        self._counts = counts
        self._span = span

    async def follow(
        self, request: GraphQLRequest, context: Context, *, is_watched: bool = False
    ) -> Answer | AsyncGenerator[Answer]:
        """Run any operation."""
        with self._span() as span:
            answer = await self._schema.follow(request, context, is_watched=is_watched)
            code = answer.code if isinstance(answer, Answer) else None
            _describe(span, self._counts, context, code, context.request_id)
        return answer


def _describe(span: Span, counts: Counts, context: Context | None, code: str | None, request_id: str) -> None:
    span.set_attribute("watchword.request_id", request_id)
    span.set_attribute("watchword.outcome", code or OK)
    if code in _FAULTS:
        span.set_status(Status(StatusCode.ERROR))
    if context is not None and (operation := context.operation) is not None:
        name, kind = counts.label(operation, context), operation.kind
        span.update_name(f"{kind} {name}")
        span.set_attribute("graphql.operation.type", kind)
        span.set_attribute("graphql.operation.name", name)


def _resource() -> Resource:
    found = Resource.create()
    is_named = not str(found.attributes.get(SERVICE_NAME, "unknown_service")).startswith("unknown_service")
    return found if is_named else found.merge(Resource({SERVICE_NAME: _NAME}))
