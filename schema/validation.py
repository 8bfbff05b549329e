"""Validation as the specification has it, in bounded time: with our limits kept, no document takes it long."""

from collections.abc import Iterator
from typing import Any

from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLSchema,
    ObjectValueNode,
    VariableNode,
    specified_rules,
    validate,
)
from graphql.validation import OverlappingFieldsCanBeMergedRule, ValidationContext
from strawberry.schema.validation_rules.maybe_null import MaybeNullValidationRule
from strawberry.schema.validation_rules.one_of import OneOfInputValidationRule

from schema.errors import Code, refusal, without_values

# graphql-core compares every two fields of one name, and every two fragments that meet, and counts the steps. Its own
# bound is 500,000, which are 1.4 s.
_OVERLAPS = 10_000

# Each message about an input repeats the whole of it.
_MOST_ERRORS = 5

_ABORTED = "Validation aborted."


class _Overlapping(OverlappingFieldsCanBeMergedRule):
    def __init__(self, context: ValidationContext) -> None:
        super().__init__(context)
        self.rule_context.remaining_complexity_budget = _OVERLAPS


class _OneOf(OneOfInputValidationRule):
    """Strawberry's, which breaks off at a variable that it has not met.

    That is one of a fragment before the operation, or one that nobody declares. The latter is another rule's to refuse;
    the former, if it is null, is refused when the input is read.
    """

    def __init__(self, context: ValidationContext) -> None:
        super().__init__(context)
        self.variable_definitions = {}

    def enter_object_value(self, node: ObjectValueNode, *arguments: Any) -> None:
        variables = [field.value.name.value for field in node.fields if isinstance(field.value, VariableNode)]
        if self.variable_definitions.keys() >= set(variables):
            super().enter_object_value(node, *arguments)


_RULES = (
    *(_Overlapping if rule is OverlappingFieldsCanBeMergedRule else rule for rule in specified_rules),
    MaybeNullValidationRule,
    _OneOf,
)


def validated(schema: GraphQLSchema, document: DocumentNode, *, suggests: bool) -> Iterator[GraphQLError]:
    """Return what is wrong with a document, with a code; `suggests` adds the names that may have been meant."""
    for error in validate(schema, document, _RULES, max_errors=_MOST_ERRORS, hide_suggestions=not suggests):
        if error.message == _ABORTED:
            message = "Too many fields of one name, or fragments, come together at one place of the answer."
            yield refusal(Code.OPERATION_TOO_LARGE, message)
        else:
            yield refusal(Code.GRAPHQL_VALIDATION_FAILED, without_values(error.message), error.nodes)
