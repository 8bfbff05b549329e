"""The machine as a measure needs it: what it is, which core runs what, and what a process has used of it.

Cores can be chosen and `/proc` be read on Linux alone; elsewhere the measures go on without, and say so.
"""

import os
import platform
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

_PACKAGES = ("strawberry-graphql", "graphql-core", "uvicorn", "uvloop", "PyJWT", "argon2-cffi")


class Cores:
    """One core for the server, another for the load; neither is set where there are not two to choose from."""

    def __init__(self) -> None:
        self._allowed = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []

    @property
    def are_chosen(self) -> bool:
        """Whether server and load are kept apart."""
        return len(self._allowed) > 1

    def keep_load(self) -> None:
        """Keep this process, which makes the load, to its core."""
        self._keep_to(1)

    @contextmanager
    def for_server(self) -> Iterator[None]:
        """Keep to the server's core whatever process is started in the block, with all threads that it will have."""
        self._keep_to(0)
        try:
            yield
        finally:
            self.keep_load()

    def _keep_to(self, place: int) -> None:
        if sys.platform == "linux" and self.are_chosen:
            os.sched_setaffinity(0, {self._allowed[place]})


def cpu_seconds(pid: int) -> float | None:
    """Return what all threads of a process have used, in user and in kernel mode; None where there is no /proc."""
    try:
        # The name before it stands in parentheses and may hold anything; the times are the 14th and 15th field.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def family_of(pid: int) -> list[int]:
    """Return a process and those that it started; itself alone where there is no /proc."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    except OSError:
        children = []
    return [pid, *map(int, children)]


def resident_kib(pid: int) -> int | None:
    """Return the memory that a process has in RAM (VmRSS), in KiB; None where there is no /proc."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), None)


def description() -> str:
    """Return a sentence on the machine, one on the software, and one on how busy the machine is with other things."""
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    busy = f" Load average at the start: {os.getloadavg()[0]:.1f}." if hasattr(os, "getloadavg") else ""
    return (
        f"{os.cpu_count()} × {_processor()}, {platform.system()}, {datetime.now(UTC):%d %B %Y}. "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {packages}.{busy}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
