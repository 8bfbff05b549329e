"""An installation: its settings, the domains they name, and the schema they amount to, with nothing opened yet."""

import asyncio
import importlib
import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from pydantic import SecretStr

import store.signing_keys
from auth import Auth, open_auth
from auth.audit import Act
from auth.clock import Clock, SystemClock
from auth.origin import NOWHERE
from auth.policy import HashingCost, Policy
from auth.secret import Secret
from schema import Built, Domain, DomainRefused, build_schema
from schema.introspection import Introspection
from schema.limits import Limits
from schema.trusted_documents import TrustedDocumentsRefused, read_trusted_documents
from settings import SHORTEST_SECRET_KEY, Settings, WrongSettings, load_settings
from store import Database, StoreUnavailable, migrate
from store.backups import BackupRefused, back_up
from store.engines import open_database
from store.locations import Location
from store.migrate import Pending
from store.moving import Moved, move
from store.namespaces import Namespace
from store.restoring import Restored, Revoked, restore
from store.revisions import Revisions


@dataclass(frozen=True, slots=True)
class Installation:
    """What is the same for the server and for every command of the operator's."""

    settings: Settings
    domains: tuple[Domain[Any], ...]
    built: Built

    def migrate(self) -> list[Pending]:
        """Bring the database up to date; return what was behind. Raises `MigrationRefused`, `StoreUnavailable`."""
        return migrate.upgrade(self.settings.database, self._namespaces())

    def move(self, source: Location, target: Location | None = None) -> list[Moved]:
        """Move everything from a database to another, by default to that of the settings. Raises `MoveRefused`."""
        return move(source, target or self.settings.database, self._namespaces())

    def pending_migrations(self) -> list[Pending]:
        """Return what of the database is behind, touching nothing. Raises `StoreUnavailable`."""
        return migrate.pending(self.settings.database, self._namespaces())

    def prepare_database(self) -> None:
        """Migrate or, where that is left to the operator, raise `StoreUnavailable` if the database is behind."""
        if self.settings.migrate_on_start:
            self.migrate()
        elif behind := self.pending_migrations():
            raise StoreUnavailable(f"the database is behind in {behind[0].namespace!r}: run `watchword migrate`")

    def require_database(self) -> None:
        """Raise `StoreUnavailable` unless there is a database that is up to date.

        A command that looks after what is there must not make another installation beside it, because it was run in
        another folder or without the server's settings, and must not migrate under a server that is older.
        """
        file = self.settings.database_file
        if file is not None and not file.exists():
            raise StoreUnavailable(
                f"there is no database file {file}: run this with the settings of the server, in its folder"
            )
        if behind := self.pending_migrations():
            raise StoreUnavailable(f"the database is behind in {behind[0].namespace!r}: run `watchword migrate`")

    def known_revisions(self) -> list[Revisions]:
        """Return the revisions of the database that this program knows, for each line of migrations."""
        return migrate.known_revisions(self._namespaces())

    @asynccontextmanager
    async def open_auth(self, clock: Clock | None = None, *, to_look: bool = False) -> AsyncIterator[Auth]:
        """Open the database and everything of `auth` over it, and close both; `to_look` changes no key.

        Raises `StoreUnavailable`, and `SealBroken` when the secret key is not the one the database was made with.
        """
        settings = self.settings
        policy = Policy(
            issuer=settings.public_url,
            signing_algorithm=settings.signing_algorithm,
            signing_key_lifetime=settings.signing_key_lifetime,
            publication_time=settings.jwks_max_age,
            access_token_lifetime=settings.access_token_lifetime,
            session_idle_timeout=settings.session_idle_timeout,
            session_lifetime=settings.session_lifetime,
            session_retention=settings.session_retention,
            audit_retention=settings.audit_retention,
            hashing=HashingCost(settings.password_memory_kib, settings.password_iterations, settings.password_threads),
            guesses_per_address=settings.guesses_per_address,
            budget=settings.budget,
            anonymous_budget=settings.anonymous_budget,
        )
        database = await self.open_database()
        try:
            auth = await open_auth(database, policy, self.built.rights, self.secret_keys(), clock, to_look=to_look)
            try:
                yield auth
            finally:
                await auth.close()
        finally:
            await database.close()

    async def open_database(self) -> Database:
        """Open the database alone. Raises `StoreUnavailable`."""
        settings = self.settings
        return await open_database(
            settings.database, patience=settings.database_timeout, connections=settings.database_connections
        )

    def secret_keys(self) -> list[Secret]:
        """Return the secret keys; in development, where none is set, the one kept in the data folder."""
        if self.settings.secret_key:
            return [Secret(key.get_secret_value()) for key in self.settings.secret_key]
        return [_kept_secret(self.settings.data_dir / "secret_key")]

    def back_up(self, file: Path, *, replace: bool) -> int:
        """Back the database up; return the size in bytes. Raises `BackupRefused` and `StoreUnavailable`."""
        return back_up(self._database_file(), file, replace=replace)

    def restore(self, backup: Path, *, end_sessions: bool, revoke_tokens: bool) -> Restored:
        """Put a backup in the database's place.

        Raises `BackupRefused`, `StoreUnavailable`, what `migrate` does, and `SealBroken` for a backup that was made
        under another secret key.
        """
        revoked = Revoked(SystemClock().now(), sessions=end_sessions, api_tokens=revoke_tokens)
        file, patience = self._database_file(), self.settings.database_timeout
        return restore(backup, file, self._namespaces(), revoked, self._settle, patience=patience)

    def _settle(self, restored: Path) -> None:
        """Record in a backup that it is put back, having opened its signing keys.

        Raises `BackupRefused` when there is no secret key to open them, and `SealBroken` when it is another one.
        """
        where = SecretStr(f"sqlite:///{restored.absolute()}")
        there = replace(self, settings=self.settings.model_copy(update={"database_url": where}))

        async def record() -> None:
            await there.require_secret_key()
            async with there.open_auth(to_look=True) as auth:
                await auth.audit.record_alone(Act.DATABASE_RESTORE, NOWHERE)

        asyncio.run(record())

    async def require_secret_key(self) -> None:
        """Raise `BackupRefused` if there are signing keys and no secret key: a new one would be made, and open none."""
        kept = self.settings.data_dir / "secret_key"
        database = await self.open_database()
        try:
            rows = await store.signing_keys.load_all(database)
        finally:
            await database.close()
        if rows and not self.settings.secret_key and not kept.exists():
            raise BackupRefused(
                f"there is no secret key: put the one back that the backup was made under, as {kept} or in "
                "WATCHWORD_SECRET_KEY"
            )

    def where_the_secret_key_is(self) -> str:
        """Return where it is to be found, and nothing of it."""
        return "in WATCHWORD_SECRET_KEY" if self.settings.secret_key else f"in {self.settings.data_dir / 'secret_key'}"

    def _database_file(self) -> Path:
        file = self.settings.database_file
        if file is None:
            raise BackupRefused(
                "the database is PostgreSQL, which has tools of its own: pg_dump and pg_restore, and for every moment "
                "continuous archiving with point-in-time recovery (docs/backup.md)"
            )
        return file

    def _namespaces(self) -> list[Namespace]:
        return [Namespace(domain.name, domain.migrations) for domain in self.domains if domain.migrations is not None]


def assemble(settings: Settings | None = None, domains: Sequence[Domain[Any]] = ()) -> Installation:
    """Put the settings, these domains and those that `WATCHWORD_DOMAINS` names together.

    Raises `WrongSettings`, `DomainRefused` and `UnguardedField`; the database is not touched.
    """
    settings = settings or load_settings()
    all_domains = (*domains, *(_load_domain(name) for name in settings.domains))
    path = settings.trusted_documents
    try:
        built = build_schema(
            all_domains,
            limits=_limits(settings),
            introspection=_introspection(settings),
            trusted=None if path is None else read_trusted_documents(path),
        )
    except TrustedDocumentsRefused as refused:
        raise WrongSettings([f"WATCHWORD_TRUSTED_DOCUMENTS: {fault}" for fault in refused.faults]) from refused
    return Installation(settings, all_domains, built)


def _limits(settings: Settings) -> Limits:
    return Limits(**{limit.name: getattr(settings, f"limit_{limit.name}") for limit in fields(Limits)})


def _introspection(settings: Settings) -> Introspection:
    if settings.introspection != "auto":
        return Introspection(settings.introspection)
    return Introspection.AUTHENTICATED if settings.is_production else Introspection.EVERYBODY


def _kept_secret(path: Path) -> Secret:
    try:
        if not path.exists():
            _make_secret(path)
        secret = Secret(path.read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError) as error:
        raise WrongSettings([f"{path}: cannot be read or made: {error}"]) from error
    if len(secret.reveal()) < SHORTEST_SECRET_KEY:
        raise WrongSettings([f"{path}: holds no secret key; put back the one that the database was made with"])
    return secret


def _make_secret(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, fresh = tempfile.mkstemp(dir=path.parent)  # made with mode 0600
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(48))
        file.flush()
        os.fsync(file.fileno())
    # A link appears whole or not at all: of two processes that start together, one makes it and both read it.
    with suppress(FileExistsError):
        os.link(fresh, path)
    Path(fresh).unlink()
    # The database that is sealed under it is synced to the disk; after a power cut it must not be there alone.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _load_domain(name: str) -> Domain[Any]:
    module_name, _, attribute = name.partition(":")
    if module_name.startswith("."):
        raise DomainRefused(f"WATCHWORD_DOMAINS names {name!r}: a module's whole name is wanted, not a relative one")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # A module that is there and fails on the way shows its own traceback: that is its author's to read.
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise DomainRefused(f"WATCHWORD_DOMAINS names {name!r}, which cannot be imported: {error}") from error
    found = getattr(module, attribute, None)
    if found is None:
        raise DomainRefused(f"WATCHWORD_DOMAINS names {name!r}, but {module.__file__} has no {attribute!r}")
    if not isinstance(found, Domain):
        raise DomainRefused(f"WATCHWORD_DOMAINS names {name!r}, which is not a Domain")
    return found
