"""`/graphql` over HTTP, to the letter: a request is read, run through the one seam, and its answer written.

There is one path, and it is thin: no view, request or response objects stand between the server and the schema
(docs/decisions/0016-one-thin-path.md). `web.websocket` and `web.event_stream` go through the same gate and seam.
"""

from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path

from starlette.types import Receive, Scope, Send

from schema.errors import Code
from schema.execution import Answer, NotAQuery, Schema
from schema.requests import GraphQLRequest
from schema.turns import Turns
from store.networks import network_of
from web.accept import EVENT_STREAM, GRAPHQL_RESPONSE, JSON, read_accept
from web.context_getter import ContextGetter
from web.cookies import NoCookies, ResponseCookies
from web.cross_site import CrossSite
from web.event_stream import send_event_stream
from web.json_gate import read_graphql_request, read_in_turn
from web.query_string import read_query_string
from web.rate_headers import rate_headers
from web.refused import RequestRefused
from web.request_body import media_type_of, read_body
from web.request_headers import RequestHeaders
from web.responses import encoded, send_refusal
from web.state import address_of, note_operation, note_refusal, runtime_of

_NO_STORE = (b"cache-control", b"no-store")
_CONTENT_TYPE = {
    media_type: (b"content-type", f"{media_type}; charset=utf-8".encode()) for media_type in (GRAPHQL_RESPONSE, JSON)
}

# Refusals that are for every program on the way to see, whatever it knows of GraphQL.
_STATUS_OF = {Code.RATE_LIMITED.name: 429, Code.UNAVAILABLE.name: 503}
# Not an error of the request: it says "send me the text too" (Apollo's protocol for persisted queries).
_NO_ERROR = frozenset({Code.PERSISTED_QUERY_NOT_FOUND.name})


class GraphQLEndpoint:
    """`POST /graphql` for clients, `GET /graphql` for browsers: there it is GraphiQL."""

    def __init__(
        self,
        schema: Schema,
        getter: ContextGetter,
        cross_site: CrossSite,
        *,
        graphiql_page: Path,
        get_queries: bool,
        body_seconds: float,
    ) -> None:
        self._schema = schema
        self._getter = getter
        self._cross_site = cross_site
        self._graphiql_page = graphiql_page
        self._get_queries = get_queries
        self._body_seconds = body_seconds
        self._turns = Turns()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; a refusal has a code, whatever it refuses."""
        headers = RequestHeaders(scope["headers"])
        try:
            await self._respond(scope, headers, receive, send)
        except RequestRefused as refused:
            media_type = read_accept(headers.joined(b"accept")).single or JSON
            await send_refusal(send, scope, refused, media_type, self._cross_site.headers_for(headers))

    async def _respond(self, scope: Scope, headers: RequestHeaders, receive: Receive, send: Send) -> None:
        match scope["method"]:
            case "POST":
                self._cross_site.require_allowed(headers)
                request = await self._posted(scope, headers, receive)
                await self._answer(request, scope, headers, receive, send)
            case "GET" if read_accept(headers.joined(b"accept")).takes_page:
                await self._send_graphiql(send)
            case "GET" if self._get_queries:
                self._cross_site.require_allowed(headers)
                request = _with_document(read_query_string(scope["query_string"], headers))
                await self._answer(request, scope, headers, receive, send, queries_only=True)
            case "GET":
                raise RequestRefused(405, "Operations are sent by POST.", allow="POST")
            case "OPTIONS" if (preflight := self._cross_site.answer_preflight(headers)) is not None:
                await send({"type": "http.response.start", "status": 204, "headers": preflight})
                await send({"type": "http.response.body", "body": b""})
            case _:
                raise RequestRefused(405, "Operations are sent by POST.", allow="GET, POST")

    async def _posted(self, scope: Scope, headers: RequestHeaders, receive: Receive) -> GraphQLRequest:
        if media_type_of(headers) != JSON:
            # A form or plain text would let any page of the web post here with our cookies and no preflight.
            raise RequestRefused(
                415,
                "The header Content-Type says application/json, in UTF-8; forms and multipart are not taken.",
                accept_post=JSON,
            )
        body = await read_body(receive, headers, seconds=self._body_seconds)
        members = await read_in_turn(body, self._turns, network_of(address_of(scope)) or "")
        return _with_document(read_graphql_request(members))

    async def _answer(
        self,
        request: GraphQLRequest,
        scope: Scope,
        headers: RequestHeaders,
        receive: Receive,
        send: Send,
        *,
        queries_only: bool = False,
    ) -> None:
        accepted = read_accept(headers.joined(b"accept"))
        takes_stream = accepted.takes_stream and not queries_only
        if accepted.single is None and not takes_stream:
            raise RequestRefused(406, f"Answers are {GRAPHQL_RESPONSE}, {JSON} or, by POST, {EVENT_STREAM}.")
        runtime = runtime_of(scope)
        # An event stream has sent its headers before the first resolver runs.
        cookies = ResponseCookies(self._getter.cookies, runtime.auth.clock) if accepted.single else NoCookies()
        context = self._getter(scope, headers, cookies)
        answer: Answer | AsyncGenerator[Answer]
        if takes_stream:
            answer = await self._schema.follow(request, context)
        else:
            try:
                answer = await self._schema.answer(request, context, queries_only=queries_only)
            except NotAQuery as refused:
                raise RequestRefused(405, "Only queries are taken by GET.", allow="POST") from refused
        note_operation(scope, context)
        if isinstance(answer, Answer) and answer.code is not None:
            note_refusal(scope, answer.code)
        more = [_NO_STORE, *self._cross_site.headers_for(headers), *cookies.headers, *rate_headers(context)]
        if accepted.single is None or not isinstance(answer, Answer):
            note = partial(note_refusal, scope)
            await send_event_stream(answer, receive, send, more, draining=runtime.draining, note=note)
            return
        await _send_answer(answer, accepted.single, more, send)

    async def _send_graphiql(self, send: Send) -> None:
        try:
            page = self._graphiql_page.read_bytes()
        except OSError as error:
            message = "GraphiQL has not been built: run `make front-end`. The API itself works."
            raise RequestRefused(404, message, Code.NOT_FOUND) from error
        headers = [
            (b"content-type", b"text/html; charset=utf-8"),
            (b"content-length", str(len(page)).encode()),
            (b"cache-control", b"no-cache"),
            (b"vary", b"Accept"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": page})


async def _send_answer(answer: Answer, media_type: str, more: list[tuple[bytes, bytes]], send: Send) -> None:
    body = encoded(answer.as_response())
    headers = [_CONTENT_TYPE[media_type], (b"content-length", str(len(body)).encode()), *more]
    await send({"type": "http.response.start", "status": _status(answer, media_type), "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _status(answer: Answer, media_type: str) -> int:
    """Return the status of an answer (GraphQL over HTTP §6.4).

    Who takes `application/json` may take a status other than 200 for a sign that no GraphQL server was reached.
    """
    if answer.is_executed or answer.code in _NO_ERROR:
        return 200
    if answer.code in _STATUS_OF:
        return _STATUS_OF[answer.code]
    return 400 if media_type == GRAPHQL_RESPONSE else 200


def _with_document(request: GraphQLRequest) -> GraphQLRequest:
    if not request.query and request.document_id is None and not (request.extensions or {}).get("persistedQuery"):
        raise RequestRefused(400, "There is no document: `query` has none.")
    return request
