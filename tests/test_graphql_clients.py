"""Clients of npm, unmodified, on a real server: they log in, ask, refresh when they are refused, and hear the end."""

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from hashlib import sha256
from typing import Any
from unittest.mock import ANY

import httpx2
import pytest
from joserfc import jws

from auth.ids import new_id
from tests.commands import runner, succeeded
from tests.house import LOG_IN, PASSWORD, SIGN_UP
from tests.running import ROOT, Server, serving

CLIENTS = ROOT / "tests" / "clients"

NOT_AUTHENTICATED = ["UNAUTHENTICATED", "NOT_AUTHENTICATED"]
TOKEN_REVOKED = ["UNAUTHENTICATED", "TOKEN_REVOKED"]
SESSION_REVOKED = ["UNAUTHENTICATED", "SESSION_REVOKED"]
NOT_FOUND = ["PERSISTED_QUERY_NOT_FOUND", None]
SOMEBODY_LOGGED_IN = {"action": "SESSION_START", "message": "Somebody logged in."}

WITH_TOKENS = LOG_IN.replace("accessToken", "accessToken refreshToken")
GRAPHQL_RESPONSE = "application/graphql-response+json"


Saw = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run the server that these tests share."""
    with serving(tmp_path_factory.mktemp("served") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def saw(server: Server) -> Saw:
    """Return what runs a script, once, for an account of its own, and gives what it saw and that account's address."""

    @cache
    def run_once(script: str, by: str | None = None) -> dict[str, Any]:
        account = {"email": f"ada.{new_id()}@example.org", "password": PASSWORD}
        _ask(server, SIGN_UP, {**account, "displayName": "Ada"})
        kept = _tokens_of_earlier(server, account)
        return {**run(script, server, account=account, kept=kept, by=by), "email": account["email"]}

    return run_once


def _tokens_of_earlier(server: Server, account: dict[str, str]) -> dict[str, str]:
    """Return an access token whose signing key was revoked since, and a refresh token, which is as good as ever."""
    tokens: dict[str, str] = _ask(server, WITH_TOKENS, {**account, "delivery": "BODY"})["login"]
    kid = jws.extract_compact(tokens["accessToken"].encode()).headers()["kid"]
    succeeded(runner(server.data_dir)("keys", "revoke", "--yes", kid))
    return tokens


def _ask(server: Server, query: str, details: dict[str, str]) -> dict[str, Any]:
    answer = httpx2.post(f"{server.url}/graphql", json={"query": query, "variables": {"input": details}}, timeout=30)
    data: dict[str, Any] = answer.json()["data"]
    return data


def run(script: str, server: Server, **given: Any) -> Any:
    """Run one of the scripts in `tests/clients` with what it is given, and return what it saw."""
    assert (CLIENTS / "node_modules" / "graphql").is_dir(), "run `npm ci` in tests/clients"
    given["server"] = server.url
    done = subprocess.run(
        [str(ROOT / "scripts" / "with_node"), "node", str(CLIENTS / f"{script}.mjs")],
        env={**os.environ, "GIVEN": json.dumps(given), "NO_PROXY": "127.0.0.1", "NODE_ENV": "production"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{server.logged()}"
    return json.loads(done.stdout)


def refusals_of(sent: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Return how each operation fared, time after time, apart from those that were a hash nobody knew yet."""
    fared: dict[str, list[Any]] = {}
    for request in sent:
        if request["refused"] != [NOT_FOUND]:
            fared.setdefault(request["operation"], []).append(request["refused"])
    return fared


@pytest.mark.parametrize("client", ["apollo", "urql", "graphql-request"])
def test_a_client_logs_in_asks_refreshes_when_it_is_refused_tries_again_and_logs_out(client: str, saw: Saw) -> None:
    seen = saw(client)
    assert seen["nobody"] == [NOT_AUTHENTICATED]
    assert seen["loggedIn"] == seen["email"]
    assert refusals_of(seen["before"]) == {"Me": [[NOT_AUTHENTICATED], []], "LogIn": [[]]}
    # It goes on with tokens of earlier, and asks twice at once.
    assert seen["refreshed"] == [seen["email"], "USER"]
    assert seen["logout"] is True
    assert refusals_of(seen["after"]) == {
        "Me": [[TOKEN_REVOKED], [], [SESSION_REVOKED]],
        "Other": [[TOKEN_REVOKED], []],
        "LogOut": [[]],
        "Refresh": ANY,
    }
    # After the logout there is nothing to refresh with, and the client learns why.
    assert seen["loggedOut"] == "SESSION_REVOKED"


@pytest.mark.parametrize("client", ["apollo", "urql", "graphql-request"])
def test_a_client_is_answered_in_the_media_type_of_graphql_over_http_which_it_prefers(client: str, saw: Saw) -> None:
    seen = saw(client)
    sent = [request for request in seen["before"] if request["refused"] != [NOT_FOUND]]
    assert {(request["accept"].partition(",")[0], request["status"], request["type"]) for request in sent} == {
        (GRAPHQL_RESPONSE, 200, GRAPHQL_RESPONSE)
    }


def test_apollo_sends_a_hash_then_the_query_with_it_and_from_then_on_the_hash_alone(saw: Saw) -> None:
    seen = saw("apollo")
    asked = [request for request in seen["before"] if request["operation"] == "Me"]
    assert [(request["hasQuery"], request["refused"]) for request in asked] == [
        (False, [NOT_FOUND]),
        (True, [NOT_AUTHENTICATED]),
        (False, []),
    ]
    assert len({request["hash"] for request in asked}) == 1
    assert all(len(bytes.fromhex(request["hash"])) == sha256().digest_size for request in asked)
    assert seen["loggedIn"] == seen["email"]


def test_graphql_request_with_a_jar_of_cookies_needs_no_token(saw: Saw) -> None:
    seen = saw("graphql-request")
    assert seen["cookies"] == {
        "inTheBody": None,
        "kept": [["watchword-access", True], ["watchword-session", True]],
        "viewer": seen["email"],
        "logout": True,
        "left": 0,
    }


@pytest.mark.parametrize("by", ["cookies", "tokens"])
def test_a_subscription_over_graphql_ws_hears_of_a_login_elsewhere_and_ends_with_the_session(by: str, saw: Saw) -> None:
    seen = saw("graphql-ws", by)
    assert seen["event"] == SOMEBODY_LOGGED_IN
    assert seen["end"] == [SESSION_REVOKED]
    assert seen["closed"] == [[4401, "SESSION_REVOKED"]]
    assert seen["seconds"] < 5


def test_graphql_ws_comes_again_with_a_fresh_token_when_its_own_is_refused(saw: Saw) -> None:
    seen = saw("graphql-ws", "tokens of earlier")
    assert [code for code, _ in seen["closed"]] == [4403, 4401]
    assert seen["event"] == SOMEBODY_LOGGED_IN
    assert seen["end"] == [SESSION_REVOKED]


@pytest.mark.parametrize("by", ["cookies", "tokens"])
def test_a_subscription_over_graphql_sse_hears_of_a_login_elsewhere_and_ends_with_the_session(
    by: str, saw: Saw
) -> None:
    seen = saw("graphql-sse", by)
    assert seen["event"] == SOMEBODY_LOGGED_IN
    assert seen["messages"][0] == ["next"]
    assert seen["messages"][-2:] == [["next", [SESSION_REVOKED]], ["complete"]]
    assert seen["end"] == {"cookies": "complete", "tokens": "SESSION_REVOKED"}[by]
    assert seen["seconds"] < 5


def test_graphql_sse_comes_again_with_a_fresh_token_when_its_own_is_refused(saw: Saw) -> None:
    seen = saw("graphql-sse", "tokens of earlier")
    assert seen["messages"][:2] == [["next", [TOKEN_REVOKED]], ["complete"]]
    assert seen["event"] == SOMEBODY_LOGGED_IN
    assert seen["end"] == "SESSION_REVOKED"


PAGES = {str(path.relative_to(ROOT)): path.read_text() for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]}
SNIPPETS = {page: re.findall(r"^```js\n(.*?)^```$", text, re.DOTALL | re.MULTILINE) for page, text in PAGES.items()}


@pytest.mark.parametrize("page", [page for page, snippets in SNIPPETS.items() if snippets])
def test_what_a_page_shows_is_part_of_a_script_that_runs(page: str) -> None:
    scripts = [script.read_text() for script in CLIENTS.glob("*.mjs")]
    for snippet in SNIPPETS[page]:
        assert any(snippet in script for script in scripts), snippet
