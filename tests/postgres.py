"""A PostgreSQL server of the tests' own, of the very binaries that a wheel brings; or the one that the tests are given.

The server is started once for all of pytest's workers, and each database in it is a copy of one that was migrated.
`WATCHWORD_TEST_POSTGRES` names another server, by the URI of a role that may create databases.
"""

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import psutil

from auth.ids import new_id
from store.locations import PostgreSQL
from store.migrate import upgrade
from store.namespaces import CORE, CORE_TABLES
from tests.running import free_port

GIVEN = "WATCHWORD_TEST_POSTGRES"

_START_SECONDS = 60.0

# Behaviours need no disk; whoever tests what a crash leaves behind starts a server without these.
QUICK = ("fsync=off", "full_page_writes=off", "synchronous_commit=on", "max_connections=300", "shared_buffers=64MB")


@dataclass
class Server:
    """A server process that is ours."""

    folder: Path
    binaries: Path
    port: str
    settings: tuple[str, ...]
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def uri(self) -> str:
        return f"postgresql://watchword@127.0.0.1:{self.port}/postgres"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Start it, and return when it takes connections."""
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        """Start it, and wait for nothing."""
        options = [f"-c{setting}" for setting in self.settings]
        place = ["-D", str(self.folder / "data"), "-h", "127.0.0.1", "-p", self.port, "-k", ""]
        with (self.folder / "log").open("ab") as log:
            command = [str(self.binaries / "postgres"), *place, *options]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, **_unprivileged())

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not self.is_ready():
            assert self.process is not None
            assert self.process.poll() is None, self.logged()
            assert time.monotonic() < deadline, self.logged()
            time.sleep(0.02)

    def is_ready(self) -> bool:
        asked = [str(self.binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", self.port]
        return subprocess.run(asked, check=False).returncode == 0

    def kill(self) -> None:
        """End it in the middle of whatever it does, with all of its processes."""
        assert self.process is not None
        self._signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """End it, without waiting for those who are connected."""
        assert self.process is not None
        if self.process.poll() is None:
            self.thaw()
            self.process.send_signal(signal.SIGQUIT)  # at once: nobody will read what it would write
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(15)
        self.kill()

    def freeze(self) -> None:
        """Stop all of its processes where they stand, until they are told to go on."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let all of its processes go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        # Each connection has a process, in a group of its own. The one that makes them comes first.
        with suppress(psutil.NoSuchProcess):
            postmaster = psutil.Process(self.pid)
            children = postmaster.children()
            postmaster.send_signal(number)
            for child in children:
                with suppress(psutil.NoSuchProcess):
                    child.send_signal(number)

    def logged(self) -> str:
        return (self.folder / "log").read_text()


@contextmanager
def postgres_server(*settings: str) -> Iterator[Server]:
    """Start a server with these settings on a cluster of its own, and remove both, however the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="watchword-postgres-"))
    try:
        server = _initialized(folder, settings)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def replica_of(primary: Server) -> Iterator[Server]:
    """Start a standby that follows a server, and remove it."""
    folder = Path(tempfile.mkdtemp(prefix="watchword-standby-"))
    folder.chmod(0o755)
    try:
        data = folder / "data"
        data.mkdir(mode=0o700)
        if owner := _unprivileged():
            os.chown(data, owner["user"], owner["group"])
        from_there = ["-h", "127.0.0.1", "-p", primary.port, "-U", "watchword", "-D", str(data)]
        copy = [str(primary.binaries / "pg_basebackup"), *from_there, "-R", "-X", "stream", "-c", "fast", "--no-sync"]
        made = subprocess.run(copy, check=False, capture_output=True, cwd=folder, **_unprivileged())
        assert made.returncode == 0, made.stderr.decode()
        standby = Server(folder, primary.binaries, free_port(), primary.settings)
        standby.start()
        try:
            yield standby
        finally:
            standby.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _initialized(folder: Path, settings: tuple[str, ...]) -> Server:
    folder.chmod(0o755)
    binaries = _wheel() / "pginstall" / "bin"
    data = folder / "data"
    data.mkdir(mode=0o700)
    if owner := _unprivileged():
        # PostgreSQL does not run as root; and who it runs as may not be let into the folder of the wheel.
        wheel = binaries.parents[1]
        shutil.copytree(binaries.parent, folder / "wheel" / "pgserver" / "pginstall", symlinks=True)
        shutil.copytree(wheel.with_name("pgserver.libs"), folder / "wheel" / "pgserver.libs")
        binaries = folder / "wheel" / "pgserver" / "pginstall" / "bin"
        os.chown(data, owner["user"], owner["group"])
    initdb = [str(binaries / "initdb"), "-D", str(data), "-U", "watchword", "-A", "trust", "-E", "UTF8", "--no-sync"]
    made = subprocess.run(
        [*initdb, "--locale=C.UTF-8"], check=False, capture_output=True, cwd=folder, **_unprivileged()
    )
    assert made.returncode == 0, made.stderr.decode()
    return Server(folder, binaries, free_port(), settings)


def _wheel() -> Path:
    # Not imported: it would want a folder to run servers in.
    found = find_spec("pgserver")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


def _unprivileged() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


_numbers = count()

# What a domain's migrations made goes; of the core's tables the rows do.
_EMPTIED = """
DO $$
DECLARE name text;
BEGIN
    PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid();
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'VERSION_TABLE' LOOP
        IF name = ANY ('{CORE_TABLES}') THEN
            EXECUTE format('DELETE FROM %I', name);
        ELSE
            EXECUTE format('DROP TABLE %I CASCADE', name);
        END IF;
    END LOOP;
END $$
""".replace("VERSION_TABLE", CORE.version_table).replace("CORE_TABLES", ",".join(sorted(CORE_TABLES)))


@dataclass(frozen=True)
class Postgres:
    """Where tests make databases of their own."""

    uri: str
    template: str
    _stock: list[PostgreSQL] = field(default_factory=list)

    def database(self, *, empty: bool = False) -> PostgreSQL:
        """Make a database that is migrated, or has nothing in it."""
        if self._stock and not empty:
            return self._stock.pop()
        name = f"watchword_test_{os.getpid()}_{next(_numbers)}"
        template = "template0" if empty else self.template
        run(self.uri, f"CREATE DATABASE {name} TEMPLATE {template} ENCODING 'UTF8'")
        return of_server(self.uri, name)

    def give_back(self, location: PostgreSQL) -> None:
        """Empty a database for who wants one next: to make one takes some ten times as long."""
        run(location.uri, _EMPTIED)
        self._stock.append(location)

    def drop(self, location: PostgreSQL) -> None:
        """Remove a database, and cut whoever is connected to it."""
        run(self.uri, f"DROP DATABASE IF EXISTS {urlsplit(location.uri).path[1:]} WITH (FORCE)")


def prepared(uri: str) -> Postgres:
    """Make the database that all others are copies of. Of processes that come together, one makes it."""
    template = f"watchword_template_{new_id().replace('-', '')}"
    run(uri, f"CREATE DATABASE {template} TEMPLATE template0 ENCODING 'UTF8'")
    upgrade(of_server(uri, template))
    return Postgres(uri, template)


def of_server(uri: str, database: str) -> PostgreSQL:
    """Return where a database of a server's is."""
    return PostgreSQL(urlunsplit(urlsplit(uri)._replace(path=f"/{database}")))


def run(uri: str, *statements: str) -> list[tuple[Any, ...]]:
    """Execute statements by a connection that is none of the application's; return the rows of the last one."""
    rows: list[tuple[Any, ...]] = []
    with connected(uri) as ask:
        for statement in statements:
            rows = ask(statement)
    return rows


@contextmanager
def connected(uri: str) -> Iterator[Callable[..., list[tuple[Any, ...]]]]:
    """Connect as another program does, which is answered before the test goes on, whatever loop that has."""
    loop = asyncio.new_event_loop()
    with ThreadPoolExecutor(max_workers=1) as thread:

        def wait_for(coroutine: Coroutine[Any, Any, Any]) -> Any:
            return thread.submit(loop.run_until_complete, coroutine).result()

        def ask(statement: str, *values: Any) -> list[tuple[Any, ...]]:
            return [tuple(row) for row in wait_for(connection.fetch(statement, *values))]

        try:
            connection = wait_for(_connect(uri))
            try:
                yield ask
            finally:
                wait_for(connection.close())
        finally:
            thread.submit(loop.close).result()


async def _connect(uri: str) -> Any:
    connection = await asyncpg.connect(uri)
    await connection.set_type_codec("uuid", encoder=str, decoder=str, schema="pg_catalog", format="text")
    return connection
