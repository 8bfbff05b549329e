"""Claims of domains: they go along in access tokens, hide none of ours by their names, and are never too large."""

import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from auth import Auth
from auth.extra_claims import LARGEST
from auth.identity import Identity, IdentityKind
from schema import Domain, DomainRefused, build_schema
from schema.domain import Claim
from tests.house import PASSWORD, WHO_AM_I, Answer, Client, House, OpenHouse, Person

ON_BOTH_ENGINES = True

BODY = """
mutation LogIn($input: LoginInput!) {
  login(input: $input) { ... on LoginSucceeded { accessToken refreshToken } }
}
"""
REFRESH = """
mutation($input: RefreshInput!) {
  refresh(input: $input) { ... on RefreshSucceeded { accessToken refreshToken } ... on RefreshFailed { code } }
}
"""
CREATE_TOKEN = """
mutation($input: CreateApiTokenInput!) {
  createApiToken(input: $input) { ... on CreateApiTokenSucceeded { token } }
}
"""
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
SET_ROLES = "mutation($input: SetUserRolesInput!) { setUserRoles(input: $input) { user { id } } }"

PLAN = "https://example.org/claims/plan"
LARGEST_COOKIE = 4096  # RFC 6265 §6.1: name, value and attributes together


async def gold(_: object, identity: Identity) -> str:
    del identity
    return "gold"


def plans(**claims: Claim) -> Domain[None]:
    """Return a domain whose claims are called `plans:<name>`."""
    return Domain(name="plans", claims={f"plans:{name}": claim for name, claim in claims.items()})


@dataclass
class Moody:
    """A source of a claim that gives what a test wants, or fails."""

    value: Any = "calm"
    fails: bool = False
    asked: list[Identity] = field(default_factory=list)

    async def __call__(self, _: object, identity: Identity) -> Any:
        self.asked.append(identity)
        if self.fails:
            raise LookupError("the plans are not to be had")
        return self.value


def said(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    return claims


async def log_in(house: House, person: Person) -> dict[str, str]:
    """Return the two tokens of a login by body."""
    typed = {"email": person.email, "password": PASSWORD, "delivery": "BODY"}
    tokens: dict[str, str] = (await house.client().ask(BODY, {"input": typed})).data["login"]
    return tokens


async def refresh(house: House, token: str) -> Answer:
    return await house.client().ask(REFRESH, {"input": {"refreshToken": token}})


async def renewed(house: House, person: Person) -> Answer:
    """Ask with the session's cookie alone, as a browser does whose access token has expired."""
    session = person.client.cookies["watchword-session"]
    return await house.client().ask(WHO_AM_I, cookie=f"watchword-session={session}")


async def service_token(house: House, person: Person, *scopes: str) -> dict[str, Any]:
    """Return the answer of /oauth/token to a new service account of a person's."""
    made = (await person.ask(SERVICE, {"input": {"name": "robot", "scopes": scopes}})).data["createServiceAccount"]
    robot = made["serviceAccount"]["id"]
    secret = (await person.ask(SECRET, {"input": {"id": robot}})).data["createServiceAccountSecret"]["secret"]
    client_id = base64.b64decode(robot).decode().partition(":")[2]
    asked = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
    answer: dict[str, Any] = (await house.client().post("/oauth/token", data=asked)).json()
    return answer


def access_cookie(answer: Answer) -> str:
    (header,) = [
        header for header in answer.response.headers.get_list("set-cookie") if header.startswith("watchword-access=")
    ]
    return header


def token_in(answer: Answer) -> str:
    return access_cookie(answer).partition("=")[2].partition(";")[0]


# --- Where they are --------------------------------------------------------------------------------------------------


async def test_every_way_to_an_access_token_gives_the_claims_of_the_domains(open_house: OpenHouse) -> None:
    domain: Domain[Any] = Domain(name="plans", claims={PLAN: gold, "plans:tier": gold})
    house = await open_house(domains=[domain])
    ada = await house.person("ada")
    by_body = await log_in(house, ada)
    tokens = {
        "login by body": by_body["accessToken"],
        "login by cookie": token_in(await house.client().log_in(ada.email)),
        "refresh": (await refresh(house, by_body["refreshToken"])).data["refresh"]["accessToken"],
        "silent renewal": token_in(await renewed(house, ada)),
        "service account": (await service_token(house, ada, "profile:read"))["access_token"],
    }
    assert {way: (said(token)[PLAN], said(token)["plans:tier"]) for way, token in tokens.items()} == dict.fromkeys(
        tokens, ("gold", "gold")
    )
    for token in tokens.values():
        answer = await house.client().ask("{ viewer { id kind } }", authorization=f"Bearer {token}")
        assert answer.data["viewer"]


async def test_an_api_token_has_none_for_it_would_say_for_a_year_what_was_true_once(open_house: OpenHouse) -> None:
    house = await open_house(domains=[plans(tier=gold)])
    ada = await house.person("ada")
    made = await ada.ask(CREATE_TOKEN, {"input": {"name": "x", "scopes": ["profile:read"]}})
    assert set(said(made.data["createApiToken"]["token"])) == {"iss", "sub", "aud", "exp", "iat", "jti", "scope"}


async def test_without_a_domain_that_adds_any_a_token_has_ours_alone(house: House, ada: Person) -> None:
    assert set(said((await log_in(house, ada))["accessToken"])) == {
        *("iss", "sub", "aud", "exp", "iat", "jti", "client_id", "sid", "scope", "amr", "auth_time")
    }


async def test_a_claim_is_any_json_and_falsehood_and_nothing_in_it_are_values_too(open_house: OpenHouse) -> None:
    moody = Moody()
    house = await open_house(domains=[plans(value=moody)])
    ada = await house.person("ada")
    values: list[Any] = ["text", 7, 1.5, True, False, 0, "", [], {}, ["a", {"b": [1, None]}], "é\u202e\n"]
    for value in values:
        moody.value = value
        token = (await log_in(house, ada))["accessToken"]
        assert said(token)["plans:value"] == value
        assert (await house.client().ask(WHO_AM_I, authorization=f"Bearer {token}")).data["viewer"]["id"] == ada.id


async def test_none_leaves_a_claim_out_and_the_others_in(open_house: OpenHouse) -> None:
    house = await open_house(domains=[plans(tier=Moody(None), plan=gold)])
    token = (await log_in(house, await house.person("ada")))["accessToken"]
    assert "plans:tier" not in said(token)
    assert said(token)["plans:plan"] == "gold"


async def test_a_source_is_asked_with_its_domains_service_and_with_whom_the_token_is_for(
    open_house: OpenHouse,
) -> None:
    @asynccontextmanager
    async def open_plans(auth: Auth) -> AsyncIterator[dict[str, str]]:
        del auth
        yield {"admin": "platinum", "user": "tin"}

    async def tier(service: dict[str, str], identity: Identity) -> list[str]:
        return sorted(service[role] for role in identity.roles)

    moody = Moody()
    domains = [Domain(name="plans", claims={"plans:tier": tier}, lifespan=open_plans), Domain("moods", claims={})]
    domains.append(Domain(name="weather", claims={"weather:mood": moody}))
    house = await open_house(domains=domains)
    ada, grace = await house.person("ada"), await house.person("grace", administrator=True)
    tokens = await log_in(house, ada)
    assert said(tokens["accessToken"])["plans:tier"] == ["tin"]
    assert moody.asked[-1].kind is IdentityKind.USER
    assert moody.asked[-1].subject == said(tokens["accessToken"])["sub"]
    assert moody.asked[-1].session_id == said(tokens["accessToken"])["sid"]

    # A claim says what is true when its token is issued.
    await grace.ask(SET_ROLES, {"input": {"id": ada.user_id, "roles": ["USER", "ADMIN"]}})
    again = (await refresh(house, tokens["refreshToken"])).data["refresh"]
    assert said(again["accessToken"])["plans:tier"] == ["platinum", "tin"]

    token = (await service_token(house, ada, "profile:read"))["access_token"]
    assert said(token)["plans:tier"] == []
    assert (moody.asked[-1].kind, moody.asked[-1].subject) == (IdentityKind.SERVICE, said(token)["sub"])
    assert moody.asked[-1].scopes == {"profile:read"}


# --- What they are called --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *("iss", "sub", "aud", "exp", "nbf", "iat", "jti", "sid", "scope", "amr", "auth_time", "client_id", "cnf"),
        *("credential_id", "email", "roles", "act", "admin", "", "plans", "plans:", "plans:Tier", "plans:1tier"),
        *("plans:a:b", "plans:tier\n", "plans:é", "plans :tier", "other:tier", "plan:tier", "planss:tier"),
        *("http://example.org/plan", "https://", "https://example.org/a plan", "https://example.org/plan\n"),
        *("HTTPS://example.org/plan", "https://exämple.org/plan", "https://" + "x" * 201, "urn:example:plan"),
    ],
)
def test_a_claim_that_is_not_named_by_an_https_address_or_after_its_domain_is_refused(name: str) -> None:
    with pytest.raises(DomainRefused) as refused:
        Domain(name="plans", claims={name: gold})
    assert "'plans'" in str(refused.value)
    assert repr(name) in str(refused.value)


@pytest.mark.parametrize(
    "name", [PLAN, "https://x", "https://" + "x" * 200, "plans:tier", "plans:a", "plans:the-tier_2", "plans:sub"]
)
def test_a_claim_that_is_named_so_is_taken(name: str) -> None:
    build_schema([Domain(name="plans", claims={name: gold})])


def test_two_domains_that_add_one_claim_are_refused_and_both_are_named() -> None:
    with pytest.raises(DomainRefused) as refused:
        build_schema([Domain(name="plans", claims={PLAN: gold}), Domain(name="seats", claims={PLAN: gold})])
    assert all(named in str(refused.value) for named in ("'plans'", "'seats'", PLAN))


async def test_ours_are_never_overridden_not_even_by_a_domain_that_goes_behind_its_declaration(
    open_house: OpenHouse,
) -> None:
    ours = ("iss", "sub", "aud", "exp", "iat", "jti", "client_id", "sid", "scope", "amr", "auth_time")

    async def evil(identity: Identity) -> object:
        del identity
        return "evil"

    @asynccontextmanager
    async def sneak_in(auth: Auth) -> AsyncIterator[None]:
        for name in (*ours, "nbf", "credential_id"):
            with pytest.raises(ValueError, match="neither by an address nor after its domain"):
                auth.extra_claims.add(name, evil)
        yield

    house = await open_house(domains=[Domain(name="sneaky", lifespan=sneak_in)])
    ada = await house.person("ada")
    token = (await log_in(house, ada))["accessToken"]
    assert set(said(token)) == set(ours)
    assert "evil" not in said(token).values()
    assert said(token)["iss"] == house.settings.public_url
    assert (await house.client().ask(WHO_AM_I, authorization=f"Bearer {token}")).data["viewer"]["id"] == ada.id


# --- What they may weigh ---------------------------------------------------------------------------------------------

_EMPTY = len('{"plans:mood":""}')


async def test_claims_of_a_thousand_bytes_together_fit_and_of_one_more_do_not(open_house: OpenHouse) -> None:
    moody = Moody("x" * (LARGEST - _EMPTY))
    house = await open_house(domains=[plans(mood=moody)])
    ada = await house.person("ada")
    token = (await log_in(house, ada))["accessToken"]
    assert said(token)["plans:mood"] == moody.value
    for larger in (moody.value + "x", "é" * ((LARGEST - _EMPTY) // 2 + 1)):  # bytes, not characters
        moody.value = larger
        with capture_logs() as logged:
            assert (await _log_in_badly(house.client(), ada)).code == "INTERNAL"
        assert "the claims plans:mood take more than 1000 bytes" in str(logged)


async def _log_in_badly(client: Client, person: Person, delivery: str = "BODY") -> Answer:
    return await client.ask(BODY, {"input": {"email": person.email, "password": PASSWORD, "delivery": delivery}})


def _large(moody: Moody) -> None:
    moody.value = "x" * (LARGEST + 1)


def _failing(moody: Moody) -> None:
    moody.fails = True


def _no_json(moody: Moody) -> None:
    moody.value = {"a set"}


@pytest.mark.parametrize("spoil", [_large, _failing, _no_json], ids=["too large", "failing", "no JSON"])
async def test_where_a_claim_is_not_to_be_had_nothing_is_issued_and_nothing_is_told_of_it(
    open_house: OpenHouse, spoil: Callable[[Moody], None]
) -> None:
    moody = Moody()
    house = await open_house(domains=[plans(mood=moody)])
    ada = await house.person("ada")
    kept = await log_in(house, ada)
    spoil(moody)

    with capture_logs() as logged:
        answers = [
            await _log_in_badly(house.client(), ada),
            await _log_in_badly(house.client(), ada, "COOKIE"),
            await refresh(house, kept["refreshToken"]),
            await renewed(house, ada),
        ]
        by_service = await service_token(house, ada, "profile:read")
    for answer in answers:
        assert answer.response.status_code == 200
        assert answer.code == "INTERNAL"
        assert answer.refusal["requestId"] == answer.response.headers["x-request-id"]
        assert "set-cookie" not in answer.response.headers
        assert not any(hint in answer.response.text for hint in ("eyJ", "wwr_", "plans", "claim", "JSON"))
        assert answer.refusal["requestId"] in str([line for line in logged if line["log_level"] == "error"])
    assert "access_token" not in by_service
    assert "plans" not in json.dumps(by_service)

    # A token that was issued before is as good as it was, and once it is mended everybody goes on.
    bearer = {"authorization": f"Bearer {kept['accessToken']}"}
    assert (await house.client().ask(WHO_AM_I, None, **bearer)).data["viewer"]["id"] == ada.id
    moody.fails, moody.value = False, "mended"
    assert said((await log_in(house, ada))["accessToken"])["plans:mood"] == "mended"
    again = (await refresh(house, kept["refreshToken"])).data["refresh"]
    assert said(again["accessToken"])["plans:mood"] == "mended"
    assert token_in(await renewed(house, ada))


async def test_a_login_that_comes_to_nothing_leaves_the_browser_with_the_session_that_it_had(
    open_house: OpenHouse,
) -> None:
    moody = Moody()
    house = await open_house(domains=[plans(mood=moody)])
    ada = await house.person("ada")
    moody.fails = True
    typed = {"email": ada.email, "password": PASSWORD}
    with capture_logs():
        assert (await ada.client.ask(BODY, {"input": typed})).code == "INTERNAL"
    moody.fails = False
    assert (await ada.ask(WHO_AM_I)).data["viewer"]["id"] == ada.id
    sessions = (await ada.ask("{ viewer { sessions { nodes { isCurrent } } } }")).data["viewer"]["sessions"]["nodes"]
    assert sessions == [{"isCurrent": True}]  # and there is none that nobody has the secret of


MANY = {f"plans:do-something-quite-special-{place}": "Do something" for place in range(150)}


@pytest.mark.parametrize("algorithm", ["EdDSA", "ES256", "RS256", "HS256"])
async def test_with_many_scopes_and_large_claims_a_cookie_is_still_one_that_browsers_keep(
    open_house: OpenHouse, algorithm: str
) -> None:
    large = Moody("x" * (LARGEST - _EMPTY))
    domain: Domain[Any] = Domain(name="plans", claims={"plans:mood": large}, scopes=MANY, grants={"user": list(MANY)})
    house = await open_house(domains=[domain], signing_algorithm=algorithm)
    ada = await house.person("ada")
    answer = await house.client().log_in(ada.email)
    cookie, token = access_cookie(answer), token_in(answer)
    assert len(cookie) <= LARGEST_COOKIE
    assert said(token)["plans:mood"] == large.value
    assert said(token)["scope"] == ""  # less than the truth, and never more: the row decides here
    scopes = (await house.client().ask(WHO_AM_I, cookie=f"watchword-access={token}")).data["viewer"]["scopes"]
    assert set(MANY) < set(scopes)
    house.clock.move(timedelta(minutes=6))
    assert len(access_cookie(await renewed(house, ada))) <= LARGEST_COOKIE


async def test_a_service_account_with_many_scopes_is_given_a_token_that_is_worth_what_the_answer_says(
    open_house: OpenHouse,
) -> None:
    domain: Domain[Any] = Domain(name="plans", scopes=MANY, grants={"user": list(MANY)})
    house = await open_house(domains=[domain])
    given = await service_token(house, await house.person("ada"), *MANY)
    if given.get("error") == "invalid_scope":
        return  # an answer too: to ask for fewer
    bearer = {"authorization": f"Bearer {given['access_token']}"}
    worth = (await house.client().ask("{ viewer { scopes } }", None, **bearer)).data["viewer"]["scopes"]
    assert worth == given["scope"].split(" ")


async def test_where_a_claim_is_not_to_be_had_a_refresh_token_used_twice_ends_the_session_all_the_same(
    open_house: OpenHouse,
) -> None:
    moody = Moody()
    house = await open_house(domains=[plans(mood=moody)])
    ada = await house.person("ada")
    first = await log_in(house, ada)
    token = first["refreshToken"]
    for _ in range(2):
        token = (await refresh(house, token)).data["refresh"]["refreshToken"]
    _failing(moody)
    assert (await refresh(house, first["refreshToken"])).data["refresh"]["code"] == "REFRESH_TOKEN_REUSED"
    answer = await house.client().ask(WHO_AM_I, authorization=f"Bearer {first['accessToken']}")
    assert answer.reason == "SESSION_REVOKED"
