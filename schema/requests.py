"""A GraphQL request, whichever transport brought it: what it asks to run, and with what."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class GraphQLRequest:
    """The members of GraphQL over HTTP §5.1; `document_id` is the one that persisted documents add."""

    query: str | None = None
    variables: Mapping[str, Any] | None = None
    operation_name: str | None = None
    extensions: Mapping[str, Any] | None = None
    document_id: str | None = None

    @property
    def says_what(self) -> bool:
        """Whether it says what to run: by the text, or by what a text is known by."""
        persisted = self.document_id is not None or bool((self.extensions or {}).get("persistedQuery"))
        return self.query is not None or persisted
