"""What a guarded query feels of a login storm: connections that log in without pause, on the same core."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from bench.effort import Effort
from bench.load import Tally, drive, run_load
from bench.questions import OBJECT, logins
from bench.report import number, table, target
from bench.stacks import OURS, Running

TITLE = "A guarded object during a login storm"
STORMING = 16  # connections that log in
ASKING = (1, 4)  # connections that ask, in one storm and in another
_LATE = 1.0  # seconds; a request that waits longer is lost, for its sender has gone
_P99 = 0.025  # seconds, of ours at most
_GATHERING = 0.5  # seconds that the storm is given to gather


@dataclass(frozen=True)
class Storm:
    """One storm over one stack: what came of the queries, and of the logins."""

    stack: str
    asking: int
    queries: Tally
    logins: Tally

    @property
    def lost(self) -> int:
        """How many queries were answered wrongly, too late or not at all."""
        return self.queries.failures + self.queries.later_than(_LATE)


def measure(stacks: Sequence[Running], effort: Effort) -> list[Storm]:
    """Raise two storms over each stack."""
    return [_storm(running, asking, effort.storm) for asking in ASKING for running in stacks]


def _storm(running: Running, asking: int, seconds: float) -> Storm:
    running.forget_log()
    queries, storm = OBJECT.calls(running, asking), logins(running, STORMING)

    async def ask() -> Tally:
        await asyncio.sleep(_GATHERING)
        return await drive(running.port, queries, seconds=seconds)

    async def both() -> tuple[Tally, Tally]:
        return await asyncio.gather(ask(), drive(running.port, storm, seconds=seconds + _GATHERING))

    asked, logged_in = run_load(both())
    return Storm(running.stack.name, asking, asked, logged_in)


def failures(storms: Sequence[Storm]) -> int:
    """Return how many answers were wrong or missing."""
    return sum(storm.queries.failures + storm.logins.failures for storm in storms)


def written(storms: Sequence[Storm]) -> str:
    """Return the section of the storms."""
    rows = [
        (
            f"{storm.stack}, {storm.asking} asking",
            number(storm.queries.rate),
            number(storm.lost),
            number(storm.queries.percentile(50) * 1000),
            number(storm.queries.percentile(99) * 1000),
            number(storm.queries.percentile(100) * 1000),
            number(storm.logins.rate),
            number(storm.logins.percentile(99) * 1000),
            number(storm.logins.failures),
        )
        for storm in storms
    ]
    head = ("Stack", "queries/s", "lost", "p50 ms", "p99 ms", "max ms", "logins/s", "their p99 ms", "failed")
    ours = [storm for storm in storms if storm.stack == OURS.name]
    lost = sum(storm.lost for storm in ours)
    targets = [target("no query of ours is lost", number(lost), lost == 0)]
    for storm in ours:
        p99 = storm.queries.percentile(99)
        what = f"p99 of ours is at most {number(_P99 * 1000)} ms, {storm.asking} asking"
        targets.append(target(what, f"{number(p99 * 1000)} ms", p99 <= _P99))
    return "\n\n".join([f"### {TITLE}", table(head, rows), *targets])
