"""`GET /metrics`: for whoever has the token, on the port that everybody calls; or at an address of its own."""

import asyncio
import hmac
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta

import uvicorn
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from auth.secret import Secret
from schema.errors import Code
from web.connections import ConnectionLimits
from web.credentials import read_bearer
from web.listening import listening
from web.metrics import Metrics
from web.request_headers import RequestHeaders
from web.responses import refusal_response

PATH = "/metrics"

# Scrapers are few. They share what this process may have open with those for whom it is there.
_LIMITS = ConnectionLimits(timedelta(seconds=5), connections=32, per_address=32)
_GRACE = 1  # seconds


class MetricsPage:
    """An application that answers one path. With a token it is shown to those alone who present it."""

    def __init__(self, metrics: Metrics, token: Secret | None = None) -> None:
        self._metrics = metrics
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a scrape."""
        if scope["type"] == "http":
            await (await self._answer(scope))(scope, receive, send)

    async def _answer(self, scope: Scope) -> Response:
        if scope["path"] != PATH:
            return refusal_response(scope, 404, Code.NOT_FOUND, "There is nothing at this path.")
        if not self._may_see(scope):
            message = "The metrics are shown to those who present their token."
            challenge = {"www-authenticate": 'Bearer realm="metrics"'}
            return refusal_response(scope, 401, Code.UNAUTHENTICATED, message, challenge)
        if scope["method"] not in {"GET", "HEAD"}:
            message, allowed = "This path does not take this method.", {"allow": "GET, HEAD"}
            return refusal_response(scope, 405, Code.BAD_REQUEST, message, allowed)
        headers = {"content-type": CONTENT_TYPE_PLAIN_0_0_4, "cache-control": "no-store"}
        return Response(await self._metrics.page(), headers=headers)

    def _may_see(self, scope: Scope) -> bool:
        if self._token is None:
            return True
        headers = RequestHeaders(scope["headers"]).all(b"authorization")
        shown = read_bearer(headers).token if headers else None
        # Of digests, so that also their length takes no time of its own.
        return shown is not None and hmac.compare_digest(shown.digest(), self._token.digest())


@asynccontextmanager
async def metrics_at(listener: socket.socket | None, metrics: Metrics) -> AsyncIterator[None]:
    """Answer at an address of its own, without a token, while the block runs. None is no address."""
    if listener is None:
        yield
        return
    config = listening(
        MetricsPage(metrics),
        _LIMITS,
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE,
    )
    server = _Beside(config)
    serving = asyncio.create_task(server.serve([listener]))
    try:
        yield
    finally:
        server.should_exit = True
        await serving


class _Beside(uvicorn.Server):
    """uvicorn's, beside another one in the same process, which hears the signals."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them alone."""
        yield
