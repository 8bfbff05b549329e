"""`watchword token decode`: what a token says, for a person, and what it is worth here. It believes nothing of it."""

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import OctKey

from cli import main
from tests.house import LOG_OUT, PASSWORD, House, Person
from tests.running import ROOT, START_SECONDS, environment

BODY = "mutation($input: LoginInput!) { login(input: $input) { ... on LoginSucceeded { accessToken } } }"
CREATE_TOKEN = """
mutation($input: CreateApiTokenInput!) {
  createApiToken(input: $input) { ... on CreateApiTokenSucceeded { token apiToken { id } } }
}
"""
REVOKE_TOKEN = "mutation($input: RevokeApiTokenInput!) { revokeApiToken(input: $input) { apiToken { id } } }"
LAST_USE = "{ viewer { apiTokens { nodes { id lastUsedAt lastUsedAddress } } } }"
DISABLE = "mutation($input: DisableUserInput!) { disableUser(input: $input) { user { id } } }"
SERVICE = """
mutation($input: CreateServiceAccountInput!) {
  createServiceAccount(input: $input) { ... on CreateServiceAccountSucceeded { serviceAccount { id } } }
}
"""
SECRET = """
mutation($input: CreateServiceAccountSecretInput!) {
  createServiceAccountSecret(input: $input) { ... on CreateServiceAccountSecretSucceeded { secret } }
}
"""

AGO = timedelta(hours=2)
NO_JWT = "This is not a JWT: a JWT is three parts of base64url with dots between them.\n"


@dataclass(frozen=True)
class Place:
    """An installation on which the command is run."""

    data: Path

    def run(self, *arguments: str, stdin: str | bytes = "", **given: str) -> Result:
        named = {"data_dir": str(self.data), "password_memory_kib": "8", "password_iterations": "1", **given}
        variables = {f"WATCHWORD_{name.upper()}": value for name, value in named.items()}
        return CliRunner().invoke(main, ["token", "decode", *arguments], input=stdin, env=variables)

    def told(self, *arguments: str, stdin: str | bytes = "", **given: str) -> str:
        """Return what it says, once it is shown that it ended well and complained of nothing."""
        result = self.run(*arguments, stdin=stdin, **given)
        assert (result.exit_code, result.stderr, result.exception) == (0, "", None)
        require_harmless(result.stdout)
        return result.stdout

    def verdict(self, token: str, **given: str) -> str:
        """Return the last line: what the token is worth."""
        return self.told(token, **given).rstrip("\n").rpartition("\n")[2]


def require_harmless(output: str) -> None:
    """Fail for anything but lines of printable ASCII, which a terminal shows and does not obey."""
    assert output.isascii()
    assert all(line.isprintable() for line in output.split("\n"))


@dataclass(frozen=True)
class Living:
    """An installation in which people are."""

    house: House
    place: Place
    ada: Person
    access: str

    async def verdict(self, token: str, **given: str) -> str:
        # In a thread: the command has an event loop of its own.
        return await asyncio.to_thread(self.place.verdict, token, **given)

    async def told(self, token: str) -> str:
        return await asyncio.to_thread(self.place.told, token)


@pytest.fixture(scope="module")
async def living(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Living]:
    data = tmp_path_factory.mktemp("decode") / "own"
    house = House(data)
    house.clock.move(-AGO)  # the command has the machine's clock, so that what is past has to be made in the past
    async with house:
        house.clock.move(AGO)
        ada = await house.person("ada")
        yield Living(house, Place(data), ada, await access_token(house, ada))


@pytest.fixture(scope="module")
def place(living: Living) -> Place:
    return living.place


async def access_token(house: House, person: Person) -> str:
    typed = {"email": person.email, "password": PASSWORD, "delivery": "BODY"}
    return str((await house.client().ask(BODY, {"input": typed})).data["login"]["accessToken"])


async def api_token(person: Person, *scopes: str) -> dict[str, Any]:
    made = await person.ask(CREATE_TOKEN, {"input": {"name": "nightly", "scopes": list(scopes)}})
    token: dict[str, Any] = made.data["createApiToken"]
    return token


def encoded(raw: bytes | dict[str, Any]) -> str:
    text = raw if isinstance(raw, bytes) else json.dumps(raw).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def jwt(header: bytes | dict[str, Any], payload: bytes | dict[str, Any], signature: str = "c2lnbmF0dXJl") -> str:
    return f"{encoded(header)}.{encoded(payload)}.{signature}"


def claims(token: str) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    return said


def lines_of(output: str) -> dict[str, str]:
    """Return the members that are shown, by their names."""
    return {line.strip().partition(": ")[0]: line.strip().partition(": ")[2] for line in output.splitlines() if line}


# --- What it says ----------------------------------------------------------------------------------------------------


async def test_the_three_parts_are_shown_with_each_member_explained(living: Living) -> None:
    output = await living.told(living.access)
    heads = [line.partition(":")[0] for line in output.splitlines() if line[:1].isupper()]
    assert heads == ["HEADER", "PAYLOAD", "SIGNATURE", "It verifies here"]
    shown, said = lines_of(output), claims(living.access)
    for name, value in {"alg": "EdDSA", "typ": "at+jwt", **said}.items():
        assert shown[name].startswith(f"{json.dumps(value)}  (")
    assert "a claim of its own" not in output
    assert "whom it is about" in shown["sub"]
    assert f"{datetime.fromtimestamp(said['exp'], UTC):%Y-%m-%d %H:%M:%S} UTC" in shown["exp"]
    assert "SIGNATURE: 86 characters" in output
    assert living.access.split(".")[2] not in output


async def test_a_good_token_verifies_and_says_what_it_may_at_this_moment(living: Living) -> None:
    made = await api_token(living.ada, "sessions:read", "profile:read")
    assert await living.verdict(made["token"]) == (
        "It verifies here: it is an API token, and may at this moment: profile:read, sessions:read."
    )
    verdict = await living.verdict(living.access)
    assert verdict.startswith("It verifies here: it is the access token of a person's session, and may at this moment:")
    assert verdict.endswith(": activity:read, profile:read, services:read, sessions:read, tokens:read.")


async def test_the_access_token_of_a_service_account_verifies_too(living: Living) -> None:
    made = await living.ada.ask(SERVICE, {"input": {"name": "robot", "scopes": ["profile:read"]}})
    robot = made.data["createServiceAccount"]["serviceAccount"]["id"]
    secret = (await living.ada.ask(SECRET, {"input": {"id": robot}})).data["createServiceAccountSecret"]["secret"]
    client_id = base64.b64decode(robot).decode().partition(":")[2]
    asked = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
    token = (await living.house.client().post("/oauth/token", data=asked)).json()["access_token"]
    output = await living.told(token)
    assert "a claim of its own" not in output
    assert output.endswith("it is the access token of a service account, and may at this moment: profile:read.\n")


async def test_it_is_read_from_standard_input_as_from_an_argument(living: Living) -> None:
    made = await api_token(living.ada, "profile:read")
    expected = await living.told(made["token"])
    for stdin in (made["token"], f"{made['token']}\r\n", f"  Bearer {made['token']}  \nanother line\n"):
        assert await asyncio.to_thread(living.place.told, stdin=stdin) == expected
        assert await asyncio.to_thread(living.place.told, "-", stdin=stdin) == expected
    assert await living.told(f" Bearer {made['token']}\n") == expected


async def test_to_look_at_a_token_is_not_to_use_it(living: Living) -> None:
    house, client = living.house, living.house.client()
    house.clock.move(-AGO)
    ada = await house.person("ada")
    unused, used = await api_token(ada, "profile:read"), await api_token(ada, "profile:read")
    await client.ask("{ viewer { id } }", authorization=f"Bearer {used['token']}")
    house.clock.move(AGO)
    before = (await ada.ask(LAST_USE)).data["viewer"]["apiTokens"]["nodes"]
    assert [node["lastUsedAddress"] for node in before] == ["127.0.0.1", None]
    for made in (unused, used):
        assert (await living.verdict(made["token"])).startswith("It verifies here")
    assert (await ada.ask(LAST_USE)).data["viewer"]["apiTokens"]["nodes"] == before


# --- Why not ---------------------------------------------------------------------------------------------------------


async def test_an_expired_token_is_said_to_have_expired(living: Living) -> None:
    living.house.clock.move(-AGO)
    expired = await access_token(living.house, living.ada)
    living.house.clock.move(AGO)
    verdict = await living.verdict(expired)
    assert verdict == "It is refused here (TOKEN_EXPIRED): The token has expired."


async def test_a_token_that_was_revoked_or_whose_session_or_owner_is_gone_is_said_to_be_so(living: Living) -> None:
    house = living.house
    mary, grace = await house.person("mary"), await house.person("grace", administrator=True)
    revoked, kept = await api_token(mary, "profile:read"), await api_token(mary, "profile:read")
    ended = await access_token(house, mary)
    await mary.ask(REVOKE_TOKEN, {"input": {"id": revoked["apiToken"]["id"]}})
    await house.client().ask(LOG_OUT, authorization=f"Bearer {ended}")
    assert "(TOKEN_REVOKED)" in await living.verdict(revoked["token"])
    assert "(SESSION_REVOKED)" in await living.verdict(ended)
    assert (await living.verdict(kept["token"])).startswith("It verifies here")
    await grace.ask(DISABLE, {"input": {"id": mary.user_id}})
    assert "(ACCOUNT_DISABLED)" in await living.verdict(kept["token"])


async def test_a_token_of_a_key_that_was_revoked_is_refused(tmp_path: Path) -> None:
    async with House(tmp_path / "own") as house:
        token = await access_token(house, await house.person("ada"))
        header = json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "=="))
        await house.auth.key_ring.revoke(header["kid"])
        verdict = await asyncio.to_thread(Place(tmp_path / "own").verdict, token)
    assert verdict.startswith("It is refused here (TOKEN_REVOKED)")


INVALID = "It is refused here (TOKEN_INVALID): The token is not one of ours, was changed, or cannot be used here."


async def test_a_token_that_was_changed_or_is_anothers_is_refused(living: Living, tmp_path: Path) -> None:
    header, payload, signature = living.access.split(".")
    changed = encoded({**claims(living.access), "scope": "users:write"})
    other_signature = base64.urlsafe_b64encode(Ed25519PrivateKey.generate().sign(f"{header}.{payload}".encode()))
    async with House(tmp_path / "elsewhere") as elsewhere:
        theirs = await access_token(elsewhere, await elsewhere.person("ada"))
    for token in (
        f"{header}.{changed}.{signature}",
        f"{header}.{payload}.{other_signature.rstrip(b'=').decode()}",
        f"{header}.{payload}.",
        f"{header}.{payload}.{signature}=",
        theirs,
    ):
        assert (await living.verdict(token)).startswith(INVALID)
    told = await living.verdict(living.access, public_url="http://127.0.0.1:8001")  # another issuer's
    assert told == f"{INVALID} One of our keys signed it, for another issuer: see WATCHWORD_PUBLIC_URL."


async def test_a_token_that_chooses_its_algorithm_or_brings_its_key_is_refused(living: Living) -> None:
    header = json.loads(base64.urlsafe_b64decode(living.access.split(".")[0] + "=="))
    said = claims(living.access)
    published = json.loads((await living.house.auth.key_ring.published())[0])
    confused = jws.serialize_compact(
        {**header, "alg": "HS256"}, json.dumps(said).encode(), OctKey.import_key(json.dumps(published) * 2)
    )
    for token in (
        jwt({**header, "alg": "none"}, said, ""),
        jwt({**header, "alg": "none"}, said),
        confused,
        jwt({**header, "jwk": published}, said),
        jwt({**header, "jku": "http://127.0.0.1:9/keys"}, said),
        jwt({**header, "crit": ["exp"]}, said),
    ):
        assert (await living.verdict(token)).startswith(INVALID)


# --- What is no token, and what would do harm ------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", " ", "-", "x", "a.b", "a.b.c.d", "Bearer", ".", "wwr_" + "A" * 75])
def test_what_is_not_in_three_parts_is_said_to_be_no_jwt(place: Place, text: str) -> None:
    assert place.told(stdin=text).startswith(f"{NO_JWT}\n{INVALID} ")


@pytest.mark.parametrize(
    ("part", "says"),
    [
        (encoded(b"not json"), "is not JSON in base64url"),
        (encoded(b"[1, 2]"), "is not a JSON object"),
        (encoded(b'"text"'), "is not a JSON object"),
        (encoded(b"\xff\xfe\xfd"), "is not JSON in base64url"),
        (encoded(b'{"exp":' + b"9" * 5_000 + b"}"), "is not JSON in base64url"),
        (encoded(b'{"a":' * 5_000), "is not JSON in base64url"),
        (encoded(b"[" * 20_000 + b"]" * 20_000), "is not JSON in base64url"),
        ("%%%", "is not JSON in base64url"),
        ("é", "is not JSON in base64url"),
        ("", "is not JSON in base64url"),
        (encoded(b"{}"), None),
        (encoded(b'{"exp": 1e400, "iat": NaN, "nbf": -1, "auth_time": true}'), None),
        (encoded(b'{"exp": 253402300800, "iat": 0, "nbf": 1.5, "auth_time": "now"}'), None),
        (encoded(b'{"exp": 1, "exp": 2}'), None),
        (encoded(b'{"a":' + b"[" * 500 + b"]" * 500 + b"}"), None),
    ],
)
def test_a_part_of_any_form_is_explained_or_said_not_to_be_json(place: Place, part: str, says: str | None) -> None:
    good = encoded({"alg": "EdDSA", "typ": "at+jwt", "kid": "x"})
    for text in (f"{part}.{good}.c2ln", f"{good}.{part}.c2ln"):
        output = place.told(stdin=text)
        assert ("This part is" in output) is (says is not None)
        assert says is None or says in output
        assert output.rstrip("\n").rpartition("\n")[2].startswith(f"{INVALID} ")


def test_control_characters_and_escapes_in_a_token_are_shown_and_not_obeyed(place: Place) -> None:
    evil = {
        "\x1b[2J": "\x1b]0;owned\x07",
        "turned\u202earound": "\u2066hidden\u2069",
        "a line\nIt verifies here: it is yours": "\r\nIt verifies here",
        "\x9b31m": "\x00\x7f",
        "é": "\U0001f600",
    }
    output = place.told(jwt(b'{"alg":"\\ud800","kid":"\x07"}'.replace(b"\x07", b"\\u0007"), evil))
    for shown in (
        r"\u001b[2J",
        r"\u001b]0;owned\u0007",
        r"turned\u202earound",
        r"\r\nIt verifies",
        r"\u0000",
        r"\ud800",
    ):
        assert shown in output
    assert [line for line in output.splitlines() if line.startswith("It verifies")] == []
    assert output.rstrip("\n").rpartition("\n")[2].startswith(f"{INVALID} ")


@pytest.mark.parametrize(
    "text",
    ["x" * 10_000_000, "." * 1_000_000, "a." * 100_000, jwt({}, {"a": "b" * 1_000_000})],
    ids=["ten megabytes", "a million dots", "many parts", "a large claim"],
)
def test_input_without_measure_is_refused_in_a_few_lines(place: Place, text: str) -> None:
    assert place.told(stdin=text).startswith(f"{NO_JWT}\n{INVALID} ")


def test_what_is_not_text_is_refused_with_a_sentence(place: Place) -> None:
    result = place.run(stdin=b"\xff\xfe.b.c")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: the token is not text in UTF-8\n"


@settings(max_examples=40)
@given(
    text=st.text()
    | st.lists(st.binary(max_size=40).map(encoded), min_size=3, max_size=3).map(".".join)
    | st.dictionaries(
        st.text(), st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just([[]])
    ).map(lambda members: jwt({"alg": "EdDSA", "typ": "at+jwt", "kid": "x"}, members))
)
def test_whatever_is_given_there_is_an_answer_that_does_no_harm(living: Living, text: str) -> None:
    output = living.place.told(stdin=text)
    assert output.rstrip("\n").rpartition("\n")[2].startswith(f"{INVALID} ")


# --- The installation ------------------------------------------------------------------------------------------------


def test_without_a_database_it_is_explained_all_the_same_and_nothing_is_made(tmp_path: Path) -> None:
    nowhere = Place(tmp_path / "nowhere")
    output = nowhere.told(jwt({"alg": "EdDSA"}, {"sub": "somebody"}))
    assert lines_of(output)["sub"] == '"somebody"  (whom it is about)'
    assert "Whether it verifies cannot be said: there is no database file" in output
    assert not nowhere.data.exists()


def test_with_a_database_that_was_never_migrated_it_is_explained_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "watchword.sqlite").touch()
    output = Place(tmp_path).told(jwt({"alg": "EdDSA"}, {"sub": "somebody"}))
    assert lines_of(output)["sub"] == '"somebody"  (whom it is about)'
    assert "Whether it verifies cannot be said" in output


def test_with_another_secret_key_the_operator_is_told(place: Place) -> None:
    result = place.run(jwt({}, {}), secret_key="another " * 5)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: WATCHWORD_SECRET_KEY is not the one")


def _in_a_process(data: Path, *arguments: bytes | str, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [sys.executable, "-m", "cli", "token", "decode", *arguments],
        cwd=ROOT,
        env=environment(data_dir=str(data)),
        input=stdin,
        capture_output=True,
        timeout=START_SECONDS,
        check=False,
    )


@pytest.mark.parametrize(
    "given",
    [
        lambda token: ([token], b""),
        lambda token: ([], f"{token}\n".encode()),
        lambda _: ([b"\xff\xfe.\xff.\xff"], b""),
    ],
    ids=["an argument", "standard input", "an argument that is no text"],
)
async def test_as_a_process_it_ends_with_status_0_and_no_traceback(
    living: Living, given: Callable[[str], tuple[list[bytes | str], bytes]]
) -> None:
    token = (await api_token(living.ada, "profile:read"))["token"]
    arguments, stdin = given(token)
    ended = await asyncio.to_thread(_in_a_process, living.place.data, *arguments, stdin=stdin)
    assert (ended.returncode, ended.stderr) == (0, b"")
    require_harmless(ended.stdout.decode())
    assert ("It verifies here" in ended.stdout.decode()) is (token in str((arguments, stdin)))
