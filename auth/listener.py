"""What waits for somebody who listens: never more than a bounded number of rows, and no end without a reason."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Generic, Self, TypeVar

from auth.refusals import FellBehind

MOST_WAITING = 1_000

Row = TypeVar("Row")
Item = TypeVar("Item")


class Mailbox(Generic[Row]):
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
