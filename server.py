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
from web.certificates import CertificateFiles
from web.connections import ConnectionLimits, GuardedConfig
from web.graceful import Grace, GracefulServer
from web.listening import listening
from web.logs import configure_logs
from web.metrics import Metrics
from web.metrics_page import metrics_at
from web.metrics_siblings import Siblings
from web.routes import Edge, build_app
from web.state import RUNTIME, Runtime
from web.tracing import Tracing
from worker import Handle, Worker, WorkerServer
from workers import serve_with_workers

_WELCOME = """
  Watchword has no administrator yet. Make the first one within an hour:

    1. open  {url}/graphql#setup
    2. paste this setup token, which works once:

       {token}
"""


def create_app(
    settings: Settings | None = None,
    domains: Sequence[Domain[Any]] = (),
    *,
    clock: Clock | None = None,
    tracing: Tracing | None = None,
) -> Starlette:
    """Return the ASGI application, with these domains and those that `WATCHWORD_DOMAINS` names.

    It is traced as `WATCHWORD_TRACES` says, unless it is given something to be traced with.

    Raises `WrongSettings`, `DomainRefused` or `UnguardedField` now; the database is opened, and migrated if need be,
    when the server starts.
    """
    return _application(assemble(settings, domains), clock, tracing=tracing)


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
    # What is wrong with a certificate is found before a token is made.
    metrics_listener = bound_for_metrics(settings)
    config = _config(installation, metrics_listener=metrics_listener)
    # The port is taken first: a second server that finds it taken must not replace the first one's setup token.
    listener = _bound(settings.host, settings.port, "WATCHWORD_PORT")
    if (token := asyncio.run(_issue_setup_token(installation))) is not None:
        # To the terminal, and not into the log.
        print(_WELCOME.format(url=settings.public_url, token=token.reveal()), flush=True)  # noqa: T201
    if settings.workers > 1:
        sys.exit(serve_with_workers(listener, metrics_listener, settings.workers, _grace(settings)))
    _run(GracefulServer(config, _grace(settings)), listener)


def _serve_as_worker(installation: Installation, handle: Handle) -> None:
    _configure_logs(installation.settings, handle.worker)
    sockets = handle.open()
    siblings = Siblings(handle.worker.folder, handle.worker.slot)
    config = _config(installation, siblings=siblings, metrics_listener=sockets.metrics)
    server = WorkerServer(config, _grace(installation.settings), handle.worker, sockets.channel)
    _run(server, sockets.listener)


def _run(server: GracefulServer, listener: socket.socket) -> None:
    with suppress(KeyboardInterrupt):
        server.run([listener])
    if not server.started:
        sys.exit(1)


def _grace(settings: Settings) -> Grace:
    return Grace(settings.shutdown_timeout, settings.shutdown_delay)


def _configure_logs(settings: Settings, worker: Worker | None = None) -> None:
    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())
    configure_logs(as_json=as_json, level=settings.log_level, worker=worker.slot if worker else None)


def _config(
    installation: Installation, *, siblings: Siblings | None = None, metrics_listener: socket.socket | None = None
) -> GuardedConfig:
    """Return how one process serves.

    Of several processes of one server each has its `siblings`, so that whichever shows the metrics shows those of all.
    Where they are shown at an address of its own, one of them, or each, is given the same `metrics_listener`.
    """
    settings = installation.settings
    metrics = Metrics(installation.built.schema, siblings)
    config = listening(
        _application(installation, metrics=metrics, metrics_listener=metrics_listener),
        ConnectionLimits(
            settings.request_timeout,
            settings.connections,
            settings.connections_per_address,
            tuple(settings.trusted_proxies),
        ),
        certificate=_certificate(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
    )
    metrics.connections = config.connections
    return config


def main() -> None:
    """Serve with the settings of the environment."""
    serve(assemble())


def bound_for_metrics(settings: Settings) -> socket.socket | None:
    """Return a socket at the address of the metrics, None if they have none. Raises `WrongSettings`."""
    if settings.metrics_port is None:
        return None
    return _bound(settings.metrics_host, settings.metrics_port, "WATCHWORD_METRICS_PORT")


def _application(
    installation: Installation,
    clock: Clock | None = None,
    *,
    metrics: Metrics | None = None,
    metrics_listener: socket.socket | None = None,
    tracing: Tracing | None = None,
) -> Starlette:
    settings = installation.settings
    counted = metrics or Metrics(installation.built.schema)
    traced = tracing or _tracing(settings)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[dict[str, Any]]:
        installation.prepare_database()
        async with installation.open_auth(clock) as auth, AsyncExitStack() as stack:
            auth.housekeeping.begin()
            services = {
                domain.name: await stack.enter_async_context(domain.lifespan(auth))
                for domain in installation.domains
                if domain.lifespan is not None
            }
            for domain in installation.domains:
                for claim, source in domain.claims.items():
                    auth.extra_claims.add(claim, partial(source, services.get(domain.name)))
            auth.audit.is_logged = settings.log_audit
            patience = settings.database_timeout
            await stack.enter_async_context(counted.running(auth, patience=patience))
            await stack.enter_async_context(metrics_at(metrics_listener, counted))
            if traced is not None:
                await stack.enter_async_context(traced.running(auth))
            # What start-up made stays: without this each full collection looks through all of it again, for 25 ms.
            gc.collect()
            gc.freeze()
            revisions = installation.known_revisions()
            yield {RUNTIME: Runtime(auth, MappingProxyType(services), revisions, patience)}

    edge = Edge(
        public_url=settings.public_url,
        allowed_origins=tuple(settings.allowed_origins),
        trusted_proxies=tuple(settings.trusted_proxies),
        get_queries=settings.get_queries,
        body_timeout=settings.request_timeout,
        metrics_token=Secret(settings.metrics_token.get_secret_value()) if settings.metrics_token else None,
    )
    return build_app(installation.built.schema, edge, lifespan=lifespan, metrics=counted, tracing=traced)


def _certificate(settings: Settings) -> CertificateFiles | None:
    certificate, key = settings.tls_certificate, settings.tls_key
    return None if certificate is None or key is None else CertificateFiles(certificate, key)


def _tracing(settings: Settings) -> Tracing | None:
    if settings.traces == "off":
        return None
    from web.traces import Traces  # noqa: PLC0415 - its packages are there only where this is wanted

    return Traces(settings.trusted_proxies)


def _bound(host: str, port: int, setting: str) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(address)
        except OSError:
            listening.close()
            raise
    except OSError as error:
        where = f"{host}:{port}"
        raise WrongSettings([f"{setting}: {where} cannot be listened on: {error.strerror or error}"]) from error
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
