"""The bookshop's rows, and the statements that read and write them. Who may see which is for the service to say."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, and_, bindparam, delete, select
from sqlalchemy.dialects.postgresql import insert as insert_or

from examples.bookshop.tables import books, shelves
from store import Reader, Statement, Transaction
from store.database import Row
from store.instants import from_optional_seconds, from_seconds, to_seconds


@dataclass(frozen=True, slots=True)
class BookRow:
    """A book of the catalogue, and since when it stands on the shelf of whoever looks."""

    id: str
    title: str
    author: str
    added_at: datetime
    shelved_at: datetime | None


@dataclass(frozen=True, slots=True)
class ShelvedRow:
    """A book on its owner's shelf, with their note."""

    id: str
    note: str | None
    shelved_at: datetime
    book: BookRow


_OF_BOOK = (books.c.id, books.c.title, books.c.author, books.c.added_at, shelves.c.shelved_at)
# One read brings a page of books and where they stand: a resolver that asked for each would ask a hundred times.
_BOOKS: Select[tuple[object, ...]] = select(*_OF_BOOK).join_from(
    books, shelves, and_(shelves.c.book_id == books.c.id, shelves.c.owner_id == bindparam("viewer")), isouter=True
)
_SHELF: Select[tuple[object, ...]] = (
    select(*_OF_BOOK, shelves.c.id, shelves.c.note)
    .join_from(shelves, books, books.c.id == shelves.c.book_id)
    .where(shelves.c.owner_id == bindparam("viewer"))
)

_BOOK = Statement(_BOOKS.where(books.c.id == bindparam("book_id")))
_BOOK_ALIKE = Statement(
    _BOOKS.where(books.c.title_key == bindparam("title_key"), books.c.author_key == bindparam("author_key"))
)
_SHELVED = Statement(_SHELF.where(shelves.c.id == bindparam("shelved_id")))
_SHELVED_BOOK = Statement(_SHELF.where(shelves.c.book_id == bindparam("book_id")))

_BOOKS_NEWEST = _BOOKS.order_by(books.c.id.desc()).limit(bindparam("limit"))
_SHELF_NEWEST = _SHELF.order_by(shelves.c.id.desc()).limit(bindparam("limit"))
_BOOK_PAGES = {
    False: Statement(_BOOKS_NEWEST),
    True: Statement(_BOOKS_NEWEST.where(books.c.id < bindparam("after"))),
}
_SHELF_PAGES = {
    False: Statement(_SHELF_NEWEST),
    True: Statement(_SHELF_NEWEST.where(shelves.c.id < bindparam("after"))),
}

# The conflict clause is spelled alike on SQLite and PostgreSQL; Core only has it under a dialect's name.
_ADD = Statement(insert_or(books).on_conflict_do_nothing(index_elements=[books.c.title_key, books.c.author_key]))
_SHELVE = Statement(insert_or(shelves).on_conflict_do_nothing(index_elements=[shelves.c.owner_id, shelves.c.book_id]))
_UNSHELVE = Statement(
    delete(shelves).where(shelves.c.id == bindparam("shelved_id"), shelves.c.owner_id == bindparam("viewer"))
)


async def find_book(reader: Reader, viewer: str | None, book_id: str) -> BookRow | None:
    """Return the book with this id."""
    row = await reader.one(_BOOK, viewer=viewer, book_id=book_id)
    return None if row is None else _book(row)


async def find_book_alike(reader: Reader, viewer: str | None, *, title: str, author: str) -> BookRow | None:
    """Return the book of this title and author, in whatever case."""
    keys = {"title_key": title.casefold(), "author_key": author.casefold()}
    row = await reader.one(_BOOK_ALIKE, viewer=viewer, **keys)
    return None if row is None else _book(row)


async def page_of_books(reader: Reader, viewer: str | None, *, limit: int, after: str | None) -> list[BookRow]:
    """Return books, the newest first, older than the id `after`."""
    cursor = {} if after is None else {"after": after}
    return [_book(row) for row in await reader.all(_BOOK_PAGES[bool(cursor)], viewer=viewer, limit=limit, **cursor)]


async def add_unless_listed(tx: Transaction, book: BookRow) -> bool:
    """Add a book; return False, and add nothing, when there is one alike."""
    added = await tx.run(
        _ADD,
        id=book.id,
        title=book.title,
        author=book.author,
        title_key=book.title.casefold(),
        author_key=book.author.casefold(),
        added_at=to_seconds(book.added_at),
    )
    return added == 1


async def find_shelved(reader: Reader, owner: str | None, shelved_id: str) -> ShelvedRow | None:
    """Return what stands on the owner's shelf under this id."""
    row = await reader.one(_SHELVED, viewer=owner, shelved_id=shelved_id)
    return None if row is None else _shelved(row)


async def find_shelved_book(reader: Reader, owner: str | None, book_id: str) -> ShelvedRow | None:
    """Return where this book stands on the owner's shelf."""
    row = await reader.one(_SHELVED_BOOK, viewer=owner, book_id=book_id)
    return None if row is None else _shelved(row)


async def page_of_shelf(reader: Reader, owner: str | None, *, limit: int, after: str | None) -> list[ShelvedRow]:
    """Return what stands on the owner's shelf, the newest first, older than the id `after`."""
    cursor = {} if after is None else {"after": after}
    rows = await reader.all(_SHELF_PAGES[bool(cursor)], viewer=owner, limit=limit, **cursor)
    return [_shelved(row) for row in rows]


async def shelve_unless_there(
    tx: Transaction, owner: str, book_id: str, *, shelved_id: str, note: str | None, now: datetime
) -> bool:
    """Put a book on a shelf; return False, and change nothing, when it stands there already."""
    values = {"owner_id": owner, "book_id": book_id, "note": note, "shelved_at": to_seconds(now)}
    return await tx.run(_SHELVE, id=shelved_id, **values) == 1


async def unshelve(tx: Transaction, owner: str | None, shelved_id: str) -> bool:
    """Take a book off a shelf, if it is the owner's; return False when it does not stand there."""
    return await tx.run(_UNSHELVE, viewer=owner, shelved_id=shelved_id) == 1


def _book(row: Row) -> BookRow:
    return BookRow(
        id=row[0],
        title=row[1],
        author=row[2],
        added_at=from_seconds(row[3]),
        shelved_at=from_optional_seconds(row[4]),
    )


def _shelved(row: Row) -> ShelvedRow:
    return ShelvedRow(book=_book(row), shelved_at=from_seconds(row[4]), id=row[5], note=row[6])
