"""The public URL, asked as a client asks it: what a proxy on the way lets through, and what it changes."""

import ssl
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httptools
import orjson

from auth.clock import Clock
from doctor.asking import Answer, ask
from doctor.findings import Finding
from settings import Settings

_MOST_SECONDS_APART = 30.0
_OK, _SWITCHING = 200, 101

_UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "d2F0Y2h3b3JkIGRvY3Rvcg==",
    "Sec-WebSocket-Protocol": "graphql-transport-ws",
}


async def answered(settings: Settings, clock: Clock) -> list[Finding]:
    """Ask the public URL, and look at what is answered. It takes some seconds at the most."""
    url = settings.public_url
    try:
        health = await ask(url, "/healthz")
        if _json(health) != {"status": "ok"}:
            state = f"{url}/healthz answers {health.status}, and not as this server does"
            return [Finding("public URL", state, f"pass all paths on to {settings.host}:{settings.port}")]
        metadata = await ask(url, "/.well-known/oauth-authorization-server")
        keys = await ask(url, "/.well-known/jwks.json")
        posted = await ask(
            url,
            "/graphql",
            method="POST",
            headers={"Content-Type": "application/json", "Origin": url},
            body=b'{"query":"{ __typename }"}',
        )
        socket = await ask(url, "/graphql", headers={**_UPGRADE, "Origin": url})
    except ssl.SSLCertVerificationError as error:
        remedy = f"serve a certificate for {urlsplit(url).hostname}, and after it those that vouch for it"
        return [Finding("public URL", f"its certificate is not believed here: {error.verify_message}", remedy)]
    except (OSError, httptools.HttpParserError) as error:
        remedy = "start the server and the proxy; look at DNS and firewalls. From this machine it may be out of reach"
        return [Finding("public URL", f"gives no answer: {_of(error)}", remedy)]
    return [
        Finding("public URL", "answers"),
        *_clock(health, clock),
        *_kept_on_https(settings, health),
        *_paths(url, metadata, keys),
        *_graphql(posted, socket),
    ]


def _clock(answer: Answer, clock: Clock) -> Iterator[Finding]:
    try:
        theirs = parsedate_to_datetime(answer.headers["date"][0])
        apart = abs((clock.now() - theirs).total_seconds())
    except (KeyError, ValueError, TypeError):
        return
    remedy = None if apart <= _MOST_SECONDS_APART else "keep both machines by NTP: tokens live for minutes"
    yield Finding("clock of the public URL", f"{apart:.0f} seconds from ours", remedy)


def _kept_on_https(settings: Settings, answer: Answer) -> Iterator[Finding]:
    if not settings.is_production:
        return
    found = answer.headers.get("strict-transport-security", [])
    if len(found) == 1:
        yield Finding("HSTS", found[0])
    else:
        state = "taken away on the way" if not found else "there more than once, and browsers read the first"
        yield Finding("HSTS", state, "let the proxy leave Strict-Transport-Security as the server sends it")


def _paths(url: str, metadata: Answer, keys: Answer) -> Iterator[Finding]:
    issuer = _json(metadata).get("issuer") if isinstance(_json(metadata), dict) else None
    if issuer != url or keys.status != _OK:
        state = f"/.well-known/ answers {metadata.status} and {keys.status}, with the issuer {issuer}"
        yield Finding("paths", state, "pass all paths on, without a prefix, to a server with this WATCHWORD_PUBLIC_URL")
    elif "age" in keys.headers:
        state = "the proxy keeps a copy of /.well-known/jwks.json: verifiers would believe it for twice as long"
        yield Finding("paths", state, "let the proxy keep no copies")
    else:
        yield Finding("paths", "passed on")


def _graphql(posted: Answer, socket: Answer) -> Iterator[Finding]:
    if posted.status != _OK:
        state = f"POST /graphql from a page of ours answers {posted.status}"
        remedy = "pass POST on with Origin and Content-Type as they are; the body may have 128 KiB"
        yield Finding("GraphQL", state, remedy)
    else:
        yield Finding("GraphQL", "answers")
    if socket.status != _SWITCHING:
        remedy = "pass Upgrade and Connection on, by HTTP/1.1: docs/deployment.md has it for nginx"
        yield Finding("WebSockets", f"do not get through: {socket.status}", remedy)
    else:
        yield Finding("WebSockets", "get through")


def _json(answer: Answer) -> Any:
    try:
        return orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return None


def _of(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
