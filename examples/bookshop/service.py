"""The bookshop: who may see and change what in the catalogue and on the shelves. It knows nothing of GraphQL.

Every act is handed, first, the identity of whoever asks. The guards stop at a field's door; here the identity filters
the rows as well, because `node(id)` leads to every row, and its only guard is a login.
"""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TypeVar

from auth import Auth
from auth.identity import Identity, IdentityKind
from auth.ids import is_id, new_id
from auth.listener import Listener
from auth.refusals import Forbidden, NotFound, Reason
from examples.bookshop import rows
from examples.bookshop.rows import BookRow, ShelvedRow

READ = "books:read"
WRITE = "books:write"

# The topic of the books that are new in the catalogue; what is published to it is a book's id.
ADDED = "books:added"

Row = TypeVar("Row", BookRow, ShelvedRow)


class Bookshop:
    """Shows the catalogue to whoever may read, and each shelf to its owner alone."""

    def __init__(self, auth: Auth) -> None:
        self._database = auth.database
        self._clock = auth.clock
        self._publications = auth.publications

    async def find(self, identity: Identity, book_id: str) -> BookRow | None:
        """Return a book; None when there is no such book, or the caller may not read."""
        if READ not in identity.scopes or not is_id(book_id):
            return None
        return await rows.find_book(self._database, identity.subject, book_id)

    async def page(self, identity: Identity, *, limit: int, after: str | None) -> list[BookRow]:
        """Return the books that the caller may see, the newest first."""
        if READ not in identity.scopes:
            return []
        return await rows.page_of_books(self._database, identity.subject, limit=limit, after=after)

    async def add(self, identity: Identity, *, title: str, author: str) -> tuple[BookRow, bool]:
        """Add a book to the catalogue and say whether it is new there; one that is listed stays as it is.

        Raises `Forbidden`, and `StoreUnavailable`.
        """
        _require_write(identity)
        book = BookRow(new_id(), title, author, added_at=self._clock.now(), shelved_at=None)
        async with self._database.transaction() as tx:
            added = await rows.add_unless_listed(tx, book)
            if added:
                # In the same transaction: a book that does not come in is not told of, and one that does surely is.
                await self._publications.publish(tx, ADDED, book.id)
            return _there(await rows.find_book_alike(tx, identity.subject, title=title, author=author)), added

    async def added(self, identity: Identity) -> AsyncIterator[BookRow]:
        """Follow the books that are added from now on. Raises `Forbidden`, and `StoreUnavailable`."""
        if READ not in identity.scopes:
            raise Forbidden(Reason.INSUFFICIENT_SCOPE, required=[READ], granted=identity.scopes)
        return self._found(identity, await self._publications.follow(ADDED))

    async def _found(self, identity: Identity, book_ids: Listener[str]) -> AsyncIterator[BookRow]:
        async with aclosing(book_ids):
            async for book_id in book_ids:
                # Read as whoever follows may read it, and as it is by now.
                if (book := await self.find(identity, book_id)) is not None:
                    yield book

    async def find_shelved(self, identity: Identity, shelved_id: str) -> ShelvedRow | None:
        """Return what stands on the caller's shelf under this id; what stands on another's is not there."""
        if READ not in identity.scopes or not is_id(shelved_id):
            return None
        return await rows.find_shelved(self._database, identity.subject, shelved_id)

    async def shelf(self, identity: Identity, *, limit: int, after: str | None) -> list[ShelvedRow]:
        """Return what stands on the caller's shelf, the newest first."""
        if READ not in identity.scopes:
            return []
        return await rows.page_of_shelf(self._database, identity.subject, limit=limit, after=after)

    async def shelve(self, identity: Identity, book_id: str, *, note: str | None) -> ShelvedRow:
        """Put a book on the caller's shelf; one that stands there already stays as it is.

        Raises `NotFound` when there is no such book, `Forbidden` for whoever has no shelf, and `StoreUnavailable`.
        """
        owner = _owner(identity)
        async with self._database.transaction() as tx:
            _there(await rows.find_book(tx, owner, book_id) if is_id(book_id) else None)
            await rows.shelve_unless_there(tx, owner, book_id, shelved_id=new_id(), note=note, now=self._clock.now())
            return _there(await rows.find_shelved_book(tx, owner, book_id))

    async def unshelve(self, identity: Identity, shelved_id: str) -> BookRow:
        """Take a book off the caller's shelf.

        Raises `NotFound` when it does not stand there, `Forbidden` for whoever has no shelf, and `StoreUnavailable`.
        """
        owner = _owner(identity)
        async with self._database.transaction() as tx:
            shelved = _there(await rows.find_shelved(tx, owner, shelved_id) if is_id(shelved_id) else None)
            # The statement decides: another request of the owner's may have taken it off since it was found.
            is_off = await rows.unshelve(tx, owner, shelved.id)
            return _there(await rows.find_book(tx, owner, shelved.book.id) if is_off else None)


def _require_write(identity: Identity) -> None:
    if WRITE not in identity.scopes:
        raise Forbidden(Reason.INSUFFICIENT_SCOPE, required=[WRITE], granted=identity.scopes)


def _owner(identity: Identity) -> str:
    """Return the id that the caller's shelf bears: people have one, whatever they call with; services have none."""
    _require_write(identity)
    if identity.kind is not IdentityKind.USER or identity.subject is None:
        raise Forbidden(Reason.HUMAN_REQUIRED)
    return identity.subject


def _there(row: Row | None) -> Row:
    if row is None:
        raise NotFound("There is no such book, or it does not stand on your shelf.")
    return row
