"""Trusted documents: the operator's list, which then is all that runs. Each is prepared at the start, or nothing is."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphql import GraphQLError

from schema.document_memory import digest_of
from schema.errors import Code, refusal
from schema.prepared import Prepared, Preparing

_APOLLO = "apollo-persisted-query-manifest"
_PREFIX = "sha256:"
_LONGEST_FORMAT = 100


class TrustedDocumentsRefused(Exception):
    """A list of trusted documents that cannot be; `faults` has a line for each, by the operation's name or id."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class TrustedDocument:
    """An entry of the list: what clients call it, its text and, where the list says so, its operation."""

    id: str
    text: str
    operation: str | None = None

    @property
    def label(self) -> str:
        """What a person knows it by."""
        return f"{self.operation} ({self.id})" if self.operation else self.id


class TrustedDocuments:
    """The documents that run: by their id, by the SHA-256 of their text, or by their very text."""

    def __init__(self, listed: Iterable[TrustedDocument], preparing: Preparing) -> None:
        """Prepare every document. Raises `TrustedDocumentsRefused` with every fault."""
        self._by_id: dict[str, Prepared] = {}
        self._by_digest: dict[str, Prepared] = {}
        faults: list[str] = []
        for entry in listed:
            if entry.id in self._by_id:
                faults.append(f"{entry.label}: there are two documents of this id")
                continue
            try:
                prepared = preparing.prepare(entry.text)
                if entry.operation is not None and not prepared.errors:
                    prepared.operation(entry.operation)
            except GraphQLError as error:
                faults.append(f"{entry.label}: {error.message}")
                continue
            faults += [f"{entry.label}: {error.message}" for error in prepared.errors]
            self._by_id[entry.id] = self._by_digest[digest_of(entry.text)] = prepared
        if faults:
            raise TrustedDocumentsRefused(faults)

    @property
    def operations(self) -> frozenset[str]:
        """The names of all operations of the documents."""
        return frozenset(name for prepared in self._by_id.values() for name in prepared.operations if name is not None)

    def take(self, name: str | None, digest: str | None) -> Prepared:
        """Return the document of this id, or whose text has this digest. Raises `GraphQLError` for any other."""
        found = None
        if digest is not None:
            found = self._by_digest.get(digest)
        elif name is not None:
            found = self._by_id.get(name) or self._by_digest.get(name.removeprefix(_PREFIX))
        if found is None:
            raise refusal(Code.DOCUMENT_NOT_TRUSTED, Code.DOCUMENT_NOT_TRUSTED.value)
        return found


def read_trusted_documents(path: Path) -> tuple[TrustedDocument, ...]:
    """Read a manifest of Apollo's, or an object of texts by their ids. Raises `TrustedDocumentsRefused`."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_members)
    except (OSError, ValueError, RecursionError) as error:
        raise TrustedDocumentsRefused([f"{path}: cannot be read: {error}"]) from error
    if not isinstance(content, dict):
        raise TrustedDocumentsRefused([f"{path}: is neither a manifest of operations nor an object of texts by ids"])
    if content.get("format") == _APOLLO:
        return _manifest(path, content)
    if "format" in content and not _is_text(content["format"]):
        named = repr(content["format"])[:_LONGEST_FORMAT]
        raise TrustedDocumentsRefused([f"{path}: the `format` {named} is not known; {_APOLLO!r} is"])
    if wrong := [name for name, text in content.items() if not isinstance(text, str) or not name]:
        raise TrustedDocumentsRefused([f"{path}: {name!r} is not the id of a text" for name in wrong])
    return tuple(TrustedDocument(name, text) for name, text in content.items())


def _is_text(value: object) -> bool:
    """Whether this is a document, and so `format` an id like others: each has a brace."""
    return isinstance(value, str) and "{" in value


def _manifest(path: Path, content: Mapping[str, Any]) -> tuple[TrustedDocument, ...]:
    operations = content.get("operations")
    if content.get("version") != 1 or not isinstance(operations, list):
        raise TrustedDocumentsRefused([f"{path}: is a manifest of another version than 1, or has no `operations`"])
    faults, entries = [], []
    for number, operation in enumerate(operations, 1):
        match operation:
            case {"id": str(id_), "body": str(text), "name": str(name)} if id_ and name:
                entries.append(TrustedDocument(id_, text, name))
            case _:
                faults.append(f"{path}: operation {number} does not have `id`, `name` and `body`")
    if faults:
        raise TrustedDocumentsRefused(faults)
    return tuple(entries)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise ValueError(f"{name!r} stands twice in one object")
        members[name] = value
    return members
