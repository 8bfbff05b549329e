"""Compares Watchword with the stack that Strawberry's documentation shows: `python -m bench [--quick] [measure …]`.

What it prints is what bench/RESULTS.md holds. It ends with 1 when an answer was wrong or missing, because figures of
such answers are worth nothing; a target that is missed is a figure like others.
"""

import argparse
import gc
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench import ceiling, memory, processes, storm, throughput
from bench.effort import QUICK, THOROUGH, Effort
from bench.machine import Cores, description
from bench.stacks import OURS, STACKS, Running, started
from bench.throughput import SCENARIOS

MEASURES = (*SCENARIOS, "storm", "memory")
# Measured by itself, and when it is asked for: it has servers of its own, and needs all cores for them.
WORKERS = "workers"


def main(arguments: list[str] | None = None) -> int:
    """Measure what is asked for, all of it by default; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("measures", nargs="*", metavar="measure", help=f"of: {', '.join((*MEASURES, WORKERS))}")
    parser.add_argument("--quick", action="store_true", help="measure little, to see that everything still runs")
    chosen = parser.parse_args(arguments)
    if strange := set(chosen.measures) - {*MEASURES, WORKERS}:
        parser.error(f"there is no measure {', '.join(sorted(strange))}; there are {', '.join((*MEASURES, WORKERS))}")
    effort = QUICK if chosen.quick else THOROUGH
    if WORKERS in chosen.measures:
        return _workers_measured(effort)
    cores = Cores()
    print(f"{description()}\n\n{_pinning(cores)}", flush=True)
    gc.freeze()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as open_stacks:
        cores.keep_load()
        with started(ceiling.NOTHING, Path(folder), cores) as nothing:
            print(f"\n{ceiling.written(nothing, effort)}", flush=True)
        stacks = [open_stacks.enter_context(started(stack, Path(folder), cores)) for stack in STACKS]
        failures = sum(_measured(name, stacks, effort) for name in chosen.measures or MEASURES)
    if failures:
        print(f"\n{failures} answers were wrong or missing.", flush=True)
    return 1 if failures else 0


def _workers_measured(effort: Effort) -> int:
    print(description(), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        figures = processes.measure(Path(folder), effort)
    print(f"\n{processes.written(figures)}", flush=True)
    return 1 if any(each.failures for each in figures.values()) else 0


def _measured(name: str, stacks: list[Running], effort: Effort) -> int:
    """Print one measure, and return how many answers were wrong or missing."""
    if name == "storm":
        storms = storm.measure(stacks, effort)
        section, failures = storm.written(storms), storm.failures(storms)
    elif name == "memory":
        ours = next(running for running in stacks if running.stack is OURS)
        found = memory.measure(ours, effort)
        section, failures = memory.written(found), found.failures
    else:
        figures = throughput.measure(SCENARIOS[name], stacks, effort)
        section = throughput.written(SCENARIOS[name], figures)
        failures = sum(each.failures for each in figures.values())
    print(f"\n{section}", flush=True)
    return failures


def _pinning(cores: Cores) -> str:
    if cores.are_chosen:
        return "Each server has one core, the load another one."
    return "Server and load share the cores: here there are not two that a process can be kept to."


if __name__ == "__main__":
    sys.exit(main())
