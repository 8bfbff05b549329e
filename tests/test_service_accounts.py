"""Service accounts: made and looked after by people, and what a program may that calls in the name of one."""

import base64
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx2
import jwt
import pytest
import strawberry
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from schema import Domain, has_role
from tests.elsewhere import stored
from tests.house import ORIGIN, Answer, Client, House, OpenHouse, Person

ON_BOTH_ENGINES = True

ACCOUNT = """
fragment account on ServiceAccount {
  id clientId name scopes isOfInstallation createdAt disabledAt
  credentials { id kind keyId createdAt expiresAt lastUsedAt lastUsedAddress }
}
"""
CREATE = f"""
mutation($input: CreateServiceAccountInput!) {{
  createServiceAccount(input: $input) {{
    ... on CreateServiceAccountSucceeded {{ serviceAccount {{ ...account }} }}
    ... on ServiceAccountFailed {{ code field message }}
  }}
}} {ACCOUNT}
"""
CREATE_SECRET = """
mutation($input: CreateServiceAccountSecretInput!) {
  createServiceAccountSecret(input: $input) {
    ... on CreateServiceAccountSecretSucceeded { secret credential { id kind expiresAt } serviceAccount { id } }
    ... on ServiceAccountFailed { code field message }
  }
}
"""
CREATE_KEY = """
mutation($input: CreateServiceAccountKeyInput!) {
  createServiceAccountKey(input: $input) {
    ... on CreateServiceAccountKeySucceeded { keyFile credential { id kind keyId } serviceAccount { id } }
    ... on ServiceAccountFailed { code field message }
  }
}
"""
REVOKE = """
mutation($input: RevokeServiceAccountCredentialInput!) {
  revokeServiceAccountCredential(input: $input) { serviceAccount { id credentials { id } } }
}
"""
DISABLE = """
mutation($input: DisableServiceAccountInput!) {
  disableServiceAccount(input: $input) { serviceAccount { id disabledAt } }
}
"""
MINE = f"{{ viewer {{ serviceAccounts {{ nodes {{ ...account }} }} }} }} {ACCOUNT}"
ALL = f"query($first: Int! = 100) {{ serviceAccounts(first: $first) {{ nodes {{ ...account }} }} }} {ACCOUNT}"
NODE = f"query($id: ID!) {{ node(id: $id) {{ id ...account }} }} {ACCOUNT}"
SERVICE = "{ viewer { kind scopes } }"

CREATE_API_TOKEN = """
mutation($input: CreateApiTokenInput!) { createApiToken(input: $input) { ... on CreateApiTokenSucceeded { token } } }
"""
SET_ROLES = "mutation($input: SetUserRolesInput!) { setUserRoles(input: $input) { user { roles } } }"
DISABLE_USER = "mutation($input: DisableUserInput!) { disableUser(input: $input) { user { id } } }"
ENABLE_USER = "mutation($input: EnableUserInput!) { enableUser(input: $input) { user { id } } }"

HELD_BY_USERS = ["activity:read", "profile:read", "services:read", "sessions:read", "tokens:read"]
CLIENT_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


async def make(person: Person, *scopes: str, **more: Any) -> dict[str, Any]:
    """Make a service account of this person's, and return it."""
    details = {"name": "robot", "scopes": scopes or ["profile:read"], **more}
    account: dict[str, Any] = (await person.ask(CREATE, {"input": details})).data["createServiceAccount"][
        "serviceAccount"
    ]
    return account


async def fault_of_making(person: Person, **details: Any) -> tuple[str, str | None]:
    failed = (await person.ask(CREATE, {"input": details})).data["createServiceAccount"]
    return failed["code"], failed["field"]


async def give_secret(person: Person, account: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    answer = await person.ask(CREATE_SECRET, {"input": {"id": account["id"], **more}})
    given: dict[str, Any] = answer.data["createServiceAccountSecret"]
    return given


async def give_key(person: Person, account: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    answer = await person.ask(CREATE_KEY, {"input": {"id": account["id"], **more}})
    given: dict[str, Any] = answer.data["createServiceAccountKey"]
    return given


async def listed(person: Person, account: Mapping[str, Any]) -> dict[str, Any]:
    """Return an account as its owner's list shows it."""
    nodes = (await person.ask(MINE)).data["viewer"]["serviceAccounts"]["nodes"]
    (found,) = (node for node in nodes if node["id"] == account["id"])
    return dict(found)


async def revoke(person: Person, given: Mapping[str, Any]) -> Answer:
    return await person.ask(REVOKE, {"input": {"id": given["credential"]["id"]}})


async def by_secret(house: House, account: Mapping[str, Any], secret: str, **more: str) -> httpx2.Response:
    """Ask for an access token with a secret."""
    form = {"grant_type": "client_credentials", "client_id": account["clientId"], "client_secret": secret, **more}
    return await house.client().post("/oauth/token", data=form)


async def by_key(house: House, account: Mapping[str, Any], key: PrivateKey) -> httpx2.Response:
    """Ask for an access token with an assertion that this key signs."""
    algorithm = {ed25519.Ed25519PrivateKey: "EdDSA", ec.EllipticCurvePrivateKey: "ES256"}
    chosen = next((name for kind, name in algorithm.items() if isinstance(key, kind)), "RS256")
    now, client_id = house.clock.now(), account["clientId"]
    claims = {"iss": client_id, "sub": client_id, "aud": ORIGIN, "jti": str(uuid4()), "exp": now + timedelta(minutes=1)}
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": CLIENT_ASSERTION,
        "client_assertion": jwt.encode(claims, key, chosen),
    }
    return await house.client().post("/oauth/token", data=form)


async def program(house: House, account: Mapping[str, Any], secret: str, **more: str) -> Client:
    """Return a program that calls with an access token of the account's."""
    answer = await by_secret(house, account, secret, **more)
    assert answer.status_code == 200, answer.text
    return house.client(authorization=f"Bearer {answer.json()['access_token']}")


async def robot_of(house: House, person: Person, *scopes: str, **more: Any) -> tuple[dict[str, Any], Client]:
    """Return a new account of this person's, and a program that calls with its token."""
    account = await make(person, *scopes, **more)
    return account, await program(house, account, (await give_secret(person, account))["secret"])


async def scopes_of(client: Client) -> list[str]:
    viewer = (await client.ask(SERVICE)).data["viewer"]
    assert viewer["kind"] == "SERVICE"
    return list(viewer["scopes"])


# Making them


async def test_a_person_makes_an_account_for_scopes_that_they_hold(ada: Person) -> None:
    account = await make(ada, "sessions:read", "profile:read", "profile:read", name="  The robot ")
    assert account == {
        **account,
        "name": "The robot",
        "scopes": ["profile:read", "sessions:read"],
        "isOfInstallation": False,
        "disabledAt": None,
        "credentials": [],
    }
    assert base64.b64decode(account["id"]).decode() == f"ServiceAccount:{account['clientId']}"


async def test_an_account_is_in_the_list_as_it_was_in_the_answer(ada: Person) -> None:
    account = await make(ada)
    assert await listed(ada, account) == account


@pytest.mark.parametrize(
    "scopes",
    [["users:read"], ["profile:read", "services:write"], ["no:such"], [""], ["*"], ["profile:read sessions:read"]],
)
async def test_nobody_gives_an_account_a_scope_that_they_do_not_hold(ada: Person, scopes: list[str]) -> None:
    assert await fault_of_making(ada, name="robot", scopes=scopes) == ("SCOPES_NOT_HELD", "scopes")
    assert (await ada.ask(MINE)).data["viewer"]["serviceAccounts"]["nodes"] == []


async def test_an_account_without_a_scope_or_a_name_is_not_made(ada: Person) -> None:
    assert await fault_of_making(ada, name="robot", scopes=[]) == ("SCOPES_MISSING", "scopes")
    for name in ("", "   ", "x" * 81, "a\u202eb", "two\nlines"):
        assert await fault_of_making(ada, name=name, scopes=["profile:read"]) == ("SERVICE_NAME_INVALID", "name")


async def test_only_who_may_change_those_of_the_installation_makes_one_for_it(ada: Person, grace: Person) -> None:
    answer = await ada.ask(CREATE, {"input": {"name": "robot", "scopes": ["profile:read"], "ofInstallation": True}})
    assert (answer.code, answer.reason) == ("FORBIDDEN", "INSUFFICIENT_SCOPE")
    assert answer.refusal["required"] == ["services:write"]
    account = await make(grace, "users:read", ofInstallation=True)
    assert account["isOfInstallation"]
    assert (await grace.ask(MINE)).data["viewer"]["serviceAccounts"]["nodes"] == []
    assert account["id"] in [node["id"] for node in (await grace.ask(ALL)).data["serviceAccounts"]["nodes"]]


async def test_a_person_has_fifty_accounts_at_the_most_and_disabled_ones_do_not_count(ada: Person) -> None:
    accounts = [await make(ada) for _ in range(50)]
    assert await fault_of_making(ada, name="robot", scopes=["profile:read"]) == ("TOO_MANY", None)
    await ada.ask(DISABLE, {"input": {"id": accounts[0]["id"]}})
    assert (await make(ada))["name"] == "robot"


async def test_accounts_are_paged_by_cursor_the_newest_first(ada: Person) -> None:
    made = [(await make(ada))["id"] for _ in range(3)]
    page = """query($after: String) { viewer { serviceAccounts(first: 2, after: $after) {
        nodes { id } pageInfo { hasNextPage endCursor } } } }"""
    first = (await ada.ask(page)).data["viewer"]["serviceAccounts"]
    second = (await ada.ask(page, {"after": first["pageInfo"]["endCursor"]})).data["viewer"]["serviceAccounts"]
    assert [node["id"] for node in first["nodes"] + second["nodes"]] == made[::-1]
    assert [first["pageInfo"]["hasNextPage"], second["pageInfo"]["hasNextPage"]] == [True, False]


# Secrets and keys


async def test_several_secrets_are_good_at_a_time_and_each_is_revoked_by_itself(house: House, ada: Person) -> None:
    account = await make(ada)
    old, new = await give_secret(ada, account), await give_secret(ada, account)
    assert old["secret"] != new["secret"]
    by_old, by_new = await program(house, account, old["secret"]), await program(house, account, new["secret"])
    left = (await revoke(ada, old)).data["revokeServiceAccountCredential"]["serviceAccount"]["credentials"]
    assert [credential["id"] for credential in left] == [new["credential"]["id"]]
    assert (await by_old.ask(SERVICE)).reason == "TOKEN_REVOKED"
    assert (await by_secret(house, account, old["secret"])).status_code == 401
    assert await scopes_of(by_new) == ["profile:read"]
    assert (await by_secret(house, account, new["secret"])).status_code == 200


async def test_several_keys_are_good_at_a_time_and_each_is_revoked_by_itself(house: House, ada: Person) -> None:
    account = await make(ada)
    old, new = ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())
    given = [await give_key(ada, account, publicKey=pem_of(key)) for key in (old, new)]
    assert [(await by_key(house, account, key)).status_code for key in (old, new)] == [200, 200]
    await revoke(ada, given[0])
    assert [(await by_key(house, account, key)).status_code for key in (old, new)] == [401, 200]


async def test_what_proves_an_account_is_shown_once(ada: Person) -> None:
    account = await make(ada)
    secret, file = (await give_secret(ada, account))["secret"], (await give_key(ada, account))["keyFile"]
    shown = json.dumps(await listed(ada, account))
    assert secret not in shown
    assert json.loads(file)["private_key"].splitlines()[1] not in shown


async def test_a_key_file_has_the_layout_that_service_account_libraries_read(house: House, ada: Person) -> None:
    account = await make(ada)
    given = await give_key(ada, account)
    file = json.loads(given["keyFile"])
    key = load_pem_private_key(file.pop("private_key").encode(), None)
    assert file == {
        "type": "service_account",
        "project_id": "watchword",
        "private_key_id": given["credential"]["keyId"],
        "client_email": f"{account['clientId']}@127.0.0.1",
        "client_id": account["clientId"],
        "token_uri": f"{ORIGIN}/oauth/token",
    }
    assert given["credential"]["kind"] == "KEY_FILE"
    assert isinstance(key, rsa.RSAPrivateKey)
    assert key.key_size == 2048
    assert (await by_key(house, account, key)).status_code == 200
    another = json.loads((await give_key(ada, account))["keyFile"])
    assert another["private_key_id"] != file["private_key_id"]


async def test_a_stolen_database_has_neither_the_private_half_of_a_key_file_nor_a_secret(open_house: OpenHouse) -> None:
    house = await open_house()
    ada = await house.person("ada")
    account = await make(ada)
    secret = (await give_secret(ada, account))["secret"]
    file = json.loads((await give_key(ada, account))["keyFile"])
    await by_secret(house, account, secret)

    stolen = stored(house)
    assert file["private_key_id"].encode() in stolen  # the public half is there: this is where to look
    key = load_pem_private_key(file["private_key"].encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    numbers = key.private_numbers()
    for number in (numbers.d, numbers.p, numbers.q, numbers.dmp1, numbers.dmq1, numbers.iqmp):
        raw = number.to_bytes((number.bit_length() + 7) // 8, "big")
        for hidden in spellings(raw) | {str(number).encode()}:
            assert hidden not in stolen
    whole = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    for hidden in spellings(whole) | set(file["private_key"].encode().split(b"\n")[1:-2]) | spellings(secret.encode()):
        assert hidden not in stolen


def spellings(raw: bytes) -> set[bytes]:
    """Return the ways in which bytes are usually written down."""
    base64url = base64.urlsafe_b64encode(raw).rstrip(b"=")
    return {
        raw,
        raw[::-1],
        raw.hex().encode(),
        raw.hex().upper().encode(),
        base64.b64encode(raw).rstrip(b"="),
        base64url,
    }


def pem_of(key: PrivateKey | x25519.X25519PrivateKey | ed448.Ed448PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def jwk_of(key: PrivateKey, *, private: bool = False) -> str:
    half: Any = key if private else key.public_key()
    if isinstance(key, rsa.RSAPrivateKey):
        return RSAAlgorithm.to_jwk(half, as_dict=False)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return ECAlgorithm.to_jwk(half, as_dict=False)
    return OKPAlgorithm.to_jwk(half, as_dict=False)


def private_pem_of(
    key: PrivateKey,
    form: PrivateFormat = PrivateFormat.PKCS8,
    encryption: KeySerializationEncryption | None = None,
) -> str:
    return key.private_bytes(Encoding.PEM, form, encryption or NoEncryption()).decode()


def an_ed25519_key() -> PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def a_p256_key() -> PrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def an_rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


@pytest.mark.parametrize("write", [pem_of, jwk_of])
@pytest.mark.parametrize("generate", [an_ed25519_key, a_p256_key, an_rsa_key])
async def test_a_public_key_is_brought_in_pem_or_as_a_jwk(
    house: House, ada: Person, generate: Callable[[], PrivateKey], write: Callable[[PrivateKey], str]
) -> None:
    account, key = await make(ada), generate()
    given = await give_key(ada, account, publicKey=write(key))
    assert (given["keyFile"], given["credential"]["kind"]) == (None, "PUBLIC_KEY")
    assert (await by_key(house, account, key)).status_code == 200
    assert (await by_key(house, account, generate())).status_code == 401


def jwk_without(key: PrivateKey, *members: str, **more: object) -> str:
    """Return a private key's JWK without some of its members, and with others."""
    kept = {name: value for name, value in json.loads(jwk_of(key, private=True)).items() if name not in members}
    return json.dumps({**kept, **more})


REFUSED_KEYS: Mapping[str, Callable[[], str]] = {
    "private Ed25519": lambda: private_pem_of(an_ed25519_key()),
    "private P-256": lambda: private_pem_of(a_p256_key()),
    "private P-256 as OpenSSL writes it": lambda: private_pem_of(a_p256_key(), PrivateFormat.TraditionalOpenSSL),
    "private RSA": lambda: private_pem_of(an_rsa_key()),
    "encrypted private key": lambda: private_pem_of(
        an_ed25519_key(), encryption=BestAvailableEncryption(b"a passphrase")
    ),
    "private Ed25519 as JWK": lambda: jwk_of(an_ed25519_key(), private=True),
    "private P-256 as JWK": lambda: jwk_of(a_p256_key(), private=True),
    "private RSA as JWK": lambda: jwk_of(an_rsa_key(), private=True),
    "RSA with its primes, which is private": lambda: jwk_without(an_rsa_key(), "d", "dp", "dq", "qi", "key_ops"),
    "RSA with an exponent as long as itself": lambda: jwk_without(
        an_rsa_key(), "d", "p", "q", "dp", "dq", "qi", e=json.loads(jwk_of(an_rsa_key()))["n"]
    ),
    "RSA of 1024 bits": lambda: pem_of(an_rsa_key(1024)),
    "RSA of 1024 bits as JWK": lambda: jwk_of(an_rsa_key(1024)),
    "RSA of 8000 bits as JWK": lambda: json.dumps({"kty": "RSA", "n": "_" * 1333, "e": "AQAB"}),
    "P-384": lambda: pem_of(ec.generate_private_key(ec.SECP384R1())),
    "P-521": lambda: jwk_of(ec.generate_private_key(ec.SECP521R1())),
    "secp256k1": lambda: pem_of(ec.generate_private_key(ec.SECP256K1())),
    "X25519": lambda: pem_of(x25519.X25519PrivateKey.generate()),
    "X25519 as JWK": lambda: json.dumps({"kty": "OKP", "crv": "X25519", "x": "A" * 43}),
    "Ed448": lambda: pem_of(ed448.Ed448PrivateKey.generate()),
    "P-256, a point off the curve": lambda: json.dumps({"kty": "EC", "crv": "P-256", "x": "A" * 43, "y": "A" * 43}),
    "a secret": lambda: json.dumps({"kty": "oct", "k": "A" * 43}),
    "a cut JWK": lambda: json.dumps({"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}),
    "a set of keys": lambda: json.dumps({"keys": [json.loads(jwk_of(an_ed25519_key()))]}),
    "a certificate": lambda: pem_of(an_ed25519_key()).replace("PUBLIC KEY", "CERTIFICATE"),
    "nothing": lambda: "",
    "garbage": lambda: "garbage",
    "a NUL": lambda: "\0",
    "an object": lambda: "{}",
    "numbers": lambda: json.dumps({"kty": 1, "crv": [], "x": {}}),
    "a number too long to read": lambda: '{"kty": "RSA", "n": ' + "9" * 7000 + "}",
    "nested deeply": lambda: '{"kty":' + "[" * 7000,
    "half a character": lambda: r'{"kty": "OKP", "crv": "Ed25519", "x": "\ud800"}',
    "huge": lambda: pem_of(an_ed25519_key()) + "\n" * 9000,
    "huge JSON": lambda: jwk_without(an_ed25519_key(), "d", more="x" * 9000),
}


@pytest.mark.parametrize("case", REFUSED_KEYS)
async def test_what_is_no_public_key_that_we_verify_with_is_refused(ada: Person, case: str) -> None:
    account = await make(ada)
    given = await give_key(ada, account, publicKey=REFUSED_KEYS[case]())
    code = "PUBLIC_KEY_IS_PRIVATE" if "private" in case else "PUBLIC_KEY_INVALID"
    assert (given.get("code"), given.get("field")) == (code, "publicKey")
    assert (await listed(ada, account))["credentials"] == []


async def test_a_key_of_ours_is_nobodys_own(house: House, ada: Person) -> None:
    account = await make(ada)
    for published in (await house.client().get("/.well-known/jwks.json")).json()["keys"]:
        assert (await give_key(ada, account, publicKey=json.dumps(published)))["code"] == "PUBLIC_KEY_INVALID"


async def test_a_key_is_known_again_however_it_is_written_and_after_it_was_revoked(ada: Person) -> None:
    account, key = await make(ada), an_ed25519_key()
    given = await give_key(ada, account, publicKey=pem_of(key))
    for text in (pem_of(key), jwk_of(key), json.dumps({**json.loads(jwk_of(key)), "kid": "another", "use": "sig"})):
        assert (await give_key(ada, account, publicKey=text))["code"] == "PUBLIC_KEY_KNOWN"
    await revoke(ada, given)
    assert (await give_key(ada, account, publicKey=pem_of(key)))["code"] == "PUBLIC_KEY_KNOWN"
    assert (await give_key(ada, await make(ada), publicKey=pem_of(key)))["credential"]["keyId"]


@pytest.mark.parametrize("generate", [a_p256_key, an_rsa_key])
async def test_zeros_before_a_keys_numbers_make_no_other_key_of_it(
    house: House, ada: Person, generate: Callable[[], PrivateKey]
) -> None:
    account, key = await make(ada), generate()
    given = await give_key(ada, account, publicKey=jwk_of(key))
    await revoke(ada, given)
    members = json.loads(jwk_of(key))
    name = "n" if "n" in members else "x"
    number = base64.urlsafe_b64decode(members[name] + "==")
    respelled = {**members, name: base64.urlsafe_b64encode(b"\0" + number).rstrip(b"=").decode()}
    assert "code" in await give_key(ada, account, publicKey=json.dumps(respelled))
    assert (await by_key(house, account, key)).status_code == 401


async def test_what_else_a_jwk_says_of_its_key_is_not_believed(house: House, ada: Person) -> None:
    account = await make(ada)
    for more in ({"alg": "HS256"}, {"use": "enc"}, {"key_ops": ["sign"]}, {"kid": "x", "d2": {"x": [1]}}):
        key = an_ed25519_key()
        given = await give_key(ada, account, publicKey=json.dumps({**json.loads(jwk_of(key)), **more}))
        if "code" not in given:  # a key that is taken can be used
            assert (await by_key(house, account, key)).status_code == 200, more


async def test_an_account_has_ten_good_credentials_at_the_most(ada: Person) -> None:
    account = await make(ada)
    given = [await give_secret(ada, account) for _ in range(10)]
    assert (await give_secret(ada, account))["code"] == "TOO_MANY"
    assert (await give_key(ada, account, publicKey=pem_of(an_ed25519_key())))["code"] == "TOO_MANY"
    await revoke(ada, given[3])
    assert (await give_key(ada, account, publicKey=pem_of(an_ed25519_key())))["credential"]["kind"] == "PUBLIC_KEY"
    assert (await give_secret(ada, account))["code"] == "TOO_MANY"


async def test_the_list_says_when_and_from_where_each_was_used_to_the_minute(open_house: OpenHouse) -> None:
    house = await open_house()
    ada = await house.person("ada")
    account = await make(ada)
    used, unused = await give_secret(ada, account), await give_secret(ada, account)

    async def uses() -> dict[str, tuple[str | None, str | None]]:
        found = (await listed(ada, account))["credentials"]
        assert [credential["id"] for credential in found] == [unused["credential"]["id"], used["credential"]["id"]]
        return {each["id"]: (each["lastUsedAt"], each["lastUsedAddress"]) for each in found}

    assert set((await uses()).values()) == {(None, None)}
    await by_secret(house, account, used["secret"])
    first = await uses()
    assert first[unused["credential"]["id"]] == (None, None)
    at, address = first[used["credential"]["id"]]
    assert abs(datetime.fromisoformat(str(at)) - house.clock.now()) < timedelta(minutes=1)
    assert address == "127.0.0.1"
    await by_secret(house, account, used["secret"])
    assert await uses() == first
    house.clock.move(timedelta(minutes=2))
    await by_secret(house, account, used["secret"])
    assert str((await uses())[used["credential"]["id"]][0]) > str(at)


async def test_a_credential_that_expires_takes_its_tokens_along(open_house: OpenHouse) -> None:
    house = await open_house()
    ada = await house.person("ada")
    account = await make(ada)
    end = house.clock.now() + timedelta(minutes=2)
    given = await give_secret(ada, account, expiresAt=end.isoformat())
    client = await program(house, account, given["secret"])
    house.clock.move(timedelta(minutes=2, seconds=1))
    assert (await client.ask(SERVICE)).reason == "TOKEN_REVOKED"
    assert (await by_secret(house, account, given["secret"])).status_code == 401
    assert (await listed(ada, account))["credentials"] == []


async def test_a_credential_expires_within_a_year_or_never(house: House, ada: Person) -> None:
    account, now = await make(ada), house.clock.now()
    for wrong in (now, now - timedelta(days=1), now + timedelta(days=367), datetime(9999, 12, 31, tzinfo=UTC)):
        given = await give_secret(ada, account, expiresAt=wrong.isoformat())
        assert (given["code"], given["field"]) == ("EXPIRY_INVALID", "expiresAt")
    for way in (give_secret, give_key):
        given = await way(ada, account, expiresAt="2020-01-01T00:00:00")
        assert given["code"] == "EXPIRY_INVALID"
    good = now + timedelta(days=365)
    assert (await give_secret(ada, account, expiresAt=good.isoformat()))["credential"]["expiresAt"] is not None
    assert (await give_secret(ada, account))["credential"]["expiresAt"] is None


# Whose they are


async def test_an_account_is_its_owners_and_another_user_finds_nothing(house: House, ada: Person) -> None:
    eve = await house.person("eve")
    account = await make(ada)
    given = await give_secret(ada, account)
    assert (await eve.ask(MINE)).data["viewer"]["serviceAccounts"]["nodes"] == []
    assert (await eve.ask(NODE, {"id": account["id"]})).data["node"] is None
    assert (await ada.ask(NODE, {"id": account["id"]})).data["node"]["id"] == account["id"]
    tried = [
        await eve.ask(CREATE_SECRET, {"input": {"id": account["id"]}}),
        await eve.ask(CREATE_KEY, {"input": {"id": account["id"]}}),
        await eve.ask(CREATE_KEY, {"input": {"id": account["id"], "publicKey": pem_of(an_ed25519_key())}}),
        await revoke(eve, given),
        await eve.ask(DISABLE, {"input": {"id": account["id"]}}),
    ]
    assert [answer.code for answer in tried] == ["NOT_FOUND"] * 5
    assert (await eve.ask(ALL)).refusal["required"] == ["services:write"]
    left = await listed(ada, account)
    assert (left["disabledAt"], len(left["credentials"])) == (None, 1)


async def test_an_administrator_sees_revokes_and_disables_but_is_given_no_credential_of_somebody_else(
    house: House, ada: Person, grace: Person
) -> None:
    account = await make(ada)
    given = await give_secret(ada, account)
    seen = (await grace.ask(NODE, {"id": account["id"]})).data["node"]
    assert [each["id"] for each in seen["credentials"]] == [given["credential"]["id"]]
    assert account["id"] in [node["id"] for node in (await grace.ask(ALL)).data["serviceAccounts"]["nodes"]]
    for answer in (
        await grace.ask(CREATE_SECRET, {"input": {"id": account["id"]}}),
        await grace.ask(CREATE_KEY, {"input": {"id": account["id"]}}),
        await grace.ask(CREATE_KEY, {"input": {"id": account["id"], "publicKey": pem_of(an_ed25519_key())}}),
    ):
        assert answer.code == "NOT_FOUND"
    assert len((await listed(ada, account))["credentials"]) == 1
    assert (await revoke(grace, given)).data["revokeServiceAccountCredential"]
    assert (await by_secret(house, account, given["secret"])).status_code == 401
    assert (await grace.ask(DISABLE, {"input": {"id": account["id"]}})).data["disableServiceAccount"]
    assert (await listed(ada, account))["disabledAt"] is not None


async def test_administrators_look_after_the_installations_accounts_together(house: House, grace: Person) -> None:
    hedy = await house.person("hedy", administrator=True)
    account = await make(grace, "users:read", ofInstallation=True)
    client = await program(house, account, (await give_secret(hedy, account))["secret"])
    assert await scopes_of(client) == ["users:read"]


async def test_the_installations_account_lives_on_when_who_made_it_is_gone(house: House, grace: Person) -> None:
    hedy = await house.person("hedy", administrator=True)
    _, client = await robot_of(house, hedy, "users:read", ofInstallation=True)
    await grace.ask(DISABLE_USER, {"input": {"id": hedy.user_id}})
    assert await scopes_of(client) == ["users:read"]


async def test_revoking_twice_or_an_id_of_nothing_says_that_there_is_none(ada: Person) -> None:
    account = await make(ada)
    given = await give_secret(ada, account)
    await revoke(ada, given)
    for wrong in (str(uuid4()), "", "x", "\0"):
        node_id = base64.b64encode(f"ServiceAccountCredential:{wrong}".encode()).decode()
        assert (await ada.ask(REVOKE, {"input": {"id": node_id}})).code == "NOT_FOUND"
    assert (await ada.ask(REVOKE, {"input": {"id": given["credential"]["id"]}})).code == "NOT_FOUND"
    for no_credential in (str(uuid4()), "", "x", account["id"], "\0"):
        assert (await ada.ask(REVOKE, {"input": {"id": no_credential}})).code == "BAD_USER_INPUT"
    assert (await ada.ask(DISABLE, {"input": {"id": ada.user_id}})).code == "BAD_USER_INPUT"


async def test_a_recent_login_is_needed_to_make_but_not_to_take_away(open_house: OpenHouse) -> None:
    house = await open_house()
    ada = await house.person("ada")
    account = await make(ada)
    given = await give_secret(ada, account)
    house.clock.move(timedelta(minutes=61))
    for answer in (
        await ada.ask(CREATE, {"input": {"name": "robot", "scopes": ["profile:read"]}}),
        await ada.ask(CREATE_SECRET, {"input": {"id": account["id"]}}),
        await ada.ask(CREATE_KEY, {"input": {"id": account["id"]}}),
    ):
        assert (answer.code, answer.reason) == ("FORBIDDEN", "STEP_UP_REQUIRED")
    assert (await revoke(ada, given)).data["revokeServiceAccountCredential"]
    assert (await ada.ask(DISABLE, {"input": {"id": account["id"]}})).data["disableServiceAccount"]
    await ada.client.log_in(ada.email)
    assert (await make(ada))["name"] == "robot"


async def test_no_program_makes_or_takes_away_credentials_whatever_its_scopes(house: House, grace: Person) -> None:
    account = await make(grace)
    given = await give_secret(grace, account)
    everything = list((await grace.ask("{ viewer { scopes } }")).data["viewer"]["scopes"])
    made = await grace.ask(CREATE_API_TOKEN, {"input": {"name": "script", "scopes": everything}})
    script = house.client(authorization=f"Bearer {made.data['createApiToken']['token']}")
    _, robot = await robot_of(house, grace, *everything, ofInstallation=True)
    for client in (script, robot):
        for document, details in (
            (CREATE, {"name": "robot", "scopes": ["profile:read"]}),
            (CREATE_SECRET, {"id": account["id"]}),
            (CREATE_KEY, {"id": account["id"]}),
            (REVOKE, {"id": given["credential"]["id"]}),
            (DISABLE, {"id": account["id"]}),
        ):
            answer = await client.ask(document, {"input": details})
            assert (answer.code, answer.reason) == ("FORBIDDEN", "HUMAN_REQUIRED")
    assert [each["id"] for each in (await listed(grace, account))["credentials"]] == [given["credential"]["id"]]


async def test_nobody_without_a_credential_touches_a_service_account(nobody: Client) -> None:
    for document, details in (
        (CREATE, {"name": "robot", "scopes": ["profile:read"]}),
        (REVOKE, {"id": "U2VydmljZUFjY291bnRDcmVkZW50aWFsOng="}),
        (DISABLE, {"id": "U2VydmljZUFjY291bnQ6eA=="}),
    ):
        assert (await nobody.ask(document, {"input": details})).code == "UNAUTHENTICATED"


# What a program may


async def test_a_program_calls_as_a_service_for_the_scopes_of_its_account(house: House, ada: Person) -> None:
    account, client = await robot_of(house, ada, "sessions:read", "profile:read")
    asked = "{ viewer { id kind scopes user { email } session { id } sessions { nodes { id } } } }"
    viewer = (await client.ask(asked)).data["viewer"]
    assert viewer == {
        "id": base64.b64encode(f"Viewer:{account['clientId']}".encode()).decode(),
        "kind": "SERVICE",
        "scopes": ["profile:read", "sessions:read"],
        "user": None,
        "session": None,
        "sessions": {"nodes": []},
    }
    refused = await client.ask("{ viewer { apiTokens { nodes { id } } } }")
    assert (refused.code, refused.refusal["required"]) == ("FORBIDDEN", ["tokens:read"])


async def test_a_program_sees_its_own_account_and_not_its_owners_others(house: House, ada: Person) -> None:
    account, client = await robot_of(house, ada, "services:read")
    other = await make(ada)
    assert (await client.ask(NODE, {"id": account["id"]})).data["node"]["id"] == account["id"]
    assert (await client.ask(NODE, {"id": other["id"]})).data["node"] is None
    assert (await client.ask(NODE, {"id": ada.user_id})).data["node"] is None
    _, blind = await robot_of(house, ada, "profile:read")
    assert (await blind.ask(NODE, {"id": other["id"]})).data["node"] is None


async def test_a_program_may_nothing_that_wants_a_person_or_a_role(open_house: OpenHouse) -> None:
    @strawberry.type
    class Query:
        @strawberry.field(permission_classes=[has_role("admin")], description="For administrators.")
        def vault(self) -> str | None:
            return "gold"

    house = await open_house(domains=[Domain(name="vault", query=Query)])
    grace = await house.person("grace", administrator=True)
    _, client = await robot_of(house, grace, "profile:read", "users:write")
    assert (await grace.ask("{ vault }")).data["vault"] == "gold"
    refused = await client.ask("{ vault }")
    assert (refused.code, refused.reason, refused.refusal["granted"]) == ("FORBIDDEN", "INSUFFICIENT_ROLE", [])
    for human in ("{ viewer { grantableScopes { name } } }", "mutation { revokeOtherSessions { endedSessions } }"):
        assert (await client.ask(human)).reason == "HUMAN_REQUIRED"


async def test_a_programs_token_in_a_cookie_is_refused(house: House, ada: Person) -> None:
    _, client = await robot_of(house, ada)
    token = client.headers["authorization"].partition(" ")[2]
    answer = await house.client().ask(SERVICE, cookie=f"watchword-access={token}")
    assert (answer.code, answer.reason) == ("UNAUTHENTICATED", "TOKEN_INVALID")
    assert await scopes_of(client) == ["profile:read"]


async def test_disabling_an_account_ends_everything_at_once_and_for_good(house: House, ada: Person) -> None:
    account, key = await make(ada), an_ed25519_key()
    secret = (await give_secret(ada, account))["secret"]
    await give_key(ada, account, publicKey=pem_of(key))
    by_its_key = house.client(authorization=f"Bearer {(await by_key(house, account, key)).json()['access_token']}")
    clients = [await program(house, account, secret), by_its_key]
    disabled = (await ada.ask(DISABLE, {"input": {"id": account["id"]}})).data["disableServiceAccount"]
    at = disabled["serviceAccount"]["disabledAt"]
    assert at is not None
    for client in clients:
        answer = await client.ask(SERVICE)
        assert (answer.code, answer.reason) == ("UNAUTHENTICATED", "ACCOUNT_DISABLED")
    assert (await by_secret(house, account, secret)).status_code == 401
    assert (await by_key(house, account, key)).status_code == 401
    assert (await ada.ask(CREATE_SECRET, {"input": {"id": account["id"]}})).code == "NOT_FOUND"
    assert (await ada.ask(CREATE_KEY, {"input": {"id": account["id"]}})).code == "NOT_FOUND"
    again = (await ada.ask(DISABLE, {"input": {"id": account["id"]}})).data["disableServiceAccount"]
    assert again["serviceAccount"]["disabledAt"] == at


async def test_an_owner_who_is_disabled_takes_the_account_along_on_the_next_request(
    house: House, ada: Person, grace: Person
) -> None:
    account = await make(ada)
    secret = (await give_secret(ada, account))["secret"]
    client = await program(house, account, secret)
    await grace.ask(DISABLE_USER, {"input": {"id": ada.user_id}})
    assert (await client.ask(SERVICE)).reason == "ACCOUNT_DISABLED"
    assert (await by_secret(house, account, secret)).status_code == 401
    await grace.ask(ENABLE_USER, {"input": {"id": ada.user_id}})
    assert await scopes_of(client) == ["profile:read"]


async def test_a_role_that_the_owner_loses_counts_on_the_next_request(house: House, grace: Person) -> None:
    hedy = await house.person("hedy", administrator=True)
    account = await make(hedy, "users:read", "profile:read")
    secret = (await give_secret(hedy, account))["secret"]
    client = await program(house, account, secret)
    assert await scopes_of(client) == ["profile:read", "users:read"]
    await grace.ask(SET_ROLES, {"input": {"id": hedy.user_id, "roles": ["USER"]}})
    assert await scopes_of(client) == ["profile:read"]
    assert (await client.ask("{ users { nodes { id } } }")).refusal["required"] == ["users:read"]
    assert (await by_secret(house, account, secret)).json()["scope"] == "profile:read"
    refused = await by_secret(house, account, secret, scope="users:read")
    assert refused.json()["error"] == "invalid_scope"


async def test_a_role_that_the_owner_is_given_widens_no_token_beyond_what_it_was_given_for(
    house: House, grace: Person
) -> None:
    hedy = await house.person("hedy", administrator=True)
    account = await make(hedy, "users:read", "profile:read")
    secret = (await give_secret(hedy, account))["secret"]
    await grace.ask(SET_ROLES, {"input": {"id": hedy.user_id, "roles": ["USER"]}})
    client = await program(house, account, secret)
    await grace.ask(SET_ROLES, {"input": {"id": hedy.user_id, "roles": ["USER", "ADMIN"]}})
    assert await scopes_of(client) == ["profile:read"]
    assert await scopes_of(await program(house, account, secret)) == ["profile:read", "users:read"]


EVERY_SCOPE = [*HELD_BY_USERS, "audit:read", "services:write", "tokens:introspect", "users:read", "users:write"]


@given(
    chosen=st.sets(st.sampled_from(EVERY_SCOPE), min_size=1),
    asked=st.sets(st.sampled_from(EVERY_SCOPE)),
    before=st.booleans(),
    after=st.booleans(),
)
@settings(max_examples=40)
async def test_what_a_program_may_is_never_more_than_account_owner_and_token_have_in_common(
    house: House, chosen: set[str], asked: set[str], before: bool, after: bool
) -> None:
    root = await house.person("grace", administrator=True)
    owner = await house.person("hedy", administrator=True)
    account = await make(owner, *sorted(chosen))
    secret = (await give_secret(owner, account))["secret"]

    async def held(administrator: bool) -> set[str]:
        roles = ["USER", "ADMIN"] if administrator else ["USER"]
        await root.ask(SET_ROLES, {"input": {"id": owner.user_id, "roles": roles}})
        return set(EVERY_SCOPE if administrator else HELD_BY_USERS)

    at_the_time = chosen & await held(before)
    answer = await by_secret(house, account, secret, scope=" ".join(sorted(asked)))
    if not asked <= at_the_time:
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope")
        return
    token = asked or at_the_time
    assert set(answer.json()["scope"].split()) == token
    client = house.client(authorization=f"Bearer {answer.json()['access_token']}")
    now = await held(after)
    assert set(await scopes_of(client)) == token & chosen & now
