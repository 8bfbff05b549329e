"""Following a table that only grows: each new row is handed, once, to everybody who listens for it at the time.

Other processes write to the table too, so it is read again whenever one of them may have, by one task and only while
somebody listens.
What was rolled back is never seen, and what was committed is seen once, also when the database fails for a moment.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from typing import Any, Generic, Protocol, TypeVar

import structlog

from auth.ids import earlier, new_id
from auth.listener import MOST_WAITING, Listener, Mailbox
from store import Changes, Database, StoreUnavailable

_log = structlog.get_logger("watchword.auth")

# After this long a database that failed is asked again.
_PAUSE = timedelta(milliseconds=250)

# An id is made before its transaction commits, and another process may commit a later one first. So for so long what
# lies before the newest row is looked at again. With a single writer, as SQLite has, a transaction may take longer.
_OVERLAP = timedelta(seconds=5)

# Between two pages the listeners have their turn, so it is smaller than what may wait for one of them.
_PAGE = MOST_WAITING // 5


class _HasId(Protocol):
    @property
    def id(self) -> str: ...


Row = TypeVar("Row", bound=_HasId)
Item = TypeVar("Item")


class Following(Generic[Row]):
    """Follows one table.

    `ids_since(after, limit)` returns ids, and `between(first, last)` rows, both in the order of the ids; `keys_of` says
    for whom a row is. What was handed out before is not read again, only its id. Whoever adds rows to the table
    announces the transaction.
    """

    def __init__(
        self,
        database: Database,
        ids_since: Callable[[str, int], Awaitable[list[str]]],
        between: Callable[[str, str], Awaitable[list[Row]]],
        keys_of: Callable[[Row], Iterable[str]],
    ) -> None:
        self._database = database
        self._ids_since = ids_since
        self._between = between
        self._keys_of = keys_of
        self._mailboxes: dict[str, set[Mailbox[Row]]] = {}
        self._turn = asyncio.Lock()
        self._watching: asyncio.Task[None] | None = None
        self._closed = False
        self._after = ""
        self._handed_out: set[str] = set()

    @property
    def listeners(self) -> int:
        """How many listen at this moment."""
        return sum(map(len, self._mailboxes.values()))

    async def listen(
        self, key: str, give: Callable[[Row], Item], wants: Callable[[Row], bool] = lambda _: True
    ) -> Listener[Item]:
        """Listen for what is committed from now on, of one key; `give` makes of a row what the listener is handed.

        Raises `StoreUnavailable`.
        """
        async with self._turn:
            if self._closed:
                raise StoreUnavailable("the server is ending")
            if self._watching is None or self._watching.done():
                self._after, self._handed_out = earlier(new_id(), _OVERLAP), set()
            await self._look()  # so that what was committed before goes to those who listened before
            mailbox = Mailbox(wants)
            self._mailboxes.setdefault(key, set()).add(mailbox)
            if self._watching is None or self._watching.done():
                self._watching = asyncio.create_task(self._watch(), name="watchword-following")

        async def take() -> Item:
            return give(await mailbox.take())

        return Listener(take, lambda: self._leave(key, mailbox))

    async def close(self) -> None:
        """End every listener, in good order, and the task."""
        self._closed = True
        self._end_all(StopAsyncIteration())
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])

    async def _watch(self) -> None:
        changes: Changes | None = None
        is_interrupted = False
        while self._mailboxes:
            try:
                if changes is None:
                    changes = self._database.changes()
                else:
                    await changes.wait()
                async with self._turn:
                    await self._look()
                is_interrupted = False
            except StoreUnavailable as error:
                if not is_interrupted:
                    _log.warning("following_interrupted", why=str(error))
                is_interrupted = True
                await asyncio.sleep(_PAUSE.total_seconds())
            except Exception as error:  # noqa: BLE001 - it goes on to whoever listens
                # Nobody waits for this task: those who wait for rows have to hear of it.
                _log.exception("following_failed")
                self._end_all(error)

    async def _look(self) -> None:
        """Hand out what is new. When it cannot be read to the end, the next look begins where this one did."""
        now, after, found = new_id(), self._after, list[str]()
        while True:
            ids = await self._ids_since(after, _PAGE)
            found += ids
            if new := [row_id for row_id in ids if row_id not in self._handed_out]:
                await self._hand_out(new)
            if len(ids) < _PAGE:
                break
            after = ids[-1]
            await asyncio.sleep(0)
        self._handed_out = set(found)
        if found:
            # Not beyond the present: an id of a clock that was ahead must not hide what comes before it.
            self._after = max(self._after, min(found[-1], earlier(now, _OVERLAP)))

    async def _hand_out(self, new: list[str]) -> None:
        wanted = set(new)
        for row in await self._between(new[0], new[-1]):
            if row.id in wanted:
                self._handed_out.add(row.id)
                self._put(row)

    def _put(self, row: Row) -> None:
        for key in self._keys_of(row):
            for mailbox in tuple(self._mailboxes.get(key, ())):
                if not mailbox.put(row):
                    self._leave(key, mailbox)

    def _leave(self, key: str, mailbox: Mailbox[Any]) -> None:
        mailbox.end(StopAsyncIteration())
        there = self._mailboxes.get(key, set())
        there.discard(mailbox)
        if not there:
            self._mailboxes.pop(key, None)

    def _end_all(self, ending: Exception) -> None:
        for mailboxes in self._mailboxes.values():
            for mailbox in mailboxes:
                mailbox.end(ending)
        self._mailboxes.clear()
