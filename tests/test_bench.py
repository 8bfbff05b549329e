"""The figures of `make bench`: they come out, and no answer counts that is not the right one."""

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bench import processes
from bench.load import Call, Tally, drive
from bench.questions import OBJECT
from bench.throughput import SCENARIOS, Figures, written
from tests.running import ROOT, environment

REQUEST = b"POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n"
BODY = b"right" * 100_000  # too long to arrive in one piece
RIGHT = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
LONGER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b!" % (len(BODY) + 1, BODY)


@asynccontextmanager
async def answering(*answers: bytes) -> AsyncIterator[int]:
    """Serve these answers, one for each request, and then hang up. Give the port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for each in answers:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(each)
            await writer.drain()
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    ("answers", "right", "failures"),
    [
        pytest.param([RIGHT] * 3, 3, 0, id="all-right"),
        pytest.param([RIGHT, RIGHT.replace(b"right", b"wrong", 1), RIGHT], 2, 1, id="another-body"),
        pytest.param([RIGHT, RIGHT, RIGHT.replace(b"200 OK", b"503 Unavailable")], 2, 1, id="another-status"),
        pytest.param([RIGHT, LONGER, RIGHT], 2, 1, id="another-length"),
        pytest.param([RIGHT, RIGHT], 2, 1, id="hung-up"),
    ],
)
async def test_a_load_counts_the_right_answers_and_the_others(answers: list[bytes], right: int, failures: int) -> None:
    async with answering(*answers) as port:
        tally = await drive(port, [Call(REQUEST, BODY.__eq__)], requests=3)
    assert (len(tally.latencies), tally.failures) == (right, failures)
    assert 0 < tally.percentile(50) <= tally.percentile(99) == max(tally.latencies)


def test_a_query_that_is_answered_late_is_told_from_one_in_time() -> None:
    tally = Tally(seconds=2.0)
    tally.latencies.extend([0.010, 0.020, 1.5])
    assert (tally.rate, tally.later_than(1.0), tally.percentile(99)) == (1.5, 1, 1.5)


@pytest.mark.parametrize(
    ("ours", "said"), [(6_000.0, ["yes", "yes"]), (5_999.0, ["no", "yes"]), (1_599.0, ["no", "no"])]
)
def test_a_target_is_met_or_it_is_not(ours: float, said: list[str]) -> None:
    rates = {"Watchword": ours, "as documented": 1_000.0, "with caches": 1_000.0}
    figures = {name: Figures([rate], [], [0.1], [0.1]) for name, rate in rates.items()}
    assert re.findall(r"\*\*(\w+)\*\*", written(SCENARIOS["object"], figures)) == said


def test_two_processes_are_compared_with_one_turn_by_turn() -> None:
    figures = {
        1: processes.Figures([1_000.0, 2_000.0], [200.0, 200.0], [1.0, 1.0], [0.01, 0.01]),
        2: processes.Figures([1_900.0, 3_000.0], [210.0, 210.0], [0.5, 0.6], [0.01, 0.01]),
    }
    said = processes.written(figures)
    assert "Two processes answer 1.70 × as many requests" in said  # the median of 1.9 and 1.5
    assert "| 2 | 2,450 | 210 | 55.0 | 10.0 | 0 |" in said


def test_every_stack_is_measured_and_answers_all_questions() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--quick", "object"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,  # many times what it takes
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert f"### {OBJECT.title}" in done.stdout
    figures = {row.split("|")[1].strip(): row.split("|")[2:-1] for row in done.stdout.splitlines() if "| " in row}
    for stack in ("Watchword", "as documented", "with caches"):
        rate, _cpu, p50, p99, failures = figures[stack]
        assert float(rate.replace(",", "")) > 0
        assert 0 < float(p50) <= float(p99)
        assert failures.strip() == "0"
    assert (
        len(re.findall(r"^Target: .* Found: [\d.]+ \(.* by CPU\), \*\*(yes|no)\*\*\.$", done.stdout, re.MULTILINE)) == 2
    )
