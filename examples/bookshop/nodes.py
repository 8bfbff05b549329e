"""What has an id: a book, and a book on its owner's shelf."""

from collections.abc import Iterable
from datetime import datetime
from typing import Self

import strawberry
from strawberry import relay

from examples.bookshop.domain import foundation
from examples.bookshop.rows import BookRow, ShelvedRow
from schema import Info


@strawberry.type(description="A book of the catalogue.")
class Book(relay.Node):
    """A book, seen by whoever may read."""

    id: relay.NodeID[str]
    title: str = strawberry.field(description="What it is called.")
    author: str = strawberry.field(description="Who wrote it.")
    added_at: datetime = strawberry.field(description="When it came into the catalogue.")
    shelved_at: datetime | None = strawberry.field(
        description="Since when it stands on your shelf; null when it does not."
    )

    @classmethod
    def of(cls, row: BookRow) -> Self:
        """Present a row."""
        return cls(id=row.id, title=row.title, author=row.author, added_at=row.added_at, shelved_at=row.shelved_at)

    @classmethod
    async def resolve_nodes(  # type: ignore[override]
        cls, *, info: Info, node_ids: Iterable[str], required: bool = False
    ) -> list[Self | None]:
        """Find books by id, for whoever may read."""
        del required
        shop, viewer = foundation.of(info), info.context.viewer
        found = [await shop.find(viewer, book_id) for book_id in node_ids]
        return [None if row is None else cls.of(row) for row in found]


@strawberry.type(description="A book on your shelf. Nobody else sees it there.")
class ShelvedBook(relay.Node):
    """A book on a shelf, seen by the shelf's owner."""

    id: relay.NodeID[str]
    book: Book = strawberry.field(description="The book.")
    note: str | None = strawberry.field(description="Your note on it.")
    shelved_at: datetime = strawberry.field(description="When you put it there.")

    @classmethod
    def of(cls, row: ShelvedRow) -> Self:
        """Present a row."""
        return cls(id=row.id, book=Book.of(row.book), note=row.note, shelved_at=row.shelved_at)

    @classmethod
    async def resolve_nodes(  # type: ignore[override]
        cls, *, info: Info, node_ids: Iterable[str], required: bool = False
    ) -> list[Self | None]:
        """Find by id what stands on the caller's shelf, and on no other."""
        del required
        shop, viewer = foundation.of(info), info.context.viewer
        found = [await shop.find_shelved(viewer, shelved_id) for shelved_id in node_ids]
        return [None if row is None else cls.of(row) for row in found]
