"""Puts it together: `create_app(settings, domains)`, the ASGI application `app`, and `main()`."""

import asyncio
import gc
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from types import MappingProxyType
from typing import Any

from starlette.applications import Starlette

from auth.clock import Clock
from auth.secret import Secret
from installation import Installation, assemble
from schema import Domain
from settings import Settings, WrongSettings, take_worker_handle
from web.connections import ConnectionLimits, GuardedConfig
from web.graceful import Grace, GracefulServer
from web.listening import listening
from web.logs import configure_logs
from web.routes import Edge, build_app
from web.state import RUNTIME, Runtime
from worker import Handle, Worker, WorkerServer
from workers import serve_with_workers

_WELCOME = """
  Watchword has no administrator yet. Make the first one within an hour:

    1. open  {url}/graphql#setup
    2. paste this setup token, which works once:

       {token}
"""


def create_app(
    settings: Settings | None = None, domains: Sequence[Domain[Any]] = (), *, clock: Clock | None = None
) -> Starlette:
    """Return the ASGI application, with these domains and those that `WATCHWORD_DOMAINS` names.

    Raises `WrongSettings`, `DomainRefused` or `UnguardedField` now; the database is opened, and migrated if need be,
    when the server starts.
    """
    return _application(assemble(settings, domains), clock)


def serve(installation: Installation) -> None:
    """Serve until told to stop; while there is no administrator, first print the token that makes one.

    Raises `WrongSettings` for an address that cannot be listened on, and whatever preparing the database raises.
    """
    settings = installation.settings
    if (told := take_worker_handle()) is not None:
        _serve_as_worker(installation, Handle.read(told))
        return
    _configure_logs(settings)
    installation.prepare_database()
    # The port is taken first: a second server that finds it taken must not replace the first one's setup token.
    listener = _bound(settings)
    if (token := asyncio.run(_issue_setup_token(installation))) is not None:
        # To the terminal, and not into the log.
        print(_WELCOME.format(url=settings.public_url, token=token.reveal()), flush=True)  # noqa: T201
    if settings.workers > 1:
        sys.exit(serve_with_workers(listener, settings.workers, _grace(settings)))
    _run(GracefulServer(_config(installation), _grace(settings)), listener)


def _serve_as_worker(installation: Installation, handle: Handle) -> None:
    _configure_logs(installation.settings, handle.worker)
    listener, channel = handle.open()
    _run(WorkerServer(_config(installation), _grace(installation.settings), handle.worker, channel), listener)


def _run(server: GracefulServer, listener: socket.socket) -> None:
    with suppress(KeyboardInterrupt):
        server.run([listener])
    if not server.started:
        sys.exit(1)


def _config(installation: Installation) -> GuardedConfig:
    settings = installation.settings
    return listening(
        _application(installation),
        ConnectionLimits(
            settings.request_timeout,
            settings.connections,
            settings.connections_per_address,
            tuple(settings.trusted_proxies),
        ),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
    )


def _grace(settings: Settings) -> Grace:
    return Grace(settings.shutdown_timeout, settings.shutdown_delay)


def _configure_logs(settings: Settings, worker: Worker | None = None) -> None:
    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())
    configure_logs(as_json=as_json, level=settings.log_level, worker=worker.slot if worker else None)


def main() -> None:
    """Serve with the settings of the environment."""
    serve(assemble())


def _application(installation: Installation, clock: Clock | None = None) -> Starlette:
    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[dict[str, Any]]:
        installation.prepare_database()
        async with installation.open_auth(clock) as auth, AsyncExitStack() as stack:
            services = {
                domain.name: await stack.enter_async_context(domain.lifespan(auth))
                for domain in installation.domains
                if domain.lifespan is not None
            }
            for domain in installation.domains:
                for claim, source in domain.claims.items():
                    auth.extra_claims.add(claim, partial(source, services.get(domain.name)))
            # What start-up made stays: without this each full collection looks through all of it again, for 25 ms.
            gc.collect()
            gc.freeze()
            yield {RUNTIME: Runtime(auth, MappingProxyType(services))}

    settings = installation.settings
    edge = Edge(
        public_url=settings.public_url,
        allowed_origins=tuple(settings.allowed_origins),
        trusted_proxies=tuple(settings.trusted_proxies),
        get_queries=settings.get_queries,
        body_timeout=settings.request_timeout,
    )
    return build_app(installation.built.schema, edge, lifespan=lifespan)


def _bound(settings: Settings) -> socket.socket:
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        raise WrongSettings([f"WATCHWORD_PORT: {where} cannot be listened on: {error.strerror or error}"]) from error
    return listening


async def _issue_setup_token(installation: Installation) -> Secret | None:
    async with installation.open_auth() as auth:
        return await auth.setup.issue()


def __getattr__(name: str) -> Any:
    """Make `app` when somebody asks for it (`uvicorn server:app`), so that importing this module reads no settings."""
    if name == "app":
        return create_app()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if __name__ == "__main__":
    main()
