"""Other services that verify access tokens by the JWKS alone: both examples, and the libraries that they are made with.

The Watchword and the services are processes of their own. What no Watchword would sign is signed here, by an issuer
that publishes its keys in the same way.
"""

import asyncio
import base64
import json
import os
import shutil
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import httpx2
import jwt
import pytest

from auth import keys
from auth.jws import sign
from auth.keys import SigningKey
from examples.resource_server.python.server import COOLDOWN, LONGEST_LIFE
from tests.house import LOG_OUT, PASSWORD, SIGN_UP, House, OpenHouse
from tests.running import END_SECONDS, ROOT, Server, environment, free_port, serving, wait_until

EXAMPLES = ROOT / "examples" / "resource_server"
HAS_NODE = shutil.which("node") is not None or (ROOT / ".node" / "bin" / "node").exists()

COMMANDS: Mapping[str, list[str]] = {
    "python": [sys.executable, str(EXAMPLES / "python" / "server.py")],
    "node": [str(ROOT / "scripts" / "with_node"), "node", str(EXAMPLES / "node" / "server.mjs")],
}
NEEDS_NODE = pytest.mark.skipif(
    not HAS_NODE, reason="THERE IS NO NODE ON THIS MACHINE: the example in Node and npm's jose were not tried"
)
KINDS = ["python", pytest.param("node", marks=NEEDS_NODE)]

BOOKSHOP = "examples.bookshop:bookshop"
ALGORITHMS = ("EdDSA", "ES256", "RS256")

# Clearly longer than the examples' cooldown, and otherwise as short as can be.
MAX_AGE = int(COOLDOWN) + 3

# Nothing here is encrypted, and to make one of these takes longer than a request.
TLS = ssl.create_default_context()

CREATE_ADMINISTRATOR = """
mutation ($input: CreateFirstAdministratorInput!) { createFirstAdministrator(input: $input) { __typename } }
"""
CREATE_API_TOKEN = """
mutation ($input: CreateApiTokenInput!) {
  createApiToken(input: $input) { ... on CreateApiTokenSucceeded { token } }
}
"""
CREATE_SERVICE_ACCOUNT = """
mutation ($input: CreateServiceAccountInput!) {
  createServiceAccount(input: $input) { ... on CreateServiceAccountSucceeded { serviceAccount { id clientId } } }
}
"""
CREATE_SECRET = """
mutation ($input: CreateServiceAccountSecretInput!) {
  createServiceAccountSecret(input: $input) { ... on CreateServiceAccountSecretSucceeded { secret } }
}
"""
DISABLE = "mutation ($input: DisableServiceAccountInput!) { disableServiceAccount(input: $input) { __typename } }"


# --- The parts --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Warehouse:
    """One of the two examples, in a process."""

    url: str

    async def ask(self, token: str | None, path: str = "/stock", **headers: str) -> httpx2.Response:
        headers |= {} if token is None else {"Authorization": f"Bearer {token}"}
        async with httpx2.AsyncClient(base_url=self.url, timeout=30, verify=TLS) as client:
            return await client.request("POST" if path == "/transfer" else "GET", path, headers=headers)


@contextmanager
def warehouse(kind: str, folder: Path, issuer: str, jwks_url: str = "", **settings: str) -> Iterator[Warehouse]:
    """Start an example with an issuer, the address of its keys, and what else it is to know; and end it."""
    assert kind != "node" or (EXAMPLES / "node" / "node_modules" / "jose").is_dir(), "run `npm ci` in its folder"
    port, output = free_port(), folder / f"{kind}-{free_port()}"
    jwks_url = jwks_url or f"{issuer}/.well-known/jwks.json"
    given = {"ISSUER": issuer, "JWKS_URL": jwks_url, "PORT": port, "NO_PROXY": "127.0.0.1", **settings}
    with output.open("wb") as out:
        process = subprocess.Popen(
            COMMANDS[kind], env={**os.environ, **given}, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    running = Warehouse(f"http://127.0.0.1:{port}")

    def is_ready() -> bool:
        assert process.poll() is None, output.read_text()
        with suppress(httpx2.TransportError):
            return httpx2.get(f"{running.url}/", timeout=5).status_code == 404
        return False

    try:
        wait_until(is_ready, output.read_text, seconds=60)
        yield running
    finally:
        process.terminate()
        process.wait(END_SECONDS)


class Publisher:
    """An issuer whose keys are here: it publishes them as a Watchword does, and can be slow, or in trouble."""

    def __init__(self, *more: dict[str, Any]) -> None:
        self.keys = {algorithm: keys.generate(algorithm) for algorithm in ALGORITHMS}
        self.asked = 0
        self.status = 200
        self.answering = threading.Event()
        self.answering.set()
        published = [*(json.loads(key.public_jwk()) for key in self.keys.values()), *more]
        body, publisher = json.dumps({"keys": published}).encode(), self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                publisher.asked += 1
                publisher.answering.wait(30)
                with suppress(ConnectionError):
                    self.send_response(publisher.status)
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.answering.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def claims(self, **changed: Any) -> dict[str, Any]:
        """Return what an access token says; a claim that is changed to None is left out."""
        now = int(time.time())
        usual = {"iss": self.url, "sub": "ada", "aud": self.url, "exp": now + 300, "iat": now, "jti": "1"}
        claims = {**usual, "client_id": "watchword", "scope": "books:read books:write", **changed}
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, algorithm: str = "EdDSA", **changed: Any) -> str:
        return self.keys[algorithm].sign(json.dumps(self.claims(**changed)).encode(), typ="at+jwt")


def signed(publisher: Publisher, key: SigningKey, **header: str | None) -> str:
    """Sign what is otherwise good with a key and a header of one's choice; a member that is None is left out."""
    usual = {"typ": "at+jwt", "kid": publisher.keys["EdDSA"].kid}
    members = {name: value for name, value in {**usual, **header}.items() if value is not None}
    return sign(json.dumps(publisher.claims()).encode(), key.key, key.algorithm, members)


def by_hand(header: object, payload: object, signature: bytes = b"x") -> str:
    parts = (json.dumps(header).encode(), json.dumps(payload).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


@dataclass(frozen=True)
class Account:
    """A service account, its secret, and where it gets its tokens."""

    url: str
    id: str
    client_id: str
    secret: str = field(repr=False)

    async def token(self, scope: str = "") -> str:
        async with httpx2.AsyncClient(base_url=self.url, timeout=30, verify=TLS) as client:
            return await self.token_by(client, scope)

    async def token_by(self, client: httpx2.AsyncClient, scope: str = "") -> str:
        form = {"grant_type": "client_credentials", **({"scope": scope} if scope else {})}
        answer = await client.post(f"{self.url}/oauth/token", data=form, auth=(self.client_id, self.secret))
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])


async def graphql(server: Server, token: str | None, query: str, **variables: Any) -> dict[str, Any]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with server.client() as client:
        return (await client.ask(query, variables, **headers)).data


async def log_in(server: Server, email: str) -> str:
    async with server.client() as client:
        login = (await client.log_in(email, delivery="BODY")).data["login"]
    return str(login["accessToken"])


async def sign_up(server: Server, name: str) -> str:
    """Give somebody an account and return the access token of their first session."""
    email = f"{name}@example.org"
    await graphql(server, None, SIGN_UP, input={"email": email, "password": PASSWORD, "displayName": name.title()})
    return await log_in(server, email)


async def administrator(server: Server) -> str:
    grace = {"email": "grace@example.org", "password": PASSWORD, "displayName": "Grace"}
    await graphql(server, None, CREATE_ADMINISTRATOR, input={**grace, "setupToken": server.setup_token})
    return await log_in(server, grace["email"])


async def service_account(server: Server, owner: str, *scopes: str, of_installation: bool = False) -> Account:
    wanted = {"name": "robot", "scopes": list(scopes), "ofInstallation": of_installation}
    made = await graphql(server, owner, CREATE_SERVICE_ACCOUNT, input=wanted)
    account = made["createServiceAccount"]["serviceAccount"]
    secret = await graphql(server, owner, CREATE_SECRET, input={"id": account["id"]})
    return Account(server.url, account["id"], account["clientId"], secret["createServiceAccountSecret"]["secret"])


def challenge(answer: httpx2.Response) -> tuple[int, str | None]:
    """Return the status, and the error of RFC 6750 that the challenge names, if there is one."""
    scheme, _, rest = answer.headers["www-authenticate"].partition(" ")
    assert scheme == "Bearer"
    said = dict(part.split("=", 1) for part in rest.split(", "))
    assert said["realm"] == '"warehouse"'
    return answer.status_code, said["error"].strip('"') if "error" in said else None


INVALID = (401, "invalid_token")


@pytest.fixture(scope="module")
def watchword(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("issuer") / "data", domains=BOOKSHOP) as running:
        yield running


@pytest.fixture(scope="module")
async def grace(watchword: Server) -> str:
    return await administrator(watchword)


@pytest.fixture(scope="module")
async def ada(watchword: Server) -> str:
    return await sign_up(watchword, "ada")


@pytest.fixture(scope="module", params=KINDS)
async def elsewhere(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, watchword: Server, grace: str
) -> AsyncIterator[Warehouse]:
    """Run an example that takes the tokens of the shared Watchword, and may ask it about them."""
    client = await service_account(watchword, grace, "tokens:introspect", of_installation=True)
    folder, known = (
        tmp_path_factory.mktemp("warehouse"),
        {"CLIENT_ID": client.client_id, "CLIENT_SECRET": client.secret},
    )
    with warehouse(request.param, folder, watchword.url, **known) as running:
        yield running


# --- With a real Watchword --------------------------------------------------------------------------------------------


async def test_the_access_token_of_a_session_is_taken(elsewhere: Warehouse, ada: str) -> None:
    answer = await elsewhere.ask(ada)
    assert answer.status_code == 200
    assert answer.json()["for"] == jwt.decode(ada, options={"verify_signature": False})["sub"]


async def test_the_access_token_of_a_service_account_is_taken(
    elsewhere: Warehouse, watchword: Server, ada: str
) -> None:
    robot = await service_account(watchword, ada, "books:read")
    answer = await elsewhere.ask(await robot.token())
    assert (answer.status_code, answer.json()["for"]) == (200, robot.client_id)


async def test_a_token_without_the_scope_is_told_which_one_is_wanted(
    elsewhere: Warehouse, watchword: Server, ada: str
) -> None:
    robot = await service_account(watchword, ada, "books:read", "profile:read")
    answer = await elsewhere.ask(await robot.token("profile:read"))
    assert challenge(answer) == (403, "insufficient_scope")
    assert 'scope="books:read"' in answer.headers["www-authenticate"]
    answer = await elsewhere.ask(await robot.token("books:read"), "/transfer")
    assert challenge(answer) == (403, "insufficient_scope")
    assert 'scope="books:write"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize("authorization", [None, "Basic YWRhOnNlY3JldA==", "bearer"])
async def test_without_a_token_no_error_is_named_only_the_way_in(
    elsewhere: Warehouse, authorization: str | None
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    for path in ("/stock", "/transfer"):
        status, error = challenge(await elsewhere.ask(None, path, **headers))
        assert status == 401
        assert error in ({None, "invalid_token"} if authorization == "bearer" else {None})


async def test_an_api_token_is_refused_though_watchword_itself_takes_it(
    elsewhere: Warehouse, watchword: Server, ada: str
) -> None:
    wanted = {"name": "script", "scopes": ["books:read", "books:write", "profile:read"]}
    made = await graphql(watchword, ada, CREATE_API_TOKEN, input=wanted)
    api_token = made["createApiToken"]["token"]
    assert (await graphql(watchword, api_token, "{ viewer { user { displayName } } }"))["viewer"]["user"]
    assert challenge(await elsewhere.ask(api_token)) == INVALID
    assert challenge(await elsewhere.ask(api_token, "/transfer")) == INVALID


@pytest.mark.parametrize("part", ["header", "payload", "signature"])
async def test_a_token_with_one_changed_character_is_refused(elsewhere: Warehouse, ada: str, part: str) -> None:
    parts = ada.split(".")
    index = ["header", "payload", "signature"].index(part)
    middle = len(parts[index]) // 2
    other = "A" if parts[index][middle] != "A" else "B"
    parts[index] = parts[index][:middle] + other + parts[index][middle + 1 :]
    assert challenge(await elsewhere.ask(".".join(parts))) == INVALID


@pytest.mark.parametrize("claims_to_be", ["itself", "the one that is trusted"])
async def test_a_token_of_another_watchword_is_refused(
    elsewhere: Warehouse, watchword: Server, open_house: OpenHouse, claims_to_be: str
) -> None:
    settings = {"public_url": watchword.url} if claims_to_be != "itself" else {}
    other: House = await open_house(**settings)
    person = await other.person("ada")
    login = (await other.client().log_in(person.email, delivery="BODY")).data["login"]
    assert challenge(await elsewhere.ask(login["accessToken"])) == INVALID


async def test_a_logout_is_known_at_once_where_watchword_is_asked_and_not_where_it_is_not(
    elsewhere: Warehouse, watchword: Server, ada: str
) -> None:
    del ada  # has the account; this is another session of hers
    token = await log_in(watchword, "ada@example.org")
    assert [(await elsewhere.ask(token, path)).status_code for path in ("/stock", "/transfer")] == [200, 200]
    await graphql(watchword, token, LOG_OUT)
    assert (await elsewhere.ask(token, "/stock")).status_code == 200
    assert challenge(await elsewhere.ask(token, "/transfer")) == INVALID


async def test_so_is_the_end_of_a_service_account(elsewhere: Warehouse, watchword: Server, ada: str) -> None:
    robot = await service_account(watchword, ada, "books:read", "books:write")
    token = await robot.token()
    assert [(await elsewhere.ask(token, path)).status_code for path in ("/stock", "/transfer")] == [200, 200]
    await graphql(watchword, ada, DISABLE, input={"id": robot.id})
    assert (await elsewhere.ask(token, "/stock")).status_code == 200
    assert challenge(await elsewhere.ask(token, "/transfer")) == INVALID


# --- What a verifier must check ---------------------------------------------------------------------------------------


SHARED = {"kty": "oct", "k": base64.urlsafe_b64encode(b"s" * 32).rstrip(b"=").decode(), "kid": "shared", "alg": "HS256"}


def hs256(publisher: Publisher, secret: bytes, kid: str) -> str:
    claims = publisher.claims()
    return jwt.encode(claims, secret, algorithm="HS256", headers={"typ": "at+jwt", "kid": kid})


def raw_public_key(publisher: Publisher) -> bytes:
    x = json.loads(publisher.keys["EdDSA"].public_jwk())["x"]
    return base64.urlsafe_b64decode(x + "=")


def with_own_key(publisher: Publisher) -> str:
    mine = keys.generate()
    header = {"alg": "EdDSA", "typ": "at+jwt", "kid": mine.kid, "jwk": json.loads(mine.public_jwk())}
    parts = by_hand(header, publisher.claims()).split(".")[:2]
    with_mine: Any = jwt.algorithms.OKPAlgorithm().from_jwk(json.loads(mine.private_jwk()))
    signature = with_mine.sign(".".join(parts).encode())
    return ".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=").decode()])


def now() -> int:
    return int(time.time())


FORGERIES: Mapping[str, Callable[[Publisher], str]] = {
    "the type of an API token": lambda by: signed(by, by.keys["EdDSA"], typ="api+jwt"),
    "the type of any JWT": lambda by: signed(by, by.keys["EdDSA"], typ="JWT"),
    "no type": lambda by: signed(by, by.keys["EdDSA"], typ=None),
    "another issuer": lambda by: by.token(iss="https://id.example.org"),
    "the issuer spelled differently": lambda by: by.token(iss=f"{by.url}/"),
    "no issuer": lambda by: by.token(iss=None),
    "another audience": lambda by: by.token(aud="https://elsewhere.example.org"),
    "our audience among others": lambda by: by.token(aud=[by.url, "https://elsewhere.example.org"]),
    "no audience": lambda by: by.token(aud=None),
    "expired": lambda by: by.token(iat=now() - 400, exp=now() - 60),
    "no expiry": lambda by: by.token(exp=None),
    "a life of years": lambda by: by.token(exp=now() + 10 * 365 * 86400),
    "a life a little too long": lambda by: by.token(iat=now() - 60, exp=now() + int(LONGEST_LIFE)),
    "issued tomorrow": lambda by: by.token(iat=now() + 86400, exp=now() + 86700),
    "not to be used yet": lambda by: by.token(nbf=now() + 600),
    "no time of issue": lambda by: by.token(iat=None),
    "no subject": lambda by: by.token(sub=None),
    "no id": lambda by: by.token(jti=None),
    "no client": lambda by: by.token(client_id=None),
    "no scope": lambda by: by.token(scope=None),
    "a text for a time": lambda by: by.token(exp="soon"),
    "a time without end": lambda by: by.token(exp=float("inf")),
    "no algorithm at all": lambda by: by_hand(
        {"alg": "none", "typ": "at+jwt", "kid": by.keys["EdDSA"].kid}, by.claims(), b""
    ),
    "the public key as a secret": lambda by: hs256(by, raw_public_key(by), by.keys["EdDSA"].kid),
    "a secret that was published": lambda by: hs256(by, b"s" * 32, "shared"),
    "another's key under a known name": lambda by: signed(by, keys.generate()),
    "the name of a key of another algorithm": lambda by: signed(by, by.keys["ES256"]),
    "a key that nobody has": lambda by: signed(by, keys.generate(), kid="nobody"),
    "a name that leads elsewhere": lambda by: signed(by, keys.generate(), kid="../../etc/passwd"),
    "no name of a key": lambda by: signed(by, by.keys["EdDSA"], kid=None),
    "its own key": with_own_key,
    "a condition that nobody knows": lambda by: by_hand(
        {"alg": "EdDSA", "typ": "at+jwt", "kid": by.keys["EdDSA"].kid, "crit": ["exp"], "exp": 1}, by.claims()
    ),
    "an algorithm that is a list": lambda by: by_hand({"alg": ["EdDSA"], "typ": "at+jwt", "kid": "1"}, by.claims()),
    "a name that is an object": lambda by: by_hand({"alg": "EdDSA", "typ": "at+jwt", "kid": {}}, by.claims()),
    "a header that is a list": lambda by: by_hand([], by.claims()),
    "a header without a bottom": lambda _: base64.urlsafe_b64encode(b"[" * 6000).decode().rstrip("=") + ".e30.e30",
    "a payload that is a list": lambda by: by.keys["EdDSA"].sign(b"[]", typ="at+jwt"),
    "two parts": lambda _: "e30.e30",
    "no base64url": lambda _: "a.b.c",
    "nothing of ASCII": lambda _: "\N{LATIN SMALL LETTER E WITH ACUTE}.e30.e30",
}


@pytest.fixture(scope="module")
def publisher() -> Iterator[Publisher]:
    with Publisher(SHARED) as running:
        yield running


@pytest.fixture(scope="module", params=KINDS)
def by_keys_alone(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, publisher: Publisher
) -> Iterator[Warehouse]:
    """Run an example that takes the tokens that are signed here, and has nobody to ask about them."""
    with warehouse(request.param, tmp_path_factory.mktemp("forged"), publisher.url) as running:
        yield running


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_token_is_taken_whichever_algorithm_its_key_is_of(
    by_keys_alone: Warehouse, publisher: Publisher, algorithm: str
) -> None:
    assert (await by_keys_alone.ask(publisher.token(algorithm))).status_code == 200


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_a_token_is_refused_that_has(by_keys_alone: Warehouse, publisher: Publisher, forgery: str) -> None:
    token = FORGERIES[forgery](publisher)
    assert challenge(await by_keys_alone.ask(None, **as_header(token))) == INVALID
    assert (await by_keys_alone.ask(publisher.token())).status_code == 200


def as_header(token: str) -> Any:
    # httpx2 sends text as ASCII only; what a stranger sends is bytes.
    return {"Authorization": f"Bearer {token}".encode("latin-1")}


async def test_without_a_client_of_its_own_there_is_no_route_that_needs_one(
    by_keys_alone: Warehouse, publisher: Publisher
) -> None:
    assert (await by_keys_alone.ask(publisher.token(), "/transfer")).status_code == 404


@pytest.mark.parametrize("kind", KINDS)
async def test_where_watchword_must_be_asked_and_cannot_nobody_is_let_in(
    kind: str, publisher: Publisher, tmp_path: Path
) -> None:
    with warehouse(kind, tmp_path, publisher.url, CLIENT_ID="warehouse", CLIENT_SECRET="secret") as running:
        assert (await running.ask(publisher.token(), "/stock")).status_code == 200
        assert (await running.ask(publisher.token(), "/transfer")).status_code == 503


@pytest.mark.parametrize("kind", KINDS)
async def test_made_up_key_names_are_asked_about_once_in_a_while_and_hold_nobody_up(kind: str, tmp_path: Path) -> None:
    with Publisher() as issuer, warehouse(kind, tmp_path, issuer.url) as running:
        began = time.monotonic()

        def asked_at_most() -> float:
            # The first question is free; a millisecond is for clocks that do not read the same.
            return 1 + (time.monotonic() - began + 0.001) / COOLDOWN

        async def strangers(until: Callable[[], bool]) -> set[int]:
            statuses = set()
            deadline = time.monotonic() + 30
            while not until():
                assert time.monotonic() < deadline
                made_up = [signed(issuer, keys.generate(), kid=f"{n}-{time.monotonic()}") for n in range(10)]
                answers = await asyncio.gather(*(running.ask(token) for token in made_up))
                statuses |= {answer.status_code for answer in answers}
                assert (await running.ask(issuer.token())).status_code == 200
                assert issuer.asked <= asked_at_most()
            return statuses

        assert (await running.ask(issuer.token())).status_code == 200
        assert await strangers(lambda: issuer.asked == 2) == {401}
        issuer.status = 500  # from now on nobody knows whether there is such a key
        assert await strangers(lambda: issuer.asked == 3) <= {401, 503}
        assert (await running.ask(signed(issuer, keys.generate(), kid="nobody"))).status_code == 503

        issuer.answering.clear()  # and now it does not even answer
        waiting: list[asyncio.Task[httpx2.Response]] = []
        deadline = time.monotonic() + 30
        while issuer.asked == 3:
            assert time.monotonic() < deadline
            waiting.append(asyncio.create_task(running.ask(signed(issuer, keys.generate(), kid="nobody"))))
            await asyncio.wait(waiting, timeout=0.05)
        assert [(await running.ask(issuer.token())).status_code for _ in range(5)] == [200] * 5
        assert not waiting[-1].done()
        assert {(await task).status_code for task in waiting} == {503}


# --- Rotation ---------------------------------------------------------------------------------------------------------


async def test_who_asked_just_before_a_key_was_published_may_believe_the_answer_until_it_signs(
    open_house: OpenHouse,
) -> None:
    max_age = timedelta(seconds=5)
    house = await open_house(jwks_max_age=max_age)
    ring, asked_at = house.auth.key_ring, house.clock.now()
    await ring.rotate(at_once=True)  # what was next has its turn, and another is published
    newest = next(key.kid for key in await ring.standings() if key.signs_from is None)
    house.clock.move(timedelta(seconds=2))
    await ring.rotate()
    scheduled = next(key for key in await ring.standings() if key.kid == newest)
    assert scheduled.signs_from is not None
    assert scheduled.signs_from >= asked_at + max_age


class Traffic:
    """Tokens that are issued without pause, each checked by everybody at once; every refusal is kept."""

    def __init__(self, robot: Account, warehouses: Mapping[str, Warehouse], stranger: Publisher) -> None:
        self._robot = robot
        self._stranger = stranger
        self._addresses = {name: running.url for name, running in warehouses.items()}
        # As anybody would use it, except that its cooldown is not longer than the keys' max-age of this test.
        self._library = jwt.PyJWKClient(f"{robot.url}/.well-known/jwks.json", cooldown_duration=COOLDOWN)
        self.first_of: dict[str, str] = {}
        self.checked = 0
        self.refused: list[str] = []

    async def go_on(self) -> None:
        async with httpx2.AsyncClient(timeout=30, verify=TLS) as client:
            while True:
                token = await self._robot.token_by(client)
                kid = jwt.get_unverified_header(token)["kid"]
                self.first_of.setdefault(kid, token)
                await self.check(client, token)

    async def check(self, client: httpx2.AsyncClient, token: str) -> None:
        kid = jwt.get_unverified_header(token)["kid"]
        for name, address in self._addresses.items():
            answer = await client.get(f"{address}/stock", headers={"Authorization": f"Bearer {token}"})
            self.checked += 1
            if answer.status_code != 200:
                self.refused.append(f"{name} answered {answer.status_code} to {kid}")
        try:
            key = await asyncio.to_thread(self._library.get_signing_key_from_jwt, token)
            jwt.decode(token, key, algorithms=ALGORITHMS, audience=self._robot.url, issuer=self._robot.url)
        except jwt.PyJWTError as error:
            self.refused.append(f"PyJWKClient said {error} to {kid}")

    async def disturb(self) -> None:
        """Send made-up key names, so that the last look at the keys is as fresh as it ever gets, and as unlucky."""
        async with httpx2.AsyncClient(timeout=30, verify=TLS) as client:
            while True:
                token = signed(self._stranger, self._stranger.keys["EdDSA"], kid=f"made up at {time.monotonic()}")
                for address in self._addresses.values():
                    answer = await client.get(f"{address}/stock", headers={"Authorization": f"Bearer {token}"})
                    assert answer.status_code == 401


async def until(holds: Callable[[], bool], *tasks: asyncio.Task[None], evidence: Callable[[], str]) -> None:
    """Return as soon as it holds, the tasks going on meanwhile; fail with what they failed with."""
    deadline = time.monotonic() + 60
    while not holds():
        done, _ = await asyncio.wait(tasks, timeout=0.02)
        for task in done:
            task.result()
        assert time.monotonic() < deadline, evidence()


async def watchword_keys(server: Server, command: str, **settings: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli", "keys", command),
        cwd=ROOT,
        env=environment(data_dir=str(server.data_dir), port=server.port, **settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said
    return said.decode()


@NEEDS_NODE
@pytest.mark.parametrize("algorithm", ["EdDSA", "ES256"])
async def test_two_rotations_go_unnoticed_by_pyjwt_and_jose(
    algorithm: str, tmp_path: Path, publisher: Publisher
) -> None:
    settings = {"domains": BOOKSHOP, "signing_algorithm": algorithm, "jwks_max_age": str(MAX_AGE)}
    with (
        serving(tmp_path / "data", **settings) as server,
        warehouse("python", tmp_path, server.url) as python,
        warehouse("node", tmp_path, server.url) as node,
    ):
        robot = await service_account(server, await sign_up(server, "ada"), "books:read")
        traffic = Traffic(robot, {"python": python, "node": node}, publisher)
        going = [asyncio.create_task(traffic.go_on()), asyncio.create_task(traffic.disturb())]

        def evidence() -> str:
            return f"{traffic.first_of.keys()} {traffic.refused} {server.logged()}"

        async def seen(count: int) -> None:
            await until(lambda: len(traffic.first_of) == count, *going, evidence=evidence)

        try:
            for rotation in (1, 2):
                await seen(rotation)
                # The next key signs as soon as it has been published for as long as others may keep the set without it.
                said = await watchword_keys(server, "rotate", **settings)
                await seen(rotation + 1)
                assert said.startswith(list(traffic.first_of)[-1])
            after = traffic.checked + 100
            await until(lambda: traffic.checked > after, *going, evidence=evidence)
        finally:
            for task in going:
                task.cancel()
            ended = await asyncio.gather(*going, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ended), ended

        before, during, newest = traffic.first_of
        listed = [line.split()[:3] for line in (await watchword_keys(server, "list", **settings)).splitlines()]
        states = {kid: state for kid, named, state in listed if named == algorithm}
        assert [states.pop(kid) for kid in (newest, during, before)] == ["current", "retired", "retired"]
        assert list(states.values()) == ["next"]

        # A token outlives the turn of its key: those of the keys that sign no more are as good as ever.
        async with httpx2.AsyncClient(timeout=30, verify=TLS) as client:
            for token in traffic.first_of.values():
                await traffic.check(client, token)
        assert traffic.refused == []
