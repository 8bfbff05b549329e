"""Several processes that serve as one: they share a socket, and whichever dies or has to make room is replaced.

Each is a program of its own, started as this one was: docs/decisions/0022-own-supervisor.md.
"""

import asyncio
import signal
import socket
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from web.graceful import Grace
from worker import Worker, WorkerProcess

_log = structlog.get_logger("watchword.workers")

# Who dies younger than this, and is not the first to do so, is replaced after a pause, which doubles each time.
_OLD = 30.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
# For what comes after the last request: the database is closed.
_TO_CLOSE = 5.0


def serve_with_workers(
    listener: socket.socket, metrics_listener: socket.socket | None, how_many: int, grace: Grace
) -> int:
    """Serve until told to stop; return the exit status. SIGHUP replaces the processes, one after the other."""
    with tempfile.TemporaryDirectory(prefix="watchword-") as folder:
        return asyncio.run(_Crew(listener, metrics_listener, how_many, grace, Path(folder)).serve())


class _NotStarted(Exception):
    """One of the first processes ended before it served."""


@dataclass(slots=True, eq=False)
class _Place:
    """One of as many as there are to be processes, and who fills it; the lock is held while that changes."""

    process: WorkerProcess
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    early_deaths: int = 0


class _Crew:
    """The processes: started, kept up, renewed and ended."""

    def __init__(
        self,
        listener: socket.socket,
        metrics_listener: socket.socket | None,
        how_many: int,
        grace: Grace,
        folder: Path,
    ) -> None:
        self._listener = listener
        self._metrics_listener = metrics_listener
        self._how_many = how_many
        self._to_drain = grace.timeout.total_seconds() + _TO_CLOSE
        self._delay = grace.delay.total_seconds()
        self._folder = folder
        self._alive: dict[int, WorkerProcess] = {}
        self._end, self._end_at_once, self._renewal = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def serve(self) -> int:
        """Keep them up until told to end; return the exit status."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._told_to_end)
        loop.add_signal_handler(signal.SIGINT, self._told_to_end)
        loop.add_signal_handler(signal.SIGHUP, self._renewal.set)
        loop.add_signal_handler(signal.SIGCHLD, self._look_after)
        keeping_up, told = asyncio.create_task(self._keep_up()), asyncio.create_task(self._end.wait())
        await asyncio.wait([keeping_up, told], return_when=asyncio.FIRST_COMPLETED)
        has_failed = keeping_up.done()
        keeping_up.cancel()
        told.cancel()
        failure, _ = await asyncio.gather(keeping_up, told, return_exceptions=True)
        if has_failed and not isinstance(failure, _NotStarted):
            _log.error("supervision_failed", exc_info=failure)
        is_orderly = await self._end_all()
        return 0 if is_orderly and not has_failed else 1

    def _told_to_end(self) -> None:
        (self._end_at_once if self._end.is_set() else self._end).set()

    def _look_after(self) -> None:
        self._alive = {slot: process for slot, process in self._alive.items() if process.look()}

    async def _keep_up(self) -> None:
        """Start all, and keep as many until cancelled. Raises `_NotStarted`."""
        places = [_Place(await self._start()) for _ in range(self._how_many)]
        if not all(await asyncio.gather(*(self._serves(place.process) for place in places))):
            raise _NotStarted
        _log.info("serving", workers=self._how_many)
        await asyncio.gather(*map(self._keep, places), self._renew_when_told(places))

    async def _start(self) -> WorkerProcess:
        while True:
            # One that ends may take its time, and its successor is there already: so there are more than places.
            slot = next(slot for slot in range(1, len(self._alive) + 2) if slot not in self._alive)
            try:
                process = self._alive[slot] = WorkerProcess(
                    Worker(slot, self._folder), self._listener, self._metrics_listener
                )
            except OSError as error:  # the machine has no room for another process
                _log.error("worker_not_started", worker=slot, why=str(error))
                await asyncio.sleep(_FIRST_PAUSE)
            else:
                return process

    async def _serves(self, process: WorkerProcess) -> bool:
        """Wait until a new process serves; return whether it does. If not, it has said why."""
        serves = await process.is_ready()
        if serves:
            _log.info("worker_started", worker=process.slot, pid=process.pid)
        else:
            _log.error("worker_not_started", worker=process.slot, pid=process.pid, status=await process.end())
        return serves

    async def _keep(self, place: _Place) -> None:
        """Replace whoever dies in a place."""
        while True:
            process = place.process
            status = await process.end()
            async with place.lock:
                if place.process is not process:
                    continue  # it was renewed
                place.early_deaths = place.early_deaths + 1 if process.lived < _OLD else 0
                pause = _pause_after(place.early_deaths)
                _log.error("worker_died", worker=process.slot, pid=process.pid, status=status, pause=pause)
                await asyncio.sleep(pause)
                place.process = await self._start()
                await self._serves(place.process)

    async def _renew_when_told(self, places: list[_Place]) -> None:
        """Renew all of them, one after the other, as long as the new ones serve."""
        while True:
            await self._renewal.wait()
            self._renewal.clear()
            _log.info("renewing")
            for place in places:
                if not await self._renew(place):
                    _log.error("renewal_given_up")
                    break
            else:
                _log.info("renewed")

    async def _renew(self, place: _Place) -> bool:
        """Start another one, and end the one that is there, unless the other does not serve."""
        async with place.lock:
            old, new = place.process, await self._start()
            if not await self._serves(new):
                return False
            place.process = new
        old.retire()
        await self._gone([old], self._to_drain)
        _log.info("worker_retired", worker=old.slot, pid=old.pid)
        return True

    async def _end_all(self) -> bool:
        """End all in good order, or at once when told again; return whether none had to be killed."""
        _log.info("ending", workers=len(self._alive))
        if self._metrics_listener is not None:
            self._metrics_listener.close()
        self._listener.close()  # when the last worker has closed it, too, there is nobody to connect to
        processes = list(self._alive.values())
        for process in processes:
            process.tell(signal.SIGTERM)
        return await self._gone(processes, self._delay + self._to_drain)

    async def _gone(self, processes: list[WorkerProcess], within: float) -> bool:
        """Wait for processes to end, and kill those that do not in time; return whether all did."""
        ends = [asyncio.create_task(process.end()) for process in processes]
        at_once = asyncio.create_task(self._end_at_once.wait())
        try:
            async with asyncio.timeout(within):
                while not all(end.done() for end in ends) and not at_once.done():
                    await asyncio.wait([*ends, at_once], return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            pass
        at_once.cancel()
        late = [process for process, end in zip(processes, ends, strict=True) if not end.done()]
        for process in late:
            _log.error("worker_killed", worker=process.slot, pid=process.pid)
            process.tell(signal.SIGKILL)
        await asyncio.gather(*ends)
        return not late


def _pause_after(early_deaths: int) -> float:
    return 0.0 if early_deaths < 2 else min(_FIRST_PAUSE * 2.0 ** min(early_deaths - 2, 9), _LONGEST_PAUSE)  # noqa: PLR2004
