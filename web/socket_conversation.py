"""One socket from its handshake to its end: who is at the other end, what they ask, and when they have to go.

A socket outlives the request that opened it, so whoever opened it is looked at anew each second, and before anything is
shown to them. It ends within seconds of their session, in whichever process that was ended.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from auth.gate import Credential
from auth.ids import new_id
from auth.refusals import Reason, SigningKeyRevoked, Unauthenticated
from schema.context import Context
from schema.execution import LOOK_EVERY
from store import StoreUnavailable
from web.credentials import read_bearer
from web.json_gate import read_graphql_request
from web.metrics_counts import Counts
from web.refused import RequestRefused
from web.socket_messages import ClientMessage, Close, SocketClosed, written
from web.socket_operations import Followed, SocketOperations
from web.socket_wire import ClientGone, SocketWire

_INIT_SECONDS = 3.0

# Makes a context: for which credential, and under which id, None for the socket's own.
ContextOf = Callable[[Credential, str | None], Context]


class SocketConversation:
    """Reads messages one at a time; `handshake` is the credential that the request for the socket came with."""

    def __init__(
        self, schema: Followed, counts: Counts, context_of: ContextOf, handshake: Credential, wire: SocketWire
    ) -> None:
        self._context_of = context_of
        self._credential = handshake
        self._context = context_of(handshake, None)
        self._wire = wire
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._operations = SocketOperations(schema, counts, self._context.request_id, wire.tell, self._end)

    @property
    def operations(self) -> int:
        """How many operations were begun."""
        return self._operations.started

    async def hold(self) -> None:
        """Converse until the client has gone or has to go."""
        try:
            await self._converse()
        except ClientGone:
            pass
        except SocketClosed as closed:
            if closed.close is Close.RESTART:
                await self._operations.finish(within=None)  # the server knows how long it waits
            await self._wire.close(closed)
        finally:
            await self._operations.close()

    async def _converse(self) -> None:
        try:
            await self._open()
            steps: list[Awaitable[None]] = [self._over, self._hear()]
            if not self._context.identity.is_anonymous:
                steps.append(self._watch())
            await _first_of(steps)
        except Unauthenticated as refused:
            if not self._credential.by_cookie and _another_may_do(refused):
                # Clients get another token, connect, and ask for everything anew; after an `error` they would not.
                await self._operations.finish()
                raise SocketClosed(Close.ANOTHER_TOKEN, refused.reason.name) from refused
            await self._operations.refuse(refused)
            raise SocketClosed(Close.UNAUTHENTICATED, refused.reason.name) from refused

    async def _open(self) -> None:
        """Wait for `connection_init`, and find out who calls."""
        try:
            async with asyncio.timeout(_INIT_SECONDS):
                while (message := await self._wire.hear()).type != "connection_init":
                    if message.type == "subscribe":
                        raise SocketClosed(Close.UNAUTHENTICATED, "There was no connection_init yet.")
                    await self._heed(message)
        except TimeoutError as error:
            raise SocketClosed(Close.INIT_TIMEOUT, "connection_init did not come in time.") from error
        if (presented := _presented(message.payload or {})) is not None:
            self._credential = presented
            self._context = self._context_of(presented, None)
        await self._context.authenticate()
        try:
            _ = self._context.identity
        except StoreUnavailable as error:
            raise SocketClosed(Close.UNAVAILABLE, "The database does not answer.") from error
        await self._wire.tell(written("connection_ack"))

    async def _hear(self) -> None:
        while True:
            message = await self._wire.hear()
            if message.type == "connection_init":
                raise SocketClosed(Close.INIT_REPEATED, "connection_init comes once.")
            await self._heed(message)
            await asyncio.sleep(0)  # of a thousand messages that came at once, others wait for one at a time

    async def _heed(self, message: ClientMessage) -> None:
        match message.type:
            case "ping":
                await self._wire.tell(written("pong", payload=message.payload))
            case "complete":
                self._operations.stop(message.id)
            case "subscribe":
                await self._subscribe(message)

    async def _subscribe(self, message: ClientMessage) -> None:
        if message.id in self._operations:
            raise SocketClosed(Close.ID_TAKEN, f"Subscriber for {message.id} already exists")
        try:
            request = read_graphql_request(message.payload)
        except RequestRefused as refused:
            raise SocketClosed(Close.INVALID_MESSAGE, str(refused)) from refused
        if not request.says_what:
            raise SocketClosed(Close.INVALID_MESSAGE, "The payload of subscribe has a query.")
        context = self._context_of(self._credential, new_id())
        context.become(self._context.identity)
        await self._operations.start(message.id, request, context)

    async def _watch(self) -> None:
        """Look at who calls, for as long as they may. Raises `Unauthenticated`."""
        while True:
            await asyncio.sleep(LOOK_EVERY.total_seconds())
            try:
                await self._context.reaffirm()
            except StoreUnavailable:
                continue  # nobody is sent away for that, and nothing is shown to them meanwhile

    def _end(self, cause: Exception) -> None:
        if not self._over.done():
            self._over.set_exception(cause)


def _presented(parameters: Mapping[str, Any]) -> Credential | None:
    """Return the credential in the payload of `connection_init`, None if there is none."""
    values = [value for name, value in parameters.items() if name.lower() == "authorization" and value is not None]
    if not values:
        return None
    if not all(isinstance(value, str) for value in values):
        return Credential(fault=Reason.CREDENTIAL_MALFORMED)
    return read_bearer(values)


def _another_may_do(refused: Unauthenticated) -> bool:
    """Say whether it is the token alone that is not good any more, and nobody took it away."""
    return refused.reason is Reason.TOKEN_EXPIRED or isinstance(refused, SigningKeyRevoked)


async def _first_of(steps: Iterable[Awaitable[None]]) -> None:
    """Go on with all of them until one ends. Raises what that one did."""
    tasks = [asyncio.ensure_future(step) for step in steps]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
