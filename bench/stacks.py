"""The servers that are compared, each in a process of its own: how one is started, and how it ends."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from bench.accounts import HOST
from bench.machine import Cores

ROOT = Path(__file__).parents[1]

# What Watchword is told beyond where to listen and where to keep its data; all else is as it is by default.
# One caller asks as much as a thousand would: so there is no budget for each.
SETTINGS = {
    "WATCHWORD_DOMAINS": "bench.catalogue:catalogue",
    "WATCHWORD_BUDGET": "0",
    "WATCHWORD_ANONYMOUS_BUDGET": "0",
}

_START, _END = 30.0, 15.0  # seconds

Module = tuple[str, ...]


@dataclass(frozen=True)
class Stack:
    """A server: what it is called, the module that Python runs, its `login`, and what is run before it starts."""

    name: str
    module: Callable[[int], Module]
    log_in: str
    settings: Mapping[str, str] = field(default_factory=dict)
    before: Module | None = None


def _documented(name: str, attribute: str) -> Stack:
    # Without its access log, in its favour; ours writes one, as it does by default.
    return Stack(
        name,
        lambda port: ("uvicorn", f"bench.docs_stack:{attribute}", "--port", str(port), "--no-access-log"),
        "mutation ($email: String!, $password: String!) { login(email: $email, password: $password) { __typename } }",
    )


OURS = Stack(
    "Watchword",
    lambda _port: ("cli", "serve"),
    "mutation ($email: String!, $password: String!) {"
    " login(input: {email: $email, password: $password}) { __typename } }",
    SETTINGS,
    ("bench.prepare",),
)
DOCUMENTED = _documented("as documented", "as_documented")
CACHED = _documented("with caches", "with_caches")
STACKS = (OURS, DOCUMENTED, CACHED)


@dataclass(frozen=True)
class Running:
    """A stack that listens; `pid` is its only process, and `log` the file that it writes to."""

    stack: Stack
    pid: int
    port: int
    log: Path

    def forget_log(self) -> None:
        """Empty the log, which a million requests would fill the disk with; the server appends to it."""
        os.truncate(self.log, 0)


@contextmanager
def started(stack: Stack, folder: Path, cores: Cores, *, apart: bool = True) -> Iterator[Running]:
    """Start a stack with a new data folder in this folder, wait until it listens, and end it after the block.

    It has the server's core to itself, unless it is not to be kept `apart`.
    """
    data, log, port = folder / stack.name, folder / f"{stack.name}.log", _free_port()
    data.mkdir()
    outside = {name: value for name, value in os.environ.items() if not name.startswith("WATCHWORD_")}
    place = {"WATCHWORD_PORT": str(port), "WATCHWORD_DATA_DIR": str(data)}
    environment = {**outside, **place, **stack.settings}
    with cores.for_server() if apart else nullcontext(), log.open("ab") as output:
        if stack.before is not None:
            subprocess.run(  # noqa: S603 - Python, and a module named above
                [sys.executable, "-m", *stack.before], cwd=ROOT, env=environment, check=True
            )
        process = subprocess.Popen(  # noqa: S603 - the same
            [sys.executable, "-m", *stack.module(port)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        _wait_until_listening(process, port, log)
        yield Running(stack, process.pid, port, log)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_listening(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + _START
    while True:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
        except OSError as refused:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start: {log.read_text(encoding='utf-8')}") from refused
            time.sleep(0.05)
        else:
            return


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        port: int = listener.getsockname()[1]
    return port
