"""The seam: a request goes in and answers come out, the same for every transport.

Whoever calls is known before the first resolver runs, and every error in an answer is presented. `web` calls nothing
else, and what is behind it (graphql-core's executor) can be replaced without a transport knowing.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Mapping, Sequence
from datetime import timedelta
from inspect import isawaitable
from typing import Any, NamedTuple

import strawberry
from graphql import ExecutionResult, Executor, GraphQLError, GraphQLSchema
from graphql.execution import create_source_event_stream, execute_root_selection_set, execute_subscription_event
from strawberry.execution.is_awaitable import optimized_is_awaitable

from auth.refusals import RateLimited
from schema.context import Context
from schema.documents import Documents, Operation, Prepared
from schema.errors import Code, presented, refusal
from schema.executor import OperationExecutor
from schema.guards import Guard
from schema.introspection import Introspection
from schema.requests import GraphQLRequest
from schema.turns import Turns
from store import StoreUnavailable

# A stream ends within 5 seconds of the session that it was opened with, also when nothing happens on it.
LOOK_EVERY = timedelta(seconds=1)
_ATTEMPTS = 4  # at a database that does not answer, a look apart

# What it takes to prepare the worst document of its length, more or less.
_MILLISECONDS = 2
_CHARACTERS_A_MILLISECOND = 50

# Of one caller at a time. Each event of the record is an execution for each of them.
MOST_STREAMS = 100

_is_awaitable: Any = optimized_is_awaitable  # knows the types of plain values: half of what a large list costs


class NotAQuery(Exception):
    """An operation that is no query, where nothing else may come."""


class Answer(NamedTuple):
    """What came of a request: a response's `data` and `errors` (GraphQL §7.1).

    One that was not executed has no `data`: the request as a whole was refused, with these errors.
    """

    data: dict[str, Any] | None
    errors: list[dict[str, Any]]
    is_executed: bool

    @property
    def code(self) -> str | None:
        """The code of the first error."""
        return self.errors[0]["extensions"]["code"] if self.errors else None

    @property
    def reason(self) -> str | None:
        """The reason of the first error, if it has one."""
        return self.errors[0]["extensions"].get("reason") if self.errors else None

    def as_response(self) -> dict[str, Any]:
        """Return the response's JSON object."""
        if not self.is_executed:
            return {"errors": self.errors}
        return {"data": self.data, "errors": self.errors} if self.errors else {"data": self.data}


class Watch(NamedTuple):
    """What is asked anew before each event: the guards, whether it can be paid for; and how often without one."""

    guards: Sequence[Guard]
    pause: float | None
    cost: int


class Schema(strawberry.Schema):
    """A schema that answers nothing uncoded and logs nothing of a document."""

    def __init__(
        self,
        *,
        prepare: Callable[[GraphQLSchema], Documents],
        introspection: Introspection,
        subscription_guards: Mapping[str, Sequence[Guard]],
        **parts: Any,
    ) -> None:
        super().__init__(**parts)
        self._documents = prepare(self._schema)
        self._introspection = introspection
        self._turns = Turns()
        self._streams: Counter[str] = Counter()
        self.documents_recalled = 0
        self.documents_prepared = 0
        # Strawberry asks them once, when a subscription begins. Here they are asked anew before each event.
        self.subscription_guards = subscription_guards

    @property
    def open_streams(self) -> int:
        """How many subscriptions are followed at this moment."""
        return self._streams.total()

    @property
    def trusted_operations(self) -> frozenset[str] | None:
        """The names of the operations that the operator listed, None where any may be run."""
        return self._documents.trusted_operations

    async def answer(self, request: GraphQLRequest, context: Context, *, queries_only: bool = False) -> Answer:
        """Run a query or a mutation. A subscription is refused: it has more than one answer.

        Raises `NotAQuery` for whatever else comes where it is to be `queries_only`.
        """
        try:
            prepared, operation = await self._admitted(request, context)
            if queries_only and operation.kind != "query":
                raise NotAQuery
            if operation.kind == "subscription":
                raise refusal(Code.BAD_REQUEST, "A subscription is followed over WebSocket or as text/event-stream.")
        except NotAQuery:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is presented like any other error
            return refused_answer(error, context)
        return await self._executed(prepared, request, context)

    async def follow(
        self, request: GraphQLRequest, context: Context, *, is_watched: bool = False
    ) -> Answer | AsyncGenerator[Answer]:
        """Run any operation: a subscription gives an iterator of answers, everything else the one answer there is.

        Each event is preceded by a fresh look at who calls and at the field's guards: the iterator ends with the answer
        that says what was refused. An iterator that is not wanted any more is closed with `aclose`.

        Where nothing happens there is a look each second too, unless the transport says that it looks by itself: then
        the caller `is_watched`.
        """
        try:
            prepared, operation = await self._admitted(request, context)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is presented like any other error
            return refused_answer(error, context)
        if operation.kind != "subscription":
            return await self._executed(prepared, request, context)
        executor = self._executor(prepared, request, context)
        if isinstance(executor, list):
            return refused_answer(Refused(executor), context)
        try:
            source = await self._source(executor, context)
        except Exception as error:  # noqa: BLE001 - the same
            return refused_answer(error, context)
        if isinstance(source, ExecutionResult):
            await context.record_refusals()
            return self._answer(source, context)
        watch = Watch(
            guards=[guard for field in operation.root_fields for guard in self.subscription_guards.get(field, ())],
            pause=None if is_watched else LOOK_EVERY.total_seconds(),
            cost=operation.cost(request.variables),
        )
        return self._events(executor, source, context, watch)

    async def _source(self, executor: Executor[Any], context: Context) -> AsyncIterable[Any] | ExecutionResult:
        """Open a stream, if the caller has not too many already. Raises `RateLimited`."""
        if self._streams[context.payer_name] >= MOST_STREAMS:
            raise RateLimited(LOOK_EVERY)
        source = create_source_event_stream(executor)
        return await source if isawaitable(source) else source

    async def _events(
        self,
        executor: Executor[Any],
        source: AsyncIterable[Any],
        context: Context,
        watch: Watch,
    ) -> AsyncGenerator[Answer]:
        """Turn each event of a source into an answer, for as long as the caller may see and pay for them."""
        events, upcoming, payer = aiter(source), None, context.payer_name
        self._streams[payer] += 1
        try:
            while True:
                upcoming = asyncio.ensure_future(anext(events))
                while not upcoming.done():
                    await asyncio.wait([upcoming], timeout=watch.pause)
                    await self._require_good(context, watch.guards)
                context.pay(watch.cost)
                result = execute_subscription_event(executor.build_per_event_executor(upcoming.result()))
                yield self._answer(await result if isawaitable(result) else result, context)
        except StopAsyncIteration:
            return
        except Exception as error:  # noqa: BLE001 - whatever a source raises is presented like any other error
            yield refused_answer(error, context)
        finally:
            self._streams[payer] -= 1
            if not self._streams[payer]:
                del self._streams[payer]
            if upcoming is not None:
                upcoming.cancel()
                await asyncio.gather(upcoming, return_exceptions=True)
            if (close := getattr(events, "aclose", None)) is not None:
                await close()

    async def _require_good(self, context: Context, guards: Sequence[Guard]) -> None:
        """Look anew at who calls, and whether the field's guards still let them pass.

        A database that does not answer is asked again for a while: nothing is shown meanwhile, and nobody is sent away.
        Raises what the guards raise, and `StoreUnavailable`.
        """
        for attempt in range(_ATTEMPTS):
            try:
                await context.reaffirm()
                break
            except StoreUnavailable:
                if attempt == _ATTEMPTS - 1:
                    raise
                await asyncio.sleep(LOOK_EVERY.total_seconds())
        for guard in guards:
            guard.check(context)

    async def _admitted(self, request: GraphQLRequest, context: Context) -> tuple[Prepared, Operation]:
        """Return what is to be run. Raises `Refused`, and what the gate raises."""
        await context.authenticate()
        prepared = self._documents.known(request)
        if prepared is None:
            prepared = await self._prepared(request, context)
        else:
            self.documents_recalled += 1
        if prepared.errors:
            raise Refused(prepared.errors)
        operation = context.operation = prepared.operation(request.operation_name)
        operation.require_affordable(request.variables)
        context.pay(operation.cost(request.variables))
        if operation.introspects:
            self._introspection.require(context)
        return prepared, operation

    async def _prepared(self, request: GraphQLRequest, context: Context) -> Prepared:
        """Prepare a document that is not known, in turn. Raises `RateLimited`, and what is wrong with the document."""
        self.documents_prepared += 1
        text = request.query or ""
        context.pay_for_new_document(text)
        async with self._turns.turn(context.network, _MILLISECONDS + len(text) // _CHARACTERS_A_MILLISECOND):
            return self._documents.take(request)

    def _executor(self, prepared: Prepared, request: GraphQLRequest, context: Context) -> Any:
        """Return what executes an operation, or a list of what is wrong with its variables."""
        executor = OperationExecutor.build(
            self._schema,
            prepared.document,
            None,
            context,
            dict(request.variables or {}),
            request.operation_name,
            is_awaitable=_is_awaitable,
            hide_suggestions=not self._introspection.suggests,
        )
        if isinstance(executor, OperationExecutor):
            executor.plans = prepared.plans
        return executor

    async def _executed(self, prepared: Prepared, request: GraphQLRequest, context: Context) -> Answer:
        executor = self._executor(prepared, request, context)
        if isinstance(executor, list):
            return refused_answer(Refused(executor), context)
        result = execute_root_selection_set(executor)
        if not isinstance(result, ExecutionResult):
            result = await result
        if result.errors:
            await context.record_refusals()
        return self._answer(result, context)

    def _answer(self, result: ExecutionResult, context: Context) -> Answer:
        return Answer(result.data, _presented(result.errors, context) if result.errors else [], is_executed=True)

    def process_errors(self, errors: list[GraphQLError], execution_context: Any = None) -> None:
        """Log nothing here: Strawberry would log every refusal, with the line of the document it stands on."""


class Refused(Exception):
    """An operation that is not run, with all that is against it."""

    def __init__(self, errors: Sequence[GraphQLError]) -> None:
        super().__init__("the operation is refused")
        self.errors = errors


def refused_answer(error: Exception, context: Context) -> Answer:
    """Return the answer to a request that is not executed."""
    match error:
        case Refused():
            errors = error.errors
        case GraphQLError():
            errors = [error]
        case _:
            errors = [GraphQLError(str(error), original_error=error)]
    return Answer(None, _presented(errors, context), is_executed=False)


def _presented(errors: Sequence[GraphQLError], context: Context) -> list[dict[str, Any]]:
    shown = [presented(error, context.request_id).formatted for error in errors]
    for error in shown:
        if error["extensions"]["code"] == Code.RATE_LIMITED.name:
            context.note_wait(error["extensions"]["retryAfter"])
    return [dict(error) for error in shown]
