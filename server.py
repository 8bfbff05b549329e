"""Puts it together: `create_app(settings, domains)`, the ASGI application `app`, and `main()`."""

import asyncio
import gc
import importlib
import os
import secrets
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import uvicorn
from starlette.applications import Starlette

from auth import Auth, open_auth
from auth.clock import Clock
from auth.policy import HashingCost, Policy
from auth.scopes import Rights
from auth.secret import Secret
from schema import Domain, DomainRefused, build_schema
from settings import Settings, load_settings
from store import StoreUnavailable, migrate
from store.migrate import Namespace
from store.sqlite import SQLiteDatabase
from web.logs import configure_logs
from web.routes import build_app
from web.state import RUNTIME, Runtime


def create_app(
    settings: Settings | None = None, domains: Sequence[Domain[Any]] = (), *, clock: Clock | None = None
) -> Starlette:
    """Return the ASGI application, with these domains and those that `WATCHWORD_DOMAINS` names.

    Raises `WrongSettings`, `DomainRefused` or `UnguardedField` now; what needs the database is opened, migrated if need
    be, when the server starts.
    """
    settings = settings or load_settings()
    all_domains = [*domains, *load_domains(settings)]
    built = build_schema(all_domains)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[dict[str, Any]]:
        prepare_database(settings, all_domains)
        async with open_services(settings, built.rights, clock) as auth, AsyncExitStack() as stack:
            services = {
                domain.name: await stack.enter_async_context(domain.lifespan(auth))
                for domain in all_domains
                if domain.lifespan is not None
            }
            # What start-up made stays: without this each full collection looks through all of it again, for 25 ms.
            gc.collect()
            gc.freeze()
            yield {RUNTIME: Runtime(auth, MappingProxyType(services))}

    return build_app(built.schema, https=settings.is_production, lifespan=lifespan)


def prepare_database(settings: Settings, domains: Sequence[Domain[Any]] = ()) -> None:
    """Migrate the database, or, when that is left to the operator, raise `StoreUnavailable` if it is behind."""
    spaces = namespaces(domains)
    if settings.migrate_on_start:
        migrate.upgrade(settings.database_file, spaces)
    elif behind := migrate.pending(settings.database_file, spaces):
        raise StoreUnavailable(f"the database is behind in {behind[0].namespace!r}: run `watchword migrate`")


@asynccontextmanager
async def open_services(settings: Settings, rights: Rights, clock: Clock | None = None) -> AsyncIterator[Auth]:
    """Open the database and everything of `auth` over it, and close both."""
    policy = Policy(
        issuer=settings.public_url,
        access_token_lifetime=settings.access_token_lifetime,
        session_idle_timeout=settings.session_idle_timeout,
        session_lifetime=settings.session_lifetime,
        hashing=HashingCost(settings.password_memory_kib, settings.password_iterations, settings.password_threads),
    )
    database = SQLiteDatabase(settings.database_file, patience=settings.database_timeout)
    try:
        auth = await open_auth(database, policy, rights, secret_keys(settings), clock)
        try:
            yield auth
        finally:
            auth.close()
    finally:
        await database.close()


def load_domains(settings: Settings) -> list[Domain[Any]]:
    """Import the domains that the settings name. Raises `DomainRefused` for one that is not there."""
    return [_load_domain(name) for name in settings.domains]


def namespaces(domains: Sequence[Domain[Any]]) -> list[Namespace]:
    """Return the migrations that the domains bring."""
    return [Namespace(domain.name, domain.migrations) for domain in domains if domain.migrations is not None]


def secret_keys(settings: Settings) -> list[Secret]:
    """Return the secret keys; in development, where none is set, the one kept in the data folder, made if need be."""
    if settings.secret_key:
        return [Secret(key.get_secret_value()) for key in settings.secret_key]
    return [_kept_secret(settings.data_dir / "secret_key")]


def _kept_secret(path: Path) -> Secret:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, fresh = tempfile.mkstemp(dir=path.parent)  # made with mode 0600
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(48))
        # A link appears whole or not at all: of two processes that start together, one makes it and both read it.
        with suppress(FileExistsError):
            os.link(fresh, path)
        Path(fresh).unlink()
    return Secret(path.read_text().strip())


def _load_domain(name: str) -> Domain[Any]:
    module_name, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise DomainRefused(f"WATCHWORD_DOMAINS names {name!r}, which cannot be imported: {error}") from error
    if not isinstance(found, Domain):
        raise DomainRefused(f"WATCHWORD_DOMAINS names {name!r}, which is not a Domain")
    return found


def serve(settings: Settings) -> None:
    """Serve until told to stop; with no administrator yet, first print the token that makes one."""
    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())
    configure_logs(as_json=as_json, level=settings.log_level)
    app = create_app(settings)
    domains = load_domains(settings)
    prepare_database(settings, domains)
    token = asyncio.run(_issue_setup_token(settings, build_schema(domains).rights))
    if token is not None:
        print(_WELCOME.format(url=settings.public_url, token=token.reveal()), flush=True)  # noqa: T201
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=10,
    )


async def _issue_setup_token(settings: Settings, rights: Rights) -> Secret | None:
    async with open_services(settings, rights) as auth:
        return await auth.setup.issue()


_WELCOME = """
  Watchword has no administrator yet. Make the first one within an hour:

    1. open  {url}/graphql#setup
    2. paste this setup token, which works once:

       {token}
"""


def main() -> None:
    """Serve with the settings of the environment."""
    serve(load_settings())


def __getattr__(name: str) -> Any:
    """Make `app` when somebody asks for it (`uvicorn server:app`), so that importing this module reads no settings."""
    if name == "app":
        return create_app()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if __name__ == "__main__":
    main()
