"""The GraphQL view: Strawberry's, with our context getter, our reading of requests, and our own GraphiQL."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
from cross_web import HTTPException, StarletteRequestAdapter
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.http import GraphQLHTTPResponse, GraphQLRequestData
from strawberry.types import ExecutionResult

from schema.context import Context
from schema.errors import Code
from schema.execution import Schema
from web.cookies import CookieNames, ResponseCookies
from web.credentials import read_credential, read_origin
from web.request_body import RequestRefused, read_graphql_request
from web.responses import refusal_response
from web.state import request_id_of, runtime_of


class _Adapter(StarletteRequestAdapter):
    """Strawberry's adapter, with the request that it adapts."""

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self.request = request


class GraphQLView(GraphQL[Context, None]):
    """`POST /graphql` for clients, `GET /graphql` for browsers: there it is GraphiQL."""

    allow_queries_via_get = False
    request_adapter_class = _Adapter

    def __init__(self, schema: Schema, cookies: CookieNames, graphiql_page: Path) -> None:
        # No subscription exists yet, and of the transports for them none is left on by default.
        super().__init__(schema, multipart_uploads_enabled=False, subscription_protocols=())
        self._cookies = cookies
        self._graphiql_page = graphiql_page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; a refusal has a code, whatever it refuses."""
        request = Request(scope, receive)
        try:
            response = await self._respond(request)
        except RequestRefused as refused:
            response = refusal_response(
                refused.status, refused.code, str(refused), request_id_of(scope), refused.headers
            )
        except HTTPException as refused:
            # Strawberry's own, for a document without an operation to run, or with several and no name.
            response = refusal_response(refused.status_code, Code.BAD_REQUEST, refused.reason, request_id_of(scope))
        await response(scope, receive, send)

    async def get_context(self, request: Request | WebSocket, response: Response | WebSocket) -> Context:
        """Make the context of one operation: what was presented, not yet what it is worth.

        Nothing here can fail: Strawberry calls it before it looks at the request, and an exception would be a bare 500.
        """
        runtime = runtime_of(request.scope)
        headers = response.headers if isinstance(response, Response) else MutableHeaders()
        return Context(
            auth=runtime.auth,
            credential=read_credential(request, self._cookies),
            origin=read_origin(request),
            cookies=ResponseCookies(self._cookies, headers, runtime.auth.clock),
            request_id=request_id_of(request.scope),
            services=runtime.services,
        )

    async def parse_http_body(self, request: Any) -> GraphQLRequestData:
        """Read a request through the one door there is for them."""
        return await read_graphql_request(request.request)

    def encode_json(self, data: object) -> bytes:
        """Encode an answer."""
        return orjson.dumps(data)

    async def process_result(self, request: Request, result: ExecutionResult) -> GraphQLHTTPResponse:
        """Shape a result; an error of the request as a whole comes without `data` (GraphQL §7.1.1)."""
        response = await super().process_result(request, result)
        if result.data is None and result.errors and all(error.path is None for error in result.errors):
            response.pop("data", None)
        return response

    def create_response(
        self, response_data: GraphQLHTTPResponse | list[GraphQLHTTPResponse], sub_response: Response
    ) -> Response:
        """Return an answer that no cache keeps: it is for this caller alone, and may carry a token."""
        response = super().create_response(response_data, sub_response)
        response.headers["cache-control"] = "no-store"
        return response

    async def _respond(self, request: Request) -> Response:
        if request.method == "GET":
            return self._graphiql(request.headers)
        if request.method != "POST":
            raise RequestRefused(405, "Operations are sent by POST.", allow="GET, POST")
        return await self.run(request)

    def _graphiql(self, headers: Mapping[str, str]) -> Response:
        if "text/html" not in headers.get("accept", ""):
            raise RequestRefused(405, "Operations are sent by POST.", allow="GET, POST")
        try:
            page = self._graphiql_page.read_bytes()
        except OSError as error:
            message = "GraphiQL has not been built: run `make front-end`. The API itself works."
            raise RequestRefused(503, message, Code.UNAVAILABLE) from error
        return HTMLResponse(page, headers={"cache-control": "no-cache"})
