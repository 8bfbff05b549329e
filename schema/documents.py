"""Documents: each is parsed, counted and validated once, and known by its text, its hash, or the name it was given.

Three ways lead to one: its text; Apollo's automatic persisted queries, a hash that the text followed once; and
`documentId`, as GraphQL over HTTP's appendix on persisted documents has it. Where the operator lists trusted documents,
all three lead to those alone.
"""

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from schema.document_memory import DocumentMemory, digest_of
from schema.errors import Code, refusal
from schema.prepared import Operation, Prepared, Preparing
from schema.requests import GraphQLRequest
from schema.trusted_documents import TrustedDocument, TrustedDocuments

__all__ = ["CREDENTIAL", "Documents", "Operation", "Prepared"]

# A field's metadata that marks it as one that evaluates or makes a password, a secret or a key: one a document.
CREDENTIAL: Mapping[Any, Any] = MappingProxyType({"watchword.credential": True})

_PREFIX = "sha256:"
_HASH = re.compile(r"[0-9a-f]{64}")


class Documents:
    """The documents of one schema."""

    def __init__(self, preparing: Preparing, trusted: Iterable[TrustedDocument] | None = None) -> None:
        """Prepare the trusted documents, if there are any. Raises `TrustedDocumentsRefused` with what is wrong."""
        self._preparing = preparing
        self._memory = DocumentMemory()
        self._trusted = None if trusted is None else TrustedDocuments(trusted, preparing)

    @property
    def trusted_operations(self) -> frozenset[str] | None:
        """The names of the operations that the operator listed, None where any may be run."""
        return None if self._trusted is None else self._trusted.operations

    def take(self, request: GraphQLRequest) -> Prepared:
        """Return the document that a request asks for, with the errors of one that does not fit the schema.

        Raises `GraphQLError` for one that is not there, may not be run, is not GraphQL, or is beyond the limits.
        """
        known = self.known(request)
        return known if known is not None else self._prepared(request.query or "")

    def known(self, request: GraphQLRequest) -> Prepared | None:
        """Return the document that a request asks for, None for one that has to be prepared first.

        That takes a hundred times the work. Raises as `take` does.
        """
        text, name = request.query or None, request.document_id
        digest = digest_of(text) if text is not None else None
        if request.extensions and (persisted := request.extensions.get("persistedQuery")) is not None:
            asked = _hash_of(persisted)
            if digest is not None and digest != asked:
                # Kept under another's hash, it would be what others run who ask for that one.
                raise refusal(Code.BAD_REQUEST, "provided sha does not match query")
            name = name or asked
        if name is not None and text is not None and name.removeprefix(_PREFIX) != digest:
            raise refusal(Code.BAD_REQUEST, "The request has a document and the id of another: send one of them.")
        if self._trusted is not None:
            return self._trusted.take(name, digest)
        if text is not None and digest is not None:
            return self._memory.get(digest)
        return self._by_hash(name)

    def _prepared(self, text: str) -> Prepared:
        prepared = self._preparing.prepare(text)
        if not prepared.errors:
            self._memory.keep(digest_of(text), prepared, len(text))
        return prepared

    def _by_hash(self, name: str | None) -> Prepared:
        if name is None:
            raise refusal(Code.BAD_REQUEST, "There is no document: `query` has none.")
        digest = name.removeprefix(_PREFIX)
        if _HASH.fullmatch(digest) is None:
            raise refusal(
                Code.BAD_REQUEST, "A document is asked for by the SHA-256 of its text, in lower-case hexadecimal."
            )
        prepared = self._memory.get(digest)
        if prepared is None:
            # Apollo's clients read this message, and then send the text too.
            raise refusal(Code.PERSISTED_QUERY_NOT_FOUND, "PersistedQueryNotFound")
        return prepared


def _hash_of(persisted: object) -> str:
    """Return the hash that a client of Apollo's protocol asks for. Raises `GraphQLError`."""
    if not isinstance(persisted, dict):
        raise refusal(Code.BAD_REQUEST, "`extensions.persistedQuery` is an object with `version` and `sha256Hash`.")
    if persisted.get("version") != 1 or persisted["version"] is True:
        raise refusal(Code.BAD_REQUEST, "Unsupported persisted query version")
    asked = persisted.get("sha256Hash")
    if not isinstance(asked, str):
        raise refusal(Code.BAD_REQUEST, "`extensions.persistedQuery.sha256Hash` is a string.")
    return asked
