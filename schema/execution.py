"""Strawberry's schema with the last word on every error, and the caller known before the first resolver runs."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import strawberry
from graphql import GraphQLError
from strawberry.extensions import SchemaExtension
from strawberry.types import ExecutionResult

from schema.context import Context
from schema.documents import Documents, Prepared
from schema.errors import Code, presented, refusal


class Schema(strawberry.Schema):
    """A schema that answers nothing uncoded and logs nothing of a document."""

    async def execute(self, *arguments: Any, **named: Any) -> ExecutionResult:
        """Execute one operation for `context_value`, a `Context`; every error in the result is presented."""
        result = await super().execute(*arguments, **named)
        if result.errors:
            context: Context = named["context_value"]
            await context.record_refusals()
            result.errors = [presented(error, context.request_id) for error in result.errors]
            for error in result.errors:
                extensions = error.extensions or {}
                if extensions["code"] == Code.RATE_LIMITED.name:
                    context.note_wait(extensions["retryAfter"])
        return result

    def process_errors(self, errors: list[GraphQLError], execution_context: Any = None) -> None:
        """Log nothing here: Strawberry would log every refusal, with the line of the document it stands on."""


class Preparation(SchemaExtension):
    """Takes documents from the memory of those prepared before, and asks the gate once before execution."""

    def __init__(self, documents: Documents) -> None:
        super().__init__()
        self._documents = documents
        self._prepared: Prepared | None = None

    def on_parse(self) -> Iterator[None]:
        """Take the document out of the memory, or prepare it."""
        self._prepared = self._documents(self.execution_context.query or "")
        self.execution_context.graphql_document = self._prepared.document
        yield

    def on_validate(self) -> Iterator[None]:
        """Hand on what validation found when the document was prepared; the empty list keeps it from running again."""
        errors = list(self._prepared.errors) if self._prepared else []
        if self._prepared and self._prepared.operations > 1 and not self._names_an_operation():
            # Strawberry would run the first; the specification (GetOperation) asks which one was meant.
            errors.append(refusal(Code.GRAPHQL_VALIDATION_FAILED, "Name the operation: the document has several."))
        self.execution_context.pre_execution_errors = errors
        yield

    def _names_an_operation(self) -> bool:
        return self.execution_context._provided_operation_name is not None  # noqa: SLF001

    async def on_execute(self) -> AsyncIterator[None]:
        """Find out who calls."""
        await self.execution_context.context.authenticate()
        yield
