"""Whether PostgreSQL is there, said in the log once when it is not and once when it is again, and what it refuses."""

import asyncio

import structlog

from store.postgresql_connection import Ticks
from store.postgresql_faults import answer_behind

_log = structlog.get_logger("watchword.store")

# Of what is refused again and again, the log hears once: until it has not been refused for so many ticks, a minute.
_FORGOTTEN_AFTER = 300


class Outages:
    """What goes wrong with a database, for those who wait for it and for those who read the log."""

    def __init__(self, ticks: Ticks) -> None:
        self.is_on = False
        self.why = ""
        self.lost = 0  # connections, since one was made
        self._ticks = ticks
        self._since = 0.0  # by the event loop's clock
        self._failures = 0
        self._refused_at: dict[str, int] = {}

    def begin(self, why: str) -> None:
        """Take note that nothing can be asked any more; it may be known already."""
        if not self.is_on:
            self.is_on, self._since = True, asyncio.get_running_loop().time()
            _log.warning("database_unavailable", why=why)
        self.why = why

    def end(self) -> None:
        """Take note that the server answers and takes connections."""
        if self.is_on:
            lasted = asyncio.get_running_loop().time() - self._since
            _log.warning("database_available", milliseconds=round(lasted * 1000))
        elif self.lost:
            _log.warning("database_connections_lost", connections=self.lost)
        self.is_on, self.lost, self._failures = False, 0, 0

    def note_shortage(self, why: str, connections: int) -> None:
        """Take note that there are connections, but that no more of them can be made."""
        self._failures += 1
        if self._failures == 2 and not self.is_on:  # noqa: PLR2004 - of what is over soon nobody need hear
            _log.warning("database_connections_refused", why=why, connections=connections)

    def note(self, error: BaseException) -> None:
        """Take note of why a statement was not answered, if the server said that it could not, and says so anew."""
        answer = answer_behind(error)
        if answer is None or answer.sqlstate is None:
            return
        before = self._refused_at.get(answer.sqlstate)
        self._refused_at[answer.sqlstate] = now = self._ticks.now
        if before is None or now - before > _FORGOTTEN_AFTER:
            _log.warning("database_refuses", sqlstate=answer.sqlstate, why=type(answer).__name__)
