"""The OAuth endpoints, as a program sees them: every way in, every refusal, and that no refusal says too much."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode, urlsplit
from uuid import uuid4

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schema import Domain
from tests.documents import CREATE, CREATE_API_TOKEN, CREATE_KEY, CREATE_SECRET, DISABLE, REVOKE, SERVICE
from tests.faults import locked
from tests.house import LOG_IN, ORIGIN, PASSWORD, WHO_AM_I, Answer, Client, House, OpenHouse, Person

ON_BOTH_ENGINES = True

LOG_IN_BY_BODY = """
mutation($input: LoginInput!) { login(input: $input) { ... on LoginSucceeded { accessToken refreshToken } } }
"""
SET_ROLES = "mutation($input: SetUserRolesInput!) { setUserRoles(input: $input) { user { roles } } }"

TOKEN, INTROSPECT, REVOCATION = "/oauth/token", "/oauth/introspect", "/oauth/revoke"
METADATA = "/.well-known/oauth-authorization-server"
CLIENT_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
GOOGLE = "https://oauth2.googleapis.com/token"

HELD_BY_USERS = "activity:read profile:read services:read sessions:read tokens:read"

# RFC 6749 §5.2 lets an error's description have these and no others.
DESCRIBABLE = {chr(code) for code in range(0x20, 0x7F)} - {'"', "\\"}


@dataclass(frozen=True)
class Robot:
    """A program with an account of its own, one secret, and one key whose public half it has brought."""

    house: House
    owner: Person
    id: str
    client_id: str
    secret: str
    secret_id: str
    key: ed25519.Ed25519PrivateKey
    kid: str
    key_id: str

    @property
    def by_secret(self) -> dict[str, str]:
        """The parameters of client_secret_post."""
        return {"client_id": self.client_id, "client_secret": self.secret}

    def claims(self, **changed: Any) -> dict[str, Any]:
        """Return the claims of a good assertion, but for what is changed; `...` leaves a claim out."""
        now = int(self.house.clock.now().timestamp())
        usual = {"iss": self.client_id, "sub": self.client_id, "aud": ORIGIN, "jti": str(uuid4())}
        claims = {**usual, "iat": now, "exp": now + 60, **changed}
        return {name: value for name, value in claims.items() if value is not ...}

    def signed(self, header: Mapping[str, Any] | None = None, **changed: Any) -> str:
        """Return an assertion that this program's key has signed."""
        payload = json.dumps(self.claims(**changed)).encode()
        return jwt.api_jws.encode(payload, self.key, "EdDSA", headers={"kid": self.kid, **(header or {})})

    def by_assertion(self, assertion: str | None = None) -> dict[str, str]:
        """Return the parameters of private_key_jwt."""
        return {"client_assertion_type": CLIENT_ASSERTION, "client_assertion": assertion or self.signed()}

    async def ask(self, **parameters: str) -> httpx2.Response:
        """Ask for a token, by secret if nothing else is said."""
        form = {"grant_type": "client_credentials", **(parameters or self.by_secret)}
        return await self.house.client().post(TOKEN, data=form)

    async def authenticate(self, assertion: str) -> httpx2.Response:
        return await self.ask(**self.by_assertion(assertion))

    async def bring(self, assertion: str, **parameters: str) -> httpx2.Response:
        """Bring an assertion as a grant."""
        form = {"grant_type": JWT_BEARER, "assertion": assertion, **parameters}
        return await self.house.client().post(TOKEN, data=form)

    async def token(self, **parameters: str) -> str:
        answer = await self.ask(**self.by_secret, **parameters)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    async def introspect(self, token: str) -> dict[str, Any]:
        answer = await self.house.client().post(INTROSPECT, data={**self.by_secret, "token": token})
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
        told: dict[str, Any] = answer.json()
        return told

    async def revoke(self, token: str) -> httpx2.Response:
        return await self.house.client().post(REVOCATION, data={**self.by_secret, "token": token})


async def robot_of(owner: Person, house: House, scopes: str = "profile:read sessions:read", **more: Any) -> Robot:
    details = {"name": "robot", "scopes": scopes.split(), **more}
    account = (await owner.ask(CREATE, {"input": details})).data["createServiceAccount"]["serviceAccount"]
    made = (await owner.ask(CREATE_SECRET, {"input": {"id": account["id"]}})).data["createServiceAccountSecret"]
    key = ed25519.Ed25519PrivateKey.generate()
    brought = {"id": account["id"], "publicKey": pem_of(key)}
    given = (await owner.ask(CREATE_KEY, {"input": brought})).data["createServiceAccountKey"]["credential"]
    return Robot(
        house=house,
        owner=owner,
        id=account["id"],
        client_id=account["clientId"],
        secret=made["secret"],
        secret_id=made["credential"]["id"],
        key=key,
        kid=given["keyId"],
        key_id=given["id"],
    )


def pem_of(key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def basic(client_id: str, secret: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()}


def every_letter_encoded(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())


async def viewer(house: House, token: str) -> Answer:
    return await house.client().ask(SERVICE, authorization=f"Bearer {token}")


async def scopes_of(house: House, token: str) -> str:
    return " ".join((await viewer(house, token)).data["viewer"]["scopes"])


def refusal(answer: httpx2.Response) -> tuple[int, str]:
    """Return the status and the error of a refusal, having checked that it has the form that RFC 6749 gives it."""
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert "set-cookie" not in answer.headers
    body = answer.json()
    assert set(body) == {"error", "error_description"}
    assert set(body["error_description"]) <= DESCRIBABLE
    return answer.status_code, body["error"]


@pytest.fixture
async def robot(house: House, ada: Person) -> Robot:
    return await robot_of(ada, house)


@pytest.fixture(scope="module")
async def patient(house: House) -> Robot:
    """Return one for the properties, which ask a hundred times."""
    return await robot_of(await house.person("ada"), house)


# A token for a proof


async def test_a_secret_gives_a_token_that_calls_the_api(robot: Robot) -> None:
    answer = await robot.ask()
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert {**body, "access_token": "…"} == {
        "access_token": "…",
        "token_type": "Bearer",
        "expires_in": 300,
        "scope": "profile:read sessions:read",
    }
    assert (await viewer(robot.house, body["access_token"])).data["viewer"] == {
        "kind": "SERVICE",
        "scopes": ["profile:read", "sessions:read"],
    }


def row_id(node_id: str) -> str:
    return base64.b64decode(node_id).decode().partition(":")[2]


async def test_the_token_keeps_the_profile_of_rfc_9068(robot: Robot) -> None:
    token = await robot.token(scope="profile:read")
    assert jwt.get_unverified_header(token)["typ"] == "at+jwt"
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims == {
        "iss": ORIGIN,
        "aud": ORIGIN,
        "sub": robot.client_id,
        "client_id": robot.client_id,
        "credential_id": row_id(robot.secret_id),
        "scope": "profile:read",
        "iat": claims["iat"],
        "exp": claims["iat"] + 300,
        "jti": claims["jti"],
    }
    assert claims["jti"] != jwt.decode(await robot.token(), options={"verify_signature": False})["jti"]


async def test_the_token_expires_and_another_is_asked_for(open_house: OpenHouse) -> None:
    house = await open_house()
    robot = await robot_of(await house.person("ada"), house)
    token = await robot.token()
    house.clock.move(timedelta(minutes=5, seconds=1))
    assert (await viewer(house, token)).reason == "TOKEN_EXPIRED"
    assert await scopes_of(house, await robot.token()) == "profile:read sessions:read"


@pytest.mark.parametrize("encode", [str, every_letter_encoded, lambda text: quote(text, safe="")])
async def test_client_secret_basic_is_form_encoded_before_it_is_put_together(
    robot: Robot, encode: Callable[[str], str]
) -> None:
    header = basic(encode(robot.client_id), encode(robot.secret))
    form = {"grant_type": "client_credentials"}
    for headers in (header, {"authorization": header["authorization"].replace("Basic", "bAsIc")}):
        assert (await robot.house.client().post(TOKEN, data=form, headers=headers)).status_code == 200
    named = {**form, "client_id": robot.client_id}
    assert (await robot.house.client().post(TOKEN, data=named, headers=header)).status_code == 200


@pytest.mark.parametrize("algorithm", ["EdDSA", "ES256", "RS256"])
async def test_an_assertion_of_the_programs_own_key_gives_a_token(robot: Robot, algorithm: str) -> None:
    generate: dict[str, Callable[[], Any]] = {
        "EdDSA": ed25519.Ed25519PrivateKey.generate,
        "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "RS256": lambda: rsa.generate_private_key(65537, 2048),
    }
    key = generate[algorithm]()
    brought = {"id": robot.id, "publicKey": pem_of(key)}
    given = (await robot.owner.ask(CREATE_KEY, {"input": brought})).data["createServiceAccountKey"]["credential"]
    for headers in ({"kid": given["keyId"]}, {}, {"kid": "my-key-1", "typ": "client-authentication+jwt"}):
        answer = await robot.authenticate(jwt.encode(robot.claims(), key, algorithm, headers=headers))
        assert answer.status_code == 200, answer.text
        assert await scopes_of(robot.house, answer.json()["access_token"]) == "profile:read sessions:read"
    named = {**robot.by_assertion(jwt.encode(robot.claims(), key, algorithm)), "client_id": robot.client_id}
    assert (await robot.ask(**named)).status_code == 200


@pytest.mark.parametrize("audience", [ORIGIN, ORIGIN + TOKEN])
async def test_the_jwt_bearer_grant_takes_our_issuer_and_our_token_endpoint(robot: Robot, audience: str) -> None:
    answer = await robot.bring(robot.signed(aud=audience, sub=...))
    assert answer.status_code == 200
    assert await scopes_of(robot.house, answer.json()["access_token"]) == "profile:read sessions:read"


async def test_the_audience_that_googles_libraries_write_is_for_key_files_only(robot: Robot) -> None:
    made = await robot.owner.ask(CREATE_KEY, {"input": {"id": robot.id}})
    file = json.loads(made.data["createServiceAccountKey"]["keyFile"])
    claims = robot.claims(iss=file["client_email"], sub=..., jti=..., aud=GOOGLE, scope="profile:read")
    claims["exp"] = claims["iat"] + 3600
    answer = await robot.bring(jwt.encode(claims, file["private_key"], "RS256"))
    assert (answer.status_code, answer.json().get("scope")) == (200, "profile:read")
    assert refusal(await robot.bring(robot.signed(aud=GOOGLE))) == (400, "invalid_grant")
    claims = robot.claims(aud=GOOGLE)
    assert refusal(await robot.authenticate(jwt.encode(claims, file["private_key"], "RS256")))[0] == 401


async def test_an_assertion_of_an_hour_is_taken_for_five_minutes_only(open_house: OpenHouse) -> None:
    house = await open_house()
    robot = await robot_of(await house.person("ada"), house)
    now = int(house.clock.now().timestamp())
    early, late = (robot.signed(iat=now, exp=now + 3600) for _ in range(2))
    house.clock.move(timedelta(minutes=4, seconds=50))
    assert (await robot.bring(early)).status_code == 200
    house.clock.move(timedelta(seconds=20))
    assert refusal(await robot.bring(late)) == (400, "invalid_grant")


# Scopes


async def test_a_token_is_for_the_scopes_that_are_asked_for(robot: Robot) -> None:
    for scope in ("profile:read", " profile:read  profile:read "):
        answer = (await robot.ask(**robot.by_secret, scope=scope)).json()
        assert answer["scope"] == "profile:read"
        assert await scopes_of(robot.house, answer["access_token"]) == "profile:read"
    for scope in ("", " "):
        assert (await robot.ask(**robot.by_secret, scope=scope)).json()["scope"] == "profile:read sessions:read"


@pytest.mark.parametrize(
    "scope",
    ["users:read", "profile:read users:read", "profile:read,sessions:read", "no:such", "*", "profile:read\n", "\0"],
)
async def test_a_scope_that_the_account_does_not_hold_is_an_invalid_scope(robot: Robot, scope: str) -> None:
    assert refusal(await robot.ask(**robot.by_secret, scope=scope)) == (400, "invalid_scope")
    assert refusal(await robot.bring(robot.signed(scope=scope))) == (400, "invalid_scope")
    assert refusal(await robot.bring(robot.signed(), scope=scope)) == (400, "invalid_scope")


async def test_a_scope_in_a_grants_assertion_narrows_and_no_parameter_widens_it(robot: Robot) -> None:
    assert (await robot.bring(robot.signed(scope="profile:read"))).json()["scope"] == "profile:read"
    narrow = robot.signed(scope="profile:read sessions:read")
    assert (await robot.bring(narrow, scope="profile:read")).json()["scope"] == "profile:read"
    wider = await robot.bring(robot.signed(scope="profile:read"), scope="profile:read sessions:read")
    assert refusal(wider) == (400, "invalid_scope")


async def test_the_scope_that_is_answered_is_what_the_token_may_and_more_than_fit_are_refused(
    open_house: OpenHouse,
) -> None:
    names = [f"library:{'shelf-' * 6}{number}" for number in range(80)]
    library: Domain[Any] = Domain(
        name="library", scopes=dict.fromkeys(names, "Look at a shelf"), grants={"user": names}
    )
    house = await open_house(domains=[library])
    robot = await robot_of(await house.person("ada"), house, " ".join(names))
    for fit in (3, 40):
        scope = " ".join(names[:fit])
        answer = await robot.ask(**robot.by_secret, scope=scope)
        assert set(answer.json()["scope"].split()) == set(scope.split())
        assert await scopes_of(house, answer.json()["access_token"]) == answer.json()["scope"]
    for asked in ({"scope": " ".join(names)}, {}):
        answer = await robot.ask(**robot.by_secret, **asked)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope")


# Errors of RFC 6749 §5.2


ERRORS: Mapping[str, tuple[dict[str, Any], int, str]] = {
    "no grant type": ({"grant_type": ...}, 400, "invalid_request"),
    "an empty grant type": ({"grant_type": ""}, 400, "invalid_request"),
    "an unknown grant type": ({"grant_type": "password"}, 400, "unsupported_grant_type"),
    "a grant type in capitals": ({"grant_type": "CLIENT_CREDENTIALS"}, 400, "unsupported_grant_type"),
    "a grant type of people": ({"grant_type": "authorization_code", "code": "x"}, 400, "unsupported_grant_type"),
    "no assertion": ({"grant_type": JWT_BEARER}, 400, "invalid_request"),
    "a wrong secret": ({"client_secret": "wrong"}, 401, "invalid_client"),
    "no secret": ({"client_secret": ...}, 401, "invalid_client"),
    "an empty secret": ({"client_secret": ""}, 401, "invalid_client"),
    "no client": ({"client_id": ...}, 400, "invalid_request"),
    "an unknown client": ({"client_id": "01890a5d-ac96-774b-bcce-b302099a8057"}, 401, "invalid_client"),
    "no client's id": ({"client_id": "' OR 1=1 --"}, 401, "invalid_client"),
    "the client of people": ({"client_id": "watchword"}, 401, "invalid_client"),
    "two ways at once": (
        {"client_assertion_type": CLIENT_ASSERTION, "client_assertion": "a.b.c"},
        400,
        "invalid_request",
    ),
    "another type of assertion": (
        {"client_secret": ..., "client_assertion_type": "urn:saml2", "client_assertion": "x"},
        400,
        "invalid_request",
    ),
    "no type of assertion": (
        {"client_secret": ..., "client_assertion": "a.b.c"},
        400,
        "invalid_request",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
async def test_each_error_has_the_status_and_the_name_that_the_rfc_gives_it(robot: Robot, case: str) -> None:
    changed, status, error = ERRORS[case]
    form: dict[str, Any] = {"grant_type": "client_credentials", **robot.by_secret, **changed}
    sent = {name: value for name, value in form.items() if value is not ...}
    assert refusal(await robot.house.client().post(TOKEN, data=sent)) == (status, error)


async def test_a_parameter_that_is_sent_twice_is_an_invalid_request(robot: Robot) -> None:
    good = {"grant_type": "client_credentials", **robot.by_secret}
    for twice in ("grant_type", "client_id", "client_secret", "scope", "anything"):
        body = urlencode([*good.items(), (twice, good.get(twice, "x")), *([(twice, "x")] if twice not in good else [])])
        answer = await post(robot.house, TOKEN, body.encode())
        assert refusal(answer) == (400, "invalid_request"), twice


async def post(house: House, path: str, body: bytes, **headers: str) -> httpx2.Response:
    form = {"content-type": "application/x-www-form-urlencoded"}
    return await house.client().post(path, content=body, headers={**form, **headers})


async def test_two_ways_of_authentication_at_once_are_an_invalid_request(robot: Robot) -> None:
    form, header = {"grant_type": "client_credentials"}, basic(robot.client_id, robot.secret)
    other = {"client_id": "01890a5d-ac96-774b-bcce-b302099a8057"}
    for more in (robot.by_secret, robot.by_assertion(), other):
        answer = await robot.house.client().post(TOKEN, data={**form, **more}, headers=header)
        assert refusal(answer) == (400, "invalid_request")
    twice = [("authorization", header["authorization"])] * 2
    assert refusal(await robot.house.client().post(TOKEN, data=form, headers=twice)) == (400, "invalid_request")


@pytest.mark.parametrize("path", [TOKEN, INTROSPECT, REVOCATION])
@pytest.mark.parametrize(
    "content_type", ["application/json", "text/plain", "multipart/form-data; boundary=x", "", "application/x-www-form"]
)
async def test_parameters_come_in_a_form(robot: Robot, path: str, content_type: str) -> None:
    form = {"grant_type": "client_credentials", "token": "x", **robot.by_secret}
    for body in (urlencode(form).encode(), json.dumps(form).encode()):
        answer = await post(robot.house, path, body, **{"content-type": content_type})
        assert refusal(answer) == (400, "invalid_request")


async def test_a_form_may_say_its_charset(robot: Robot) -> None:
    body = urlencode({"grant_type": "client_credentials", **robot.by_secret}).encode()
    kind = "Application/X-WWW-Form-Urlencoded; charset=UTF-8"
    assert (await post(robot.house, TOKEN, body, **{"content-type": kind})).status_code == 200


async def test_parameters_in_the_address_are_not_looked_at(robot: Robot) -> None:
    form = {"grant_type": "client_credentials", **robot.by_secret}
    answer = await robot.house.client().post(f"{TOKEN}?{urlencode(form)}", data={"x": "y"})
    assert refusal(answer) == (400, "invalid_request")
    narrowed = await robot.house.client().post(f"{TOKEN}?scope=profile:read&client_id=x&grant_type=password", data=form)
    assert narrowed.json()["scope"] == "profile:read sessions:read"


@pytest.mark.parametrize("path", [TOKEN, INTROSPECT, REVOCATION])
async def test_a_body_that_is_no_form_of_a_sensible_size_is_an_invalid_request(robot: Robot, path: str) -> None:
    good = urlencode({"grant_type": "client_credentials", "token": "x", **robot.by_secret}).encode()
    for body in (
        good + b"&x=" + b"y" * 33_000,
        good + b"&" + b"&".join(b"a%d=b" % number for number in range(30)),
        good + b"&x=\xff\xfe",
        good + b"&x=%FF%FE",
        good + b"&x=%ED%A0%80",
    ):
        assert refusal(await post(robot.house, path, body)) == (400, "invalid_request")


async def test_a_body_without_an_end_is_given_up_before_it_is_kept(house: House) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield b"x" * 1024
            assert sent < 100, "it is still read"

    form = {"content-type": "application/x-www-form-urlencoded"}
    answer = await house.client().post(TOKEN, content=endless(), headers=form)
    assert refusal(answer) == (400, "invalid_request")


@pytest.mark.parametrize("path", [TOKEN, INTROSPECT, REVOCATION])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
async def test_the_endpoints_take_posts_only(house: House, path: str, method: str) -> None:
    answer = await house.client().request(method, f"{path}?grant_type=client_credentials")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


BAD_HEADERS = {
    "another scheme": "Bearer x",
    "no scheme": "x",
    "nothing after the scheme": "Basic",
    "not base64": "Basic !!!!",
    "base64 cut short": "Basic YWJ",
    "not UTF-8": "Basic " + base64.b64encode(b"\xff:\xff").decode(),
    "not ASCII": "Basic é",
    "no colon": "Basic " + base64.b64encode(b"abc").decode(),
    "only a colon": "Basic " + base64.b64encode(b":").decode(),
    "bad percent signs": "Basic " + base64.b64encode(b"%ZZ:%FF%").decode(),
    "a wrong secret": basic("01890a5d-ac96-774b-bcce-b302099a8057", "wrong")["authorization"],
}


@pytest.mark.parametrize("case", BAD_HEADERS)
async def test_a_bad_authorization_header_is_answered_with_the_scheme_that_is_wanted(house: House, case: str) -> None:
    header = [(b"authorization", BAD_HEADERS[case].encode("latin-1"))]
    for path, form in ((TOKEN, {"grant_type": "client_credentials"}), (INTROSPECT, {"token": "x"})):
        answer = await house.client().post(path, data=form, headers=header)
        assert refusal(answer) == (401, "invalid_client")
        assert answer.headers["www-authenticate"] == 'Basic realm="watchword"'


async def test_an_unknown_client_and_a_wrong_secret_are_answered_alike(robot: Robot) -> None:
    eve = await robot_of(await robot.house.person("eve"), robot.house)
    unknown = "01890a5d-ac96-774b-bcce-b302099a8057"
    pairs = [(robot.client_id, "wrong"), (unknown, robot.secret), (robot.client_id, eve.secret), ("x", "y")]
    posted = [await robot.ask(client_id=client_id, client_secret=secret) for client_id, secret in pairs]
    form = {"grant_type": "client_credentials"}
    shown = [await robot.house.client().post(TOKEN, data=form, headers=basic(*pair)) for pair in pairs]
    for answers in (posted, shown):
        assert {told(answer) for answer in answers} == {told(answers[0])}
        assert refusal(answers[0]) == (401, "invalid_client")


def told(answer: httpx2.Response) -> tuple[int, bytes, frozenset[tuple[str, str]]]:
    """Return all that an answer tells, but the id and the time that each has of its own."""
    own = {"x-request-id", "date"}
    return answer.status_code, answer.content, frozenset(item for item in answer.headers.items() if item[0] not in own)


# Assertions


def seconds(instant: datetime) -> int:
    return int(instant.timestamp())


# What no assertion may be, whichever way it is brought: from the program, whose claims are changed.
FORGED: dict[str, Callable[[Robot], dict[str, Any]]] = {
    "no issuer": lambda _: {"iss": ...},
    "an issuer that is no string": lambda _: {"iss": 7},
    "an issuer in a list": lambda robot: {"iss": [robot.client_id]},
    "an unknown issuer": lambda _: {"iss": str(uuid4()), "sub": ...},
    "our issuer": lambda _: {"iss": ORIGIN, "sub": ORIGIN},
    "an issuer of another host": lambda robot: {"iss": f"{robot.client_id}@example.org", "sub": ...},
    "an issuer of two hosts": lambda robot: {"iss": f"{robot.client_id}@127.0.0.1@127.0.0.1", "sub": ...},
    "another subject": lambda _: {"sub": str(uuid4())},
    "the owner as the subject": lambda robot: {"sub": base64.b64decode(robot.owner.user_id).decode().partition(":")[2]},
    "a subject that is no string": lambda robot: {"sub": [robot.client_id]},
    "no audience": lambda _: {"aud": ...},
    "a list of audiences": lambda _: {"aud": [ORIGIN]},
    "audiences of ours and others": lambda _: {"aud": [ORIGIN, "https://example.org"]},
    "another's audience": lambda _: {"aud": "https://example.org"},
    "a longer audience": lambda _: {"aud": ORIGIN + "/"},
    "introspection as the audience": lambda _: {"aud": ORIGIN + INTROSPECT},
    "Google as the audience of a key that was brought": lambda _: {"aud": GOOGLE},
    "no end": lambda _: {"exp": ...},
    "an end that has come": lambda robot: {"exp": seconds(robot.house.clock.now()) - 1},
    "an end that is a float": lambda robot: {"exp": robot.house.clock.now().timestamp() + 60},
    "an end that is a string": lambda robot: {"exp": str(seconds(robot.house.clock.now()) + 60)},
    "an end that is true": lambda _: {"exp": True},
    "an end far away": lambda robot: {"exp": seconds(robot.house.clock.now()) + 86_400},
    "an end beyond all time": lambda _: {"exp": 2**60},
    "an end beyond all numbers": lambda _: {"exp": 10**400},
    "an end before all time": lambda _: {"exp": -1},
    "an issue to come": lambda robot: {"iat": seconds(robot.house.clock.now()) + 120},
    "an issue that is a float": lambda robot: {"iat": robot.house.clock.now().timestamp()},
    "an issue that is null": lambda _: {"iat": None},
    "a beginning to come": lambda robot: {"nbf": seconds(robot.house.clock.now()) + 120},
    "a beginning that is a string": lambda robot: {"nbf": str(seconds(robot.house.clock.now()))},
    "a number as its jti": lambda _: {"jti": 7},
    "a list as its jti": lambda _: {"jti": ["x"]},
    "an endless jti": lambda _: {"jti": "x" * 2_001},
    "half a character as its jti": lambda _: {"jti": "\ud800"},
}
FORGED_TO_AUTHENTICATE: dict[str, Callable[[Robot], dict[str, Any]]] = {
    "no subject": lambda _: {"sub": ...},
    "no jti": lambda _: {"jti": ...},
    "an empty jti": lambda _: {"jti": ""},
    "the token endpoint as the audience": lambda _: {"aud": ORIGIN + TOKEN},
    "an end in seven minutes": lambda robot: {"exp": seconds(robot.house.clock.now()) + 420},
    "the name of the key file for the client's": lambda robot: dict.fromkeys(
        ("iss", "sub"), f"{robot.client_id}@127.0.0.1"
    ),
}
FORGED_TO_BE_GRANTED: dict[str, Callable[[Robot], dict[str, Any]]] = {
    "no issue": lambda _: {"iat": ...},
    "an issue six minutes ago": lambda robot: {"iat": seconds(robot.house.clock.now()) - 360},
    "an end in an hour and a bit": lambda robot: {"exp": seconds(robot.house.clock.now()) + 3660},
    "a scope that is no string": lambda _: {"scope": ["profile:read"]},
}


@pytest.mark.parametrize("case", [*FORGED, *FORGED_TO_AUTHENTICATE])
async def test_a_client_assertion_with_a_wrong_claim_is_refused_as_a_wrong_secret_is(robot: Robot, case: str) -> None:
    wrong = (FORGED | FORGED_TO_AUTHENTICATE)[case](robot)
    answer = await robot.authenticate(robot.signed(**wrong))
    assert refusal(answer) == (401, "invalid_client")
    assert told(answer) == told(await robot.ask(client_id=robot.client_id, client_secret="wrong"))


@pytest.mark.parametrize("case", [*FORGED, *FORGED_TO_BE_GRANTED])
async def test_a_grant_with_a_wrong_claim_is_refused_as_garbage_is(robot: Robot, case: str) -> None:
    answer = await robot.bring(robot.signed(**(FORGED | FORGED_TO_BE_GRANTED)[case](robot)))
    assert refusal(answer) == (400, "invalid_grant")
    assert told(answer) == told(await robot.bring("garbage"))


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def with_hmac(robot: Robot, secret: bytes, algorithm: str = "HS256") -> str:
    signed = f"{part({'alg': algorithm, 'kid': robot.kid})}.{part(robot.claims())}"
    digest = hmac.digest(secret, signed.encode(), hashlib.sha256)
    return f"{signed}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def with_key_in_it(robot: Robot, **header: Any) -> str:
    """Return an assertion that a stranger has signed, with a header that says where the key is."""
    stranger = ed25519.Ed25519PrivateKey.generate()
    jwk = json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(stranger.public_key(), as_dict=False))
    return jwt.encode(robot.claims(), stranger, "EdDSA", headers={"kid": robot.kid, "jwk": jwk, **header})


FORGERIES: Mapping[str, Callable[[Robot], str]] = {
    "empty": lambda _: ".",
    "no JWT": lambda _: "garbage",
    "five parts": lambda robot: robot.signed() + ".x.y",
    "too long": lambda robot: robot.signed(more="x" * 5_000),
    "another signature": lambda robot: robot.signed().rpartition(".")[0] + "." + robot.signed().rpartition(".")[2],
    "no signature": lambda robot: f"{part({'alg': 'none'})}.{part(robot.claims())}.",
    "`none` with a signature": lambda robot: f"{part({'alg': 'none'})}.{part(robot.claims())}.AAAA",
    "HS256 with the public key as the secret": lambda robot: with_hmac(robot, pem_of(robot.key).encode()),
    "HS256 with the raw public key as the secret": lambda robot: with_hmac(
        robot, robot.key.public_key().public_bytes_raw()
    ),
    "HS256 with the client's secret": lambda robot: with_hmac(robot, robot.secret.encode()),
    "HMAC that says EdDSA": lambda robot: with_hmac(robot, robot.secret.encode(), "EdDSA"),
    "a stranger's key": lambda robot: jwt.encode(robot.claims(), ed25519.Ed25519PrivateKey.generate(), "EdDSA"),
    "a stranger's key by our name": with_key_in_it,
    "another sort of key by our name": lambda robot: jwt.encode(
        robot.claims(), ec.generate_private_key(ec.SECP256R1()), "ES256", headers={"kid": robot.kid}
    ),
    "an unknown critical header": lambda robot: robot.signed({"crit": ["x"], "x": 1}),
    "the type of an access token": lambda robot: robot.signed({"typ": "at+jwt"}),
    "the type of an API token": lambda robot: robot.signed({"typ": "api+jwt"}),
    "the type of a logout token": lambda robot: robot.signed({"typ": "logout+jwt"}),
    "half a character as the key's name": lambda robot: robot.signed({"kid": "\ud800"}),
    "claims that are a list": lambda robot: jwt.api_jws.encode(b"[]", robot.key, "EdDSA"),
    "claims that are no JSON": lambda robot: jwt.api_jws.encode(b"\xff", robot.key, "EdDSA"),
    "claims that stand there twice": lambda robot: jwt.api_jws.encode(
        json.dumps(robot.claims())[:-1].encode() + b', "sub": "x"}', robot.key, "EdDSA"
    ),
    "claims nested deeply": lambda robot: jwt.api_jws.encode(b'{"iss":' + b"[" * 2_000, robot.key, "EdDSA"),
}


@pytest.mark.parametrize("case", FORGERIES)
async def test_what_the_accounts_key_did_not_sign_as_an_assertion_proves_nothing(robot: Robot, case: str) -> None:
    assert refusal(await robot.authenticate(FORGERIES[case](robot))) == (401, "invalid_client")
    assert refusal(await robot.bring(FORGERIES[case](robot))) == (400, "invalid_grant")


async def test_a_key_of_another_account_proves_nothing_whichever_name_it_bears(robot: Robot) -> None:
    eve = await robot_of(await robot.house.person("eve"), robot.house)
    for kid in (eve.kid, robot.kid, "x"):
        assertion = jwt.encode(robot.claims(), eve.key, "EdDSA", headers={"kid": kid})
        assert refusal(await robot.authenticate(assertion)) == (401, "invalid_client")
        assert refusal(await robot.bring(assertion)) == (400, "invalid_grant")
    named = {**eve.by_assertion(), "client_id": robot.client_id}
    assert refusal(await robot.ask(**named)) == (401, "invalid_client")


async def test_tokens_of_ours_are_no_assertions(robot: Robot) -> None:
    login = {"email": robot.owner.email, "password": PASSWORD, "delivery": "BODY"}
    session = (await robot.house.client().ask(LOG_IN, {"input": login})).data["login"]["accessToken"]
    made = await robot.owner.ask(CREATE_API_TOKEN, {"input": {"name": "script", "scopes": ["profile:read"]}})
    for token in (session, made.data["createApiToken"]["token"], await robot.token()):
        assert refusal(await robot.authenticate(token)) == (401, "invalid_client")
        assert refusal(await robot.bring(token)) == (400, "invalid_grant")


async def test_an_assertion_is_no_token_of_ours(robot: Robot) -> None:
    for typ in ("JWT", "at+jwt", "api+jwt"):
        assert (await viewer(robot.house, robot.signed({"typ": typ}))).reason == "TOKEN_INVALID"


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[str, list[bytes]]]:
    """Run a server that writes down who connects, and give its address."""
    seen: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readline())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/keys", seen


async def test_no_key_and_no_address_in_an_assertion_is_ever_used(robot: Robot) -> None:
    async with listening() as (address, seen):
        for header in ({"jku": address}, {"x5u": address}, {"x5c": ["AAAA"]}, {"jku": address, "kid": address}):
            assertion = with_key_in_it(robot, **header)
            assert refusal(await robot.authenticate(assertion)) == (401, "invalid_client")
            assert refusal(await robot.bring(assertion)) == (400, "invalid_grant")
        assert seen == []


async def test_an_assertion_is_taken_once(robot: Robot) -> None:
    first, second = robot.signed(), robot.signed()
    assert (await robot.authenticate(first)).status_code == 200
    assert refusal(await robot.authenticate(first)) == (401, "invalid_client")
    assert refusal(await robot.bring(first)) == (400, "invalid_grant")
    assert (await robot.bring(second)).status_code == 200
    assert refusal(await robot.authenticate(second)) == (401, "invalid_client")
    again = robot.signed(jti=robot.claims()["jti"])
    assert (await robot.authenticate(again)).status_code == 200
    jti = jwt.decode(again, options={"verify_signature": False})["jti"]
    assert refusal(await robot.authenticate(robot.signed(jti=jti, exp=robot.claims()["exp"] + 5)))[0] == 401


async def test_the_jti_of_one_account_takes_nothing_from_another(robot: Robot) -> None:
    eve = await robot_of(await robot.house.person("eve"), robot.house)
    jti = str(uuid4())
    assert (await eve.authenticate(eve.signed(jti=jti))).status_code == 200
    assert (await robot.authenticate(robot.signed(jti=jti))).status_code == 200


async def test_an_assertion_counts_as_taken_at_every_endpoint(robot: Robot) -> None:
    assertion, form = robot.signed(), {"token": "x"}
    client = robot.house.client()
    assert (await client.post(INTROSPECT, data={**robot.by_assertion(assertion), **form})).status_code == 200
    for path in (INTROSPECT, REVOCATION):
        answer = await client.post(path, data={**robot.by_assertion(assertion), **form})
        assert refusal(answer) == (401, "invalid_client")
    assert refusal(await robot.authenticate(assertion)) == (401, "invalid_client")


@pytest.mark.parametrize("bring", [Robot.authenticate, Robot.bring])
async def test_of_twelve_who_bring_one_assertion_at_a_time_exactly_one_is_let_in(
    robot: Robot, bring: Callable[[Robot, str], Any]
) -> None:
    assertion = robot.signed()
    answers = await asyncio.gather(*(bring(robot, assertion) for _ in range(12)))
    assert sum(answer.status_code == 200 for answer in answers) == 1


# What was taken away


async def test_what_is_revoked_or_disabled_opens_nothing_and_says_nothing_of_it(robot: Robot) -> None:
    wrong = told(await robot.ask(client_id=robot.client_id, client_secret="wrong"))
    await robot.owner.ask(REVOKE, {"input": {"id": robot.secret_id}})
    assert told(await robot.ask()) == wrong
    assert (await robot.authenticate(robot.signed())).status_code == 200
    await robot.owner.ask(REVOKE, {"input": {"id": robot.key_id}})
    assert told(await robot.authenticate(robot.signed())) == wrong
    assert told(await robot.bring(robot.signed())) == told(await robot.bring("garbage"))

    another = await robot_of(robot.owner, robot.house)
    await robot.owner.ask(DISABLE, {"input": {"id": another.id}})
    assert told(await another.ask()) == wrong
    assert told(await another.authenticate(another.signed())) == wrong
    assert told(await another.bring(another.signed())) == told(await robot.bring("garbage"))


async def test_an_expired_key_proves_nothing(open_house: OpenHouse) -> None:
    house = await open_house()
    ada = await house.person("ada")
    robot = await robot_of(ada, house)
    key = ed25519.Ed25519PrivateKey.generate()
    end = house.clock.now() + timedelta(minutes=1)
    brought = {"id": robot.id, "publicKey": pem_of(key), "expiresAt": end.isoformat()}
    assert (await ada.ask(CREATE_KEY, {"input": brought})).data["createServiceAccountKey"]["credential"]
    assert (await robot.authenticate(jwt.encode(robot.claims(), key, "EdDSA"))).status_code == 200
    house.clock.move(timedelta(minutes=1, seconds=1))
    assert refusal(await robot.authenticate(jwt.encode(robot.claims(), key, "EdDSA"))) == (401, "invalid_client")


async def test_a_database_that_is_gone_is_temporarily_unavailable(open_house: OpenHouse) -> None:
    house = await open_house()
    robot = await robot_of(await house.person("ada"), house)
    token = await robot.token()
    await house.auth.database.close()
    for answer in (
        await robot.ask(),
        await robot.authenticate(robot.signed()),
        await robot.bring(robot.signed()),
        await house.client().post(INTROSPECT, data={**robot.by_secret, "token": token}),
        await robot.revoke(token),
    ):
        assert refusal(answer) == (503, "temporarily_unavailable")


# Introspection


async def test_an_account_asks_what_its_own_token_is_worth(robot: Robot) -> None:
    token = await robot.token()
    claims = jwt.decode(token, options={"verify_signature": False})
    assert await robot.introspect(token) == {
        "active": True,
        "iss": ORIGIN,
        "aud": ORIGIN,
        "sub": robot.client_id,
        "client_id": robot.client_id,
        "exp": claims["exp"],
        "iat": claims["iat"],
        "jti": claims["jti"],
        "scope": "profile:read sessions:read",
        "token_type": "Bearer",
    }


async def test_others_tokens_are_told_of_only_to_who_may_ask_about_everybodys(robot: Robot, grace: Person) -> None:
    asker = await robot_of(grace, robot.house, "tokens:introspect")
    eve = await robot_of(await robot.house.person("eve"), robot.house, HELD_BY_USERS)
    login = {"email": robot.owner.email, "password": PASSWORD, "delivery": "BODY"}
    session = (await robot.house.client().ask(LOG_IN, {"input": login})).data["login"]["accessToken"]
    made = await robot.owner.ask(CREATE_API_TOKEN, {"input": {"name": "script", "scopes": ["profile:read"]}})
    script = made.data["createApiToken"]["token"]
    for token in (await robot.token(), session, script):
        assert await eve.introspect(token) == {"active": False}
        assert (await asker.introspect(token))["active"] is True
    assert "sid" in await asker.introspect(session)
    assert (await asker.introspect(session))["scope"] == HELD_BY_USERS
    assert (await asker.introspect(script))["scope"] == "profile:read"


async def test_scopes_are_told_as_they_are_now(robot: Robot, grace: Person) -> None:
    hedy = await robot.house.person("hedy", administrator=True)
    asker = await robot_of(grace, robot.house, "tokens:introspect")
    token = await (await robot_of(hedy, robot.house, "users:read profile:read")).token()
    assert (await asker.introspect(token))["scope"] == "profile:read users:read"
    await grace.ask(SET_ROLES, {"input": {"id": hedy.user_id, "roles": ["USER"]}})
    assert (await asker.introspect(token))["scope"] == "profile:read"


async def test_who_loses_the_scope_to_ask_is_told_nothing_any_more(robot: Robot, grace: Person) -> None:
    hedy = await robot.house.person("hedy", administrator=True)
    asker, token = await robot_of(hedy, robot.house, "tokens:introspect profile:read"), await robot.token()
    assert (await asker.introspect(token))["active"] is True
    await grace.ask(SET_ROLES, {"input": {"id": hedy.user_id, "roles": ["USER"]}})
    assert await asker.introspect(token) == {"active": False}


async def test_whatever_is_not_good_is_inactive_and_no_more_is_told(robot: Robot, grace: Person) -> None:
    asker = await robot_of(grace, robot.house, "tokens:introspect")
    good, revoked, of_revoked = await robot.token(), await robot.token(), await robot_of(robot.owner, robot.house)
    taken = await of_revoked.token()
    await robot.revoke(revoked)
    await robot.owner.ask(REVOKE, {"input": {"id": of_revoked.secret_id}})
    changed = good[:-3] + ("AAA" if good[-3:] != "AAA" else "BBB")
    for token in (revoked, taken, changed, "garbage", "\0", "é", robot.signed(), robot.secret, "x" * 10_000):
        assert await asker.introspect(token) == {"active": False}
    assert (await asker.introspect(good))["active"] is True


async def test_an_expired_token_is_inactive(open_house: OpenHouse) -> None:
    house = await open_house()
    robot = await robot_of(await house.person("ada"), house)
    token = await robot.token()
    house.clock.move(timedelta(minutes=5, seconds=1))
    assert await robot.introspect(token) == {"active": False}


async def test_a_session_that_was_ended_is_inactive(robot: Robot, grace: Person) -> None:
    asker = await robot_of(grace, robot.house, "tokens:introspect")
    eve = await robot.house.person("eve")
    token = eve.client.cookies["watchword-access"]
    assert (await asker.introspect(token))["active"] is True
    await eve.ask("mutation { logout { sessionEnded } }")
    assert await asker.introspect(token) == {"active": False}


async def test_nobody_asks_without_proving_who_they_are(robot: Robot) -> None:
    token = await robot.token()
    for form in ({}, {"client_id": "watchword"}, {"client_id": robot.client_id}):
        answer = await robot.house.client().post(INTROSPECT, data={**form, "token": token})
        assert refusal(answer) == (401, "invalid_client")
    bearer = {"authorization": f"Bearer {token}"}
    answer = await robot.house.client().post(INTROSPECT, data={"token": token}, headers=bearer)
    assert refusal(answer) == (401, "invalid_client")
    assert refusal(await robot.house.client().post(INTROSPECT, data=robot.by_secret)) == (400, "invalid_request")


# Revocation


async def test_an_account_revokes_its_own_token_and_no_other_ends(robot: Robot) -> None:
    token, other = await robot.token(), await robot.token()
    answer = await robot.revoke(token)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert (await viewer(robot.house, token)).reason == "TOKEN_REVOKED"
    assert await scopes_of(robot.house, other) == "profile:read sessions:read"
    assert (await robot.revoke(token)).status_code == 200


async def test_another_client_or_none_cannot_revoke_an_accounts_token(robot: Robot) -> None:
    eve = await robot_of(await robot.house.person("eve"), robot.house)
    token = await robot.token()
    assert refusal(await eve.revoke(token)) == (400, "unauthorized_client")
    assert refusal(await robot.house.client().post(REVOCATION, data={"token": token})) == (401, "invalid_client")
    wrong = {"token": token, "client_id": robot.client_id, "client_secret": "wrong"}
    assert refusal(await robot.house.client().post(REVOCATION, data=wrong)) == (401, "invalid_client")
    assert await scopes_of(robot.house, token) == "profile:read sessions:read"


async def logged_in_by_body(house: House, person: Person) -> tuple[Client, dict[str, str]]:
    login = {"email": person.email, "password": PASSWORD, "delivery": "BODY"}
    tokens = (await house.client().ask(LOG_IN_BY_BODY, {"input": login})).data["login"]
    return house.client(authorization=f"Bearer {tokens['accessToken']}"), tokens


@pytest.mark.parametrize("kind", ["accessToken", "refreshToken"])
@pytest.mark.parametrize("form", [{}, {"client_id": "watchword"}, {"token_type_hint": "access_token"}])
async def test_whoever_holds_a_persons_token_ends_the_session_by_it(
    house: House, ada: Person, kind: str, form: dict[str, str]
) -> None:
    client, tokens = await logged_in_by_body(house, ada)
    answer = await house.client().post(REVOCATION, data={"token": tokens[kind], **form})
    assert answer.status_code == 200
    assert (await client.ask(WHO_AM_I)).reason == "SESSION_REVOKED"
    assert (await ada.ask(WHO_AM_I)).data["viewer"]["id"] == ada.id


async def test_whoever_holds_an_api_token_ends_it(house: House, ada: Person) -> None:
    made = await ada.ask(CREATE_API_TOKEN, {"input": {"name": "script", "scopes": ["profile:read"]}})
    token = made.data["createApiToken"]["token"]
    assert (await house.client().post(REVOCATION, data={"token": token})).status_code == 200
    assert (await house.client().ask(WHO_AM_I, authorization=f"Bearer {token}")).reason == "TOKEN_REVOKED"


async def test_a_token_that_is_not_good_is_revoked_already(robot: Robot) -> None:
    for token in ("garbage", "a.b.c", "\0", "é", "x" * 10_000, str(uuid4()), robot.signed()):
        assert (await robot.house.client().post(REVOCATION, data={"token": token})).status_code == 200
        assert (await robot.revoke(token)).status_code == 200
    assert refusal(await robot.house.client().post(REVOCATION, data={})) == (400, "invalid_request")
    assert refusal(await robot.house.client().post(REVOCATION, data={"token": ""})) == (400, "invalid_request")


# What is published


async def test_the_metadata_has_the_members_of_rfc_8414(nobody: Client) -> None:
    answer = await nobody.get(METADATA)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.headers["cache-control"] == "public, max-age=300"
    assert answer.headers["access-control-allow-origin"] == "*"
    told = answer.json()
    methods, algorithms = ["client_secret_basic", "client_secret_post", "private_key_jwt"], ["EdDSA", "ES256", "RS256"]
    assert "profile:read" in told.pop("scopes_supported")
    assert told == {
        "issuer": ORIGIN,
        "token_endpoint": f"{ORIGIN}{TOKEN}",
        "jwks_uri": f"{ORIGIN}/.well-known/jwks.json",
        "response_types_supported": ["none"],
        "grant_types_supported": ["client_credentials", JWT_BEARER],
        "token_endpoint_auth_methods_supported": methods,
        "token_endpoint_auth_signing_alg_values_supported": algorithms,
        "introspection_endpoint": f"{ORIGIN}{INTROSPECT}",
        "introspection_endpoint_auth_methods_supported": methods,
        "introspection_endpoint_auth_signing_alg_values_supported": algorithms,
        "revocation_endpoint": f"{ORIGIN}{REVOCATION}",
        "revocation_endpoint_auth_methods_supported": [*methods, "none"],
        "revocation_endpoint_auth_signing_alg_values_supported": algorithms,
    }


async def test_every_endpoint_that_the_metadata_names_answers(robot: Robot) -> None:
    told = (await robot.house.client().get(METADATA)).json()
    named = {name: urlsplit(address).path for name, address in told.items() if name.endswith(("_endpoint", "_uri"))}
    assert set(named) == {"token_endpoint", "introspection_endpoint", "revocation_endpoint", "jwks_uri"}
    form = {"grant_type": "client_credentials", "token": "x", **robot.by_secret}
    for name, path in named.items():
        client = robot.house.client()
        answer = await (client.get(path) if name == "jwks_uri" else client.post(path, data=form))
        assert answer.status_code == 200, name


async def test_every_way_to_authenticate_that_the_metadata_names_is_taken_at_every_endpoint(robot: Robot) -> None:
    told = (await robot.house.client().get(METADATA)).json()
    for endpoint, path in (("token", TOKEN), ("introspection", INTROSPECT), ("revocation", REVOCATION)):
        for method in told[f"{endpoint}_endpoint_auth_methods_supported"]:
            form = {"grant_type": "client_credentials", "token": "x"}
            form |= {"client_secret_post": robot.by_secret, "private_key_jwt": robot.by_assertion()}.get(method, {})
            header = basic(robot.client_id, robot.secret) if method == "client_secret_basic" else {}
            assert (await robot.house.client().post(path, data=form, headers=header)).status_code == 200, method


# Whatever is sent


NAMES = st.sampled_from(
    [
        "grant_type",
        "client_id",
        "client_secret",
        "client_assertion_type",
        "client_assertion",
        "assertion",
        "scope",
        "token",
    ]
)
VALUES = st.one_of(
    st.sampled_from(
        ["client_credentials", JWT_BEARER, CLIENT_ASSERTION, "a.b.c", "watchword", "profile:read", "\0", "%"]
    ),
    st.uuids().map(str),
    st.text(),
)


@given(
    path=st.sampled_from([TOKEN, INTROSPECT, REVOCATION]),
    form=st.lists(st.tuples(st.one_of(NAMES, st.text()), VALUES), max_size=6).map(dict),
    header=st.none() | st.binary(max_size=60),
)
async def test_no_form_is_an_error_of_ours(house: House, path: str, form: dict[str, str], header: bytes | None) -> None:
    shown = {} if header is None else {"authorization": "Basic " + base64.b64encode(header).decode()}
    answer = await post(house, path, urlencode(form, errors="surrogatepass").encode(), **shown)
    assert answer.status_code in {200, 400, 401}
    assert answer.headers["cache-control"] == "no-store"


@given(path=st.sampled_from([TOKEN, INTROSPECT, REVOCATION]), body=st.binary(max_size=200))
async def test_no_body_is_an_error_of_ours(house: House, path: str, body: bytes) -> None:
    assert (await post(house, path, body)).status_code in {400, 401}


# Python's and JSON's strings may hold half a character, which UTF-8 does not.
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(st.characters(), max_size=50)
)
ANYTHING = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5)


@given(
    claims=st.dictionaries(
        st.sampled_from(["iss", "sub", "aud", "exp", "iat", "nbf", "jti", "scope"]), ANYTHING, min_size=1, max_size=3
    ),
    header=st.dictionaries(st.sampled_from(["typ", "cty", "x5t", "jku"]), st.text(max_size=20), max_size=2),
)
@example(claims={"jti": "\udfff"}, header={})
@example(claims={"scope": "\udfff"}, header={})
@example(claims={"exp": 10**30}, header={})
@settings(max_examples=150)
async def test_no_claim_is_an_error_of_ours(patient: Robot, claims: dict[str, Any], header: dict[str, str]) -> None:
    assertion = patient.signed(header, **claims)
    assert (await patient.authenticate(assertion)).status_code in {200, 401}
    assert (await patient.bring(patient.signed(header, **claims))).status_code in {200, 400}


@given(kid=st.text(st.characters(), min_size=1, max_size=50))
@example(kid="\ud800")
@example(kid="\0")
async def test_no_name_of_a_key_is_an_error_of_ours(patient: Robot, kid: str) -> None:
    stranger = ed25519.Ed25519PrivateKey.generate()
    assertion = jwt.encode(patient.claims(), stranger, "EdDSA", headers={"kid": kid})
    assert (await patient.authenticate(assertion)).status_code == 401
    assert (await patient.bring(assertion)).status_code == 400


# What strangers can make us do


async def test_failures_are_recorded_to_the_owner_with_what_was_wrong_and_once_a_minute(open_house: OpenHouse) -> None:
    house = await open_house()
    robot = await robot_of(await house.person("ada"), house)
    events = "{ viewer { auditEvents(first: 100) { nodes { action detail objectId } } } }"

    async def failures() -> list[dict[str, Any]]:
        nodes = (await robot.owner.ask(events)).data["viewer"]["auditEvents"]["nodes"]
        return [node for node in nodes if node["action"] == "SERVICE_FAIL"]

    for _ in range(5):
        await robot.ask(**{**robot.by_secret, "client_secret": "wrong"})
    (failed,) = await failures()
    assert (failed["detail"], failed["objectId"]) == ("INVALID_CLIENT: no such secret", robot.client_id)
    await robot.bring(robot.signed(aud="https://elsewhere.example.org"))
    assert (await failures())[0]["detail"] == "INVALID_GRANT: another audience"
    house.clock.move(timedelta(minutes=1))
    await robot.ask(**{**robot.by_secret, "client_secret": "wrong"})
    assert len(await failures()) == 3


async def test_a_failure_that_cannot_be_recorded_is_answered_as_any_other(
    open_house: OpenHouse, impatient: timedelta
) -> None:
    house = await open_house(database_timeout=impatient)
    robot = await robot_of(await house.person("ada"), house)
    with locked(house):
        answer = await robot.ask(**{**robot.by_secret, "client_secret": "wrong"})
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


async def test_one_document_makes_one_key_at_the_most(robot: Robot) -> None:
    call = f'createServiceAccountKey(input: {{ id: "{robot.id}" }}) {{ __typename }}'
    twice = f"a: {call} b: {call}"
    assert (await robot.owner.ask(f"mutation {{ {twice} }}")).code == "OPERATION_TOO_LARGE"


async def test_a_token_that_was_revoked_while_its_owner_was_disabled_stays_so_when_they_are_enabled(
    house: House, grace: Person
) -> None:
    owner = await house.person("ada")
    made = await owner.ask(CREATE_API_TOKEN, {"input": {"name": "leaked", "scopes": ["profile:read"]}})
    token = made.data["createApiToken"]["token"]
    change = "mutation($id: ID!) {{ {0}(input: {{ id: $id }}) {{ user {{ id }} }} }}"
    await grace.ask(change.format("disableUser"), {"id": owner.user_id})
    answer = await house.client().post(REVOCATION, data={"token": token})
    assert (answer.status_code, answer.json()) == (200, {})
    await grace.ask(change.format("enableUser"), {"id": owner.user_id})
    assert (await viewer(house, token)).reason == "TOKEN_REVOKED"


async def test_the_metadata_and_the_keys_are_answered_or_unavailable_with_a_code(open_house: OpenHouse) -> None:
    house = await open_house()
    await house.auth.database.close()
    answer = await house.client().get("/.well-known/jwks.json")
    assert answer.status_code == 503
    assert answer.json()["errors"][0]["extensions"]["code"] == "UNAVAILABLE"
    assert (await house.client().get(METADATA)).status_code == 200
