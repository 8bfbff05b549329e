"""Clients that people really use, on a real server: Python's `gql` with a cookie jar, and curl."""

import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from http.cookiejar import MozillaCookieJar
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import CookieJar
from gql import Client, GraphQLRequest
from gql.client import AsyncClientSession
from gql.transport.aiohttp import AIOHTTPTransport
from gql.transport.exceptions import TransportQueryError
from graphql import GraphQLError, GraphQLSchema, build_schema, lexicographic_sort_schema, print_schema
from joserfc import jws
from yarl import URL

from tests.house import LOG_IN, LOG_OUT, PASSWORD, SIGN_UP, WHO_AM_I
from tests.running import ROOT, Server, serving

ADA = {"email": "ada@example.org", "password": PASSWORD}
CURL = shutil.which("curl")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run the server that these tests share."""
    with serving(tmp_path_factory.mktemp("served") / "data") as running:
        yield running


@asynccontextmanager
async def connected(server: Server, jar: CookieJar) -> AsyncIterator[AsyncClientSession]:
    """Open a `gql` session, which begins by asking for the schema."""
    transport = AIOHTTPTransport(f"{server.url}/graphql", client_session_args={"cookie_jar": jar})
    arguments = {"descriptions": True, "input_value_deprecation": True}
    client = Client(transport=transport, fetch_schema_from_transport=True, introspection_args=arguments)
    async with client as session:
        yield session


def cookie_jar() -> CookieJar:
    # aiohttp keeps cookies of names only, unless told that an address will do too.
    return CookieJar(unsafe=True)


async def ask(session: AsyncClientSession, document: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
    return await session.execute(GraphQLRequest(document, variable_values=variables))


async def refusal(session: AsyncClientSession, document: str) -> dict[str, Any]:
    with pytest.raises(TransportQueryError) as refused:
        await ask(session, document)
    (error,) = refused.value.errors or []
    extensions: dict[str, Any] = error["extensions"]
    return extensions


async def test_gql_signs_up_logs_in_asks_and_logs_out(server: Server) -> None:
    jar, kept = cookie_jar(), cookie_jar()
    async with connected(server, jar) as session:
        assert (await refusal(session, WHO_AM_I))["code"] == "UNAUTHENTICATED"

        signed_up = await ask(session, SIGN_UP, {"input": {**ADA, "displayName": "Ada"}})
        assert signed_up["signUp"]["__typename"] == "SignUpSucceeded"
        assert len(jar) == 0  # an account is not yet a session

        logged_in = await ask(session, LOG_IN, {"input": ADA})
        assert logged_in["login"]["__typename"] == "LoginSucceeded"
        assert (await ask(session, WHO_AM_I))["viewer"]["user"]["email"] == ADA["email"]

        refused = await refusal(session, "{ users { nodes { email } } }")
        assert (refused["code"], refused["required"]) == ("FORBIDDEN", ["users:read"])

        cookies = jar.filter_cookies(URL(server.url))
        kept.update_cookies(cookies, URL(server.url))
        assert (await ask(session, LOG_OUT))["logout"]["sessionEnded"]
        assert len(jar) == 0
        assert (await refusal(session, WHO_AM_I))["reason"] == "NOT_AUTHENTICATED"

    assert lifetime_left(cookies["watchword-access"].value) > timedelta(minutes=2)
    async with connected(server, kept) as thief:
        refused = await refusal(thief, WHO_AM_I)
    assert (refused["code"], refused["reason"]) == ("UNAUTHENTICATED", "SESSION_REVOKED")


async def test_gql_is_given_the_schema_that_is_committed(server: Server) -> None:
    async with connected(server, cookie_jar()) as session:
        assert isinstance(session.client.schema, GraphQLSchema)
        fetched = lexicographic_sort_schema(session.client.schema)
        with pytest.raises(GraphQLError, match="Cannot query field 'passwordHash'"):
            await ask(session, "{ viewer { passwordHash } }")
    committed = lexicographic_sort_schema(build_schema((ROOT / "schema/schema.graphql").read_text()))
    assert print_schema(fetched) == print_schema(committed)


class Curl:
    """curl with a cookie jar in a file."""

    def __init__(self, server: Server, jar: Path) -> None:
        self._server = server
        self.jar = jar

    def ask(self, document: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        body = orjson.dumps({"query": document, "variables": variables})
        arguments = ["--silent", "--show-error", "--max-time", "30", "--noproxy", "*"]
        arguments += ["--cookie", str(self.jar), "--cookie-jar", str(self.jar)]
        arguments += ["--header", "Content-Type: application/json", "--data-binary", "@-"]
        curl = subprocess.run(
            [str(CURL), *arguments, f"{self._server.url}/graphql"], input=body, capture_output=True, check=False
        )
        assert curl.returncode == 0, curl.stderr
        answer: dict[str, Any] = orjson.loads(curl.stdout)
        return answer

    def cookies(self) -> dict[str, str]:
        jar = MozillaCookieJar(self.jar)
        jar.load(ignore_discard=True)
        return {cookie.name: str(cookie.value) for cookie in jar}


@pytest.mark.skipif(CURL is None, reason="THERE IS NO curl ON THIS MACHINE: its part of the clients was not tried")
def test_curl_signs_up_logs_in_asks_and_logs_out(server: Server, tmp_path: Path) -> None:
    ada = {"email": "ada.of.curl@example.org", "password": PASSWORD}
    curl, thief = Curl(server, tmp_path / "jar"), Curl(server, tmp_path / "kept")
    signed_up = curl.ask(SIGN_UP, {"input": {**ada, "displayName": "Ada"}})
    assert signed_up["data"]["signUp"]["__typename"] == "SignUpSucceeded"
    assert curl.ask(LOG_IN, {"input": ada})["data"]["login"]["__typename"] == "LoginSucceeded"
    assert curl.ask(WHO_AM_I)["data"]["viewer"]["user"]["email"] == ada["email"]

    shutil.copyfile(curl.jar, thief.jar)
    assert curl.ask(LOG_OUT)["data"]["logout"]["sessionEnded"]
    assert "errors" in curl.ask(WHO_AM_I)

    assert lifetime_left(thief.cookies()["watchword-access"]) > timedelta(minutes=2)
    (error,) = thief.ask(WHO_AM_I)["errors"]
    assert (error["extensions"]["code"], error["extensions"]["reason"]) == ("UNAUTHENTICATED", "SESSION_REVOKED")


def lifetime_left(access_token: str) -> timedelta:
    """Return for how long a JWT would hold, if nothing but its `exp` counted."""
    claims = orjson.loads(jws.extract_compact(access_token.encode()).payload)
    return datetime.fromtimestamp(claims["exp"], UTC) - datetime.now(UTC)
