"""The key ring: published, then signing, then retired; it rotates, is revoked from and changes, and nobody notices."""

import asyncio
import base64
import json
import re
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jwt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import store.signing_keys
from auth import Auth, keys, open_auth
from auth.gate import Credential
from auth.key_ring import open_key
from auth.key_states import KeyStanding, KeyState
from auth.keys import ALGORITHMS, SigningKey
from auth.origin import NOWHERE
from auth.policy import HashingCost, Policy
from auth.refusals import NotFound, Reason, Unauthenticated
from auth.scopes import rights
from auth.sealing import SealBroken, Sealer
from auth.secret import Secret
from store import migrate
from store.locations import SQLiteFile
from store.signing_keys import SigningKeyRow
from store.sqlite import SQLiteDatabase
from tests.commands import Run, refused, runner, succeeded
from tests.elsewhere import stored
from tests.faults import locked
from tests.house import PASSWORD, WHO_AM_I, Answer, House, OpenHouse, Person

ON_BOTH_ENGINES = True

JWKS = "/.well-known/jwks.json"
OLD, NEW, OTHER = "old-" * 10, "new-" * 10, "other-" * 10

SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
PUBLICATION = timedelta(minutes=5)  # the default of WATCHWORD_JWKS_MAX_AGE
WAITED = PUBLICATION + MINUTE  # a key waits a little longer, for a set may be on its way
# The longest life of an access token, and what clocks may differ by.
LAST_TOKENS = timedelta(hours=1, minutes=5)

PUBLIC_MEMBERS = {"OKP": {"crv", "x"}, "EC": {"crv", "x", "y"}, "RSA": {"n", "e"}}

CREATE_API_TOKEN = """
mutation($input: CreateApiTokenInput!) { createApiToken(input: $input) { ... on CreateApiTokenSucceeded { token } } }
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
LOG_IN = """
mutation($input: LoginInput!) { login(input: $input) { ... on LoginSucceeded { accessToken refreshToken } } }
"""
REFRESH = """
mutation($input: RefreshInput!) { refresh(input: $input) { ... on RefreshSucceeded { accessToken } } }
"""
EVENTS = "{ auditEvents(first: 100) { nodes { action objectId } } }"


def header(token: str) -> dict[str, Any]:
    part = token.partition(".")[0]
    value: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return value


async def jwks(house: House) -> dict[str, dict[str, Any]]:
    """Return the keys that others verify with, by their kid."""
    response = await house.client().get(JWKS)
    assert response.status_code == 200
    return {jwk["kid"]: jwk for jwk in response.json()["keys"]}


async def standings(house: House) -> dict[str, KeyStanding]:
    return {standing.kid: standing for standing in await house.auth.key_ring.standings()}


async def kids(house: House, state: KeyState) -> list[str]:
    return [kid for kid, standing in (await standings(house)).items() if standing.state is state]


async def current(house: House) -> str:
    """Return the kid of the key that signs; there is always exactly one."""
    (kid,) = await kids(house, KeyState.CURRENT)
    return kid


async def published_next(house: House) -> str:
    """Return the kid of the key that is published and has no turn yet; there is always exactly one."""
    (kid,) = [
        kid
        for kid, standing in (await standings(house)).items()
        if standing.state is KeyState.NEXT and standing.signs_from is None
    ]
    return kid


async def log_in(house: House, person: Person) -> str:
    """Return a new access token for somebody."""
    token: str = (await house.client().log_in(person.email, delivery="BODY")).data["login"]["accessToken"]
    return token


async def signed_by(house: House, person: Person) -> str:
    """Return the kid of the key with which somebody's new access token is signed."""
    return str(header(await log_in(house, person))["kid"])


async def show(house: House, token: str) -> Answer:
    return await house.client().ask("{ viewer { kind } }", authorization=f"Bearer {token}")


async def is_good(house: House, token: str) -> bool:
    return "errors" not in (await show(house, token)).body


async def api_token(house: House, person: Person, life: timedelta = 365 * DAY) -> str:
    await person.client.log_in(person.email)  # it takes a recent login
    expires_at = (house.clock.now() + life - SECOND).isoformat()
    details = {"name": "backup", "scopes": ["profile:read"], "expiresAt": expires_at}
    token: str = (await person.ask(CREATE_API_TOKEN, {"input": details})).data["createApiToken"]["token"]
    return token


@dataclass(frozen=True)
class Robot:
    """A service account with a secret."""

    client_id: str
    secret: str

    async def token(self, house: House) -> str:
        form = {"grant_type": "client_credentials", "client_id": self.client_id, "client_secret": self.secret}
        token: str = (await house.client().post("/oauth/token", data=form)).json()["access_token"]
        return token


async def robot(person: Person) -> Robot:
    details = {"name": "robot", "scopes": ["profile:read"]}
    account = (await person.ask(CREATE_SERVICE, {"input": details})).data["createServiceAccount"]["serviceAccount"]
    made = (await person.ask(CREATE_SECRET, {"input": {"id": account["id"]}})).data["createServiceAccountSecret"]
    return Robot(account["clientId"], made["secret"])


def to_the_beginning_of_a_second(house: House) -> datetime:
    """Move the clock to a third into a second, so that what follows happens within it; return that instant."""
    into = timedelta(microseconds=house.clock.now().microsecond)
    house.clock.move(SECOND - into + SECOND / 3)
    return house.clock.now()


def move(by: timedelta, *houses: House) -> None:
    for house in houses:
        house.clock.move(by)


@pytest.fixture
def open_later(open_house: OpenHouse) -> OpenHouse:
    """Open one more house over the database of the house `own`, on a clock that is `ahead` already."""
    return lambda ahead, **more: open_house("own", ahead=ahead, **more)


async def test_the_first_start_makes_a_key_that_signs_and_one_that_is_next(open_house: OpenHouse) -> None:
    house = await open_house()
    found = await standings(house)
    assert sorted(standing.state.name for standing in found.values()) == ["CURRENT", "NEXT"]
    assert {standing.algorithm for standing in found.values()} == {"EdDSA"}
    assert set(await jwks(house)) == set(found)
    ada = await house.person("ada")
    assert await signed_by(house, ada) == await current(house)


@pytest.mark.parametrize("algorithm", ["EdDSA", "ES256", "RS256"])
async def test_the_published_keys_hold_what_verifies_and_nothing_private(open_house: OpenHouse, algorithm: str) -> None:
    house = await open_house(signing_algorithm=algorithm)
    for kid, jwk in (await jwks(house)).items():
        members = PUBLIC_MEMBERS[jwk["kty"]]
        assert set(jwk) == {"kty", "kid", "alg", "use", *members}
        assert (jwk["alg"], jwk["use"]) == (algorithm, "sig")
        required = {name: jwk[name] for name in sorted({"kty", *members})}
        digest = sha256(json.dumps(required, separators=(",", ":")).encode()).digest()
        assert kid == base64.urlsafe_b64encode(digest).rstrip(b"=").decode()  # RFC 7638


@pytest.mark.parametrize("algorithm", ["EdDSA", "ES256", "RS256"])
async def test_another_service_verifies_with_the_published_keys_alone(open_house: OpenHouse, algorithm: str) -> None:
    house = await open_house(signing_algorithm=algorithm)
    ada = await house.person("ada")
    issuer = house.settings.public_url
    for token in (await log_in(house, ada), await (await robot(ada)).token(house)):
        key = jwt.PyJWK((await jwks(house))[header(token)["kid"]])
        claims = jwt.decode(token, key, algorithms=[algorithm], issuer=issuer, audience=issuer)
        assert claims["scope"]
        with pytest.raises(jwt.InvalidSignatureError):
            jwt.decode(f"{token[:-9]}AAAAAAAAA", key, algorithms=[algorithm], issuer=issuer, audience=issuer)


async def test_keys_of_hs256_are_never_published(open_house: OpenHouse) -> None:
    house = await open_house(signing_algorithm="HS256")
    ada = await house.person("ada")
    response = await house.client().get(JWKS)
    assert response.json() == {"keys": []}
    await house.auth.key_ring.rotate(at_once=True)
    move(MINUTE, house)
    token = await log_in(house, ada)
    assert header(token)["alg"] == "HS256"
    assert await is_good(house, token)
    assert await jwks(house) == {}
    assert {standing.algorithm for standing in (await standings(house)).values()} == {"HS256"}


async def test_the_published_keys_say_for_how_long_they_may_be_kept_and_any_page_may_read_them(house: House) -> None:
    response = await house.client(origin="https://elsewhere.example").get(JWKS)
    assert response.headers["content-type"] == "application/jwk-set+json"
    assert response.headers["cache-control"] == "public, max-age=300"
    assert response.headers["access-control-allow-origin"] == "*"
    assert "set-cookie" not in response.headers


async def test_the_operator_says_for_how_long_the_published_keys_may_be_kept(open_house: OpenHouse) -> None:
    house = await open_house(jwks_max_age=2 * HOUR)
    response = await house.client().get(JWKS)
    assert response.headers["cache-control"] == "public, max-age=7200"
    waiting = await house.auth.key_ring.rotate()
    assert waiting.signs_from is not None
    assert waiting.signs_from > house.clock.now() + HOUR


async def test_the_published_keys_are_only_read(house: House) -> None:
    before = await jwks(house)
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert (await house.client().request(method, JWKS)).status_code == 405
    assert await jwks(house) == before


async def test_a_key_that_was_published_just_now_waits_until_verifiers_elsewhere_have_it(open_house: OpenHouse) -> None:
    house = await open_house()
    ada = await house.person("ada")
    first, following = await current(house), await published_next(house)
    rotated = await house.auth.key_ring.rotate()
    assert (rotated.kid, rotated.state) == (following, KeyState.NEXT)
    assert set(await jwks(house)) == {first, following, await published_next(house)}
    move(PUBLICATION - MINUTE, house)
    assert await signed_by(house, ada) == first == await current(house)
    move(2 * MINUTE, house)
    assert await signed_by(house, ada) == following == await current(house)
    assert await kids(house, KeyState.RETIRED) == [first]


async def test_no_key_signs_before_it_was_published_for_as_long_as_the_set_may_be_kept(open_house: OpenHouse) -> None:
    # Whoever fetched the set a moment before the key was in it may keep that one for the whole time.
    house = await open_house()
    move(MINUTE, house)
    before = to_the_beginning_of_a_second(house)
    await house.auth.key_ring.rotate(at_once=True)
    waiting = await house.auth.key_ring.rotate()
    assert waiting.state is KeyState.NEXT
    assert waiting.signs_from is not None
    assert waiting.signs_from - before >= PUBLICATION


async def test_a_key_that_was_published_long_ago_signs_as_soon_as_it_is_its_turn(open_house: OpenHouse) -> None:
    house = await open_house()
    ada = await house.person("ada")
    following = await published_next(house)
    move(WAITED, house)
    assert following in await jwks(house)
    rotated = await house.auth.key_ring.rotate()
    assert (rotated.kid, rotated.state) == (following, KeyState.CURRENT)
    assert await signed_by(house, ada) == following


async def test_a_rotation_at_once_waits_for_nobody(open_house: OpenHouse) -> None:
    house = await open_house()
    ada = await house.person("ada")
    following = await published_next(house)
    move(2 * SECOND, house)
    rotated = await house.auth.key_ring.rotate(at_once=True)
    assert (rotated.kid, rotated.state) == (following, KeyState.CURRENT)
    assert await signed_by(house, ada) == following


async def test_a_rotation_at_once_hastens_the_key_that_waits_and_publishes_no_further_one(
    open_house: OpenHouse,
) -> None:
    house = await open_house()
    waiting = await house.auth.key_ring.rotate()
    move(2 * SECOND, house)
    before = set(await standings(house))
    rotated = await house.auth.key_ring.rotate(at_once=True)
    assert (rotated.kid, rotated.state) == (waiting.kid, KeyState.CURRENT)
    assert set(await standings(house)) == before


async def test_while_a_key_waits_a_rotation_changes_nothing_and_says_which_waits(open_house: OpenHouse) -> None:
    house = await open_house()
    waiting = await house.auth.key_ring.rotate()
    before = await standings(house)
    for _ in range(3):
        move(MINUTE, house)
        assert await house.auth.key_ring.rotate() == waiting
    assert await standings(house) == before


@pytest.mark.parametrize("at_once", [[False, False], [True, False], [False, True], [True, True], [True, True, True]])
async def test_rotating_again_within_one_second_leaves_one_key_that_signs_and_one_that_is_next(
    open_house: OpenHouse, at_once: list[bool]
) -> None:
    house = await open_house()
    ada = await house.person("ada")
    move(MINUTE, house)
    tokens = [await log_in(house, ada)]
    to_the_beginning_of_a_second(house)
    for now in at_once:
        await house.auth.key_ring.rotate(at_once=now)
        await current(house)
        await published_next(house)
    order = [await current(house)]
    for _ in range(4):
        tokens.append(await log_in(house, ada))
        assert header(tokens[-1])["kid"] == await current(house)
        await published_next(house)
        order.append(await current(house))
        move(2 * SECOND, house)
    assert sorted(order, key=order.index) == order  # none comes back that another took over from
    for token in tokens:
        assert await is_good(house, token)


async def test_old_tokens_stay_good_when_another_key_signs_and_nobody_is_logged_out(open_house: OpenHouse) -> None:
    house = await open_house(access_token_lifetime=HOUR)
    ada = await house.person("ada")
    tokens = [await log_in(house, ada), await api_token(house, ada), await (await robot(ada)).token(house)]
    for _ in range(3):
        move(WAITED, house)
        await house.auth.key_ring.rotate()
        tokens.append(await log_in(house, ada))
        for token in tokens:
            assert await is_good(house, token)
    assert len({header(token)["kid"] for token in tokens}) == 4
    answer = await ada.ask(WHO_AM_I)
    assert answer.data["viewer"]["id"] == ada.id
    assert "set-cookie" not in answer.response.headers  # the browser's token is as good as before


async def test_a_retired_key_leaves_when_its_last_token_has_expired_and_is_refused_from_then_on(
    open_house: OpenHouse, open_later: OpenHouse
) -> None:
    house = await open_house(access_token_lifetime=HOUR)
    ada = await house.person("ada")
    retired = await house.auth.key_ring.signing_key()
    move(WAITED, house)
    await house.auth.key_ring.rotate()
    last = await log_in(house, ada)
    move(HOUR, house)
    assert retired.kid in await jwks(house)
    assert await is_good(house, forged(house, last, retired))
    move(LAST_TOKENS - HOUR + SECOND, house)
    assert retired.kid not in await jwks(house)
    assert retired.kid not in await standings(house)
    again = await open_later(LAST_TOKENS + WAITED)
    forgeries = [forged(house, last, retired) for _ in range(2)]
    for shown_to in (house, again):
        for forgery in (*forgeries, *forgeries):
            assert (await show(shown_to, forgery)).code == "UNAUTHENTICATED"


def forged(house: House, like: str, key: SigningKey) -> str:
    """Return an access token of just now for the session of another one, signed with a key that somebody has stolen."""
    now = int(house.clock.now().timestamp())
    payload = like.split(".")[1]
    members = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return key.sign(json.dumps({**members, "iat": now, "exp": now + 300}).encode(), typ="at+jwt")


async def test_an_api_token_of_a_year_keeps_its_key_for_a_year(open_house: OpenHouse) -> None:
    house = await open_house()
    ada = await house.person("ada")
    token = await api_token(house, ada)
    kid = header(token)["kid"]
    for _ in range(4):
        move(90 * DAY, house)
        await log_in(house, ada)  # the schedule rotates
        assert kid in await jwks(house)
        assert await is_good(house, token)
    assert await current(house) != kid
    move(4 * DAY + 23 * HOUR, house)
    assert kid in await jwks(house)
    assert await is_good(house, token)
    move(HOUR, house)
    assert kid not in await jwks(house)
    assert (await show(house, token)).code == "UNAUTHENTICATED"


async def test_an_api_token_that_is_made_while_a_key_waits_keeps_the_key_that_signed_it(open_house: OpenHouse) -> None:
    house = await open_house()
    ada = await house.person("ada")
    await house.auth.key_ring.rotate()
    token = await api_token(house, ada, 30 * DAY)
    assert header(token)["kid"] == await current(house)
    move(WAITED, house)
    assert await current(house) != header(token)["kid"]
    move(29 * DAY, house)
    assert header(token)["kid"] in await jwks(house)
    assert await is_good(house, token)


async def test_after_ninety_days_whoever_signs_next_lets_the_next_key_sign(open_house: OpenHouse) -> None:
    house = await open_house()
    ada = await house.person("ada")
    first, following = await current(house), await published_next(house)
    move(90 * DAY - MINUTE, house)
    assert await signed_by(house, ada) == first
    assert len(await standings(house)) == 2
    move(MINUTE, house)
    assert await signed_by(house, ada) == following
    assert await kids(house, KeyState.RETIRED) == [first]
    assert await published_next(house) not in {first, following}
    move(DAY, house)
    assert await signed_by(house, ada) == following


async def test_the_operator_says_how_often_keys_rotate(open_house: OpenHouse) -> None:
    house = await open_house(signing_key_lifetime=HOUR)
    ada = await house.person("ada")
    seen = [await signed_by(house, ada)]
    for _ in range(9):
        move(HOUR, house)
        seen.append(await signed_by(house, ada))
    assert len(set(seen)) == 10
    # Those whose last token has expired are gone, with their private halves.
    assert len(await store.signing_keys.load_all(house.auth.database)) <= 6


async def test_a_renewal_by_cookie_and_by_refresh_token_and_a_services_token_let_the_next_key_sign_too(
    open_house: OpenHouse,
) -> None:
    house = await open_house(signing_key_lifetime=HOUR)
    ada = await house.person("ada")
    service = await robot(ada)
    details = {"email": ada.email, "password": PASSWORD, "delivery": "BODY"}
    refresh_token = (await house.client().ask(LOG_IN, {"input": details})).data["login"]["refreshToken"]
    seen = [await current(house)]

    move(HOUR, house)
    answer = await ada.ask(WHO_AM_I)
    seen.append(header(answer.response.cookies["watchword-access"])["kid"])
    move(HOUR, house)
    answer = await house.client().ask(REFRESH, {"input": {"refreshToken": refresh_token}})
    seen.append(header(answer.data["refresh"]["accessToken"])["kid"])
    move(HOUR, house)
    seen.append(header(await service.token(house))["kid"])
    assert len(set(seen)) == 4


async def test_of_many_who_sign_at_the_time_of_a_rotation_in_two_processes_one_rotates(open_house: OpenHouse) -> None:
    one, two = await open_house("same"), await open_house("same")
    ada = await one.person("ada")
    first, following = await current(one), await published_next(one)
    move(90 * DAY, one, two)
    seen = await asyncio.gather(*[signed_by(house, ada) for house in (one, two) * 2])
    assert set(seen) == {following}
    assert await standings(one) == await standings(two)
    assert set(await standings(one)) == {first, following, await published_next(one)}
    grace = await one.person("grace", administrator=True)
    events = (await grace.ask(EVENTS)).data["auditEvents"]["nodes"]
    assert [event["objectId"] for event in events if event["action"] == "SIGNING_KEY_ROTATE"] == [following]


async def test_operators_who_rotate_at_the_same_time_in_two_processes_rotate_once(open_house: OpenHouse) -> None:
    one, two = await open_house("same"), await open_house("same")
    rotated = await asyncio.gather(*[house.auth.key_ring.rotate() for house in (one, two) * 3])
    assert len({standing.kid for standing in rotated}) == 1
    assert len(await standings(one)) == 3


async def test_while_the_database_is_locked_the_key_that_signed_goes_on(
    open_house: OpenHouse, impatient: timedelta
) -> None:
    house = await open_house(database_timeout=impatient)
    ada = await house.person("ada")
    first, following = await current(house), await published_next(house)
    move(90 * DAY - HOUR, house)
    assert (await ada.client.log_in(ada.email)).data["login"]["viewer"]["id"] == ada.id
    move(HOUR + MINUTE, house)
    with locked(house):
        answer = await ada.ask(WHO_AM_I)
        assert answer.data["viewer"]["id"] == ada.id
        assert header(answer.response.cookies["watchword-access"])["kid"] == first
    assert await signed_by(house, ada) == following


async def test_another_process_signs_with_the_new_key_and_verifies_its_tokens_without_a_restart(
    open_house: OpenHouse,
) -> None:
    one, two = await open_house("same"), await open_house("same")
    ada = await one.person("ada")
    old = [await log_in(house, ada) for house in (one, two)]
    for _ in range(3):
        move(2 * SECOND, one, two)
        rotated = await one.auth.key_ring.rotate(at_once=True)
        token = await log_in(one, ada)
        assert header(token)["kid"] == rotated.kid
        assert await is_good(two, token)  # it has never heard of this key
        assert await signed_by(two, ada) == rotated.kid
        for house in (one, two):
            for old_one in old:
                assert await is_good(house, old_one)
    assert await jwks(one) == await jwks(two)


async def test_a_revoked_keys_tokens_are_refused_on_the_next_request_in_every_process(open_house: OpenHouse) -> None:
    one, two = await open_house("same"), await open_house("same")
    ada = await one.person("ada")
    service = await robot(ada)
    tokens = [await log_in(one, ada), await api_token(one, ada), await service.token(one)]
    for house in (one, two):
        for token in tokens:
            assert await is_good(house, token)  # each has it in memory now
    kid = await current(one)
    assert {header(token)["kid"] for token in tokens} == {kid}
    standing = await one.auth.key_ring.revoke(kid)
    assert standing.state is KeyState.CURRENT
    assert standing.kid != kid
    for house in (two, one):
        for token in (*tokens, *tokens):
            answer = await show(house, token)
            assert (answer.code, answer.reason) == ("UNAUTHENTICATED", "TOKEN_REVOKED")
        assert kid not in await jwks(house)
        assert (await standings(house))[kid].state is KeyState.REVOKED
        assert await signed_by(house, ada) == standing.kid
        assert await is_good(house, await service.token(house))


async def test_when_a_key_is_revoked_no_person_is_logged_out(open_house: OpenHouse) -> None:
    one, two = await open_house("same"), await open_house("same")
    ada = await one.person("ada")
    details = {"email": ada.email, "password": PASSWORD, "delivery": "BODY"}
    native = (await one.client().ask(LOG_IN, {"input": details})).data["login"]
    browser = two.client()
    browser.cookies.update(dict(ada.client.cookies))
    assert (await browser.ask(WHO_AM_I)).data["viewer"]["id"] == ada.id
    standing = await one.auth.key_ring.revoke(await current(one))
    for client in (browser, ada.client):
        answer = await client.ask(WHO_AM_I)
        assert answer.data["viewer"]["id"] == ada.id
        (cookie,) = answer.response.headers.get_list("set-cookie")
        assert cookie.startswith("watchword-access=")
        assert header(answer.response.cookies["watchword-access"])["kid"] == standing.kid
    assert not await is_good(two, native["accessToken"])
    refreshed = await two.client().ask(REFRESH, {"input": {"refreshToken": native["refreshToken"]}})
    assert await is_good(one, refreshed.data["refresh"]["accessToken"])


async def test_when_a_key_is_revoked_and_another_rotation_follows_at_once_no_person_is_logged_out(
    open_house: OpenHouse,
) -> None:
    house = await open_house()
    move(DAY, house)
    ada = await house.person("ada")
    token = await log_in(house, ada)
    kid = await current(house)
    await house.auth.key_ring.revoke(kid)
    await house.auth.key_ring.rotate(at_once=True)
    assert kid in await kids(house, KeyState.REVOKED)
    assert (await ada.ask(WHO_AM_I)).data["viewer"]["id"] == ada.id
    assert (await show(house, token)).reason == "TOKEN_REVOKED"


async def test_a_revoked_key_is_kept_in_sight_until_its_last_token_has_expired(open_house: OpenHouse) -> None:
    house = await open_house()
    ada = await house.person("ada")
    token = await api_token(house, ada, 30 * DAY)
    kid = await current(house)
    await house.auth.key_ring.revoke(kid)
    move(29 * DAY, house)
    await house.auth.key_ring.rotate()
    assert (await show(house, token)).reason == "TOKEN_REVOKED"
    move(2 * DAY, house)
    await house.auth.key_ring.rotate()
    assert kid not in await standings(house)
    assert (await show(house, token)).code == "UNAUTHENTICATED"


async def test_of_a_revoked_key_that_is_next_nothing_remains_and_another_is_next(open_house: OpenHouse) -> None:
    house = await open_house()
    ada = await house.person("ada")
    token = await log_in(house, ada)
    first, following = await current(house), await published_next(house)
    assert (await house.auth.key_ring.revoke(following)).kid == first
    assert await published_next(house) not in {first, following}
    assert following not in await jwks(house)
    assert await is_good(house, token)
    move(2 * SECOND, house)
    assert (await house.auth.key_ring.rotate(at_once=True)).kid not in {first, following}


async def test_a_waiting_key_that_is_revoked_never_signs(open_house: OpenHouse) -> None:
    house = await open_house()
    ada = await house.person("ada")
    token = await log_in(house, ada)
    waiting = await house.auth.key_ring.rotate()
    move(2 * SECOND, house)
    standing = await house.auth.key_ring.revoke(waiting.kid)
    assert waiting.kid not in await jwks(house)
    assert await signed_by(house, ada) == standing.kid == await current(house)
    await published_next(house)
    assert await is_good(house, token)
    move(WAITED, house)
    assert await signed_by(house, ada) != waiting.kid


async def test_the_waiting_key_takes_over_at_once_from_a_current_one_that_is_revoked(open_house: OpenHouse) -> None:
    house = await open_house()
    ada = await house.person("ada")
    waiting = await house.auth.key_ring.rotate()
    standing = await house.auth.key_ring.revoke(await current(house))
    assert (standing.kid, standing.state) == (waiting.kid, KeyState.CURRENT)
    assert await signed_by(house, ada) == waiting.kid
    await published_next(house)


async def test_a_retired_key_can_be_revoked_and_the_others_tokens_stay_good(open_house: OpenHouse) -> None:
    house = await open_house()
    ada = await house.person("ada")
    old, retired = await log_in(house, ada), await current(house)
    move(2 * SECOND, house)
    await house.auth.key_ring.rotate(at_once=True)
    token, signing = await log_in(house, ada), await current(house)
    assert (await house.auth.key_ring.revoke(retired)).kid == signing
    assert (await show(house, old)).reason == "TOKEN_REVOKED"
    assert await is_good(house, token)
    assert len(await jwks(house)) == 2


async def test_a_retired_key_never_comes_back_to_sign(open_house: OpenHouse) -> None:
    house = await open_house()
    ada = await house.person("ada")
    signed = []
    for _ in range(4):
        move(2 * SECOND, house)
        await house.auth.key_ring.rotate(at_once=True)
        signed.append(await current(house))
    for _ in range(4):
        standing = await house.auth.key_ring.revoke(await current(house))
        assert standing.kid not in signed
        assert await signed_by(house, ada) == standing.kid
        signed.append(standing.kid)
    assert len(set(signed)) == 8


async def test_every_key_can_be_revoked_one_after_the_other_and_there_is_always_one_that_signs(
    open_house: OpenHouse,
) -> None:
    house = await open_house()
    ada = await house.person("ada")
    revoked: set[str] = set()
    for _ in range(4):
        for kid in await jwks(house):
            await house.auth.key_ring.revoke(kid)
            revoked.add(kid)
            assert await signed_by(house, ada) not in revoked
            assert await published_next(house) not in revoked
    assert not revoked & set(await jwks(house))
    assert (await ada.ask(WHO_AM_I)).data["viewer"]["id"] == ada.id


@pytest.mark.parametrize("kid", ["", "unknown", "x" * 10_000, "' OR 1=1 --", "\0"])
async def test_a_key_that_there_is_not_cannot_be_revoked(house: House, kid: str) -> None:
    before = await standings(house)
    with pytest.raises(NotFound):
        await house.auth.key_ring.revoke(kid)
    assert await standings(house) == before


async def test_a_key_is_revoked_once(open_house: OpenHouse) -> None:
    house = await open_house()
    kid = await current(house)
    await house.auth.key_ring.revoke(kid)
    before = await standings(house)
    with pytest.raises(NotFound):
        await house.auth.key_ring.revoke(kid)
    assert await standings(house) == before


async def test_of_two_who_revoke_one_key_at_the_same_time_one_does_and_the_other_is_told(open_house: OpenHouse) -> None:
    one, two = await open_house("same"), await open_house("same")
    kid = await current(one)
    done = await asyncio.gather(*[house.auth.key_ring.revoke(kid) for house in (one, two)], return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in done) == ["KeyStanding", "NotFound"]
    assert await current(one) == await current(two) != kid
    assert len(await jwks(one)) == 2


async def test_rotations_and_revocations_are_recorded_with_the_key(open_house: OpenHouse) -> None:
    house = await open_house()
    rotated = await house.auth.key_ring.rotate()
    revoked = await current(house)
    await house.auth.key_ring.revoke(revoked)
    grace = await house.person("grace", administrator=True)
    events = (await grace.ask(EVENTS)).data["auditEvents"]["nodes"]
    assert {"action": "SIGNING_KEY_ROTATE", "objectId": rotated.kid} in events
    assert {"action": "SIGNING_KEY_REVOKE", "objectId": revoked} in events
    ada = await house.person("ada")
    assert (await ada.ask(EVENTS)).code == "FORBIDDEN"


async def test_while_the_algorithm_changes_both_sign_and_verify_in_their_turn(open_house: OpenHouse) -> None:
    before = await open_house("same", access_token_lifetime=HOUR)
    ada = await before.person("ada")
    tokens = [await log_in(before, ada)]
    first = await current(before)
    house = await open_house("same", access_token_lifetime=HOUR, signing_algorithm="ES256")
    found = await standings(house)
    assert sorted((standing.algorithm, standing.state.name) for standing in found.values()) == [
        ("ES256", "NEXT"),
        ("ES256", "NEXT"),
        ("EdDSA", "CURRENT"),
    ]
    assert {jwk["alg"] for jwk in (await jwks(house)).values()} == {"EdDSA", "ES256"}
    assert await signed_by(house, ada) == first  # verifiers elsewhere do not have the other one yet
    move(WAITED, house, before)
    tokens.append(await log_in(house, ada))
    assert header(tokens[-1])["alg"] == "ES256"
    tokens.append(await log_in(before, ada))  # the process that was not restarted
    assert header(tokens[-1])["alg"] == "ES256"
    for shown_to in (house, before):
        for token in tokens:
            assert await is_good(shown_to, token)
    move(LAST_TOKENS, house)
    assert {jwk["alg"] for jwk in (await jwks(house)).values()} == {"ES256"}


async def test_tokens_of_every_algorithm_are_good_at_once_while_the_algorithm_changes_again_and_again(
    open_house: OpenHouse, open_later: OpenHouse
) -> None:
    house = await open_house("own", access_token_lifetime=HOUR)
    ada = await house.person("ada")
    tokens, passed = [await log_in(house, ada)], timedelta()
    for algorithm in ("RS256", "HS256", "ES256"):
        house = await open_later(passed, access_token_lifetime=HOUR, signing_algorithm=algorithm)
        move(WAITED, house)
        passed += WAITED
        tokens.append(await log_in(house, ada))
        for token in tokens:
            assert await is_good(house, token)
    assert [header(token)["alg"] for token in tokens] == ["EdDSA", "RS256", "HS256", "ES256"]
    assert {jwk["alg"] for jwk in (await jwks(house)).values()} == {"EdDSA", "RS256", "ES256"}
    for kid in await kids(house, KeyState.RETIRED):
        await house.auth.key_ring.revoke(kid)
    assert [await is_good(house, token) for token in tokens] == [False, False, False, True]


async def test_a_restart_with_the_same_algorithm_changes_nothing(open_house: OpenHouse) -> None:
    house = await open_house("same")
    await house.auth.key_ring.rotate()
    before = await standings(house)
    for _ in range(3):
        assert await standings(await open_house("same")) == before


@pytest.mark.parametrize("algorithms", [["ES256"], ["ES256", "EdDSA"], ["HS256", "ES256", "HS256"]], ids=", ".join)
async def test_when_the_algorithm_changes_while_a_key_waits_every_key_of_before_retires(
    open_house: OpenHouse, open_later: OpenHouse, algorithms: list[str]
) -> None:
    house = await open_house("own")
    ada = await house.person("ada")
    await house.auth.key_ring.rotate()
    for minutes, algorithm in enumerate(algorithms, start=1):
        house = await open_later(minutes * MINUTE, signing_algorithm=algorithm)
        assert len(await kids(house, KeyState.CURRENT)) == 1
        await published_next(house)
    seen = []
    for _ in range(10):
        move(MINUTE, house)
        seen.append(await signed_by(house, ada))
    found = await standings(house)
    assert found[await current(house)].algorithm == algorithms[-1]
    assert found[await published_next(house)].algorithm == algorithms[-1]
    assert sorted(seen, key=seen.index) == seen  # none comes back that another took over from
    move(LAST_TOKENS, house)
    # One that retired without an end would verify, and be published, for ever.
    assert await kids(house, KeyState.RETIRED) == []


async def test_when_the_algorithm_is_changed_and_changed_back_at_once_every_key_of_before_retires(
    open_house: OpenHouse,
) -> None:
    first = await open_house("own")
    for algorithm in ("ES256", "EdDSA"):
        house = await open_house("own", signing_algorithm=algorithm)
    move(WAITED, house)
    assert (await standings(house))[await current(house)].algorithm == "EdDSA"
    move(LAST_TOKENS, house, first)
    assert await kids(house, KeyState.RETIRED) == []
    assert {jwk["alg"] for jwk in (await jwks(house)).values()} == {"EdDSA"}


async def test_keys_are_sealed_anew_under_the_first_secret_key_and_need_the_old_one_no_longer(
    open_house: OpenHouse,
) -> None:
    house = await open_house("own", secret_key=OLD, access_token_lifetime=HOUR)
    ada = await house.person("ada")
    tokens = [await log_in(house, ada)]
    move(2 * SECOND, house)
    await house.auth.key_ring.rotate(at_once=True)
    tokens.append(await log_in(house, ada))
    move(2 * SECOND, house)
    await house.auth.key_ring.rotate(at_once=True)
    await house.auth.key_ring.rotate()
    tokens.append(await log_in(house, ada))
    await house.auth.key_ring.revoke(str(header(tokens[0])["kid"]))
    before = await standings(house)
    sealed = {row.sealed_private_jwk for row in await store.signing_keys.load_all(house.auth.database)}

    both = await open_house("own", secret_key=f"{NEW},{OLD}", access_token_lifetime=HOUR)
    rows = await store.signing_keys.load_all(both.auth.database)
    assert not sealed & {row.sealed_private_jwk for row in rows}
    assert all(Sealer([Secret(NEW)]).is_first(row.sealed_private_jwk) for row in rows)
    alone = await open_house("own", secret_key=NEW, access_token_lifetime=HOUR)
    move(4 * SECOND, both, alone)
    for opened in (both, alone):
        assert await standings(opened) == before
        assert [await is_good(opened, token) for token in tokens] == [False, True, True]
    for other in (OLD, OTHER, f"{OTHER},{OLD}"):
        with pytest.raises(SealBroken, match="WATCHWORD_SECRET_KEY"):
            await open_house("own", secret_key=other)


async def test_a_server_that_was_not_restarted_goes_on_when_the_keys_are_sealed_anew(open_house: OpenHouse) -> None:
    house = await open_house("own", secret_key=OLD)
    ada = await house.person("ada")
    token = await log_in(house, ada)
    await open_house("own", secret_key=f"{NEW},{OLD}")
    assert await is_good(house, token)
    assert await is_good(house, await log_in(house, ada))


def private_parts(key: SigningKey) -> list[bytes]:
    """Return every number of a key that nobody else may have, in the spellings that it may be found in."""
    members = json.loads(key.private_jwk())
    found = []
    for text in (members[name] for name in ("d", "k", "p", "q", "dp", "dq", "qi") if name in members):
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        # Within a longer text in base64, such as a PEM, it begins at any of three places.
        shifted = [base64.b64encode(b"\0" * before + raw)[4:-4] for before in range(3)]
        number = str(int.from_bytes(raw, "big")).encode()
        found += [text.encode(), raw, raw[::-1], raw.hex().encode(), base64.b64encode(raw), number, *shifted]
    return found


async def test_a_stolen_database_holds_nothing_to_sign_with_for_any_algorithm(
    open_house: OpenHouse, open_later: OpenHouse
) -> None:
    house = await open_house("own", secret_key=OLD)
    for place, algorithm in enumerate(ALGORITHMS):
        house = await open_later(place * WAITED, secret_key=OLD, signing_algorithm=algorithm)
    move(WAITED, house)
    await house.auth.key_ring.revoke((await kids(house, KeyState.RETIRED))[0])
    await house.auth.key_ring.rotate()
    rows = await store.signing_keys.load_all(house.auth.database)
    assert {row.algorithm for row in rows} == set(ALGORITHMS)
    stolen = stored(house)
    for row in rows:
        key = open_key(row, Sealer([Secret(OLD)]))
        assert row.kid.encode() in stolen  # we look in the right place
        assert row.sealed_private_jwk in stolen
        for part in private_parts(key):
            assert part not in stolen
            assert part not in row.sealed_private_jwk
            assert part not in base64.urlsafe_b64decode(row.sealed_private_jwk)
        for other in (NEW, OTHER, "", row.kid):
            with pytest.raises(SealBroken):
                open_key(row, Sealer([Secret(other)]))
    assert OLD.encode() not in stolen


class StoppedClock:
    """A clock that goes when it is told to; it begins within a second and not with one."""

    def __init__(self) -> None:
        self._now = datetime.now(UTC).replace(microsecond=600_000)

    def now(self) -> datetime:
        return self._now

    def move(self, by: timedelta) -> None:
        self._now += by


@dataclass(frozen=True)
class Issued:
    """A token that somebody was given."""

    text: Secret
    kid: str
    expires_at: datetime


ISSUER = "https://id.example.org"
EMAIL = "ada@example.org"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a database that is migrated and holds nothing yet."""
    path = tmp_path_factory.mktemp("prepared") / "watchword.sqlite"
    migrate.upgrade(SQLiteFile(path))
    return path


@dataclass
class Installation:
    """Two processes over one database, everything that was issued, and what must never happen."""

    processes: list[Auth]
    clock: StoppedClock
    issued: list[Issued] = field(default_factory=list)
    session_secrets: list[Secret] = field(default_factory=list)
    revoked: set[str] = field(default_factory=set)
    signed_before: list[str] = field(default_factory=list)
    in_public_since: dict[str, datetime] = field(default_factory=dict)
    hastened: set[str] = field(default_factory=set)

    def keep(self, token: Secret, expires_at: datetime) -> None:
        self.issued.append(Issued(token, str(header(token.reveal())["kid"]), expires_at.replace(microsecond=0)))

    async def log_in(self, process: Auth) -> None:
        started = await process.login.log_in(EMAIL, PASSWORD, NOWHERE)
        assert started is not None
        self.keep(started.grant.access_token, started.grant.access_expires_at)
        self.session_secrets.append(started.secret)
        made = await process.api_tokens.create(
            started.grant.identity,
            name="backup",
            scopes=["profile:read"],
            expires_at=self.clock.now() + timedelta(days=1 + 120 * (len(self.issued) % 3)),
        )
        self.keep(made.token, made.row.expires_at)

    async def act(self, what: str, process: Auth, number: int) -> None:
        ring = process.key_ring
        match what:
            case "rotate":
                await ring.rotate()
            case "rotate at once":
                self.hastened.add((await ring.rotate(at_once=True)).kid)
            case "revoke":
                known = await ring.standings()
                kid = known[number % len(known)].kid
                if kid in self.revoked:
                    with pytest.raises(NotFound):
                        await ring.revoke(kid)
                else:
                    signing = (await ring.revoke(kid)).kid
                    assert signing != kid
                    self.hastened.add(signing)
                    self.revoked.add(kid)
            case "log in":
                await self.log_in(process)
            case "sign":
                await ring.signing_key()
            case "wait":
                self.clock.move(WAITS[number % len(WAITS)])

    async def check(self) -> None:
        (signing,) = {(await process.key_ring.signing_key()).kid for process in self.processes}
        for process in self.processes:
            await self.check_ring(process, signing)
        now, before = self.clock.now(), self.signed_before
        if not before or signing != before[-1]:
            assert signing not in before, "a key that was retired came back to sign"
            if before and signing not in self.hastened:
                published = self.in_public_since[signing]
                assert now - published >= PUBLICATION, "a key signed that verifiers elsewhere may not have"
            before.append(signing)
        assert signing not in self.revoked
        for process in self.processes:
            for token in self.issued:
                await self.check_token(process, token)
        for secret in self.session_secrets[-2:]:
            await self.check_session(secret)

    async def check_ring(self, process: Auth, signing: str) -> None:
        found = await process.key_ring.standings()
        by_state = {state: [standing for standing in found if standing.state is state] for state in KeyState}
        assert [standing.kid for standing in by_state[KeyState.CURRENT]] == [signing]
        assert [standing.signs_from for standing in by_state[KeyState.NEXT]].count(None) == 1
        assert all(standing.verifies_until is not None for standing in by_state[KeyState.RETIRED])
        assert {standing.kid for standing in by_state[KeyState.REVOKED]} <= self.revoked
        assert not self.revoked & {standing.kid for standing in found if standing.state is not KeyState.REVOKED}
        published = {json.loads(jwk)["kid"] for jwk in await process.key_ring.published()}
        assert published == {standing.kid for standing in found if standing.state is not KeyState.REVOKED}
        for kid in published:
            self.in_public_since.setdefault(kid, self.clock.now())

    async def check_token(self, process: Auth, token: Issued) -> None:
        is_good = token.kid not in self.revoked and self.clock.now() < token.expires_at
        try:
            await process.gate.authenticate(Credential(token=token.text))
        except Unauthenticated as refused:
            if refused.reason not in {Reason.TOKEN_REVOKED, Reason.TOKEN_EXPIRED, Reason.TOKEN_INVALID}:
                raise  # the session lives longer than all this takes
            was_good = False
        else:
            was_good = True
        assert was_good is is_good

    async def check_session(self, secret: Secret) -> None:
        for process in self.processes:
            admission = await process.gate.authenticate(Credential(session_secret=secret))
            assert admission.renewed is not None
            assert header(admission.renewed.access_token.reveal())["kid"] == self.signed_before[-1]


WAITS = (SECOND / 2, SECOND, PUBLICATION - SECOND, PUBLICATION, MINUTE / 2, LAST_TOKENS, 9 * DAY, 25 * DAY)

acts = st.tuples(
    st.sampled_from(
        ["rotate", "rotate at once", "revoke", "revoke", "log in", "log in", "sign", "wait", "wait", "wait"]
    ),
    st.integers(0, 1),
    st.integers(0, 20),
)


POLICY = Policy(
    issuer=ISSUER,
    signing_key_lifetime=20 * DAY,
    access_token_lifetime=HOUR,
    session_idle_timeout=900 * DAY,
    session_lifetime=900 * DAY,
    hashing=HashingCost(8, 1, 1),
)


@asynccontextmanager
async def processes_over(prepared: Path, clock: StoppedClock, count: int = 1) -> AsyncIterator[list[Auth]]:
    """Open a new installation, as this many processes do that share one clock."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "watchword.sqlite"
        shutil.copy(prepared, path)
        async with AsyncExitStack() as stack:
            processes = []
            for _ in range(count):
                database = SQLiteDatabase(path)
                stack.push_async_callback(database.close)
                auth = await open_auth(database, POLICY, rights(), [Secret(OLD)], clock)
                stack.push_async_callback(auth.close)
                processes.append(auth)
            yield processes


async def test_keys_whose_turns_come_within_one_second_have_one_order_and_none_retires_without_an_end(
    prepared: Path,
) -> None:
    # Instants are whole seconds: which of two keys took over from the other must not depend on how they are called.
    for _ in range(8):
        clock = StoppedClock()
        async with processes_over(prepared, clock) as (process,):
            ring = process.key_ring
            await ring.revoke((await ring.rotate()).kid)
            seen = []
            for _ in range(9):
                seen.append((await ring.signing_key()).kid)
                clock.move(MINUTE)
            assert sorted(seen, key=seen.index) == seen  # none comes back that another took over from
            clock.move(LAST_TOKENS)
            assert (await ring.signing_key()).kid == seen[-1]
            # One that retired without an end would verify, and be published, for ever.
            assert KeyState.RETIRED not in {standing.state for standing in await ring.standings()}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(done=st.lists(acts, min_size=3, max_size=20))
async def test_whatever_is_done_to_the_ring_one_key_signs_one_is_next_and_what_was_issued_is_good(
    prepared: Path, done: list[tuple[str, int, int]]
) -> None:
    clock = StoppedClock()
    async with processes_over(prepared, clock, count=2) as processes:
        await processes[0].users.create(email=EMAIL, password=PASSWORD, display_name="Ada", roles=frozenset({"user"}))
        installation = Installation(processes, clock)
        await installation.check()
        await installation.log_in(processes[0])
        for what, process, number in done:
            await installation.act(what, processes[process], number)
            await installation.check()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a command on an installation of the test's own, whose database is there."""
    run_one = runner(tmp_path / "own")
    run_one("migrate")
    return run_one


MOMENT = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"


def listed(run: Run, **given_settings: str) -> dict[str, list[str]]:
    """Return what `keys list` says of each state: the kids, the newest first."""
    found: dict[str, list[str]] = {"next": [], "current": [], "retired": [], "revoked": []}
    for line in succeeded(run("keys", "list", **given_settings)).splitlines():
        kid, _, state = line.split()[:3]
        found[state].append(kid)
    return found


def test_keys_list_shows_each_key_with_its_algorithm_its_state_and_since_when(run: Run) -> None:
    told = succeeded(run("keys", "list"))
    lines = sorted(told.splitlines(), key=lambda line: line.split()[2])
    assert re.fullmatch(rf"[\w-]{{43}}  EdDSA  current  signs since {MOMENT}", lines[0])
    assert re.fullmatch(rf"[\w-]{{43}}  EdDSA  next     published {MOMENT}", lines[1])
    assert len(lines) == 2
    assert succeeded(run("keys", "list")) == told


def test_keys_rotate_says_which_key_signs_from_when_on_and_again_the_same_while_it_waits(run: Run) -> None:
    before = listed(run)
    told = succeeded(run("keys", "rotate"))
    (kid,) = before["next"]
    assert re.fullmatch(rf"{re.escape(kid)} signs from {MOMENT} on\.\n", told)
    after = succeeded(run("keys", "list"))
    assert re.search(rf"{re.escape(kid)}  EdDSA  next     signs from {MOMENT}", after)
    assert listed(run)["current"] == before["current"]
    assert succeeded(run("keys", "rotate")) == f"Already under way: {told}"
    assert succeeded(run("keys", "list")) == after


def test_keys_rotate_now_does_not_wait(run: Run) -> None:
    (kid,) = listed(run)["next"]
    told = succeeded(run("keys", "rotate", "--now"))
    said = re.fullmatch(rf"{re.escape(kid)} signs from ({MOMENT}) on\.\n", told)
    assert said is not None
    signs_from = datetime.strptime(said.group(1), "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC)
    assert signs_from <= datetime.now(UTC) + 2 * SECOND


async def test_a_running_server_follows_what_the_operator_does_on_the_command_line(
    run: Run, open_house: OpenHouse
) -> None:
    house = await open_house("own")
    run = partial(run, database_url=house.settings.database_url.get_secret_value())
    ada = await house.person("ada")
    token, following = await log_in(house, ada), await published_next(house)
    succeeded(await asyncio.to_thread(run, "keys", "rotate", "--now"))
    move(2 * SECOND, house)
    assert await signed_by(house, ada) == following
    assert await is_good(house, token)
    revoked = await asyncio.to_thread(run, "keys", "revoke", str(header(token)["kid"]), "--yes")
    assert succeeded(revoked) == f"{header(token)['kid']} is revoked; {following} signs now.\n"
    assert (await show(house, token)).reason == "TOKEN_REVOKED"
    assert (await ada.ask(WHO_AM_I)).data["viewer"]["id"] == ada.id


def test_keys_revoke_says_which_key_signs_now(run: Run) -> None:
    before = listed(run)
    (kid,), (following,) = before["current"], before["next"]
    assert succeeded(run("keys", "revoke", kid, "--yes")) == f"{kid} is revoked; {following} signs now.\n"
    after = listed(run)
    assert (after["revoked"], after["current"], len(after["next"])) == ([kid], [following], 1)
    (line,) = [line for line in succeeded(run("keys", "list")).splitlines() if line.startswith(kid)]
    assert re.fullmatch(rf"{re.escape(kid)}  EdDSA  revoked  refused since {MOMENT}", line)


def test_keys_revoke_asks_first_and_does_nothing_without_a_yes(run: Run) -> None:
    before = listed(run)
    (kid,) = before["current"]
    for answer in ("", "\n", "n\n", "no\n"):
        asked = run("keys", "revoke", kid, stdin=answer)
        assert asked.exit_code == 1
        assert "API tokens too" in asked.stdout
        assert listed(run) == before
    assert run("keys", "revoke", kid, stdin="y\n").exit_code == 0
    assert listed(run)["revoked"] == [kid]


def test_a_key_that_there_is_not_is_said_not_to_be_there_and_one_is_revoked_once(run: Run) -> None:
    (kid,) = listed(run)["current"]
    succeeded(run("keys", "revoke", kid, "--yes"))
    before = listed(run)
    for other in ("unknown", kid):
        told = refused(run("keys", "revoke", other, "--yes"))
        assert told == "Error: There is no such key, or it was revoked before.\n"
    assert listed(run) == before
    assert run("keys", "revoke", "--yes").exit_code == 2


@pytest.mark.parametrize("beginning", ["-", "-h", "--"])
def test_a_key_whose_name_begins_as_an_option_does_can_be_revoked_as_any_other(
    run: Run, tmp_path: Path, beginning: str
) -> None:
    # A kid is 43 characters of base64url: of 64 keys one has a name that begins with a hyphen.
    succeeded(run("keys", "list", secret_key=OLD))
    key = next(key for number in range(100_000) if (key := secret_named(number, beginning)) is not None)
    asyncio.run(retire(tmp_path / "own" / "watchword.sqlite", key))
    told = succeeded(run("keys", "revoke", key.kid, "--yes", secret_key=OLD))
    assert told.startswith(f"{key.kid} is revoked; ")


def secret_named(number: int, beginning: str) -> SigningKey | None:
    """Return the secret that a number amounts to, if its thumbprint begins so."""
    secret = base64.urlsafe_b64encode(sha256(str(number).encode()).digest()).rstrip(b"=").decode()
    digest = sha256(f'{{"k":"{secret}","kty":"oct"}}'.encode()).digest()
    if not base64.urlsafe_b64encode(digest).decode().startswith(beginning):
        return None
    return keys.from_private_jwk(json.dumps({"kty": "oct", "k": secret}).encode())


async def retire(path: Path, key: SigningKey) -> None:
    """Put a key into the ring that has retired and still verifies."""
    database, now = SQLiteDatabase(path), datetime.now(UTC)
    sealed = Sealer([Secret(OLD)]).seal(key.private_jwk())
    row = SigningKeyRow(key.kid, key.algorithm, key.public_jwk(), sealed, now - DAY, now - DAY, now + DAY)
    try:
        async with database.transaction() as tx:
            await store.signing_keys.add(tx, row)
    finally:
        await database.close()


@pytest.mark.parametrize("command", [("list",), ("rotate",), ("rotate", "--now"), ("revoke", "x", "--yes")])
def test_in_the_wrong_folder_no_installation_is_made_and_none_is_migrated(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    told = refused(runner(tmp_path / "wrong")("keys", *command))
    assert "there is no database file" in told
    assert not (tmp_path / "wrong").exists()


async def test_that_another_algorithm_will_sign_is_said(run: Run, open_house: OpenHouse) -> None:
    house = await open_house("own")
    run = partial(run, database_url=house.settings.database_url.get_secret_value())
    await open_house("own", signing_algorithm="ES256")  # publishes a key of ES256, which waits for its turn
    told = succeeded(await asyncio.to_thread(run, "keys", "rotate", "--now"))
    assert told.endswith("It signs with ES256, and no longer with EdDSA: so the settings say here.\n")


@pytest.mark.parametrize("command", [("list",), ("rotate",), ("rotate", "--now"), ("revoke", "x", "--yes")])
def test_what_an_operator_can_mend_is_said_in_a_sentence_by_every_command_about_keys(
    run: Run, command: tuple[str, ...]
) -> None:
    succeeded(run("keys", "list", secret_key=OLD))
    before = succeeded(run("keys", "list", secret_key=OLD))
    assert "WATCHWORD_SECRET_KEY is not the one" in refused(run("keys", *command, secret_key=OTHER))
    assert "WATCHWORD_PORT" in refused(run("keys", *command, secret_key=OLD, port="0"))
    assert succeeded(run("keys", "list", secret_key=OLD)) == before


def test_no_command_about_keys_prints_anything_private(run: Run, tmp_path: Path) -> None:
    said = [succeeded(run("keys", "list", secret_key=OLD))]
    with closing(sqlite3.connect(tmp_path / "own" / "watchword.sqlite")) as connection:
        sealed = [row[0] for row in connection.execute("SELECT sealed_private_jwk FROM signing_keys")]
    parts = [part for one in sealed for part in private_parts(keys.from_private_jwk(Sealer([Secret(OLD)]).open(one)))]
    said += [succeeded(run("keys", "rotate", "--now", secret_key=OLD))]
    said += [succeeded(run("keys", "revoke", said[0].split()[0], "--yes", secret_key=OLD))]
    said += [succeeded(run("keys", "list", secret_key=OLD))]
    assert parts
    for part in parts:
        assert part.decode("latin-1") not in "".join(said)
    assert OLD not in "".join(said)


def test_help_says_of_every_command_about_keys_what_it_does(run: Run) -> None:
    told = succeeded(run("keys", "--help"))
    for command in ("list", "rotate", "revoke"):
        (line,) = [line for line in told.splitlines() if line.split()[:1] == [command]]
        assert len(line.split()) > 3, command
