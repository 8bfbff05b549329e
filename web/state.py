"""What a request finds in its ASGI scope: the running services, and its own id."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from starlette.types import Scope

from auth import Auth
from schema.context import Context
from store.revisions import Revisions

_REQUEST_ID = "watchword.request_id"
_ADDRESS = "watchword.address"
_OPERATIONS = "watchword.operations"
_CONTEXT = "watchword.context"
_REFUSED = "watchword.refused"
_NOTHING: Mapping[str, str] = {}
RUNTIME = "watchword.runtime"


@dataclass(frozen=True, slots=True)
class Runtime:
    """What the lifespan opened: `auth`, and each domain's service by the domain's name.

    `revisions` is what this program knows of the database's migrations, and `patience` how long a database that does
    not answer is waited for. `ending` is set when the server has been told to stop, though it may still be serving; and
    `draining` when it takes nothing new any more, and waits for what it has not answered yet.
    """

    auth: Auth
    services: Mapping[str, Any]
    revisions: Sequence[Revisions] = ()
    patience: timedelta = timedelta(seconds=2)
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    draining: asyncio.Event = field(default_factory=asyncio.Event)


def runtime_of(scope: Scope) -> Runtime:
    """Return what the lifespan opened."""
    runtime: Runtime = scope["state"][RUNTIME]
    return runtime


def request_id_of(scope: Scope) -> str:
    """Return the id under which the log knows this request."""
    return str(scope.get(_REQUEST_ID, ""))


def address_of(scope: Scope) -> str | None:
    """Return the address that the request comes from, proxies looked through."""
    address: str | None = scope.get(_ADDRESS)
    return address


def name_request(scope: Scope, request_id: str, address: str | None) -> None:
    """Give a request its id, and say where it comes from."""
    scope[_REQUEST_ID] = request_id
    scope[_ADDRESS] = address


def note_operations(scope: Scope, how_many: int) -> None:
    """Say how many operations a socket has carried."""
    scope[_OPERATIONS] = how_many


def operations_of(scope: Scope) -> int:
    """Return how many operations a socket has carried."""
    return int(scope.get(_OPERATIONS, 0))


def note_operation(scope: Scope, context: Context) -> None:
    """Say in which context a request has something run; the operation is there if its document is valid."""
    scope[_CONTEXT] = context


def context_of(scope: Scope) -> Context | None:
    """Return the context of what a request has run, None for one that came to nothing of the kind."""
    context: Context | None = scope.get(_CONTEXT)
    return context


def note_refusal(scope: Scope, code: str, sentence: str | None = None, **more: str) -> None:
    """Say for the log what was refused: by its code and, where it is a sentence of ours alone, in words."""
    scope[_REFUSED] = {"code": code} if sentence is None else {"code": code, "refused": sentence, **more}


def refusal_of(scope: Scope) -> Mapping[str, str]:
    """Return what was noted of a refusal, empty if nothing was refused."""
    noted: Mapping[str, str] = scope.get(_REFUSED, _NOTHING)
    return noted
