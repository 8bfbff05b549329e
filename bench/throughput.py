"""How many requests each stack answers on one core, and how fast, the stacks taking turns."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

from bench.effort import Effort
from bench.load import Call, drive, run_load
from bench.machine import cpu_seconds
from bench.questions import LIST, OBJECT, REFUSAL, logins
from bench.report import number, table, target
from bench.stacks import CACHED, DOCUMENTED, OURS, Running

CONNECTIONS = 16
_WARM_UP = 0.3  # seconds


@dataclass(frozen=True)
class Scenario:
    """What is measured; `targets` has the least ratio of requests, ours to another stack's, that is asked for."""

    title: str
    calls: Callable[[Running, int], list[Call]]
    targets: dict[str, float] = field(default_factory=dict)


SCENARIOS = {
    "object": Scenario(OBJECT.title, OBJECT.calls, {DOCUMENTED.name: 6.0, CACHED.name: 1.6}),
    "list": Scenario(LIST.title, LIST.calls),
    "refusal": Scenario(REFUSAL.title, REFUSAL.calls),
    "login": Scenario("Login", logins),
}


@dataclass
class Figures:
    """The figures of one stack, one for each round; of CPU there are none where it is not known."""

    rates: list[float] = field(default_factory=list)  # requests per second
    cpu: list[float] = field(default_factory=list)  # µs of a request
    p50: list[float] = field(default_factory=list)  # seconds
    p99: list[float] = field(default_factory=list)
    failures: int = 0


def measure(scenario: Scenario, stacks: Sequence[Running], effort: Effort) -> dict[str, Figures]:
    """Give each stack its turn in each round, and return the figures by the stack's name."""
    figures = {running.stack.name: Figures() for running in stacks}
    for _ in range(effort.rounds):
        for running in stacks:
            _turn(scenario, running, effort.seconds, figures[running.stack.name])
    return figures


def _turn(scenario: Scenario, running: Running, seconds: float, figures: Figures) -> None:
    running.forget_log()
    calls = scenario.calls(running, CONNECTIONS)
    run_load(drive(running.port, calls, seconds=min(_WARM_UP, seconds)))
    before = cpu_seconds(running.pid)
    tally = run_load(drive(running.port, calls, seconds=seconds))
    after = cpu_seconds(running.pid)
    if not tally.latencies:
        raise RuntimeError(f"{running.stack.name} gave no right answer")
    figures.failures += tally.failures
    figures.rates.append(tally.rate)
    figures.p50.append(tally.percentile(50))
    figures.p99.append(tally.percentile(99))
    if before is not None and after is not None:
        figures.cpu.append((after - before) / len(tally.latencies) * 1e6)


def written(scenario: Scenario, figures: dict[str, Figures]) -> str:
    """Return the section of one scenario."""
    rows: list[tuple[str, ...]] = [
        (
            name,
            number(_median(found.rates)),
            number(_median(found.cpu)),
            number(_median(found.p50, 1000)),
            number(_median(found.p99, 1000)),
            number(found.failures),
        )
        for name, found in figures.items()
    ]
    ours = figures[OURS.name]
    rows += [
        (
            f"ours / {name}",
            *(number(_ratio(getattr(ours, each), getattr(found, each))) for each in ("rates", "cpu", "p50", "p99")),
            "",
        )
        for name, found in figures.items()
        if name != OURS.name
    ]
    targets = []
    for name, least in scenario.targets.items():
        ratio = _ratio(ours.rates, figures[name].rates) or 0.0
        # On a machine that does other things, the CPU says more than the clock.
        found = f"{number(ratio)} ({number(_ratio(figures[name].cpu, ours.cpu))} by CPU)"
        targets.append(target(f"{least} × the requests/s of the stack {name}", found, ratio >= least))
    head = ("Stack", "requests/s", "CPU µs", "p50 ms", "p99 ms", "failures")
    return "\n\n".join([f"### {scenario.title}", table(head, rows), *targets])


def _median(figures: list[float], unit: float = 1.0) -> float | None:
    return median(figures) * unit if figures else None


def _ratio(ours: list[float], theirs: list[float]) -> float | None:
    # Of turns of one round, a moment apart: what else the machine does changes from round to round, for all alike.
    return _median([our / their for our, their in zip(ours, theirs, strict=True)])
