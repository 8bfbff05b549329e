"""The operations that run on one socket: each a task of its own with a context of its own, and no more than twenty."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import Protocol

import structlog

from auth.refusals import Unauthenticated
from schema.context import Context
from schema.errors import Code, refusal
from schema.execution import Answer, refused_answer
from schema.requests import GraphQLRequest
from web.access_log import named
from web.metrics_counts import Counts
from web.socket_messages import written
from web.socket_wire import ClientGone

_log = structlog.get_logger("watchword.access")

MOST_AT_ONCE = 20

# What is being done when a session ends is done to its end, as it would be over HTTP: a logout answers.
_TO_FINISH = 2.0


class Followed(Protocol):
    """What runs operations: `schema.execution.Schema`, or something around it."""

    async def follow(
        self, request: GraphQLRequest, context: Context, *, is_watched: bool = False
    ) -> Answer | AsyncGenerator[Answer]:
        """Run any operation."""


class _Operation:
    """One that runs. What `only_shows` may be broken off anywhere; what may change something may not."""

    __slots__ = ("code", "context", "id", "only_shows")

    def __init__(self, name: str, context: Context) -> None:
        self.id = name
        self.context = context
        self.only_shows = False
        self.code: str | None = None  # of what was refused


class SocketOperations:
    """Starts and stops them. `tell` sends a message, and `end` is told why the socket as a whole has to end."""

    def __init__(
        self,
        schema: Followed,
        counts: Counts,
        socket_id: str,
        tell: Callable[[str], Awaitable[None]],
        end: Callable[[Exception], None],
    ) -> None:
        self._schema = schema
        self._counts = counts
        self._socket_id = socket_id
        self._tell = tell
        self._end = end
        # Those whose answers are wanted. What its client has lost interest in may still be running.
        self._wanted: dict[str, _Operation] = {}
        self._running: dict[asyncio.Task[None], _Operation] = {}
        self.started = 0

    def __contains__(self, name: str) -> bool:
        return name in self._wanted

    async def start(self, name: str, request: GraphQLRequest, context: Context) -> None:
        """Run an operation for whoever the context says, or refuse it when too many run already."""
        if len(self._running) >= MOST_AT_ONCE:
            error = refusal(Code.BAD_REQUEST, f"A socket carries at most {MOST_AT_ONCE} operations at a time.")
            await self._tell(_error(name, error, context))
            return
        self.started += 1
        operation = self._wanted[name] = _Operation(name, context)
        task = asyncio.create_task(self._run(operation, request))
        self._running[task] = operation
        task.add_done_callback(self._running.pop)

    def stop(self, name: str) -> None:
        """Send no more of an operation. A subscription ends; what may change something is not broken off."""
        stopped = self._wanted.pop(name, None)
        for task, operation in self._running.items():
            if operation is stopped and operation.only_shows:
                task.cancel()

    async def refuse(self, refused: Unauthenticated) -> None:
        """End all of them because it is not known any more who calls: each with an error that says so."""
        await self._break_off()
        await self._finish_all(refused, (each for each in tuple(self._wanted.values()) if each.only_shows))
        await self.finish()
        await self._finish_all(refused, tuple(self._wanted.values()))

    async def finish(self, *, within: float | None = _TO_FINISH) -> None:
        """End the subscriptions without a word, and give the rest a little time to answer."""
        await self._break_off()
        if self._running:
            await asyncio.wait(self._running, timeout=within)

    async def close(self) -> None:
        """Send nothing any more, and wait until the last one is done."""
        self._wanted.clear()
        await self._break_off()
        if self._running:
            await asyncio.wait(self._running)

    async def _break_off(self) -> None:
        tasks = [task for task, operation in self._running.items() if operation.only_shows]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _run(self, operation: _Operation, request: GraphQLRequest) -> None:
        begun = time.perf_counter()
        try:
            await self._answer(operation, request)
        except (Unauthenticated, ClientGone) as end:
            operation.only_shows = True
            self._end(end)
        finally:
            seconds = time.perf_counter() - begun
            self._counts.operation(operation.context, operation.code, seconds)
            _log.info(
                "operation",
                request_id=operation.context.request_id,
                socket=self._socket_id,
                milliseconds=round(seconds * 1000, 2),
                **named(operation.context),
                **({"code": operation.code} if operation.code else {}),
            )

    async def _answer(self, operation: _Operation, request: GraphQLRequest) -> None:
        try:
            # Not `authenticate`: what that renews for a browser would be given to nobody, for each operation anew.
            await operation.context.reaffirm()
            answers = await self._schema.follow(request, operation.context, is_watched=True)
            if isinstance(answers, Answer):
                await self._pass_on(operation, answers, is_last=True)
                return
            operation.only_shows = True
            async with aclosing(answers):
                while self._is_wanted(operation):
                    await self._pass_on(operation, await anext(answers, None))
        except (Unauthenticated, ClientGone):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is presented like any other error
            refused = refused_answer(error, operation.context)
            operation.code = refused.code
            await self._finish(operation, written("error", operation.id, refused.errors))

    async def _pass_on(self, operation: _Operation, answer: Answer | None, *, is_last: bool = False) -> None:
        """Send an answer, or that there are no more.

        Raises `Unauthenticated` where a refusal is not this operation's alone, and `ClientGone`.
        """
        if answer is not None and answer.code is not None:
            operation.code = answer.code
        if answer is not None and not answer.is_executed:
            if answer.code == Code.UNAUTHENTICATED.name:
                await operation.context.reaffirm()
            await self._finish(operation, written("error", operation.id, answer.errors))
            return
        if answer is not None and self._is_wanted(operation):
            await self._tell(written("next", operation.id, answer.as_response()))
        if answer is None or is_last:
            await self._finish(operation, written("complete", operation.id))

    async def _finish_all(self, refused: Unauthenticated, operations: Iterable[_Operation]) -> None:
        for operation in operations:
            await self._finish(operation, _error(operation.id, refused, operation.context))

    async def _finish(self, operation: _Operation, last: str) -> None:
        """Send the last message about an operation, unless nobody waits for it. From then on its id is free."""
        if self._is_wanted(operation):
            del self._wanted[operation.id]
            await self._tell(last)

    def _is_wanted(self, operation: _Operation) -> bool:
        return self._wanted.get(operation.id) is operation


def _error(name: str, error: Exception, context: Context) -> str:
    return written("error", name, refused_answer(error, context).errors)
