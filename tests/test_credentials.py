"""What is presented with a request, and what becomes of it: none, good, or bad, and bad is never taken for none."""

import base64
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc.jwk import OctKey

from auth import keys
from schema import Domain, DomainRefused
from tests.faults import locked
from tests.house import (
    LOG_IN,
    LOG_OUT,
    PASSWORD,
    PRODUCTION_HASHING,
    WHO_AM_I,
    Answer,
    Client,
    House,
    OpenHouse,
    Person,
)

ON_BOTH_ENGINES = True

NEVER = "01890a5d-ac96-774b-bcce-b302099a8057"  # the id of nothing

PUBLIC_AND_GUARDED = "mutation { logout { sessionEnded } revokeOtherSessions { endedSessions } }"


async def present(house: House, *headers: tuple[str, str], query: str = WHO_AM_I) -> Answer:
    """Ask with exactly these headers, repeated ones too, from a client that has no cookies of its own."""
    return Answer(await house.client().post("/graphql", json={"query": query}, headers=list(headers)))


async def refused(house: House, *headers: tuple[str, str]) -> str:
    """Return the reason for which `viewer` is refused, once it is shown that a public field runs all the same."""
    answer = await present(house, *headers)
    assert answer.code == "UNAUTHENTICATED"
    assert answer.body["data"] == {"viewer": None}
    assert answer.response.status_code == 200
    assert "set-cookie" not in answer.response.headers
    login = {"query": LOG_IN, "variables": {"input": {"email": house.address("nobody"), "password": PASSWORD}}}
    public = Answer(await house.client().post("/graphql", json=login, headers=list(headers)))
    assert public.data["login"]["code"] == "INVALID_CREDENTIALS"
    return answer.reason


CREATE_API_TOKEN = """
mutation($input: CreateApiTokenInput!) {
  createApiToken(input: $input) { ... on CreateApiTokenSucceeded { token apiToken { id } } }
}
"""
CREATE_SERVICE = """
mutation($input: CreateServiceAccountInput!) {
  createServiceAccount(input: $input) { ... on CreateServiceAccountSucceeded { serviceAccount { id clientId } } }
}
"""
CREATE_SECRET = """
mutation($input: CreateServiceAccountSecretInput!) {
  createServiceAccountSecret(input: $input) { ... on CreateServiceAccountSecretSucceeded { secret } }
}
"""


async def api_token(person: Person, **more: Any) -> tuple[str, str]:
    """Return an API token of this person's, and the id of its row."""
    details = {"name": "backup", "scopes": ["profile:read"], **more}
    made = (await person.ask(CREATE_API_TOKEN, {"input": details})).data["createApiToken"]
    return made["token"], row_id(made["apiToken"]["id"])


async def robot(person: Person) -> tuple[str, str]:
    """Return the client id and the secret of a service account of this person's."""
    details = {"name": "robot", "scopes": ["profile:read"]}
    account = (await person.ask(CREATE_SERVICE, {"input": details})).data["createServiceAccount"]["serviceAccount"]
    made = (await person.ask(CREATE_SECRET, {"input": {"id": account["id"]}})).data["createServiceAccountSecret"]
    return account["clientId"], made["secret"]


async def service_token(house: House, person: Person) -> str:
    client_id, secret = await robot(person)
    form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
    token: str = (await house.client().post("/oauth/token", data=form)).json()["access_token"]
    return token


async def access_token(house: House, person: Person) -> str:
    answer = await house.client().log_in(person.email, delivery="BODY")
    token: str = answer.data["login"]["accessToken"]
    return token


def bearer(token: str, scheme: str = "Bearer") -> tuple[str, str]:
    return "authorization", f"{scheme} {token}"


def cookies(**values: str) -> tuple[str, str]:
    return "cookie", "; ".join(f"watchword-{name}={value}" for name, value in values.items())


def jar(client: Client) -> dict[str, str]:
    return {name: str(client.cookies[f"watchword-{name}"]) for name in ("access", "session")}


async def forged(house: House, person: Person, typ: str = "at+jwt", **claims: Any) -> str:
    """Return a token under the house's own key, as if the key had leaked; `person` is whom it would be for."""
    now, key = int(house.clock.now().timestamp()), await house.auth.key_ring.signing_key()
    usual = {
        "iss": house.settings.public_url,
        "aud": house.settings.public_url + ("/graphql" if typ == "api+jwt" else ""),
        "sub": row_id(person.user_id),
        "exp": now + 300,
        "iat": now,
        "jti": NEVER,
        "client_id": "watchword",
        "scope": "profile:read",
        "amr": ["pwd"],
        "auth_time": now,
    }
    members = {name: value for name, value in {**usual, **claims}.items() if value is not ...}
    return key.sign(json.dumps(members).encode(), typ=typ)


def row_id(global_id: str) -> str:
    return base64.b64decode(global_id).decode().partition(":")[2]


async def session_of(person: Person) -> str:
    answer = await person.ask("{ viewer { session { id } } }")
    return row_id(answer.data["viewer"]["session"]["id"])


async def test_no_credential_is_none_offered(house: House) -> None:
    assert await refused(house) == "NOT_AUTHENTICATED"


@pytest.mark.parametrize("empty", [("cookie", ""), ("cookie", "theme=dark"), ("cookie", "watchword-access=; x=y")])
async def test_cookies_that_are_not_ours_or_are_empty_are_none_offered(house: House, empty: tuple[str, str]) -> None:
    assert await refused(house, empty) == "NOT_AUTHENTICATED"


async def test_a_good_token_is_good_in_a_header_and_in_a_cookie(house: House, ada: Person) -> None:
    token = await access_token(house, ada)
    for header in (bearer(token), cookies(access=token), ("cookie", f"theme=dark;watchword-access={token} ; x=y")):
        assert (await present(house, header)).data["viewer"]["user"]["email"] == ada.email


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "bEaReR", "Bearer ", "Bearer  "])
async def test_the_scheme_is_bearer_in_any_case(house: House, ada: Person, scheme: str) -> None:
    header = bearer(await access_token(house, ada), scheme)
    assert (await present(house, header)).data["viewer"]["id"] == ada.id


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("Basic YWRhOnBhc3N3b3Jk", id="another scheme"),
        pytest.param("Digest username=ada", id="yet another"),
        pytest.param("", id="nothing"),
        pytest.param("Bearer", id="no token"),
        pytest.param("Bearer ", id="an empty token"),
        pytest.param("Bearer    ", id="a blank token"),
        pytest.param("Bearer\t{token}", id="a tab for a space"),
        pytest.param("{token}", id="no scheme"),
        pytest.param("Token {token}", id="an invented scheme"),
        pytest.param("BearerX {token}", id="a longer scheme"),
    ],
)
async def test_an_authorization_header_of_another_form_is_malformed(house: House, ada: Person, value: str) -> None:
    header = ("authorization", value.replace("{token}", await access_token(house, ada)))
    assert await refused(house, header) == "CREDENTIAL_MALFORMED"


async def test_two_authorization_headers_are_malformed_even_if_both_are_good(house: House, ada: Person) -> None:
    good = bearer(await access_token(house, ada))
    assert await refused(house, good, good) == "CREDENTIAL_MALFORMED"
    assert await refused(house, good, ("authorization", "Basic x")) == "CREDENTIAL_MALFORMED"


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "a.b",
        "a.b.c",
        "a.b.c.d",
        "..",
        "null",
        "undefined",
        "{{token}}",
        "Bearer",
        "eyJhbGciOiJub25lIn0.e30.",
        "eyJhbGciOiJub25lIn0.e30.AA",
        "x" * 5_000,
        "\u00e9".encode().decode("latin-1"),
    ],
)
async def test_a_malformed_token_is_invalid(house: House, token: str) -> None:
    raw = f"Bearer {token}".encode("latin-1")
    response = await house.client().post("/graphql", json={"query": WHO_AM_I}, headers=[(b"authorization", raw)])
    answer = Answer(response)
    assert (answer.code, answer.reason) == ("UNAUTHENTICATED", "TOKEN_INVALID")


async def test_a_tampered_token_is_invalid_whichever_part_was_changed(house: House, ada: Person) -> None:
    token = await access_token(house, ada)
    parts = token.split(".")
    for place, part in enumerate(parts):
        changed = part[:-1] + ("A" if part[-1] != "A" else "B")
        tampered = ".".join([*parts[:place], changed, *parts[place + 1 :]])
        assert await refused(house, bearer(tampered)) == "TOKEN_INVALID"


async def test_one_persons_rights_do_not_fit_under_anothers_signature(house: House, ada: Person, grace: Person) -> None:
    header, _, signature = (await access_token(house, ada)).split(".")
    payload = (await access_token(house, grace)).split(".")[1]
    assert await refused(house, bearer(f"{header}.{payload}.{signature}")) == "TOKEN_INVALID"


async def test_a_foreign_houses_token_is_invalid(house: House, ada: Person, open_house: OpenHouse) -> None:
    elsewhere = await open_house()
    stranger = await elsewhere.person("ada")
    assert await refused(house, bearer(await access_token(elsewhere, stranger))) == "TOKEN_INVALID"
    assert await refused(elsewhere, bearer(await access_token(house, ada))) == "TOKEN_INVALID"


async def test_a_token_under_our_kid_by_another_key_is_invalid(house: House, ada: Person) -> None:
    token = await access_token(house, ada)
    signed = token.rpartition(".")[0]
    signature = base64.urlsafe_b64encode(Ed25519PrivateKey.generate().sign(signed.encode())).rstrip(b"=").decode()
    assert await refused(house, bearer(f"{signed}.{signature}")) == "TOKEN_INVALID"


async def test_a_token_for_one_persons_session_and_anothers_name_is_invalid(
    house: House, ada: Person, grace: Person
) -> None:
    session = await session_of(ada)
    assert (await present(house, bearer(await forged(house, ada, sid=session)))).data["viewer"]["id"] == ada.id
    assert await refused(house, bearer(await forged(house, grace, sid=session))) == "TOKEN_INVALID"


async def test_a_token_for_a_session_that_never_was_is_refused(house: House, ada: Person) -> None:
    assert await refused(house, bearer(await forged(house, ada, sid=NEVER))) == "SESSION_UNKNOWN"


@pytest.mark.parametrize("sid", ["", "x", "' OR 1=1 --", "\u0000", NEVER.upper(), f"{NEVER}\n", None, 5, [NEVER]])
async def test_a_token_for_what_can_be_no_session_is_refused(house: House, ada: Person, sid: object) -> None:
    assert await refused(house, bearer(await forged(house, ada, sid=sid))) == "TOKEN_INVALID"


async def test_scopes_that_a_token_claims_count_for_nothing(house: House, ada: Person) -> None:
    token = await forged(house, ada, sid=await session_of(ada), scope="users:read users:write profile:read")
    answer = await present(house, bearer(token), query="{ users { nodes { email } } }")
    assert (answer.code, answer.reason) == ("FORBIDDEN", "INSUFFICIENT_SCOPE")


KIND = "{ viewer { kind } }"


@pytest.mark.parametrize("algorithm", ["EdDSA", "ES256", "RS256", "HS256"])
async def test_every_kind_of_token_is_good_under_every_algorithm_and_refused_with_another_signature(
    open_house: OpenHouse, algorithm: str
) -> None:
    house = await open_house(signing_algorithm=algorithm)
    ada = await house.person("ada")
    (made, _), service = await api_token(ada), await service_token(house, ada)
    tokens = {"session": await access_token(house, ada), "api": made, "service": service}
    for kind, token in tokens.items():
        header = json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "=="))
        assert header["alg"] == algorithm
        answer = await present(house, bearer(token), query=KIND)
        assert answer.data == {"viewer": {"kind": "SERVICE" if kind == "service" else "USER"}}
        signed, _, signature = token.rpartition(".")
        for other in tokens.values():
            if other != token:
                assert await refused(house, bearer(f"{signed}.{other.rpartition('.')[2]}")) == "TOKEN_INVALID"
        middle = len(signature) // 2
        changed = "A" if signature[middle] != "A" else "B"
        tampered = f"{signed}.{signature[:middle]}{changed}{signature[middle + 1 :]}"
        assert await refused(house, bearer(tampered)) == "TOKEN_INVALID"


@pytest.mark.parametrize("algorithm", ["EdDSA", "ES256", "RS256"])
async def test_algorithm_confusion_what_anybody_can_sign_with_the_published_keys_is_refused(
    open_house: OpenHouse, algorithm: str
) -> None:
    house = await open_house(signing_algorithm=algorithm)
    ada = await house.person("ada")
    payload = (await access_token(house, ada)).split(".")[1]
    response = await house.client().get("/.well-known/jwks.json")
    for jwk in response.json()["keys"]:
        read = keys.from_public_jwk(json.dumps(jwk)).key
        assert not isinstance(read, OctKey)
        text = json.dumps(jwk, separators=(",", ":"))
        for secret in (read.as_pem(private=False), read.as_der(private=False), text.encode(), response.content):
            for alg in ("HS256", algorithm):
                header = json.dumps({"alg": alg, "typ": "at+jwt", "kid": jwk["kid"]}).encode()
                signed = f"{base64.urlsafe_b64encode(header).rstrip(b'=').decode()}.{payload}"
                mac = base64.urlsafe_b64encode(hmac.digest(secret, signed.encode(), "sha256")).rstrip(b"=").decode()
                assert (await present(house, bearer(f"{signed}.{mac}"))).reason == "TOKEN_INVALID"


async def test_a_token_for_scripts_is_good_in_a_header_and_never_in_a_cookie(house: House, ada: Person) -> None:
    (made, _), good = await api_token(ada), jar(ada.client)
    for token in (made, await service_token(house, ada)):
        assert "errors" not in (await present(house, bearer(token), query=KIND)).body
        assert await refused(house, cookies(access=token)) == "TOKEN_INVALID"
        assert await refused(house, cookies(access=token, session=good["session"])) == "TOKEN_INVALID"
        assert await refused(house, cookies(session=token)) == "SESSION_UNKNOWN"
        # Also where it was verified before, from a header.
        assert "errors" not in (await present(house, bearer(token), query=KIND)).body
        assert await refused(house, cookies(access=token)) == "TOKEN_INVALID"


async def test_a_token_for_scripts_is_taken_from_its_header_alone(house: House, ada: Person) -> None:
    (made, _) = await api_token(ada)
    in_an_address = await house.client().post(f"/graphql?access_token={made}", json={"query": WHO_AM_I})
    assert Answer(in_an_address).reason == "NOT_AUTHENTICATED"
    for name in ("x-api-key", "x-access-token", "proxy-authorization", "token"):
        assert await refused(house, (name, f"Bearer {made}")) == "NOT_AUTHENTICATED"


async def test_what_is_secret_but_no_token_is_refused_in_a_tokens_place(house: House, ada: Person) -> None:
    login = (await house.client().log_in(ada.email, delivery="BODY")).data["login"]["accessToken"]
    refresh = await house.client().ask(
        "mutation($i: LoginInput!) { login(input: $i) { ... on LoginSucceeded { refreshToken } } }",
        {"i": {"email": ada.email, "password": PASSWORD, "delivery": "BODY"}},
    )
    refresh_token = refresh.data["login"]["refreshToken"]
    client_id, secret = await robot(ada)
    for other in (refresh_token, secret, client_id, f"{client_id}:{secret}", login.split(".")[1]):
        assert await refused(house, bearer(other)) == "TOKEN_INVALID"
        assert await refused(house, cookies(access=other)) == "TOKEN_INVALID"
    for other in (refresh_token, secret):
        assert await refused(house, cookies(session=other)) == "SESSION_UNKNOWN"


async def test_a_token_of_one_kind_is_never_let_in_by_another_kinds_row(
    house: House, ada: Person, grace: Person
) -> None:
    session, (_, api_id), (client_id, _) = await session_of(ada), await api_token(ada), await robot(ada)
    for claims in (
        # An API token that names a session, and one that names another person's API token.
        {"typ": "api+jwt", "jti": session},
        {"typ": "api+jwt", "sid": session},
        {"typ": "api+jwt", "jti": api_id, "sub": row_id(grace.user_id)},
        {"typ": "api+jwt", "jti": api_id, "sub": client_id},
        # An access token that names an API token's row for its session.
        {"sid": api_id},
        {"jti": api_id},
        # A service's that is about a person, and one by a credential that the service has not.
        {"credential_id": NEVER, "client_id": row_id(ada.user_id)},
        {"credential_id": session, "client_id": row_id(ada.user_id)},
        {"sub": client_id, "client_id": row_id(ada.user_id), "credential_id": NEVER},
        {"sub": client_id, "client_id": client_id, "sid": session},
    ):
        answer = await present(house, bearer(await forged(house, ada, **claims)))
        assert answer.reason in {"TOKEN_INVALID", "SESSION_UNKNOWN"}, claims
        assert answer.body["data"] == {"viewer": None}
    stolen = await forged(house, ada, sub=client_id, client_id=client_id, credential_id=NEVER)
    assert await refused(house, bearer(stolen)) == "TOKEN_REVOKED"


async def test_an_expired_token_is_refused_with_the_reason_and_public_fields_run(open_house: OpenHouse) -> None:
    house = await open_house()
    ada = await house.person("ada")
    token = await access_token(house, ada)
    house.clock.move(timedelta(minutes=5))
    assert await refused(house, bearer(token)) == "TOKEN_EXPIRED"
    assert await refused(house, cookies(access=token)) == "TOKEN_EXPIRED"


async def test_the_header_counts_where_there_are_cookies_too(house: House, ada: Person, grace: Person) -> None:
    token = await access_token(house, ada)
    browser = cookies(**jar(grace.client))
    assert (await present(house, bearer(token), browser)).data["viewer"]["id"] == ada.id
    assert (await present(house, bearer(token), cookies(access="bad"))).data["viewer"]["id"] == ada.id
    assert await refused(house, bearer("bad"), browser) == "TOKEN_INVALID"
    assert await refused(house, ("authorization", "Basic x"), browser) == "CREDENTIAL_MALFORMED"
    repeated = ("cookie", "watchword-access=a; watchword-access=b")
    assert (await present(house, bearer(token), repeated)).data["viewer"]["id"] == ada.id


async def test_an_expired_header_is_not_renewed_from_cookies(open_house: OpenHouse) -> None:
    house = await open_house()
    ada = await house.person("ada")
    token = await access_token(house, ada)
    house.clock.move(timedelta(minutes=6))
    assert await refused(house, bearer(token), cookies(session=jar(ada.client)["session"])) == "TOKEN_EXPIRED"


@pytest.mark.parametrize("name", ["access", "session"])
async def test_two_cookies_of_one_name_are_refused_even_if_both_are_good(house: House, ada: Person, name: str) -> None:
    good = jar(ada.client)
    once, again = cookies(**good), f"watchword-{name}={good[name]}"
    for headers in (
        [("cookie", f"{once[1]}; {again}")],
        [("cookie", f"{again}; {once[1]}")],
        [("cookie", f"{once[1]}; watchword-{name}=planted")],
        [once, ("cookie", again)],
        [("cookie", f"watchword-{name}=planted"), once],
    ):
        assert await refused(house, *headers) == "COOKIE_REPEATED"


async def test_cookies_split_over_two_headers_are_read_as_one(house: House, ada: Person) -> None:
    good = jar(ada.client)
    answer = await present(house, cookies(session=good["session"]), cookies(access=good["access"]))
    assert answer.data["viewer"]["id"] == ada.id


@pytest.mark.parametrize("prefix", ["x-", "__Host-", "__Secure-", "WATCHWORD-access=x; W", "$"])
async def test_a_cookie_of_a_similar_name_is_not_ours(house: House, ada: Person, prefix: str) -> None:
    header = ("cookie", f"{prefix}watchword-access={jar(ada.client)['access']}")
    assert await refused(house, header) == "NOT_AUTHENTICATED"


@pytest.mark.parametrize("blank", ["\u00a0", "\u0085", "\u000b", "\u000c", "\u001c", "\u001f"])
async def test_a_cookie_whose_name_begins_with_a_strange_blank_is_not_ours(
    house: House, ada: Person, blank: str
) -> None:
    # A browser does not see the prefix __Host- behind such a blank, so a sibling domain may set such a cookie.
    raw = f"{blank}watchword-access={jar(ada.client)['access']}".encode("latin-1")
    response = await house.client().post("/graphql", json={"query": WHO_AM_I}, headers=[(b"cookie", raw)])
    assert Answer(response).reason == "NOT_AUTHENTICATED"


async def test_on_https_only_cookies_bound_to_the_host_are_read(open_house: OpenHouse) -> None:
    house = await open_house(public_url="https://id.example.org", secret_key="k" * 40, **PRODUCTION_HASHING)
    ada = await house.person("ada")
    token = await access_token(house, ada)
    assert (await present(house, ("cookie", f"__Host-watchword-access={token}"))).data["viewer"]["id"] == ada.id
    assert await refused(house, ("cookie", f"watchword-access={token}")) == "NOT_AUTHENTICATED"
    assert await refused(house, ("cookie", f"__host-watchword-access={token}")) == "NOT_AUTHENTICATED"


async def test_a_session_secret_is_no_access_token(house: House, ada: Person) -> None:
    secret = jar(ada.client)["session"]
    assert await refused(house, bearer(secret)) == "TOKEN_INVALID"
    assert await refused(house, cookies(access=secret)) == "TOKEN_INVALID"
    assert await refused(house, cookies(access=secret, session=secret)) == "TOKEN_INVALID"


async def test_an_access_token_is_no_session_secret(house: House, ada: Person) -> None:
    assert await refused(house, cookies(session=jar(ada.client)["access"])) == "SESSION_UNKNOWN"


async def test_a_session_secret_alone_brings_a_new_access_token(house: House, ada: Person) -> None:
    answer = await present(house, cookies(session=jar(ada.client)["session"]))
    assert answer.data["viewer"]["id"] == ada.id
    (cookie,) = answer.response.headers.get_list("set-cookie")
    assert cookie.startswith("watchword-access=")


@pytest.mark.parametrize("secret", ["x", "0" * 43, "'; DROP TABLE sessions; --", "%00", "x" * 100_000])
async def test_a_session_secret_that_nobody_was_given_is_refused(house: House, secret: str) -> None:
    assert await refused(house, cookies(session=secret)) == "SESSION_UNKNOWN"


async def test_a_revoked_sessions_secret_and_token_are_both_refused(house: House, ada: Person) -> None:
    kept = jar(ada.client)
    await ada.ask(LOG_OUT)
    assert await refused(house, cookies(session=kept["session"])) == "SESSION_REVOKED"
    assert await refused(house, cookies(access=kept["access"])) == "SESSION_REVOKED"
    assert await refused(house, bearer(kept["access"])) == "SESSION_REVOKED"


async def test_a_disabled_owners_secret_and_token_are_both_refused(house: House, ada: Person, grace: Person) -> None:
    kept, token = jar(ada.client), await access_token(house, ada)
    disable = "mutation($i: DisableUserInput!) { disableUser(input: $i) { user { id } } }"
    await grace.ask(disable, {"i": {"id": ada.user_id}})
    assert await refused(house, cookies(session=kept["session"])) == "SESSION_REVOKED"
    assert await refused(house, bearer(token)) == "SESSION_REVOKED"
    enable = "mutation($i: EnableUserInput!) { enableUser(input: $i) { user { id } } }"
    await grace.ask(enable, {"i": {"id": ada.user_id}})
    assert await refused(house, bearer(token)) == "SESSION_REVOKED"


async def test_a_session_ends_when_it_was_not_used_for_thirty_days(open_house: OpenHouse) -> None:
    house = await open_house()
    ada = await house.person("ada")
    secret = cookies(session=jar(ada.client)["session"])
    house.clock.move(timedelta(days=29, hours=23))
    assert (await present(house, secret)).data["viewer"]["id"] == ada.id
    house.clock.move(timedelta(days=29, hours=23))
    assert (await present(house, secret)).data["viewer"]["id"] == ada.id
    house.clock.move(timedelta(days=30))
    assert await refused(house, secret) == "SESSION_EXPIRED"


async def test_a_session_ends_after_ninety_days_however_much_it_was_used(open_house: OpenHouse) -> None:
    house = await open_house()
    ada = await house.person("ada")
    secret = cookies(session=jar(ada.client)["session"])
    for _ in range(4):
        house.clock.move(timedelta(days=22))
        assert (await present(house, secret)).data["viewer"]["id"] == ada.id
    house.clock.move(timedelta(days=2))
    assert await refused(house, secret) == "SESSION_EXPIRED"


async def test_no_access_token_outlives_its_session(open_house: OpenHouse) -> None:
    house = await open_house(session_lifetime=timedelta(hours=1), session_idle_timeout=timedelta(hours=1))
    ada = await house.person("ada")
    house.clock.move(timedelta(minutes=57))
    answer = await present(house, cookies(session=jar(ada.client)["session"]))
    token = answer.response.cookies["watchword-access"]
    payload = token.split(".")[1]
    expires = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"]
    assert datetime.fromtimestamp(expires, UTC) <= house.clock.now() + timedelta(minutes=3)
    house.clock.move(timedelta(minutes=3, seconds=1))
    assert await refused(house, cookies(access=token)) == "TOKEN_EXPIRED"


async def test_a_public_and_a_guarded_field_of_one_request_are_answered_each_for_itself(house: House) -> None:
    answer = await present(house, bearer("bad"), query=PUBLIC_AND_GUARDED)
    assert answer.body["data"] == {"logout": {"sessionEnded": False}, "revokeOtherSessions": None}
    assert answer.code == "UNAUTHENTICATED"


async def test_with_a_bad_credential_one_can_log_in_and_out(house: House, ada: Person) -> None:
    login = {"query": LOG_IN, "variables": {"input": {"email": ada.email, "password": PASSWORD}}}
    for bad in (
        bearer("bad"),
        cookies(access="bad", session="bad"),
        ("cookie", "watchword-access=a; watchword-access=b"),
    ):
        answer = Answer(await house.client().post("/graphql", json=login, headers=[bad]))
        assert answer.data["login"]["viewer"]["id"] == ada.id
        assert (await present(house, bad, query=LOG_OUT)).data == {"logout": {"sessionEnded": False}}


async def test_whoever_holds_very_many_scopes_can_use_the_token_that_they_are_given(open_house: OpenHouse) -> None:
    scopes = {f"warehouse:manage-shelf-{place}": "Manage a shelf" for place in range(200)}
    try:
        house = await open_house(domains=[Domain(name="warehouse", scopes=scopes)])
    except DomainRefused:
        return  # that is an answer too, and it comes before anybody is locked out
    grace = await house.person("grace", administrator=True)
    assert (await grace.ask(WHO_AM_I)).data["viewer"]["id"] == grace.id


@pytest.mark.parametrize(
    "beside",
    [
        pytest.param("watchword-access=spoiled; watchword-session={secret}", id="a spoiled access token"),
        pytest.param("watchword-session={secret}; watchword-session=planted", id="a second cookie of its name"),
        pytest.param("watchword-session=planted; watchword-session={secret}", id="a planted cookie before it"),
    ],
)
async def test_a_secret_that_lets_nobody_in_ends_its_session_when_they_log_out(
    house: House, ada: Person, beside: str
) -> None:
    secret = jar(ada.client)["session"]
    spoiled = ("cookie", beside.replace("{secret}", secret))
    assert (await present(house, spoiled)).code == "UNAUTHENTICATED"
    assert (await present(house, spoiled, query=LOG_OUT)).data == {"logout": {"sessionEnded": True}}
    assert await refused(house, cookies(session=secret)) == "SESSION_REVOKED"


async def test_a_secret_that_nobody_has_ends_nothing(house: House, ada: Person) -> None:
    planted = ("cookie", "; ".join(f"watchword-session=planted{place}" for place in range(9)))
    assert (await present(house, planted, query=LOG_OUT)).data == {"logout": {"sessionEnded": False}}
    assert (await ada.ask(WHO_AM_I)).data["viewer"]["id"] == ada.id


async def test_no_answer_repeats_what_was_presented(house: House) -> None:
    for header in (
        bearer("hunter2"),
        cookies(access="hunter2"),
        cookies(session="hunter2"),
        bearer("hunter2", "Basic"),
    ):
        answer = await present(house, header)
        assert "hunter2" not in answer.response.text
        assert "hunter2" not in str(answer.response.headers)


async def test_a_database_that_is_gone_is_unavailable_and_takes_no_cookie_away(open_house: OpenHouse) -> None:
    house = await open_house()
    ada = await house.person("ada")
    good = jar(ada.client)
    await house.auth.database.close()
    for header in (cookies(**good), cookies(session=good["session"]), bearer(good["access"])):
        answer = await present(house, header)
        assert answer.code == "UNAVAILABLE"
        assert "set-cookie" not in answer.response.headers
    answer = await house.client().log_in(ada.email)
    assert answer.code == "UNAVAILABLE"
    assert "set-cookie" not in answer.response.headers


async def test_a_logout_that_cannot_end_the_session_says_so_and_takes_no_cookie_away(open_house: OpenHouse) -> None:
    house = await open_house()
    ada = await house.person("ada")
    good = cookies(**jar(ada.client))
    await house.auth.database.close()
    answer = await present(house, good, query=LOG_OUT)
    assert answer.code == "UNAVAILABLE"
    assert "set-cookie" not in answer.response.headers


async def test_a_bad_token_is_bad_even_while_the_database_is_gone(open_house: OpenHouse) -> None:
    house = await open_house()
    await house.auth.database.close()
    assert (await present(house, bearer("bad"))).reason == "TOKEN_INVALID"
    assert (await present(house)).reason == "NOT_AUTHENTICATED"


async def test_a_locked_database_logs_nobody_out_and_loses_nothing(open_house: OpenHouse, impatient: timedelta) -> None:
    house = await open_house(database_timeout=impatient)
    ada = await house.person("ada")
    good = cookies(**jar(ada.client))
    with locked(house):
        assert (await present(house, good)).data["viewer"]["id"] == ada.id
        for query in (LOG_OUT, "mutation { revokeOtherSessions { endedSessions } }"):
            answer = await present(house, good, query=query)
            assert answer.code == "UNAVAILABLE"
            assert "set-cookie" not in answer.response.headers
        assert (await house.client().log_in(ada.email)).code == "UNAVAILABLE"
    assert (await present(house, good)).data["viewer"]["id"] == ada.id
    assert (await house.client().log_in(ada.email)).data["login"]["viewer"]["id"] == ada.id


async def test_a_browser_that_returns_while_the_database_is_locked_is_not_logged_out(
    open_house: OpenHouse, impatient: timedelta
) -> None:
    house = await open_house(database_timeout=impatient)
    ada = await house.person("ada")
    house.clock.move(timedelta(minutes=10))
    secret = cookies(session=jar(ada.client)["session"])
    with locked(house):
        answer = await present(house, secret)
        assert "UNAUTHENTICATED" not in answer.response.text
        assert "watchword-session=;" not in str(answer.response.headers)
    assert (await present(house, secret)).data["viewer"]["id"] == ada.id


async def test_a_browser_that_returns_while_the_database_is_locked_can_read(
    open_house: OpenHouse, impatient: timedelta
) -> None:
    house = await open_house(database_timeout=impatient)
    ada = await house.person("ada")
    house.clock.move(timedelta(minutes=10))
    with locked(house):
        answer = await present(house, cookies(session=jar(ada.client)["session"]))
    assert answer.data["viewer"]["id"] == ada.id
