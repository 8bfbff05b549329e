"""The WebSocket at `/graphql`: from which pages one is opened, and for which protocol.

There is no Strawberry handler in between (docs/decisions/0020-own-socket-protocol.md): a message comes through the gate
that a body comes through, and an operation runs through the seam that every operation runs through.
"""

from functools import partial

from starlette.types import Receive, Scope, Send

from auth.gate import Credential
from schema.context import Context
from schema.turns import Turns
from web.context_getter import ContextGetter
from web.cookies import NoCookies
from web.credentials import read_credential
from web.cross_site import CrossSite
from web.metrics_counts import Counts
from web.refused import RequestRefused
from web.request_headers import RequestHeaders
from web.responses import refuse_socket
from web.socket_conversation import SocketConversation
from web.socket_messages import SUBPROTOCOL
from web.socket_operations import Followed
from web.socket_wire import SocketWire
from web.state import note_operations


class GraphQLSocket:
    """Opens sockets: to programs, and to pages that may send us requests with cookies."""

    def __init__(self, schema: Followed, counts: Counts, getter: ContextGetter, cross_site: CrossSite) -> None:
        self._schema = schema
        self._counts = counts
        self._getter = getter
        self._cross_site = cross_site
        self._turns = Turns()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Open a socket and hold it, or refuse the request for it as an HTTP request is refused."""
        headers = RequestHeaders(scope["headers"])
        await receive()  # the request for the socket
        try:
            # A browser sends its cookies along whoever's page asks for a socket, and asks no preflight.
            self._cross_site.require_allowed(headers)
            if SUBPROTOCOL not in scope["subprotocols"]:
                raise RequestRefused(400, f"The subprotocol of a socket is {SUBPROTOCOL}.")
        except RequestRefused as refused:
            await refuse_socket(send, scope, refused)
            return
        await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL})
        handshake = read_credential(headers, self._getter.cookies)
        context_of = partial(self._context, scope, headers)
        wire = SocketWire(receive, send, self._turns)
        conversation = SocketConversation(self._schema, self._counts, context_of, handshake, wire)
        try:
            await conversation.hold()
        finally:
            note_operations(scope, conversation.operations)

    def _context(
        self, scope: Scope, headers: RequestHeaders, credential: Credential, request_id: str | None
    ) -> Context:
        return self._getter(scope, headers, NoCookies(), credential=credential, request_id=request_id)
