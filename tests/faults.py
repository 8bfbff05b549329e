"""Databases that fail, as other programs and full disks make them."""

import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from urllib.parse import urlsplit

from store.locations import PostgreSQL
from store.tables import metadata
from tests.elsewhere import Ask, elsewhere, is_on_postgresql
from tests.house import House
from tests.postgres import connected, of_server

Fault = Callable[[House], AbstractContextManager[None]]

_TABLES = ", ".join(sorted(metadata.tables))


@contextmanager
def locked(house: House) -> Iterator[None]:
    """Let nobody write, as another program may."""
    with elsewhere(house) as ask:
        if is_on_postgresql(house):
            ask("BEGIN")
            ask(f"LOCK TABLE {_TABLES} IN SHARE MODE")
        else:
            ask("BEGIN IMMEDIATE")
        yield
        ask("ROLLBACK")


@contextmanager
def gone(house: House) -> Iterator[Ask]:
    """Take the database away for a while; another program that had it open has it still."""
    with elsewhere(house) as ask:
        ask("SELECT count(*) FROM audit_events")
        with _closed_server(house) if is_on_postgresql(house) else _renamed_file(house):
            yield ask


@contextmanager
def _renamed_file(house: House) -> Iterator[None]:
    file = house.database_file
    away = file.rename(file.with_name("away"))
    try:
        yield
    finally:
        away.rename(file)


@contextmanager
def _closed_server(house: House) -> Iterator[None]:
    location = house.settings.database
    assert isinstance(location, PostgreSQL)
    name = urlsplit(location.uri).path[1:]
    with connected(of_server(location.uri, "postgres").uri) as ask:
        ask(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        ask(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = $1 AND application_name = 'watchword'",
            name,
        )
        try:
            yield
        finally:
            ask(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


@contextmanager
def full(house: House) -> Iterator[None]:
    """Have a COMMIT fail for want of room on the disk, and nothing before it."""
    with _full_server(house) if is_on_postgresql(house) else _full_file(house):
        yield


@contextmanager
def _full_file(house: House) -> Iterator[None]:
    # No file of this process may grow beyond what the log of the database has.
    log = house.database_file.with_name(house.database_file.name + "-wal")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def _full_server(house: House) -> Iterator[None]:
    # What was deferred to the COMMIT fails there, as the server says it of a full disk.
    with elsewhere(house) as ask:
        ask("""
            CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'disk_full'; END $$
        """)
        for table in metadata.tables:
            ask(f"""
                CREATE CONSTRAINT TRIGGER full_disk AFTER INSERT OR UPDATE OR DELETE ON {table}
                DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()
            """)
        try:
            yield
        finally:
            ask("DROP FUNCTION refuse CASCADE")
