"""How many requests each stack answers on one core, and how fast, the stacks taking turns."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

from bench.effort import Effort
from bench.load import Call, drive, run_load
from bench.machine import cpu_seconds
from bench.questions import LIST, OBJECT, REFUSAL, logins
from bench.report import milliseconds, number, table, target, times
from bench.stacks import CACHED, DOCUMENTED, OURS, Running

CONNECTIONS = 16
_WARM_UP = 0.3  # seconds


@dataclass(frozen=True)
class Scenario:
    """What is measured; `targets` has the least ratio of requests, ours to a stack's, that is asked for."""

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

    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)  # µs of a request
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    failures: int = 0

    @property
    def rate(self) -> float:
        """Requests per second; like the others the median of the rounds, for some were disturbed."""
        return median(self.rates)

    @property
    def microseconds(self) -> float | None:
        """CPU of a request."""
        return median(self.cpu) if self.cpu else None


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
    figures.failures += tally.failures
    figures.rates.append(tally.rate)
    figures.p50.append(tally.percentile(50))
    figures.p99.append(tally.percentile(99))
    if before is not None and after is not None and tally.latencies:
        figures.cpu.append((after - before) / len(tally.latencies) * 1e6)


def written(scenario: Scenario, figures: dict[str, Figures]) -> str:
    """Return the section of one scenario."""
    rows = [
        (
            name,
            number(found.rate, places=0 if found.rate > 100 else 1),  # noqa: PLR2004 - logins are few
            number(found.microseconds),
            milliseconds(median(found.p50)),
            milliseconds(median(found.p99)),
            number(found.failures),
        )
        for name, found in figures.items()
    ]
    ours = figures[OURS.name]
    ratios = [
        (
            f"ours to the stack {name}",
            f"{times(ours.rate, found.rate)} ×",
            f"{times(ours.microseconds, found.microseconds)} ×",
            f"{times(median(ours.p50), median(found.p50))} ×",
            f"{times(median(ours.p99), median(found.p99))} ×",
            "",
        )
        for name, found in figures.items()
        if name != OURS.name
    ]
    targets = [
        target(
            f"at least {least} × the requests/s of the stack {name} ({times(ours.rate, figures[name].rate)})",
            ours.rate >= least * figures[name].rate,
        )
        for name, least in scenario.targets.items()
    ]
    head = ("Stack", "requests/s", "CPU µs", "p50 ms", "p99 ms", "failures")
    return "\n\n".join([f"### {scenario.title}", table(head, rows + ratios), *targets])
