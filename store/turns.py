"""Turns within one process: whoever has to wait for what another one decides about waits here, with no connection.

An advisory lock is waited for on a connection. If a crowd that wants to decide about one thing waited on them all,
nobody else would have one.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from weakref import WeakValueDictionary

from store.database import StoreUnavailable


class Turns:
    """Lets one at a time go on with each name; `patience` is how long anybody waits for all that they name."""

    def __init__(self, patience: timedelta) -> None:
        self._patience = patience
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def of(self, names: Iterable[str]) -> AsyncIterator[None]:
        """Be alone in these for a block. Raises `StoreUnavailable` when the turn does not come in time."""
        # In one order, so that no two wait for each other. A lock lives for as long as somebody has it in hand.
        locks = [self._locks.setdefault(name, asyncio.Lock()) for name in sorted(set(names))]
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(self._patience.total_seconds()):
                    for lock in locks:
                        await stack.enter_async_context(lock)
            except TimeoutError as error:
                raise StoreUnavailable("what others decide about was not free in time") from error
            yield
