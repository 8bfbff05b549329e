"""Following a table that only grows: each new row is handed, once, to everybody who listens for it at the time.

Other processes write to the table too, so it is read again and again, by one task and only while somebody listens.
What was rolled back is never seen, and what was committed is seen once, also when the database fails for a moment.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from datetime import timedelta
from typing import Any, Generic, Protocol, Self, TypeVar

import structlog

from auth.ids import earlier, new_id
from auth.refusals import FellBehind
from store import StoreUnavailable

_log = structlog.get_logger("watchword.auth")

# How late an event may be. Half of it is twice the reads; one costs 20 µs while nothing happens.
_PAUSE = timedelta(milliseconds=250)

# An id is made before its transaction commits, and another process may commit a later one first. So for so long what
# lies before the newest row is read again. With a single writer, as SQLite has, a transaction may take longer still.
_OVERLAP = timedelta(seconds=5)

# Between two pages the listeners have their turn, so it is smaller than what may wait for one of them.
_PAGE = 200
MOST_WAITING = 1_000


class _HasId(Protocol):
    @property
    def id(self) -> str: ...


Row = TypeVar("Row", bound=_HasId)
Item = TypeVar("Item")


class _Mailbox(Generic[Row]):
    """What waits for one listener, and no more of it than `MOST_WAITING`."""

    def __init__(self, wants: Callable[[Row], bool]) -> None:
        self._wants = wants
        self._rows: deque[Row] = deque()
        self._ending: Exception | None = None
        self._something_new = asyncio.Event()

    def put(self, row: Row) -> bool:
        """Take a row in, if it is wanted; return False when there is no room, which is the end."""
        if not self._wants(row):
            return True
        if len(self._rows) >= MOST_WAITING:
            self.end(FellBehind())
            return False
        self._rows.append(row)
        self._something_new.set()
        return True

    def end(self, ending: Exception) -> None:
        """Keep nothing any more, and say why to whoever comes for it."""
        self._ending = self._ending or ending
        self._rows.clear()
        self._something_new.set()

    async def take(self) -> Row:
        """Wait for the next row. Raises what it was ended with."""
        while not self._rows:
            if self._ending is not None:
                raise self._ending.with_traceback(None)
            self._something_new.clear()
            await self._something_new.wait()
        return self._rows.popleft()


class Listener(AsyncIterator[Item]):
    """What one listener is handed, in the order in which it was found.

    Raises `FellBehind` once more than a thousand rows wait. It ends when it is closed, or nobody holds it any more.
    """

    def __init__(self, take: Callable[[], Awaitable[Item]], leave: Callable[[], None]) -> None:
        self._take = take
        self._leave = leave
        self._loop = asyncio.get_running_loop()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        return await self._take()

    async def aclose(self) -> None:
        """Listen no longer; whoever waits for the next item is told that there is none."""
        self._leave()

    def __del__(self) -> None:
        # An `async for` that is left closes nothing. Whichever thread collects the garbage, the loop's own does this.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._leave)


class Following(Generic[Row]):
    """Follows one table. `read(after, limit)` returns rows in the order of their ids, `keys_of` for whom a row is."""

    def __init__(
        self, read: Callable[[str, int], Awaitable[list[Row]]], keys_of: Callable[[Row], Iterable[str]]
    ) -> None:
        self._read = read
        self._keys_of = keys_of
        self._mailboxes: dict[str, set[_Mailbox[Row]]] = {}
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
            mailbox = _Mailbox(wants)
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
        is_interrupted = False
        while self._mailboxes:
            await asyncio.sleep(_PAUSE.total_seconds())
            try:
                async with self._turn:
                    await self._look()
                is_interrupted = False
            except StoreUnavailable as error:
                if not is_interrupted:
                    _log.warning("following_interrupted", why=str(error))
                is_interrupted = True
            except Exception as error:  # noqa: BLE001 - it goes on to whoever listens
                # Nobody waits for this task: those who wait for rows have to hear of it.
                _log.exception("following_failed")
                self._end_all(error)

    async def _look(self) -> None:
        """Hand out what is new. When it cannot be read to the end, the next look begins where this one did."""
        now, newest, after, found = new_id(), "", self._after, set[str]()
        while True:
            rows = await self._read(after, _PAGE)
            for row in rows:
                found.add(row.id)
                if row.id not in self._handed_out:
                    self._handed_out.add(row.id)
                    self._hand_out(row)
                newest = row.id
            if len(rows) < _PAGE:
                break
            after = newest
            await asyncio.sleep(0)
        self._handed_out = found
        if newest:
            # Not beyond the present: an id of a clock that was ahead must not hide what comes before it.
            self._after = max(self._after, min(newest, earlier(now, _OVERLAP)))

    def _hand_out(self, row: Row) -> None:
        for key in self._keys_of(row):
            for mailbox in tuple(self._mailboxes.get(key, ())):
                if not mailbox.put(row):
                    self._leave(key, mailbox)

    def _leave(self, key: str, mailbox: _Mailbox[Any]) -> None:
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
