"""A Watchword in a process of its own: started, watched and ended as its operator does it."""

import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import orjson

from tests.house import Client

ROOT = Path(__file__).parents[1]

# Many times what it takes: only what is broken runs into these, however busy the machine is.
START_SECONDS = 60.0
END_SECONDS = 15.0


@dataclass(frozen=True)
class Server:
    """`watchword serve` in a process, and the two files that it writes to."""

    process: subprocess.Popen[bytes]
    url: str
    data_dir: Path
    stdout: Path
    stderr: Path
    trusting: ssl.SSLContext | None = None  # whose word its certificate is taken on, when it speaks TLS

    @property
    def port(self) -> str:
        return self.url.rpartition(":")[2]

    @property
    def database_file(self) -> Path:
        return self.data_dir / "watchword.sqlite"

    @property
    def setup_token(self) -> str:
        """The token that it printed, on a line of its own after the sentence that says so."""
        _, found, rest = self.said().partition("setup token, which works once:")
        assert found, self.said()
        return rest.split()[0]

    def said(self) -> str:
        """Return what stands on its standard output."""
        return self.stdout.read_text()

    def logged(self) -> str:
        """Return its log, which stands on its standard error."""
        return self.stderr.read_text()

    def log_lines(self) -> list[dict[str, Any]]:
        # The last line may be half written at this moment.
        return [orjson.loads(line) for line in self.logged().splitlines(keepends=True) if line.endswith("\n")]

    def client(self) -> Client:
        """Return a new client that has presented nothing yet: nobody."""
        return Client(base_url=self.url, timeout=30, verify=self.trusting or True)

    def life(self) -> list[dict[str, Any]]:
        """Return what its log has of its beginning and end, and of its workers': no request's lines, so it is quick."""
        lines = self.logged().splitlines(keepends=True)
        loggers = ('"watchword.workers"', '"watchword.server"')
        return [orjson.loads(line) for line in lines if line.endswith("\n") and any(each in line for each in loggers)]

    def events(self) -> list[str]:
        """Return what happened in its life, in short."""
        return [line["event"] for line in self.life()]

    def workers(self) -> dict[int, int]:
        """Return the processes that serve, by their numbers, when there are several."""
        alive: dict[int, int] = {}
        for line in self.life():
            if line["event"] == "worker_started":
                alive[line["worker"]] = line["pid"]
            elif line["event"] in {"worker_died", "worker_retired"}:
                alive.pop(line["worker"], None)
        return alive

    def end(self) -> int:
        """Ask it to end, as a service manager does, and return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(END_SECONDS)

    def kill(self) -> None:
        """End it in the middle of whatever it does."""
        self.process.kill()
        self.process.wait(END_SECONDS)

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.everything()
        try:
            return httpx2.get(f"{self.url}/readyz", timeout=5, verify=self.trusting or True).status_code == 200
        except httpx2.TransportError:
            return False

    def everything(self) -> str:
        """Return all that it wrote, as evidence."""
        return f"exit status: {self.process.poll()}\n{self.said()}\n{self.logged()}"


@contextmanager
def serving(
    data_dir: Path,
    trusting: ssl.SSLContext | None = None,
    program: Path = ROOT,
    /,
    *,
    port: str | None = None,
    **settings: str,
) -> Iterator[Server]:
    """Start a server on this data folder, wait until it is ready, with all its workers, and end it at the block's end.

    The settings are named as in `settings.Settings`; their values are what stands in the environment. Whom its clients
    are to trust is given when the settings make it speak TLS. `program` is the folder of the server's own files.
    """
    port = port or free_port()
    data_dir.mkdir(parents=True, exist_ok=True)
    output = Path(tempfile.mkdtemp(prefix="output-", dir=data_dir.parent))
    stdout, stderr = output / "stdout", output / "stderr"
    with stdout.open("wb") as out, stderr.open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli", "serve"],
            cwd=program,
            env=environment(data_dir=str(data_dir), port=port, **settings),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
    url = f"http://127.0.0.1:{port}" if trusting is None else f"https://localhost:{port}"
    server = Server(process, url, data_dir, stdout, stderr, trusting)
    try:
        workers = int(settings.get("workers", "0"))
        wait_until(lambda: server.is_ready() and len(server.workers()) == workers, server.everything, START_SECONDS)
        yield server
    finally:
        if process.poll() is None:
            try:
                server.end()
            except subprocess.TimeoutExpired:
                server.kill()


def environment(**settings: str) -> dict[str, str]:
    """Return this process's environment with cheap hashes, no throttle of this address, and these settings."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith("WATCHWORD_")}
    cheap = {
        "password_memory_kib": "8",
        "password_iterations": "1",
        "guesses_per_address": "1000000",
        "anonymous_budget": "0",
    }
    return outside | {f"WATCHWORD_{name.upper()}": value for name, value in {**cheap, **settings}.items()}


def wait_until(holds: Callable[[], bool], evidence: Callable[[], str], seconds: float = 15.0) -> None:
    """Return as soon as it holds; fail with the evidence when it does not in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, evidence()
        time.sleep(0.02)


def free_port() -> str:
    """Return a port of the loopback address that the kernel hands to nobody else for a minute.

    A port that was bound and closed again may go to the next process that asks for any. One with a connection in
    TIME_WAIT does not, and a server that asks for it by its number still gets it.
    """
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        host, port = listener.getsockname()
        with socket.create_connection((host, port)):
            accepted, _ = listener.accept()
            with closing(accepted):  # the side that closes first is the one that waits
                return str(port)
