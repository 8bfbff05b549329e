"""Turns at what takes long: one at a time, with a turn for everybody else between two of them.

A document that was never seen can take a tenth of a second to validate, and a large body a hundredth to read. One is
nothing; of a hundred that come at once, each of a stranger's connections having its own, the last would be done after
ten seconds, and every request that came meanwhile with it.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from auth.refusals import RateLimited

# Milliseconds of work that may wait: whoever would wait longer is better told to come back. A client that begins with
# fifty documents of ordinary size waits for a tenth of a second.
MOST_WAITING = 900
MOST_OF_ONE = 300

_RETRY_AFTER = timedelta(seconds=1)


class Turns:
    """A line in which everybody has some of the time."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._waiting: Counter[str] = Counter()

    @asynccontextmanager
    async def turn(self, whose: str, milliseconds: int, *, is_patient: bool = False) -> AsyncIterator[None]:
        """Wait for a turn, and hold it for as long as the block runs: about so long, and without waiting.

        Raises `RateLimited` at once when too much waits, in all or of the same network; unless the caller is patient,
        because it lets nothing more come meanwhile.
        """
        is_much = self._waiting.total() >= MOST_WAITING or self._waiting[whose] >= MOST_OF_ONE
        if is_much and not is_patient:
            raise RateLimited(_RETRY_AFTER)
        self._waiting[whose] += milliseconds
        try:
            async with self._lock:
                await asyncio.sleep(0)  # the turn of all that is short
                yield
        finally:
            self._waiting[whose] -= milliseconds
            if not self._waiting[whose]:
                del self._waiting[whose]
