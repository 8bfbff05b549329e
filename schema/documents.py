"""Documents: each is parsed, validated and held against the limits once, and remembered by its text."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

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
from schema.requests import GraphQLRequest

# A field's metadata that marks it as one that evaluates or makes a password, a secret or a key: one a document.
CREDENTIAL: Mapping[Any, Any] = MappingProxyType({"watchword.credential": True})

# GraphiQL's introspection is 300 tokens. Validation compares every two fields of a selection: 4,000 tokens can take it
# 1.4 s, half of them a quarter of that.
MOST_TOKENS = 2_000

# A prepared document takes a hundred times the memory of its text. Strangers' texts, each seen once, must fill neither
# the memory nor the places of those that are seen again.
_REMEMBERED = 256
_LONGEST_REMEMBERED = 8_000


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation of a document."""

    kind: str
    root_fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document that was parsed, with what validation and the limits have against it."""

    document: DocumentNode
    operations: Mapping[str | None, Operation]
    errors: tuple[GraphQLError, ...]

    def operation(self, name: str | None) -> Operation:
        """Return the operation of this name, or the only one. Raises `GraphQLError`."""
        if name is None and len(self.operations) != 1:
            raise refusal(Code.GRAPHQL_VALIDATION_FAILED, "Name the operation: the document has several.")
        found = self.operations.get(name) if name is not None else next(iter(self.operations.values()))
        if found is None:
            raise refusal(Code.GRAPHQL_VALIDATION_FAILED, "The document has no operation of this name.")
        return found


class Documents:
    """The preparation of documents for one schema, with a memory of the last few hundred."""

    def __init__(self, schema: GraphQLSchema, credential_fields: frozenset[str]) -> None:
        self._schema = schema
        self._credential_fields = credential_fields
        self._remembered: OrderedDict[str, Prepared] = OrderedDict()

    def take(self, request: GraphQLRequest) -> Prepared:
        """Return the document with this text. Raises `GraphQLError` for one that cannot be parsed."""
        query = request.query or ""
        prepared = self._remembered.get(query)
        if prepared is not None:
            self._remembered.move_to_end(query)
            return prepared
        prepared = _prepared(query, self._schema, self._credential_fields)
        if not prepared.errors and len(query) <= _LONGEST_REMEMBERED:
            self._remembered[query] = prepared
            if len(self._remembered) > _REMEMBERED:
                self._remembered.popitem(last=False)
        return prepared


def _prepared(query: str, schema: GraphQLSchema, credential_fields: frozenset[str]) -> Prepared:
    document = _parsed(query)
    errors = [
        refusal(Code.GRAPHQL_VALIDATION_FAILED, without_values(error.message), error.nodes)
        for error in validate_document(schema, document, tuple(specified_rules))
    ]
    return Prepared(
        document,
        operations={
            definition.name.value if definition.name else None: Operation(definition.operation.value)
            for definition in document.definitions
            if isinstance(definition, OperationDefinitionNode)
        },
        # Fragments that spread each other in a circle are refused by validation; only then may they be followed.
        errors=tuple(errors or _beyond_limits(document, credential_fields)),
    )


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
                message = "A document calls at most one mutation that takes or gives a password, a secret or a key."
                yield refusal(Code.OPERATION_TOO_LARGE, message, called)


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
