"""Every path the server answers, and what stands in front of them."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from auth.key_files import TOKEN_PATH
from auth.secret import Secret
from schema.errors import Code
from schema.execution import Schema
from web import oauth
from web.access_log import AccessLog
from web.client_address import ClientAddress
from web.context_getter import ContextGetter
from web.cookies import CookieNames
from web.cross_site import CrossSite
from web.graphql import GraphQLEndpoint
from web.health import healthz, readyz
from web.metrics import Metrics
from web.metrics_page import PATH as METRICS_PATH
from web.metrics_page import MetricsPage
from web.refused import RequestRefused
from web.responses import refusal_response, refuse_socket
from web.security_headers import SecurityHeaders
from web.tracing import Tracing
from web.trusted_proxies import Network
from web.websocket import GraphQLSocket
from web.well_known import INTROSPECTION_PATH, JWKS_PATH, METADATA_PATH, REVOCATION_PATH, jwks, metadata

STATIC = Path(__file__).parent / "static"

_NOTHING_HERE = "There is nothing at this path."

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Edge:
    """What the operator decides about the HTTP edge."""

    public_url: str
    allowed_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[Network, ...] = ()
    get_queries: bool = False
    body_timeout: timedelta = timedelta(seconds=10)
    metrics_token: Secret | None = None  # without one, they are not shown here

    @property
    def https(self) -> bool:
        """Whether people reach it over https."""
        return self.public_url.startswith("https:")


def build_app(
    schema: Schema,
    edge: Edge,
    *,
    lifespan: Lifespan,
    metrics: Metrics | None = None,
    tracing: Tracing | None = None,
) -> Starlette:
    """Return the ASGI application; `lifespan` opens what requests need and gives it as state.

    Requests are counted in `metrics`, and traced if there is something to trace them with.
    """
    metrics = metrics or Metrics(schema)
    getter = ContextGetter(CookieNames(secure=edge.https))
    cross_site = CrossSite(edge.public_url, edge.allowed_origins)
    endpoint = GraphQLEndpoint(
        schema,
        getter,
        cross_site,
        graphiql_page=STATIC / "graphiql.html",
        get_queries=edge.get_queries,
        body_seconds=edge.body_timeout.total_seconds(),
    )
    followed = schema if tracing is None else tracing.followed(schema, metrics.counts)
    routes: list[BaseRoute] = [
        WebSocketRoute("/graphql", GraphQLSocket(followed, metrics.counts, getter, cross_site)),
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route(JWKS_PATH, jwks),
        Route(METADATA_PATH, metadata),
        Route(TOKEN_PATH, oauth.token, methods=["POST"]),
        Route(INTROSPECTION_PATH, oauth.introspect, methods=["POST"]),
        Route(REVOCATION_PATH, oauth.revoke, methods=["POST"]),
        Route("/", _to_graphiql),
    ]
    if edge.metrics_token is not None:
        routes.append(Route(METRICS_PATH, MetricsPage(metrics, edge.metrics_token)))
    if STATIC.is_dir():
        routes.append(Mount("/static", _HashedFiles(directory=STATIC)))
    app = _Application(
        endpoint,
        edge,
        metrics,
        tracing,
        routes=routes,
        # 401 is Starlette's word for a file that the process may not read.
        exception_handlers={401: _not_found, 404: _not_found, 405: _not_allowed},
        lifespan=lifespan,
    )
    # The router would answer `/graphql/` with a redirect to wherever the Host header says, and a client would send the
    # password that it posted there after it.
    app.router.redirect_slashes = False
    return app


class _Application(Starlette):
    """Starlette's, with ours before all of its own: the log catches what nobody caught, and GraphQL needs no router."""

    def __init__(
        self, endpoint: GraphQLEndpoint, edge: Edge, metrics: Metrics, tracing: Tracing | None, **parts: Any
    ) -> None:
        super().__init__(**parts)
        self._endpoint = endpoint
        self._edge = edge
        self._metrics = metrics
        self._tracing = tracing

    def build_middleware_stack(self) -> ASGIApp:
        """Return what answers every request."""
        routed = ExceptionMiddleware(self.router, handlers=self.exception_handlers)
        inner = _GraphQLFirst(routed, endpoint=self._endpoint)
        headed = SecurityHeaders(inner, https=self._edge.https)
        addresses = ClientAddress(self._edge.trusted_proxies)
        logged = AccessLog(headed, addresses=addresses, counts=self._metrics.counts)
        return logged if self._tracing is None else self._tracing.around(logged, self._metrics.counts)


class _GraphQLFirst:
    """Takes the one path that nearly every request asks for past the router, which would look at each route in turn."""

    def __init__(self, app: ASGIApp, *, endpoint: GraphQLEndpoint) -> None:
        self._app = app
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/graphql":
            await self._endpoint(scope, receive, send)
        elif scope["type"] == "websocket" and scope["path"] != "/graphql":
            # The router would close it, which is answered with a 403 that says nothing.
            await receive()  # the request for the socket
            await refuse_socket(send, scope, RequestRefused(404, _NOTHING_HERE, Code.NOT_FOUND))
        else:
            await self._app(scope, receive, send)


class _HashedFiles(StaticFiles):
    """The bundle's files. Those under assets/ have a digest of their content in their name, so they never change."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # They are given whole (RFC 9110 §14.2 allows it): what Starlette says of a range that is none is plain text.
        whole = [header for header in scope["headers"] if header[0] != b"range"]
        await super().__call__({**scope, "headers": whole}, receive, send)

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        if path.startswith("assets/"):
            response.headers["cache-control"] = "public, max-age=31536000, immutable"
        return response


async def _to_graphiql(_request: Request) -> Response:
    return RedirectResponse("/graphql")


async def _not_found(request: Request, _error: Exception) -> Response:
    return refusal_response(request.scope, 404, Code.NOT_FOUND, _NOTHING_HERE)


async def _not_allowed(request: Request, error: Any) -> Response:
    message = "This path does not take this method."
    return refusal_response(request.scope, 405, Code.BAD_REQUEST, message, error.headers)
