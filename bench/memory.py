"""Whether our server keeps something of every request: its memory after many, and after ten times as many."""

from dataclasses import dataclass

from bench.effort import Effort
from bench.load import drive, run_load
from bench.machine import resident_kib
from bench.questions import OBJECT
from bench.report import number, table, target
from bench.stacks import Running

TITLE = "Memory"
CONNECTIONS = 16
_GROWTH = 0.05
_AT_ONCE = 20_000  # requests with one login, so that no access token expires on the way


@dataclass(frozen=True)
class Memory:
    """VmRSS in KiB by the number of requests that were answered by then; None where it is not known."""

    resident: dict[int, int | None]
    failures: int

    @property
    def growth(self) -> float | None:
        """The growth from the first to the last, as a part of the first."""
        first, *_, last = self.resident.values()
        return None if first is None or last is None else last / first - 1


def measure(running: Running, effort: Effort) -> Memory:
    """Ask the guarded object so often, and read the memory at the start of it, and at the end."""
    resident: dict[int, int | None] = {}
    failures = answered = 0
    for goal in (effort.early, effort.late):
        while answered < goal:
            running.forget_log()
            share = min(goal - answered, _AT_ONCE)
            failures += run_load(drive(running.port, OBJECT.calls(running, CONNECTIONS), requests=share)).failures
            answered += share
        resident[goal] = resident_kib(running.pid)
    return Memory(resident, failures)


def written(memory: Memory) -> str:
    """Return the section of the memory."""
    rows = [(f"{number(requests)} requests", number(kib)) for requests, kib in memory.resident.items()]
    parts = [f"### {TITLE}", table(("Watchword, after", "VmRSS KiB"), rows)]
    if memory.growth is not None:
        what = f"it grows by {_GROWTH:.0%} at most"
        parts.append(target(what, f"{memory.growth:+.1%}", memory.growth <= _GROWTH))
    return "\n\n".join(parts)
