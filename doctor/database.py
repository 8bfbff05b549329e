"""The database: whether it can be used, whether it keeps what it acknowledges, and whether it is up to date."""

import asyncio
from collections.abc import Iterator

import store.signing_keys
from auth.clock import Clock
from doctor.findings import Finding
from doctor.sealed import sealed
from installation import Installation
from store import StoreUnavailable
from store.condition import PostgreSQLCondition, condition_of_file, condition_of_server
from store.locations import PostgreSQL, SQLiteFile
from store.signing_keys import SigningKeyRow

_OLDEST_POSTGRESQL = 140_000
_MOST_SECONDS_APART = 2.0
_MIB = 1024 * 1024

# Where the locks of files that several processes have in common cannot be relied on, SQLite's files are torn.
_NETWORK_FILESYSTEMS = {"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "ceph", "glusterfs", "afs"}


def kept(installation: Installation, clock: Clock) -> Iterator[Finding]:
    """Look at the database and at what it holds."""
    location = installation.settings.database
    if isinstance(location, SQLiteFile) and not location.path.exists():
        yield Finding("database", "not made yet; the first start makes it")
        yield from sealed(installation, [])
        return
    try:
        yield from _server(installation, location, clock) if isinstance(location, PostgreSQL) else _file(location)
        yield from _holdings(installation)
    except StoreUnavailable as unavailable:
        remedy = "look at the database, and at WATCHWORD_DATABASE_URL"
        yield Finding("database", f"{location}: {unavailable}", remedy)


def _holdings(installation: Installation) -> Iterator[Finding]:
    behind = installation.pending_migrations()
    for pending in behind:
        state = f"{pending.namespace} is at {pending.at or 'nothing'}, not {pending.head}"
        yield Finding("migrations", state, "watchword migrate")
    if not behind:
        yield Finding("migrations", "up to date")
        yield from sealed(installation, asyncio.run(_signing_keys(installation)))


async def _signing_keys(installation: Installation) -> list[SigningKeyRow]:
    database = await installation.open_database()
    try:
        return await store.signing_keys.load_all(database)
    finally:
        await database.close()


def _file(location: SQLiteFile) -> Iterator[Finding]:
    found = condition_of_file(location)
    filesystem = filesystem_of(str(location.path.absolute().resolve()))
    state = f"SQLite {found.version}, {found.size / _MIB:.1f} MiB"
    if filesystem in _NETWORK_FILESYSTEMS:
        remedy = "keep it on a disk of this machine, or use PostgreSQL: its locks cannot be relied on there"
        yield Finding("database", f"{state}, on {filesystem}", remedy)
    else:
        yield Finding("database", state)


def filesystem_of(path: str, mounts: str | None = None) -> str | None:
    """Return the kind of filesystem that a file is on, by the kernel's list of mounts; None where there is no list."""
    if mounts is None:
        try:
            with open("/proc/self/mounts", encoding="utf-8") as file:  # noqa: PTH123
                mounts = file.read()
        except OSError:
            return None
    fields = [line.split() for line in mounts.splitlines()]
    above = [(point, kind) for _, point, kind, *_ in fields if f"{path}/".startswith(f"{point.rstrip('/')}/")]
    return max(above, key=lambda mount: len(mount[0]), default=(None, None))[1]


def _server(installation: Installation, location: PostgreSQL, clock: Clock) -> Iterator[Finding]:
    settings = installation.settings
    before = clock.now()
    found = asyncio.run(condition_of_server(location, patience=settings.database_timeout))
    after = clock.now()
    # A process has its connections, and one more that hears what other processes announce.
    yield from server_findings(found, str(location), settings.workers * (settings.database_connections + 1))
    apart = max((before - found.now).total_seconds(), (found.now - after).total_seconds(), 0.0)
    is_apart = apart > _MOST_SECONDS_APART
    remedy = "keep both by NTP: tokens are judged by the clock of whichever machine is asked" if is_apart else None
    yield Finding("clock", f"{'about ' * is_apart}{apart:.0f} seconds from the database server's", remedy)


def server_findings(found: PostgreSQLCondition, where: str, wanted: int) -> Iterator[Finding]:
    """Judge what a server says of itself; `wanted` is how many connections one process may have."""
    old = found.version_number < _OLDEST_POSTGRESQL
    yield Finding("database", f"{where}, version {found.version}", "upgrade it to 14 or later" if old else None)
    if found.is_standby or found.is_read_only:
        remedy = "name the primary in WATCHWORD_DATABASE_URL (target_session_attrs=read-write finds it)"
        yield Finding("database takes writes", "no: it is a standby" if found.is_standby else "no", remedy)
    if found.encoding != "UTF8":
        yield Finding("database encoding", found.encoding, "make the database anew with ENCODING 'UTF8'")
    lax = [name for name, on in (("fsync", found.fsync), ("full_page_writes", found.full_page_writes)) if not on]
    for name in lax:
        state = "off: a crash of its machine loses what was acknowledged, or tears the database"
        yield Finding(f"database {name}", state, f"ALTER SYSTEM SET {name} = on, and reload")
    room = found.most_connections - found.held_by_others
    fewer = "raise max_connections, or lower WATCHWORD_DATABASE_CONNECTIONS" if room < wanted else None
    yield Finding("database connections", f"room for {room}, and {wanted} for each process of ours", fewer)
    if not found.is_local and not found.is_encrypted:
        state = "not encrypted, and the server is another machine"
        yield Finding("connection to the database", state, "add ?sslmode=verify-full to its URL", may_be_meant=True)
