"""What an operation costs: 1 for each field, times the size of each page that it lies on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graphql import (
    ArgumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLInt,
    GraphQLNamedType,
    GraphQLSchema,
    IntValueNode,
    NullValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    ValueNode,
    VariableNode,
    get_named_type,
    is_composite_type,
)

from schema.connections import LARGEST_PAGE
from schema.errors import Code, refusal

_PAGE_ARGUMENTS = ("first", "last")

# Of these each type has many. No tool asks for one within another, or for one twice: such an answer grows with the
# square of the schema.
_LISTS_OF_A_TYPE = frozenset({"fields", "inputFields", "interfaces", "possibleTypes"})


@dataclass(frozen=True, slots=True)
class PageVariable:
    """A variable that says how large a page is, and what it is if the request does not have it."""

    name: str
    default: int

    def within(self, variables: Mapping[str, Any]) -> int:
        """Return the size; what no page can be as large as counts as the largest."""
        return _size(variables.get(self.name, self.default))


@dataclass(frozen=True, slots=True)
class Cost:
    """A cost: a number, and the parts that depend on the variables, each so many times a page of something."""

    fixed: int = 0
    varying: tuple[tuple[int, PageVariable, "Cost"], ...] = ()

    def given(self, variables: Mapping[str, Any]) -> int:
        """Return the cost with these variables."""
        return self.fixed + sum(
            times * page.within(variables) * beneath.given(variables) for times, page, beneath in self.varying
        )

    def plus(self, other: "Cost") -> "Cost":
        """Return the cost of both."""
        return Cost(self.fixed + other.fixed, self.varying + other.varying)

    def on_page(self, page: int | PageVariable) -> "Cost":
        """Return the cost of this on each item of a page."""
        if isinstance(page, PageVariable):
            return Cost(0, ((1, page, self),))
        return Cost(self.fixed * page, tuple((times * page, by, beneath) for times, by, beneath in self.varying))


class Costing:
    """Finds out what the operations of one document cost, which is known to have few fields."""

    def __init__(self, schema: GraphQLSchema, fragments: Mapping[str, FragmentDefinitionNode]) -> None:
        self._schema = schema
        self._fragments = fragments
        self._known: dict[tuple[str, int], Cost] = {}
        self._defaults: dict[str, ValueNode | None] = {}

    def operation(self, node: OperationDefinitionNode) -> Cost:
        """Return what an operation costs. Raises `GraphQLError` for an introspection that no tool would ask for."""
        self._defaults = {
            definition.variable.name.value: definition.default_value for definition in node.variable_definitions or ()
        }
        self._known = {}
        return self._of_set(node.selection_set, self._schema.get_root_type(node.operation), 0)

    def _of_set(self, selections: SelectionSetNode | None, parent: Any, lists: int) -> Cost:
        total = Cost()
        for selection in selections.selections if selections else ():
            if isinstance(selection, FieldNode):
                total = total.plus(self._of_field(selection, parent, lists))
            elif isinstance(selection, FragmentSpreadNode):
                total = total.plus(self._of_fragment(selection.name.value, lists))
            else:
                condition = selection.type_condition  # type: ignore[attr-defined]
                inner = self._type(condition.name.value) if condition else parent
                total = total.plus(self._of_set(selection.selection_set, inner, lists))  # type: ignore[attr-defined]
        return total

    def _of_fragment(self, name: str, lists: int) -> Cost:
        if (name, lists) not in self._known:
            self._known[name, lists] = Cost()  # for a circle, which comes by here again
            if (fragment := self._fragments.get(name)) is not None:
                parent = self._type(fragment.type_condition.name.value)
                self._known[name, lists] = self._of_set(fragment.selection_set, parent, lists)
        return self._known[name, lists]

    def _type(self, name: str) -> GraphQLNamedType | None:
        # Validation comes later: this may be no type, or one that has no fields to select.
        found = self._schema.get_type(name)
        return found if is_composite_type(found) else None

    def _of_field(self, field: FieldNode, parent: Any, lists: int) -> Cost:
        name = field.name.value
        definition = self._schema.get_field(parent, name) if parent is not None else None
        if definition is None:
            return Cost(1).plus(self._of_set(field.selection_set, None, lists))
        if name == "__schema" or parent.name.startswith("__"):
            lists += parent.name == "__Type" and name in _LISTS_OF_A_TYPE
            if field.alias is not None or lists > 1:
                message = "Introspection has no aliases, and of a type's fields and other lists none within another."
                raise refusal(Code.OPERATION_TOO_LARGE, message, [field])
        beneath = self._of_set(field.selection_set, self._type(get_named_type(definition.type).name), lists)
        return Cost(1).plus(beneath.on_page(self._page(field, definition)))

    def _page(self, field: FieldNode, definition: GraphQLField) -> int | PageVariable:
        there = {name: definition.args[name] for name in _PAGE_ARGUMENTS if name in definition.args}
        there = {name: argument for name, argument in there.items() if get_named_type(argument.type) is GraphQLInt}
        if not there:
            return 1
        given = [
            argument
            for argument in field.arguments or ()
            if argument.name.value in there and not isinstance(argument.value, NullValueNode)
        ]
        if len(given) > 1:
            return LARGEST_PAGE
        if given:
            return self._given_page(given[0], there[given[0].name.value].default_value)
        return max(_size(argument.default_value) for argument in there.values())

    def _given_page(self, argument: ArgumentNode, default: object) -> int | PageVariable:
        value = argument.value
        if not isinstance(value, VariableNode):
            return _literal(value)
        own = self._defaults.get(value.name.value)
        return PageVariable(value.name.value, _size(default) if own is None else _literal(own))


def _literal(value: ValueNode) -> int:
    # No number of more digits is a page; Python refuses to read those of thousands.
    return _size(int(value.value) if isinstance(value, IntValueNode) and len(value.value) < len("10000") else None)


def _size(value: object) -> int:
    # True is an int to Python, and no number to GraphQL.
    return value if type(value) is int and 1 <= value <= LARGEST_PAGE else LARGEST_PAGE
