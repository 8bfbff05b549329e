"""People who go on with what people do while a database or a server fails, and remember what they were told.

Whatever was acknowledged has to be there afterwards; whatever was not has to have been answered as UNAVAILABLE, or cut
off with the server; and in all that time nobody may hear that they are not logged in, who are.
"""

import asyncio
import time
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import httpx2
import orjson

from tests.house import LOG_OUT, PASSWORD, SIGN_UP, WHO_AM_I, Answer, Client
from tests.postgres import run

LOG_IN = """
mutation($input: LoginInput!) { login(input: $input) {
  ... on LoginSucceeded { accessToken refreshToken }
  ... on LoginFailed { code }
} }
"""
REFRESH = """
mutation($input: RefreshInput!) { refresh(input: $input) {
  __typename ... on RefreshSucceeded { accessToken refreshToken } ... on RefreshFailed { code }
} }
"""
CREATE_TOKEN = """
mutation($input: CreateApiTokenInput!) { createApiToken(input: $input) {
  ... on CreateApiTokenSucceeded { token }
} }
"""

# How long somebody waits who was told to try again.
_PAUSE = 0.1

_numbers = count()


@dataclass
class Held:
    """A session that somebody holds as a native client does."""

    email: str
    access_token: str
    refresh_token: str

    @property
    def bearer(self) -> str:
        return f"Bearer {self.access_token}"

    @property
    def id(self) -> str:
        return str(_claims(self.access_token)["sid"])


@dataclass
class Told:
    """What was acknowledged to all of them, and how long the answers took."""

    signed_up: list[str] = field(default_factory=list)
    logged_out: list[str] = field(default_factory=list)  # ids of sessions
    rotations: int = 0
    api_tokens: list[str] = field(default_factory=list)
    sessions: list[Held] = field(default_factory=list)  # those that live, each with the tokens that were given last
    unavailable: int = 0
    cut_off: int = 0
    slowest: float = 0.0
    acts: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))  # one for each that was acknowledged


class Unanswered(Exception):
    """It was not acknowledged: it may have been done, or not."""


class Person:
    """Somebody who signs others up, logs in and out, refreshes and makes tokens, without end."""

    def __init__(self, client: Client, told: Told, *, may_be_cut_off: bool = False) -> None:
        self.client = client
        self.told = told
        self.may_be_cut_off = may_be_cut_off
        self.is_well = asyncio.Event()
        self.is_well.set()
        self._email = ""
        self._session: Held | None = None

    async def live(self) -> None:
        """Go on until cancelled. Whoever is not answered waits a moment, or until all is well, and goes on."""
        while True:
            try:
                await self._one_round()
            except Unanswered:
                # Also because a login that was not answered counts as a guess, and there are so many to an address.
                self.keep()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_PAUSE):
                        await self.is_well.wait()

    async def _one_round(self) -> None:
        await self._sign_up()
        if self._session is None:
            self._session = await self._log_in()
        await self._refresh(self._session)
        await self._make_token(self._session)
        await self._is_known(self._session)
        await self._log_out(await self._log_in())

    def keep(self) -> None:
        """Put the session aside, as somebody does who closes a lid, and begin another."""
        if self._session is not None:
            self.told.sessions.append(self._session)
        self._session, self._email = None, ""

    async def ask(self, query: str, variables: Mapping[str, Any], **headers: str) -> dict[str, Any]:
        """Return what was answered. Raises `Unanswered`, and fails at any refusal but UNAVAILABLE."""
        began = time.monotonic()
        try:
            answer: Answer = await self.client.ask(query, variables, **headers)
        except httpx2.TransportError:
            assert self.may_be_cut_off
            self.told.cut_off += 1
            raise Unanswered from None
        self.told.slowest = max(self.told.slowest, time.monotonic() - began)
        if "errors" in answer.body:
            assert {error["extensions"]["code"] for error in answer.body["errors"]} == {"UNAVAILABLE"}, answer.body
            self.told.unavailable += 1
            raise Unanswered
        self.told.acts.release()
        return answer.data

    async def _sign_up(self) -> None:
        email = f"somebody.{next(_numbers)}@example.org"
        typed = {"email": email, "password": PASSWORD, "displayName": "Somebody"}
        assert (await self.ask(SIGN_UP, {"input": typed}))["signUp"]["__typename"] == "SignUpSucceeded"
        self.told.signed_up.append(email)
        self._email = self._email or email

    async def _log_in(self) -> Held:
        typed = {"email": self._email, "password": PASSWORD, "delivery": "BODY"}
        given = (await self.ask(LOG_IN, {"input": typed}))["login"]
        assert "accessToken" in given, given
        return Held(self._email, given["accessToken"], given["refreshToken"])

    async def _refresh(self, session: Held) -> None:
        # If the answer to the last one was lost, this brings what that would have brought.
        given = (await self.ask(REFRESH, {"input": {"refreshToken": session.refresh_token}}))["refresh"]
        assert given["__typename"] == "RefreshSucceeded", given
        session.access_token, session.refresh_token = given["accessToken"], given["refreshToken"]
        self.told.rotations += 1

    async def _make_token(self, session: Held) -> None:
        named = {"name": "a script", "scopes": ["profile:read"]}
        made = (await self.ask(CREATE_TOKEN, {"input": named}, Authorization=session.bearer))["createApiToken"]
        if "token" in made:
            self.told.api_tokens.append(made["token"])
        else:  # there are as many as one may have
            self.keep()

    async def _is_known(self, session: Held) -> None:
        assert (await self.ask(WHO_AM_I, {}, Authorization=session.bearer))["viewer"]["user"]["email"] == session.email

    async def _log_out(self, session: Held) -> None:
        # A logout that was not answered may have been done: of that session nothing can be said any more.
        assert (await self.ask(LOG_OUT, {}, Authorization=session.bearer))["logout"] == {"sessionEnded": True}
        self.told.logged_out.append(session.id)


@asynccontextmanager
async def under_load(*people: Person) -> AsyncIterator[None]:
    """Let these people go on while the block does; what goes wrong for one of them is raised."""
    async with asyncio.TaskGroup() as group:
        going_on = [group.create_task(person.live()) for person in people]
        yield
        for task in going_on:
            task.cancel()
    for person in people:
        person.keep()  # what they hold at the end is to be looked at too


async def require_nothing_lost(told: Told, client: Client, uri: str) -> None:
    """Look for all that was acknowledged, in the database and by asking."""

    def column(sql: str) -> set[str]:
        return {str(row[0]) for row in run(uri, sql)}

    assert set(told.signed_up) <= column("SELECT email FROM users")
    assert set(told.logged_out) <= column("SELECT id FROM sessions WHERE revoked_at IS NOT NULL")
    assert {str(_claims(token)["jti"]) for token in told.api_tokens} <= column("SELECT id FROM api_tokens")
    for session in told.sessions:
        given = (await client.ask(REFRESH, {"input": {"refreshToken": session.refresh_token}})).data["refresh"]
        assert given["__typename"] == "RefreshSucceeded", given
        answer = await client.ask(WHO_AM_I, {}, Authorization=session.bearer)
        assert answer.data["viewer"]["session"] is not None


def _claims(token: str) -> Mapping[str, Any]:
    payload = token.split(".")[1]
    claims: Mapping[str, Any] = orjson.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims
