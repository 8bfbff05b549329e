"""How the server listens: uvicorn with connections that are guarded, and with as many of them as the machine allows."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import structlog

from web.certificates import CertificateFiles
from web.connections import ConnectionLimits, Connections, GuardedConfig
from web.http_connection import HttpConnection
from web.request_body import LARGEST_BODY
from web.tls import Tls
from web.tls_entrance import TlsEntrance
from web.websocket_connection import WebSocketConnection

try:
    import resource
except ImportError:  # where there are no such limits
    resource = None  # type: ignore[assignment]

_log = structlog.get_logger("watchword.connections")

# For the database, the listening socket, the log, and what is accepted only to be refused.
_OTHER_DESCRIPTORS = 128
_PING_SECONDS = 20.0


def listening(
    app: Callable[..., Any], limits: ConnectionLimits, *, certificate: CertificateFiles | None = None, **options: Any
) -> GuardedConfig:
    """Return uvicorn's configuration for this application within these limits; `options` are uvicorn's other ones.

    With a certificate it speaks TLS, and nothing else; raises `CertificateRefused`.

    If the process may not have as many files open, there are fewer connections: with none left to open, the database
    could not be opened either.
    """
    possible = min(limits.connections, _descriptors(limits.connections + _OTHER_DESCRIPTORS) - _OTHER_DESCRIPTORS)
    if possible < limits.connections:
        _log.warning("fewer_connections", wanted=limits.connections, possible=max(possible, 1))
    config = GuardedConfig(
        app,
        http=HttpConnection if certificate is None else TlsEntrance,
        ws=WebSocketConnection,
        ws_max_size=LARGEST_BODY,
        ws_ping_interval=_PING_SECONDS,
        ws_ping_timeout=_PING_SECONDS,
        ws_per_message_deflate=False,  # a stranger's bytes must not become a thousand times as many here
        **options,
    )
    config.connections = Connections(replace(limits, connections=max(possible, 1)))
    if certificate is not None:
        config.tls = Tls(certificate)
    return config


def possible_connections(wanted: int) -> int:
    """Return how many of the wanted connections a process of this machine's may have, asking for nothing."""
    hard = wanted if resource is None else resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if resource is None or hard == resource.RLIM_INFINITY:
        return wanted
    return min(wanted, max(hard - _OTHER_DESCRIPTORS, 1))


def _descriptors(wanted: int) -> int:
    """Return how many files this process may have open, having asked for as many as are wanted."""
    if resource is None:
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else soft
