"""What `watchword doctor` looks at: each finding says what is, and how to mend what is wrong."""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import packages_distributions

import store.signing_keys
from auth.key_ring import open_key
from auth.sealing import SealBroken, Sealer
from installation import Installation
from web.routes import STATIC

# The names that this application puts on Python's path. PyPI has packages that own some of them too, and pip
# overwrites silently.
OWN_MODULES = (
    "auth",
    "schema",
    "store",
    "web",
    "server",
    "cli",
    "doctor",
    "installation",
    "settings",
    "token_explained",
    "worker",
    "workers",
)


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


def examine(installation: Installation) -> list[Finding]:
    """Look at everything, changing nothing. Raises `StoreUnavailable`."""
    return [
        Finding("settings", f"read; people reach it at {installation.settings.public_url}"),
        *_proxies(installation),
        *_modes(installation),
        *_database(installation),
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


def _proxies(installation: Installation) -> Iterator[Finding]:
    trusted = installation.settings.trusted_proxies
    if trusted:
        yield Finding("trusted proxies", ", ".join(map(str, trusted)))
    elif installation.settings.is_behind_a_proxy:
        state = "none, so all who come by the proxy count as one address"
        remedy = "set WATCHWORD_TRUSTED_PROXIES to the proxy's address: 127.0.0.1, if it is on this machine"
        yield Finding("trusted proxies", state, remedy)


def _modes(installation: Installation) -> Iterator[Finding]:
    settings = installation.settings
    for path in (settings.data_dir / "secret_key", settings.database_file):
        if path is not None and path.exists():
            mode = path.stat().st_mode & 0o777
            remedy = f"chmod 600 {path}" if mode & 0o077 else None
            yield Finding(f"mode of {path}", f"{mode:04o}", remedy)


def _database(installation: Installation) -> Iterator[Finding]:
    file = installation.settings.database_file
    if file is not None and not file.exists():
        yield Finding("database", "not made yet; the first start makes it")
        return
    behind = installation.pending_migrations()
    for pending in behind:
        remedy = "watchword migrate"
        yield Finding("migrations", f"{pending.namespace} is at {pending.at or 'nothing'}, not {pending.head}", remedy)
    if not behind:
        yield Finding("migrations", "up to date")
        yield asyncio.run(_keys(installation))


async def _keys(installation: Installation) -> Finding:
    settings = installation.settings
    database = await installation.open_database()
    try:
        rows = await store.signing_keys.load_all(database)
    finally:
        await database.close()
    if not rows:
        return Finding("signing keys", "none yet; the first start makes one")
    if not settings.secret_key and not (settings.data_dir / "secret_key").exists():
        return Finding("secret key", "gone from the data folder", "put it back: the signing keys are sealed under it")
    sealer = Sealer(installation.secret_keys())
    try:
        for row in rows:
            open_key(row, sealer)
    except SealBroken as broken:
        return Finding("signing keys", str(broken), "set the WATCHWORD_SECRET_KEY that this database was made with")
    return Finding("signing keys", f"{len(rows)}, all of them open")


def _front_end() -> Iterator[Finding]:
    built = (STATIC / "graphiql.html").is_file()
    yield Finding("front end", "built" if built else "not built", None if built else "make front-end")
