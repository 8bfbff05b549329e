"""How much one document may ask for; each figure is a setting (docs/limits.md)."""

from dataclasses import dataclass
from typing import Any

from graphql import GraphQLError

from schema.errors import Code, refusal

_WORDS = {
    "tokens": "tokens",
    "depth": "levels of fields",
    "fields": "fields, fragments followed",
    "aliases": "aliases, fragments followed",
    "root_fields": "fields at the root of an operation",
    "directives": "directives, fragments followed",
    "definitions": "operations and fragments",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that a document, or an operation of it, has of each."""

    tokens: int = 2_000
    depth: int = 20
    fields: int = 1_000
    aliases: int = 50
    root_fields: int = 20
    directives: int = 50
    definitions: int = 100
    cost: int = 10_000

    def require(self, name: str, figure: int) -> None:
        """Raise `GraphQLError`, OPERATION_TOO_LARGE with the figures, for a document that has more than the limit."""
        if figure > getattr(self, name):
            raise self.refusal(name, figure)

    def refusal(self, name: str, figure: int | None = None) -> GraphQLError:
        """Return the refusal of a document that goes beyond a limit, by how much if that was counted."""
        limit = getattr(self, name)
        if name == "cost":
            message = f"An operation costs at most {limit}; this one costs {figure}."
        else:
            message = f"A document has at most {limit} {_WORDS[name]}"
            message += "." if figure is None else f"; this one has {figure}."
        head, *rest = name.split("_")
        member = head + "".join(word.title() for word in rest)
        figures: dict[str, Any] = {"limit": limit} if figure is None else {"limit": limit, member: figure}
        return refusal(Code.OPERATION_TOO_LARGE, message, **figures)
