"""Documents: each is parsed, validated and held against the limits once, and remembered by its text."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Protocol

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    parse,
    specified_rules,
)
from strawberry.schema.schema import validate_document

from schema.errors import Code, refusal, without_values

# A field's metadata that marks it as one that evaluates a password or a secret: one such field a document.
CREDENTIAL: Mapping[Any, Any] = MappingProxyType({"watchword.credential": True})

# GraphiQL's introspection is 300 tokens. 400 kB of repeated fields without this bound burn 3.8 s of CPU.
MOST_TOKENS = 4_000

_REMEMBERED = 512


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document that was parsed, with what validation and the limits have against it."""

    document: DocumentNode
    operations: int
    errors: tuple[GraphQLError, ...]


class Documents(Protocol):
    """Prepares documents."""

    def __call__(self, query: str) -> Prepared:
        """Return the document with this text. Raises `GraphQLError` for one that cannot be parsed."""


def documents(schema: Callable[[], GraphQLSchema], credential_fields: frozenset[str]) -> Documents:
    """Return the preparation of documents for one schema, with a memory of the last few hundred."""

    @lru_cache(maxsize=_REMEMBERED)
    def prepare(query: str) -> Prepared:
        document = _parsed(query)
        errors = [
            GraphQLError(
                without_values(error.message),
                nodes=error.nodes,
                extensions={"code": Code.GRAPHQL_VALIDATION_FAILED.name},
            )
            for error in validate_document(schema(), document, tuple(specified_rules))
        ]
        # Fragments that spread each other in a circle are refused by validation; only then may they be followed.
        return Prepared(
            document,
            operations=sum(isinstance(definition, OperationDefinitionNode) for definition in document.definitions),
            errors=tuple(errors or _beyond_limits(document, credential_fields)),
        )

    return prepare


def _parsed(query: str) -> DocumentNode:
    try:
        return parse(query, max_lexical_tokens=MOST_TOKENS, max_comments=MOST_TOKENS)
    except GraphQLError as error:
        if "contains more than" in error.message:
            raise refusal(Code.OPERATION_TOO_LARGE, f"A document has at most {MOST_TOKENS} tokens.") from error
        raise


def _beyond_limits(document: DocumentNode, credential_fields: frozenset[str]) -> Iterator[GraphQLError]:
    fragments = {
        definition.name.value: definition
        for definition in document.definitions
        if isinstance(definition, FragmentDefinitionNode)
    }
    for definition in document.definitions:
        if isinstance(definition, OperationDefinitionNode):
            root_fields = _root_fields(definition.selection_set, fragments, set())
            called = [field for field in root_fields if field.name.value in credential_fields]
            if len(called) > 1:
                # One request with a thousand aliased logins would be a thousand guesses (ASVS 15.2.2).
                message = "A document calls at most one mutation that takes a password or a secret."
                yield GraphQLError(message, nodes=called, extensions={"code": Code.OPERATION_TOO_LARGE.name})


def _root_fields(
    selections: SelectionSetNode, fragments: Mapping[str, FragmentDefinitionNode], followed: set[str]
) -> Iterator[FieldNode]:
    """Return the fields that an operation calls at its root, each fragment followed once.

    A fragment that is spread twice calls its fields once, for they have the same response name. Followed each time,
    thirty fragments that spread the next one twice, in one kilobyte, would be a thousand million steps.
    """
    for selection in selections.selections:
        if isinstance(selection, FieldNode):
            yield selection
        elif isinstance(selection, InlineFragmentNode):
            yield from _root_fields(selection.selection_set, fragments, followed)
        elif isinstance(selection, FragmentSpreadNode) and selection.name.value not in followed:
            followed.add(selection.name.value)
            yield from _root_fields(fragments[selection.name.value].selection_set, fragments, followed)
