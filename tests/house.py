"""A Watchword of one's own, in this process: real store, real schema, real ASGI, and a clock that tests move."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2
from starlette.types import Receive, Scope, Send

from auth import Auth
from schema import Domain
from server import create_app
from settings import Settings, load_settings
from web.state import RUNTIME, Runtime

PASSWORD = "a lighthouse keeps no secrets"
ORIGIN = "http://127.0.0.1:8000"

# The least that a production installation takes.
PRODUCTION_HASHING = {"password_memory_kib": 7168, "password_iterations": 5}

SIGN_UP = """
mutation SignUp($input: SignUpInput!) {
  signUp(input: $input) {
    __typename
    ... on SignUpSucceeded { message }
    ... on SignUpFailed { code field message suggestions }
  }
}
"""

LOG_IN = """
mutation LogIn($input: LoginInput!) {
  login(input: $input) {
    __typename
    ... on LoginSucceeded { accessToken expiresAt viewer { id kind scopes user { id email displayName roles } } }
    ... on LoginFailed { code message retryAfter }
  }
}
"""

LOG_OUT = "mutation { logout { sessionEnded } }"
WHO_AM_I = "{ viewer { id kind scopes user { id email displayName roles } session { id isCurrent } } }"


class MovableClock:
    """The machine's clock, and as much more as a test has moved it by."""

    def __init__(self) -> None:
        self._ahead = timedelta()
        self._stopped_at: datetime | None = None

    def now(self) -> datetime:
        return (self._stopped_at or datetime.now(UTC)) + self._ahead

    def stop(self) -> None:
        """Stand still from now on, but for what the test moves it by."""
        self._stopped_at = datetime.now(UTC)

    def move(self, by: timedelta) -> None:
        self._ahead += by


@dataclass(frozen=True)
class Answer:
    """What a GraphQL request brought."""

    response: httpx2.Response

    @property
    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = self.response.json()
        return body

    @property
    def data(self) -> dict[str, Any]:
        assert "errors" not in self.body, self.body["errors"]
        data: dict[str, Any] = self.body["data"]
        return data

    @property
    def refusal(self) -> dict[str, Any]:
        """The extensions of the one error there is."""
        (error,) = self.body["errors"]
        extensions: dict[str, Any] = error["extensions"]
        return extensions

    @property
    def code(self) -> str:
        return str(self.refusal["code"])

    @property
    def reason(self) -> str:
        return str(self.refusal["reason"])


class Client(httpx2.AsyncClient):
    """An HTTP client with a cookie jar, as a browser has one."""

    async def ask(self, query: str, variables: Mapping[str, Any] | None = None, **headers: str) -> Answer:
        body = {"query": query, "variables": dict(variables or {})}
        return Answer(await self.post("/graphql", json=body, headers=headers))

    async def log_in(self, email: str, password: str = PASSWORD, **more: Any) -> Answer:
        return await self.ask(LOG_IN, {"input": {"email": email, "password": password, **more}})


@dataclass(frozen=True)
class Person:
    """Somebody with an account, logged in with a browser of their own."""

    email: str
    client: Client
    id: str
    user_id: str

    async def ask(self, query: str, variables: Mapping[str, Any] | None = None, **headers: str) -> Answer:
        return await self.client.ask(query, variables, **headers)


class House:
    """A running application; `async with` opens and closes it."""

    def __init__(self, data_dir: Path, domains: Sequence[Domain[Any]] = (), **settings: Any) -> None:
        self.clock = MovableClock()
        # Cheap hashes, and no throttle of the one address that all tests have, through the public settings; everything
        # else is as it is served.
        cheap = {
            "password_memory_kib": 8,
            "password_iterations": 1,
            "guesses_per_address": 1_000_000,
            "anonymous_budget": 0,
        }
        self.settings: Settings = load_settings(**{"data_dir": data_dir, **cheap, **settings})
        self.domains = tuple(domains)
        self.app = create_app(self.settings, domains, clock=self.clock)
        self._stack = AsyncExitStack()
        self._state: dict[str, Any] = {}
        self._people = 0

    async def __aenter__(self) -> Self:
        state = await self._stack.enter_async_context(self.app.router.lifespan_context(self.app))
        self._state = dict(state or {})
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End it, as a process ends that is told to; what it has stored stays."""
        await self._stack.aclose()

    @property
    def runtime(self) -> Runtime:
        runtime: Runtime = self._state[RUNTIME]
        return runtime

    @property
    def database_file(self) -> Path:
        """The file, of a house on SQLite."""
        file = self.settings.database_file
        assert file is not None
        return file

    @property
    def auth(self) -> Auth:
        return self.runtime.auth

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app({**scope, "state": dict(self._state)}, receive, send)

    def client(self, address: str = "127.0.0.1", /, **headers: str) -> Client:
        """Return a new client, at this address, that has presented nothing yet: nobody."""
        return Client(transport=httpx2.ASGITransport(self, client=(address, 123)), base_url=ORIGIN, headers=headers)

    def address(self, name: str) -> str:
        """Return an e-mail address that nobody has yet."""
        self._people += 1
        return f"{name}.{self._people}@example.org"

    async def person(self, name: str, *, administrator: bool = False) -> Person:
        """Return somebody who has an account and has just logged in."""
        email, client = self.address(name), self.client()
        if administrator:
            roles = frozenset({"user", "admin"})
            await self.auth.users.create(email=email, password=PASSWORD, display_name=name.title(), roles=roles)
        else:
            details = {"email": email, "password": PASSWORD, "displayName": name.title()}
            await client.ask(SIGN_UP, {"input": details})
        viewer = (await client.log_in(email)).data["login"]["viewer"]
        return Person(email, client, viewer["id"], viewer["user"]["id"])


OpenHouse = Callable[..., Awaitable[House]]
