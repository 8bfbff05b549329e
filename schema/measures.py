"""How much of everything is in an operation once its fragments are put in, without putting them in.

Thirty fragments that each spread the next one twice are a thousand million fields, in one kilobyte. So each fragment is
counted once, and its figures are added wherever it is spread.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    ListValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    ValueNode,
)
from graphql.language import ArgumentNode, DirectiveNode

from schema.errors import Code, refusal

# Selections are nested no deeper than this, whatever nests them: for what follows them level by level the stack ends
# somewhere.
_DEEPEST_NEST = 120

# Beyond this a figure is only "very many".
_MANY = 1_000_000_000


class Measures(NamedTuple):
    """The figures of a selection, or of all selections of a set."""

    depth: int = 0
    fields: int = 0
    root_fields: int = 0
    aliases: int = 0
    directives: int = 0
    values: int = 0
    value_depth: int = 0

    def beside(self, other: "Measures") -> "Measures":
        """Return the figures of both."""
        return Measures(
            max(self.depth, other.depth),
            min(self.fields + other.fields, _MANY),
            min(self.root_fields + other.root_fields, _MANY),
            min(self.aliases + other.aliases, _MANY),
            min(self.directives + other.directives, _MANY),
            min(self.values + other.values, _MANY),
            max(self.value_depth, other.value_depth),
        )


_NOTHING = Measures()


class Measuring:
    """Measures the operations of one document."""

    def __init__(self, fragments: Mapping[str, FragmentDefinitionNode]) -> None:
        self._fragments = fragments
        self._known: dict[str, Measures] = {}

    def operation(self, node: OperationDefinitionNode) -> Measures:
        """Return the figures of an operation. Raises `GraphQLError` for selections that are nested too deeply.

        A fragment that spreads itself counts as nothing where it does: validation refuses it.
        """
        own = _of_directives(node.directives)
        for variable in node.variable_definitions or ():
            own = own.beside(_of_directives(variable.directives))
            if variable.default_value is not None:
                own = own.beside(_of_value(variable.default_value))
        return own.beside(self._of_set(node.selection_set, 1))

    def _of_set(self, selections: SelectionSetNode | None, nest: int) -> Measures:
        if selections is None:
            return _NOTHING
        if nest > _DEEPEST_NEST:
            message = f"Fields and fragments are nested at most {_DEEPEST_NEST} deep, fragments followed."
            raise refusal(Code.OPERATION_TOO_LARGE, message, limit=_DEEPEST_NEST)
        total = _NOTHING
        for selection in selections.selections:
            total = total.beside(_of_directives(selection.directives))
            if isinstance(selection, FieldNode):
                total = total.beside(self._of_field(selection, nest))
            elif isinstance(selection, FragmentSpreadNode):
                total = total.beside(self._of_fragment(selection.name.value, nest))
            else:
                total = total.beside(self._of_set(selection.selection_set, nest + 1))  # type: ignore[attr-defined]
        return total

    def _of_field(self, field: FieldNode, nest: int) -> Measures:
        beneath = self._of_set(field.selection_set, nest + 1)
        own = Measures(
            depth=beneath.depth + 1,
            fields=beneath.fields + 1,
            root_fields=1,
            aliases=beneath.aliases + (field.alias is not None),
            directives=beneath.directives,
            values=beneath.values,
            value_depth=beneath.value_depth,
        )
        return own.beside(_of_arguments(field.arguments)) if field.arguments else own

    def _of_fragment(self, name: str, nest: int) -> Measures:
        if name not in self._known:
            fragment = self._fragments.get(name)
            self._known[name] = _NOTHING  # for a circle, which comes by here again
            if fragment is not None:
                inner = self._of_set(fragment.selection_set, nest + 1)
                self._known[name] = inner.beside(_of_directives(fragment.directives))
        return self._known[name]


def _of_directives(directives: Sequence[DirectiveNode] | None) -> Measures:
    total = _NOTHING
    for directive in directives or ():
        total = total.beside(Measures(directives=1)).beside(_of_arguments(directive.arguments))
    return total


def _of_arguments(arguments: Sequence[ArgumentNode] | None) -> Measures:
    total = _NOTHING
    for argument in arguments or ():
        total = total.beside(_of_value(argument.value))
    return total


def _of_value(value: ValueNode) -> Measures:
    """Count a literal, level by level."""
    count, depth, level = 0, 0, [value]
    while level:
        count, depth = count + len(level), depth + 1
        level = list(_within(level))
    return Measures(values=count, value_depth=depth)


def _within(values: Iterable[ValueNode]) -> Iterator[ValueNode]:
    for value in values:
        if isinstance(value, ListValueNode):
            yield from value.values
        elif isinstance(value, ObjectValueNode):
            yield from (field.value for field in value.fields)
