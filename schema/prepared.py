"""What is known of a document once it was parsed, held against the limits and validated: all that a request needs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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
)

from schema.cost import Cost, Costing
from schema.errors import Code, refusal
from schema.limits import Limits
from schema.measures import Measures, Measuring
from schema.plain_objects import Plans
from schema.validation import validated

# Literals and variables. Validation looks at those of a fragment once for each operation that spreads it.
_MOST_VALUES = 4_000

_INTROSPECTION = frozenset({"__schema", "__type"})


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation of a document. `introspects` says that it asks for the schema, with fragments followed."""

    node: OperationDefinitionNode
    kind: str
    introspects: bool
    root_fields: tuple[str, ...]
    _cost: Cost
    _limits: Limits
    name: str | None = None  # letters, digits and underscores

    def cost(self, variables: Mapping[str, Any] | None) -> int:
        """Return what it costs with these variables."""
        return self._cost.given(variables or {}) if self._cost.varying else self._cost.fixed

    def require_affordable(self, variables: Mapping[str, Any] | None) -> None:
        """Raise `GraphQLError` if with these variables it costs too much."""
        if self._cost.varying:  # what depends on no variable was weighed when the document was prepared
            self._limits.require("cost", self.cost(variables))


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document that was parsed and is within the limits, with what validation has against it."""

    document: DocumentNode
    operations: Mapping[str | None, Operation]
    errors: tuple[GraphQLError, ...]
    plans: Plans | None

    def operation(self, name: str | None) -> Operation:
        """Return the operation of this name, or the only one. Raises `GraphQLError`."""
        if name is None and len(self.operations) != 1:
            raise refusal(Code.GRAPHQL_VALIDATION_FAILED, "Name the operation: the document does not have just one.")
        found = self.operations.get(name) if name is not None else next(iter(self.operations.values()))
        if found is None:
            raise refusal(Code.GRAPHQL_VALIDATION_FAILED, "The document has no operation of this name.")
        return found


@dataclass(frozen=True, slots=True)
class Preparing:
    """Prepares documents for one schema.

    `credential_fields` are those of which a document has at most one; `suggests` lets errors name what may have been
    meant, which tells of the schema.
    """

    schema: GraphQLSchema
    limits: Limits
    credential_fields: frozenset[str] = frozenset()
    suggests: bool = False

    def prepare(self, text: str) -> Prepared:
        """Return the document with this text.

        Raises `GraphQLError` for one that cannot be parsed, and for one that is beyond the limits: those come before
        validation, which takes a multiple of the time that counting does.
        """
        document = self._parse(text)
        self.limits.require("definitions", len(document.definitions))
        fragments = {
            definition.name.value: definition
            for definition in document.definitions
            if isinstance(definition, FragmentDefinitionNode)
        }
        nodes = [definition for definition in document.definitions if isinstance(definition, OperationDefinitionNode)]
        measuring = Measuring(fragments)
        total = self._require_within([measuring.operation(node) for node in nodes])
        costing = Costing(self.schema, fragments)
        operations = {
            node.name.value if node.name else None: self._operation(node, fragments, costing) for node in nodes
        }
        errors = tuple(validated(self.schema, document, suggests=self.suggests))
        return Prepared(document, operations, errors, None if total.directives else Plans())

    def _parse(self, text: str) -> DocumentNode:
        try:
            # Without the last, `{ }` would be a document, which the specification does not know.
            return parse(
                text,
                max_lexical_tokens=self.limits.tokens,
                max_comments=self.limits.tokens,
                allow_empty_selection_sets=False,
            )
        except GraphQLError as error:
            if "contains more than" in error.message:
                raise self.limits.refusal("tokens") from error
            raise

    def _require_within(self, operations: Sequence[Measures]) -> Measures:
        # Of several operations one is run, and all are validated.
        total = Measures()
        for measures in operations:
            self.limits.require("root_fields", measures.root_fields)
            total = total.beside(measures)
        for name in ("depth", "fields", "aliases", "directives"):
            self.limits.require(name, getattr(total, name))
        if total.value_depth > self.limits.depth:
            message = f"Lists and inputs are nested at most {self.limits.depth} deep."
            raise refusal(Code.OPERATION_TOO_LARGE, message, limit=self.limits.depth)
        if total.values > _MOST_VALUES:
            message = f"A document has at most {_MOST_VALUES} values, fragments followed; this one has {total.values}."
            raise refusal(Code.OPERATION_TOO_LARGE, message, limit=_MOST_VALUES)
        return total

    def _operation(
        self, node: OperationDefinitionNode, fragments: Mapping[str, FragmentDefinitionNode], costing: Costing
    ) -> Operation:
        root_fields = list(_root_fields(node.selection_set, fragments, set()))
        called = [field for field in root_fields if field.name.value in self.credential_fields]
        if len(called) > 1:
            # One request with a thousand aliased logins would be a thousand guesses (ASVS 15.2.2).
            message = "A document calls at most one mutation that takes or gives a password, a secret or a key."
            raise refusal(Code.OPERATION_TOO_LARGE, message, called)
        cost = costing.operation(node)
        self.limits.require("cost", cost.fixed)
        names = tuple(dict.fromkeys(field.name.value for field in root_fields))
        return Operation(
            node,
            node.operation.value,
            not _INTROSPECTION.isdisjoint(names),
            names,
            _cost=cost,
            _limits=self.limits,
            name=node.name.value if node.name else None,
        )


def _root_fields(
    selections: SelectionSetNode, fragments: Mapping[str, FragmentDefinitionNode], followed: set[str]
) -> Iterator[FieldNode]:
    """Return the fields that an operation calls at its root, each fragment followed once.

    A fragment that is spread twice calls its fields once, for they have the same response name.
    """
    for selection in selections.selections:
        if isinstance(selection, FieldNode):
            yield selection
        elif isinstance(selection, InlineFragmentNode):
            yield from _root_fields(selection.selection_set, fragments, followed)
        elif isinstance(selection, FragmentSpreadNode) and selection.name.value not in followed:
            followed.add(selection.name.value)
            if (fragment := fragments.get(selection.name.value)) is not None:
                yield from _root_fields(fragment.selection_set, fragments, followed)
