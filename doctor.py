"""What `watchword doctor` looks at: each finding says what is, and how to mend what is wrong."""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import packages_distributions

import store.signing_keys
from auth.sealing import SealBroken, Sealer
from server import load_domains, namespaces, secret_keys
from settings import Settings
from store import migrate
from store.sqlite import SQLiteDatabase
from web.routes import STATIC

# The names that this application puts on Python's path. PyPI has packages that own some of them too, and pip
# overwrites silently.
OWN_MODULES = ("auth", "schema", "store", "web", "server", "cli", "doctor", "settings")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at; a remedy is there when it is not as it should be."""

    subject: str
    state: str
    remedy: str | None = None

    @property
    def is_good(self) -> bool:
        """Whether there is nothing to mend."""
        return self.remedy is None

    def __str__(self) -> str:
        mark = "ok  " if self.is_good else "WRONG"
        line = f"{mark:<5} {self.subject}: {self.state}"
        return line if self.remedy is None else f"{line}\n      -> {self.remedy}"


def examine(settings: Settings) -> list[Finding]:
    """Look at everything, changing nothing. Raises `DomainRefused` and `StoreUnavailable`."""
    return [
        Finding("settings", f"read; people reach it at {settings.public_url}"),
        *_modes(settings),
        *_database(settings),
        *_front_end(),
        *module_owners(packages_distributions()),
    ]


def module_owners(distributions: Mapping[str, list[str]]) -> Iterator[Finding]:
    """Look at whether each of our module names has one owner among the installed packages."""
    shared = {module: sorted(set(distributions.get(module, [])) - {"watchword"}) for module in OWN_MODULES}
    for module, others in shared.items():
        if others:
            remedy = "install Watchword in an environment of its own"
            yield Finding(f"module {module}", f"{', '.join(others)} owns this name too", remedy)
    if not any(shared.values()):
        yield Finding("modules", "each name has one owner")


def _modes(settings: Settings) -> Iterator[Finding]:
    for path in (settings.data_dir / "secret_key", settings.database_file):
        if path.exists():
            mode = path.stat().st_mode & 0o777
            remedy = f"chmod 600 {path}" if mode & 0o077 else None
            yield Finding(f"mode of {path}", f"{mode:04o}", remedy)


def _database(settings: Settings) -> Iterator[Finding]:
    if not settings.database_file.exists():
        yield Finding("database", "not made yet; the first start makes it")
        return
    behind = migrate.pending(settings.database_file, namespaces(load_domains(settings)))
    for pending in behind:
        remedy = "watchword migrate"
        yield Finding("migrations", f"{pending.namespace} is at {pending.at or 'nothing'}, not {pending.head}", remedy)
    if not behind:
        yield Finding("migrations", "up to date")
        yield asyncio.run(_keys(settings))


async def _keys(settings: Settings) -> Finding:
    database = SQLiteDatabase(settings.database_file, patience=settings.database_timeout)
    try:
        rows = await store.signing_keys.load_all(database)
    finally:
        await database.close()
    sealer = Sealer(secret_keys(settings))
    try:
        for row in rows:
            sealer.open(row.sealed_private_jwk)
    except SealBroken as broken:
        return Finding("signing keys", str(broken), "set the WATCHWORD_SECRET_KEY that this database was made with")
    return Finding("signing keys", f"{len(rows)}, all of them open")


def _front_end() -> Iterator[Finding]:
    built = (STATIC / "graphiql.html").is_file()
    yield Finding("front end", "built" if built else "not built", None if built else "make front-end")
