"""The stack to compare with, put together as the pages of Strawberry's documentation show it.

`login` sets a cookie on the response of the context (integrations/asgi); a permission class reads the token from the
request (guides/permissions); the context has the caller (guides/authentication). The token is PyJWT's, uvicorn serves
`as_documented`, or `with_caches`: the same with the two extensions that Strawberry offers for speed.
"""

from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import jwt
import strawberry
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.extensions import ParserCache, ValidationCache
from strawberry.permission import BasePermission

from bench.accounts import EMAILS, ITERATIONS, MEMORY_KIB, PASSWORD
from bench.items import Item, Person, all_items, person

SECRET = "a secret of at least 32 bytes, as HS256 wants it"  # noqa: S105 - of a server that lives as long as a measure
COOKIE = "token"
LIFETIME = timedelta(hours=1)

hasher = PasswordHasher(time_cost=ITERATIONS, memory_cost=MEMORY_KIB, parallelism=1)
hashes = dict.fromkeys(EMAILS, hasher.hash(PASSWORD))


class Context:
    """The context of a request; the token is verified once for each, when somebody asks who calls."""

    def __init__(self, request: Request | WebSocket, response: Any) -> None:
        self.request = request
        self.response = response

    @cached_property
    def user_id(self) -> str | None:
        """The id of whoever calls; None without a good token."""
        try:
            claims = jwt.decode(self.request.cookies.get(COOKIE, ""), SECRET, algorithms=["HS256"])
        except jwt.InvalidTokenError:
            return None
        return str(claims["sub"])


Info = strawberry.Info[Context, None]


class IsAuthenticated(BasePermission):
    """Whoever has a good token may."""

    message = "User is not authenticated"

    def has_permission(self, source: Any, info: Any, **kwargs: Any) -> bool:
        """Say whether there is a caller."""
        del source, kwargs
        return info.context.user_id is not None


@strawberry.type
class Query:
    """The two guarded fields."""

    @strawberry.field(permission_classes=[IsAuthenticated])
    def me(self, info: Info) -> Person | None:
        """Return the caller."""
        return person(str(info.context.user_id))

    @strawberry.field(permission_classes=[IsAuthenticated])
    def items(self) -> list[Item] | None:
        """Return all items."""
        return all_items()


@strawberry.type
class LoginSuccess:
    """Somebody is logged in."""

    user: Person


@strawberry.type
class LoginError:
    """Nobody is."""

    message: str


@strawberry.type
class Mutation:
    """Logging in."""

    @strawberry.mutation
    def login(self, info: Info, email: str, password: str) -> LoginSuccess | LoginError:
        """Give a token in a cookie for a password."""
        try:
            hasher.verify(hashes.get(email, ""), password)
        except (VerifyMismatchError, InvalidHashError):
            return LoginError(message="Something went wrong")
        token = jwt.encode({"sub": email, "exp": datetime.now(UTC) + LIFETIME}, SECRET, algorithm="HS256")
        info.context.response.set_cookie(COOKIE, token, httponly=True)
        return LoginSuccess(user=person(email))


class View(GraphQL[Context, None]):
    """Strawberry's view with a context of our own."""

    async def get_context(self, request: Request | WebSocket, response: Response | WebSocket) -> Context:
        """Make the context of a request."""
        return Context(request, response)


as_documented = View(strawberry.Schema(Query, Mutation))
with_caches = View(strawberry.Schema(Query, Mutation, extensions=[ParserCache, ValidationCache]))
