"""`/healthz`: the process is there. `/readyz`: it can serve, or which part of it cannot."""

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from store import StoreUnavailable
from store.revisions import namespaces_behind
from web.responses import json_response
from web.state import Runtime, runtime_of

_PARTS = ("store", "migrations", "keys")


async def healthz(_request: Request) -> Response:
    """Say that the process answers; it asks nothing else, so that a slow database gets nobody restarted."""
    return json_response({"status": "ok"})


async def readyz(request: Request) -> Response:
    """Say whether requests can be served: the store answers, is migrated, and there is a key to sign with.

    What comes after the part that is not as it should be was not looked at, and is `unknown`. While the server ends it
    is not ready, whatever its parts are: a balancer then sends it nothing more.
    """
    runtime = runtime_of(request.scope)
    found = dict.fromkeys(_PARTS, "unknown")
    try:
        async with asyncio.timeout(runtime.patience.total_seconds()):
            await _look(runtime, found)
    except TimeoutError:
        found[next(part for part in _PARTS if found[part] == "unknown")] = "unavailable"
    is_good = all(state == "ok" for state in found.values())
    status = "ending" if runtime.ending.is_set() else "ok" if is_good else "unavailable"
    return json_response({"status": status, **found}, 200 if status == "ok" else 503)


async def _look(runtime: Runtime, found: dict[str, str]) -> None:
    """Look at each part in turn, up to the first that is not as it should be."""
    auth = runtime.auth
    try:
        await auth.database.ping()
        found["store"] = "ok"
        if await namespaces_behind(auth.database, runtime.revisions):
            found["migrations"] = "behind"
            return
        found["migrations"] = "ok"
        await auth.key_ring.signing_key(auth.database)
        found["keys"] = "ok"
    except StoreUnavailable:
        found[next(part for part in _PARTS if found[part] == "unknown")] = "unavailable"
