"""`watchword serve` as its operator sees it: what it prints, what it logs, how it starts and ends, what it survives."""

import asyncio
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.house import LOG_IN, LOG_OUT, PASSWORD, SIGN_UP, WHO_AM_I, Client, House
from tests.running import ROOT, START_SECONDS, Server, environment, free_port, serving, wait_until

PATIENCE = 0.5  # seconds


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run the server that these tests share; it does not wait long for a database that is locked."""
    with serving(tmp_path_factory.mktemp("served") / "data", database_timeout=f"PT{PATIENCE}S") as running:
        yield running


@pytest.fixture
async def ada(server: Server, request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    """Give a browser in which somebody new is logged in."""
    async with server.client() as client:
        await join(client, f"ada.{request.node.name}@example.org")
        yield client


async def join(client: Client, email: str) -> None:
    """Sign up and log in."""
    await client.ask(SIGN_UP, {"input": {"email": email, "password": PASSWORD, "displayName": "Ada"}})
    assert (await client.log_in(email)).data["login"]["__typename"] == "LoginSucceeded"


async def email_of(client: Client) -> str:
    return str((await client.ask(WHO_AM_I)).data["viewer"]["user"]["email"])


def test_without_an_administrator_it_prints_a_setup_token_and_a_link_that_does_not_carry_it(server: Server) -> None:
    assert re.findall(r"http\S+", server.said()) == [f"{server.url}/graphql#setup"]
    assert server.said().count(server.setup_token) == 1
    assert len(server.setup_token) >= 40
    assert server.setup_token not in server.logged()
    assert stored_nowhere(server, server.setup_token)


async def test_with_an_administrator_it_prints_nothing(tmp_path: Path) -> None:
    async with House(tmp_path / "data") as house:
        await house.person("grace", administrator=True)
    with serving(tmp_path / "data") as running:
        assert running.said() == ""


async def test_every_answer_names_the_line_of_the_log_that_is_about_it(server: Server) -> None:
    async with server.client() as client:
        answered = await client.ask("{ viewer { id } }")
        lost = await client.get("/nowhere?token=in-the-query-string")
    named = {answered.response.headers["x-request-id"]: ("POST", "/graphql", 200)}
    named[lost.headers["x-request-id"]] = ("GET", "/nowhere", 404)
    wait_until(lambda: all(name in server.logged() for name in named), server.everything)
    lines = {line["request_id"]: line for line in server.log_lines() if line["event"] == "request"}
    assert {name: (lines[name]["method"], lines[name]["path"], lines[name]["status"]) for name in named} == named
    assert answered.refusal["requestId"] in named
    assert "in-the-query-string" not in server.logged()


async def test_the_log_has_no_password_no_token_and_no_cookie(server: Server) -> None:
    email, wrong, literal, broken = (
        "ada.in.the.log@example.org",
        "not her password at all",
        "a literal one",
        "a broken one",
    )
    async with server.client() as client:
        await join(client, email)
        cookies = list(client.cookies.values())
        await client.ask(WHO_AM_I)
        await client.log_in(email, wrong)
        typed = f'mutation {{ login(input: {{email: "{email}", password: "{literal}"}}) {{ __typename }} }}'
        assert "errors" not in (await client.ask(typed)).body
        assert (await client.ask(typed.replace(literal, f'{broken}" "'))).code == "GRAPHQL_PARSE_FAILED"
        assert (await client.ask(LOG_IN, {"input": {"email": email, "password": [wrong]}})).code == "BAD_USER_INPUT"
    async with server.client() as script:
        token = (await script.log_in(email, delivery="BODY")).data["login"]["accessToken"]
        await script.ask(WHO_AM_I, authorization=f"Bearer {token}")
        refused = await script.ask(WHO_AM_I, authorization="Bearer not.a.token")
        last = await script.get("/healthz", headers={"cookie": "watchword-access=not.a.cookie"})
    assert refused.code == "UNAUTHENTICATED"
    wait_until(lambda: last.headers["x-request-id"] in server.logged(), server.everything)
    log = server.logged()
    for secret in (PASSWORD, wrong, literal, broken, *cookies, token, "not.a.token", "not.a.cookie", email):
        assert secret not in log


async def test_a_service_manager_ends_it_with_exit_status_0(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as running:
        async with running.client() as client:
            await client.get("/healthz")  # leaves a connection open, as browsers do
            began = time.monotonic()
            assert running.end() == 0
            assert time.monotonic() - began < 5
        assert all(line["level"] == "info" for line in running.log_lines())


def test_wrong_settings_are_all_named_at_once_and_nothing_is_begun(tmp_path: Path) -> None:
    wrong = {"port": "abc", "public_url": "http://example.org", "nonsense": "1", "secret_key": "much-too-short"}
    ended = subprocess.run(
        [sys.executable, "-m", "cli", "serve"],
        cwd=ROOT,
        env=environment(data_dir=str(tmp_path / "data"), **wrong),
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stdout == ""
    named = re.findall(r"^ +(WATCHWORD_\w+): .", ended.stderr, re.MULTILINE)
    assert named == sorted(f"WATCHWORD_{name.upper()}" for name in wrong)
    assert "much-too-short" not in ended.stderr
    assert not (tmp_path / "data").exists()


async def test_what_it_acknowledged_survives_being_killed(tmp_path: Path) -> None:
    port = free_port()
    with serving(tmp_path / "data", port=port) as first:
        async with first.client() as client:
            await join(client, "ada@example.org")
            first.kill()
            kept = dict(client.cookies)
    with serving(tmp_path / "data", port=port) as second:
        async with second.client() as client:
            client.cookies.update(kept)
            assert await email_of(client) == "ada@example.org"
            assert (await client.log_in("ada@example.org")).data["login"]["__typename"] == "LoginSucceeded"
        assert second.setup_token != first.setup_token


async def test_a_logout_in_one_process_holds_in_another_at_its_next_request(server: Server, ada: Client) -> None:
    with serving(server.data_dir, public_url=server.url) as second:
        async with second.client() as elsewhere:
            elsewhere.cookies.update(dict(ada.cookies))
            assert await email_of(elsewhere) == await email_of(ada)
            await ada.ask(LOG_OUT)
            assert (await elsewhere.ask(WHO_AM_I)).reason == "SESSION_REVOKED"


async def test_while_the_database_is_locked_writes_are_unavailable_and_reads_are_not(
    server: Server, ada: Client
) -> None:
    email = await email_of(ada)
    async with server.client() as client:
        with locked(server):
            began = time.monotonic()
            login = asyncio.create_task(client.log_in(email))
            assert await email_of(ada) == email
            assert not login.done()
            refused = await login
            assert refused.code == "UNAVAILABLE"
            assert PATIENCE <= time.monotonic() - began < 2
            assert "set-cookie" not in refused.response.headers
            assert (await client.get("/readyz")).status_code == 200
        assert (await client.log_in(email)).data["login"]["__typename"] == "LoginSucceeded"


async def test_while_the_database_is_gone_nothing_is_acknowledged_and_nobody_is_logged_out(
    server: Server, ada: Client
) -> None:
    email, cookies = await email_of(ada), dict(ada.cookies)
    with gone(server):
        for document, variables in (
            (LOG_OUT, None),
            (LOG_IN, {"input": {"email": email, "password": PASSWORD}}),
            (SIGN_UP, {"input": {"email": "new@example.org", "password": PASSWORD, "displayName": "New"}}),
        ):
            refused = await ada.ask(document, variables)
            assert refused.code == "UNAVAILABLE"
            assert "set-cookie" not in refused.response.headers
        assert (await ada.get("/readyz")).status_code == 503
        assert (await ada.get("/healthz")).status_code == 200
        assert not server.database_file.exists()
    assert (await ada.get("/readyz")).status_code == 200
    assert await email_of(ada) == email
    assert dict(ada.cookies) == cookies
    async with server.client() as client:
        failed = await client.log_in("new@example.org")
        assert failed.data["login"]["code"] == "INVALID_CREDENTIALS"


@contextmanager
def locked(server: Server) -> Iterator[None]:
    """Hold the write lock, as another process would."""
    with closing(sqlite3.connect(server.database_file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def gone(server: Server) -> Iterator[None]:
    """Move the database's file away and back."""
    away = server.database_file.with_suffix(".away")
    server.database_file.rename(away)
    try:
        yield
    finally:
        away.rename(server.database_file)


def stored_nowhere(server: Server, secret: str) -> bool:
    files = [path for path in server.data_dir.iterdir() if path.is_file()]
    assert server.database_file in files
    return all(secret.encode() not in path.read_bytes() for path in files)
