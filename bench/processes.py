"""The same load on one process and on two, which share the machine's cores with the load: `python -m bench workers`.

It measures on SQLite, or on the database that `WATCHWORD_DATABASE_URL` names, in which it makes accounts.
"""

import os
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

from bench.effort import Effort
from bench.load import drive, run_load
from bench.machine import Cores, cpu_seconds, family_of
from bench.questions import OBJECT
from bench.report import number, table
from bench.stacks import OURS, SETTINGS, Running, Stack, started

COUNTS = (1, 2)
CONNECTIONS = 32
_WARM_UP = 0.3  # seconds
_START = 30.0
_DATABASE = "WATCHWORD_DATABASE_URL"


@dataclass
class Figures:
    """The figures of one number of processes, one for each round."""

    rates: list[float] = field(default_factory=list)  # requests per second
    cpu: list[float] = field(default_factory=list)  # µs of a request, all processes together
    busiest: list[float] = field(default_factory=list)  # the part that the busiest process had of that
    p99: list[float] = field(default_factory=list)  # seconds
    failures: int = 0


def measure(folder: Path, effort: Effort) -> dict[int, Figures]:
    """Give each number of processes its turn in each round; return the figures by the number."""
    figures = {count: Figures() for count in COUNTS}
    cores = Cores()
    with ExitStack() as open_stacks:
        running = {}
        for count in COUNTS:
            running[count] = open_stacks.enter_context(started(_stack(count), folder, cores, apart=False))
            _wait_for_all(running[count], count)
        for _ in range(effort.rounds):
            for count in COUNTS:
                _turn(running[count], effort.seconds, figures[count])
    return figures


def _stack(count: int) -> Stack:
    settings: dict[str, str] = {**SETTINGS, "WATCHWORD_WORKERS": str(count)}
    before = OURS.before
    if database := os.environ.get(_DATABASE):
        # They share it, so that one of them makes the accounts; and what seals its keys.
        settings |= {_DATABASE: database, "WATCHWORD_SECRET_KEY": "of-a-measure-and-nothing-else-at-all"}
        before = before if count == COUNTS[0] else None
    return replace(OURS, name=f"{count} of Watchword", settings=settings, before=before)


def _wait_for_all(running: Running, count: int) -> None:
    deadline = time.monotonic() + _START
    while count > 1 and b'"event":"serving"' not in running.log.read_bytes():
        if time.monotonic() > deadline:
            raise RuntimeError(f"the workers did not start: {running.log.read_text(encoding='utf-8')}")
        time.sleep(0.05)


def _turn(running: Running, seconds: float, figures: Figures) -> None:
    running.forget_log()
    calls = OBJECT.calls(running, CONNECTIONS)
    run_load(drive(running.port, calls, seconds=min(_WARM_UP, seconds)))
    before = _cpu(running.pid)
    tally = run_load(drive(running.port, calls, seconds=seconds))
    used = {pid: seconds - before.get(pid, 0.0) for pid, seconds in _cpu(running.pid).items()}
    figures.failures += tally.failures
    figures.rates.append(tally.rate)
    figures.p99.append(tally.percentile(99))
    if (total := sum(used.values())) and tally.latencies:
        figures.cpu.append(total / len(tally.latencies) * 1e6)
        figures.busiest.append(max(used.values()) / total)


def _cpu(pid: int) -> dict[int, float]:
    return {each: seconds for each in family_of(pid) if (seconds := cpu_seconds(each)) is not None}


def written(figures: Mapping[int, Figures]) -> str:
    """Return the section."""
    rows = [
        (
            str(count),
            number(median(found.rates)),
            number(_median(found.cpu)),
            number(_median(found.busiest, 100)),
            number(median(found.p99) * 1000),
            number(found.failures),
        )
        for count, found in figures.items()
    ]
    one, two = (figures[count] for count in COUNTS)
    ratio = median(more / fewer for more, fewer in zip(two.rates, one.rates, strict=True))
    head = ("Processes", "requests/s", "CPU µs", "busiest, % of it", "p99 ms", "failures")
    more = f"Two processes answer {number(ratio)} × as many requests, with the load on the same cores."
    return "\n\n".join([f"### {OBJECT.title}, on one process and on two", table(head, rows), more])


def _median(figures: list[float], unit: float = 1.0) -> float | None:
    return median(figures) * unit if figures else None
