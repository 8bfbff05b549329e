"""What may be asked of the bookshop, and by whom."""

import unicodedata
from collections.abc import AsyncIterator
from typing import Annotated

import strawberry
from strawberry import relay

from examples.bookshop.domain import foundation
from examples.bookshop.nodes import Book, ShelvedBook
from examples.bookshop.service import READ, WRITE
from schema import BadInput, Connection, Info, connect, has_scope
from schema.connections import USUAL_PAGE, After, First
from schema.node import id_within

_LONGEST = 200


@strawberry.type
class Query:
    """Looking at the catalogue and at one's shelf. Nullable, so that a refusal here leaves its siblings alone."""

    @strawberry.field(permission_classes=[has_scope(READ)], description="The catalogue, the newest book first.")
    async def books(
        self,
        info: Info,
        first: First = USUAL_PAGE,
        after: After = None,
    ) -> Connection[Book] | None:
        shop, viewer = foundation.of(info), info.context.viewer
        return await connect(
            lambda limit, after_id: shop.page(viewer, limit=limit, after=after_id),
            to_node=Book.of,
            id_of=lambda row: row.id,
            first=first,
            after=after,
        )

    @strawberry.field(
        permission_classes=[has_scope(READ)], description="What stands on your shelf, the last put there first."
    )
    async def shelf(
        self,
        info: Info,
        first: First = USUAL_PAGE,
        after: After = None,
    ) -> Connection[ShelvedBook] | None:
        shop, viewer = foundation.of(info), info.context.viewer
        return await connect(
            lambda limit, after_id: shop.shelf(viewer, limit=limit, after=after_id),
            to_node=ShelvedBook.of,
            id_of=lambda row: row.id,
            first=first,
            after=after,
        )


@strawberry.input(description="A book for the catalogue.")
class AddBookInput:
    """The argument of `addBook`."""

    title: str = strawberry.field(description="What it is called: 1 to 200 characters.")
    author: str = strawberry.field(description="Who wrote it: 1 to 200 characters.")


@strawberry.type(description="The book is new in the catalogue.")
class BookAdded:
    """The good answer of `addBook`."""

    book: Book = strawberry.field(description="The book.")


@strawberry.type(description="The catalogue has a book of this title and author; nothing was added.")
class BookAlreadyListed:
    """The other answer of `addBook`."""

    book: Book = strawberry.field(description="The book that is there.")
    message: str = strawberry.field(description="What happened, for a person.")


AddBookResult = Annotated[
    BookAdded | BookAlreadyListed, strawberry.union("AddBookResult", description="What came of adding a book.")
]


@strawberry.input(description="What to put on your shelf.")
class ShelveBookInput:
    """The argument of `shelveBook`."""

    book_id: relay.GlobalID = strawberry.field(description="The book.")
    note: str | None = strawberry.field(
        default=None, description="A note for yourself: 1 to 200 characters. A book that stands there keeps its own."
    )


@strawberry.type(description="The book stands on your shelf.")
class ShelveBookResult:
    """The answer of `shelveBook`."""

    shelved_book: ShelvedBook = strawberry.field(description="The book and its place.")


@strawberry.input(description="What to take off your shelf.")
class UnshelveBookInput:
    """The argument of `unshelveBook`."""

    id: relay.GlobalID = strawberry.field(description="The shelved book.")


@strawberry.type(description="The book no longer stands on your shelf.")
class UnshelveBookResult:
    """The answer of `unshelveBook`."""

    book: Book = strawberry.field(description="The book, which the catalogue still has.")


@strawberry.type
class Mutation:
    """Changing the catalogue and one's shelf."""

    @strawberry.mutation(permission_classes=[has_scope(WRITE)], description="Add a book to the catalogue.")
    async def add_book(self, info: Info, input: AddBookInput) -> AddBookResult | None:  # noqa: A002
        title, author = _read(input.title, "title"), _read(input.author, "author")
        row, is_new = await foundation.of(info).add(info.context.viewer, title=title, author=author)
        if is_new:
            return BookAdded(book=Book.of(row))
        return BookAlreadyListed(book=Book.of(row), message="The catalogue has this book already.")

    @strawberry.mutation(
        permission_classes=[has_scope(WRITE)], description="Put a book on your shelf. NOT_FOUND for a book unknown."
    )
    async def shelve_book(self, info: Info, input: ShelveBookInput) -> ShelveBookResult | None:  # noqa: A002
        book_id = id_within(input.book_id, "Book")
        note = None if input.note is None else _read(input.note, "note")
        row = await foundation.of(info).shelve(info.context.viewer, book_id, note=note)
        return ShelveBookResult(shelved_book=ShelvedBook.of(row))

    @strawberry.mutation(
        permission_classes=[has_scope(WRITE)],
        description="Take a book off your shelf. NOT_FOUND for one that does not stand there.",
    )
    async def unshelve_book(self, info: Info, input: UnshelveBookInput) -> UnshelveBookResult | None:  # noqa: A002
        row = await foundation.of(info).unshelve(info.context.viewer, id_within(input.id, "ShelvedBook"))
        return UnshelveBookResult(book=Book.of(row))


@strawberry.type
class Subscription:
    """Following the catalogue."""

    @strawberry.subscription(permission_classes=[has_scope(READ)], description="Books, as they come in.")
    async def book_added(self, info: Info) -> AsyncIterator[Book]:
        async for row in await foundation.of(info).added(info.context.viewer):
            yield Book.of(row)


def _read(text: str, field: str) -> str:
    """Return a text as it is kept, trimmed. Raises `BadInput`, which never repeats what was written."""
    read = unicodedata.normalize("NFC", text.strip())
    if not 0 < len(read) <= _LONGEST or not read.isprintable():
        raise BadInput(f"`{field}` has 1 to {_LONGEST} characters, all of them visible.")
    return read
