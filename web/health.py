"""`/healthz`: the process is there. `/readyz`: it can serve, or which part of it cannot."""

from starlette.requests import Request
from starlette.responses import Response

from store import StoreUnavailable
from web.responses import json_response
from web.state import runtime_of


async def healthz(_request: Request) -> Response:
    """Say that the process answers; it asks nothing else, so that a slow database gets nobody restarted."""
    return json_response({"status": "ok"})


async def readyz(request: Request) -> Response:
    """Say whether requests can be served: the store answers and there is a key to sign with."""
    auth = runtime_of(request.scope).auth
    try:
        await auth.database.ping()
    except StoreUnavailable:
        return json_response({"status": "unavailable", "store": "unavailable", "keys": "unknown"}, 503)
    try:
        await auth.key_ring.signing_key(auth.database)
    except StoreUnavailable:
        return json_response({"status": "unavailable", "store": "ok", "keys": "unavailable"}, 503)
    return json_response({"status": "ok", "store": "ok", "keys": "ok"})
