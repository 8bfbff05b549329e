"""How processes of one server tell each other what they counted: a file for each, in a folder that is theirs alone.

Whichever of them is asked then answers for all. It costs a small file a second, and nothing on any request's path.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import orjson
import structlog

from web.metrics_families import Snapshot

_log = structlog.get_logger("watchword.metrics")

EVERY = 1.0  # seconds
# Whoever has told nothing for so long is gone, or does nothing else either.
STALE = 15.0


class Siblings:
    """What the process in one slot tells, and what those in the other slots told.

    The folder is private to the server (mode 0700), and made by whoever starts the processes. A process that takes the
    place of one that died has its slot.
    """

    def __init__(self, folder: Path, slot: int, *, now: Callable[[], float] = time.monotonic) -> None:
        self.slot = slot
        self._folder = folder
        self._now = now  # the same for all processes of a machine

    def tell(self, snapshot: Snapshot) -> None:
        """Write what this process has to say, so that others read it whole. Raises OSError."""
        fresh = self._folder / f"{self.slot}.fresh"
        fresh.write_bytes(orjson.dumps({"at": self._now(), "snapshot": snapshot}))
        fresh.replace(self._file)

    def forget(self) -> None:
        """Take back what this process said, because it ends."""
        self._file.unlink(missing_ok=True)

    def others(self) -> dict[int, Snapshot]:
        """Return what the others told last, by their slots."""
        told: dict[int, Snapshot] = {}
        for path in self._folder.glob("*.json"):
            # One that is taken back at this moment is gone.
            with suppress(OSError, ValueError):
                content = orjson.loads(path.read_bytes())
                slot = int(path.stem)
                if slot != self.slot and self._now() - content["at"] < STALE:
                    told[slot] = content["snapshot"]
        return told

    @asynccontextmanager
    async def telling(self, snapshot: Callable[[], Snapshot]) -> AsyncIterator[None]:
        """Tell now, and once a second for as long as the block runs; then take it back."""
        task = asyncio.create_task(self._keep_telling(snapshot))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            with suppress(OSError):
                self.forget()

    async def _keep_telling(self, snapshot: Callable[[], Snapshot]) -> None:
        is_told = True
        while True:
            try:
                await asyncio.to_thread(self.tell, snapshot())
            except OSError as error:
                if is_told:
                    _log.warning("metrics_not_told", slot=self.slot, cause=error.strerror)
                is_told = False
            else:
                is_told = True
            await asyncio.sleep(EVERY)

    @property
    def _file(self) -> Path:
        return self._folder / f"{self.slot}.json"
