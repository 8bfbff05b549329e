"""Who goes on: the gate looks again at a credential that it let in before, writes nothing and renews nothing."""

import asyncio
from datetime import timedelta

import pytest

from auth.gate import Credential
from auth.identity import Identity
from auth.origin import Origin
from auth.refusals import Reason, Unauthenticated
from auth.secret import Secret
from store import StoreUnavailable
from tests import elsewhere
from tests.documents import CREATE_API_TOKEN
from tests.house import LOG_OUT, House, OpenHouse, Person

ON_BOTH_ENGINES = True

DISABLE = "mutation($input: DisableUserInput!) { disableUser(input: $input) { user { id } } }"
SET_ROLES = "mutation($input: SetUserRolesInput!) { setUserRoles(input: $input) { user { id } } }"
HERE = Origin(address="127.0.0.1", request_id="here")


def cookies(person: Person) -> Credential:
    jar = person.client.cookies
    access, session = Secret(jar["watchword-access"]), Secret(jar["watchword-session"])
    return Credential(access, session, shown_secrets=(session,), by_cookie=True)


async def bearer(house: House, person: Person) -> Credential:
    answer = await house.client().log_in(person.email, delivery="BODY")
    return Credential(Secret(answer.data["login"]["accessToken"]))


async def api_token(person: Person, *scopes: str) -> Credential:
    made = await person.ask(CREATE_API_TOKEN, {"input": {"name": "x", "scopes": list(scopes)}})
    return Credential(Secret(made.data["createApiToken"]["token"]))


async def let_in(house: House, credential: Credential) -> Identity:
    return (await house.auth.gate.authenticate(credential, HERE)).identity


async def refused(house: House, credential: Credential, known: Identity | None = None) -> Reason:
    with pytest.raises(Unauthenticated) as refusal:
        await house.auth.gate.reaffirm(credential, HERE, known=known)
    return refusal.value.reason


def everything(house: House) -> list[tuple[object, ...]]:
    tables = elsewhere.everything(house)
    return [row for table in ("sessions", "api_tokens", "audit_events", "signing_keys") for row in tables[table]]


async def test_who_was_let_in_is_who_they_were(house: House, ada: Person) -> None:
    for credential in (cookies(ada), await bearer(house, ada), await api_token(ada, "profile:read"), Credential()):
        known = await let_in(house, credential)
        assert await house.auth.gate.reaffirm(credential, HERE, known=known) == known


async def test_a_browser_goes_on_by_its_session_when_its_token_has_expired(house: House) -> None:
    ada = await house.person("ada")
    known = await let_in(house, cookies(ada))
    house.clock.move(timedelta(minutes=6))
    for _ in range(2):
        assert await house.auth.gate.reaffirm(cookies(ada), HERE, known=known) == known


async def test_a_token_that_came_alone_is_good_until_it_expires(house: House) -> None:
    ada = await house.person("ada")
    credential = await bearer(house, ada)
    await let_in(house, credential)
    house.clock.move(timedelta(minutes=6))
    for _ in range(2):  # the first look forgets it, the second verifies it anew
        assert await refused(house, credential) is Reason.TOKEN_EXPIRED


@pytest.mark.parametrize("minutes", [0, 6])
async def test_it_writes_nothing(open_house: OpenHouse, minutes: int) -> None:
    house = await open_house()
    ada = await house.person("ada")
    browser, script = cookies(ada), await api_token(ada, "profile:read")
    house.clock.move(timedelta(minutes=minutes))
    before = everything(house)
    for credential in (browser, script):
        await house.auth.gate.reaffirm(credential, HERE)
    assert everything(house) == before
    await house.auth.gate.authenticate(script, HERE)
    assert everything(house) != before  # the last use, which it would see


@pytest.mark.parametrize("minutes", [0, 6])
async def test_a_session_that_was_ended_goes_on_no_longer(house: House, minutes: int) -> None:
    ada = await house.person("ada")
    credential, alone = cookies(ada), cookies(ada)._replace(session_secret=None)
    await let_in(house, credential)
    house.clock.move(timedelta(minutes=minutes))
    await ada.ask(LOG_OUT)
    assert await refused(house, credential) is Reason.SESSION_REVOKED
    assert await refused(house, alone) is (Reason.TOKEN_EXPIRED if minutes else Reason.SESSION_REVOKED)


async def test_who_was_disabled_goes_on_no_longer(house: House, ada: Person, grace: Person) -> None:
    credentials = [cookies(ada), await bearer(house, ada), await api_token(ada, "profile:read")]
    for credential in credentials:
        await let_in(house, credential)
    await grace.ask(DISABLE, {"input": {"id": ada.user_id}})
    assert [await refused(house, credential) for credential in credentials] == [
        Reason.SESSION_REVOKED,
        Reason.SESSION_REVOKED,
        Reason.ACCOUNT_DISABLED,
    ]


async def test_rights_are_those_of_the_moment(house: House, grace: Person) -> None:
    mary = await house.person("mary", administrator=True)
    browser, script = cookies(mary), await api_token(mary, "audit:read", "profile:read")
    await let_in(house, browser)
    await grace.ask(SET_ROLES, {"input": {"id": mary.user_id, "roles": ["USER"]}})
    assert "audit:read" not in (await house.auth.gate.reaffirm(browser, HERE)).scopes
    assert (await house.auth.gate.reaffirm(script, HERE)).scopes == {"profile:read"}


async def test_a_session_expires_under_whoever_goes_on(open_house: OpenHouse) -> None:
    house = await open_house()
    ada = await house.person("ada")
    house.clock.move(timedelta(days=31))
    assert await refused(house, cookies(ada)) is Reason.SESSION_EXPIRED


async def test_a_key_that_was_revoked_takes_its_tokens_along_and_no_session(open_house: OpenHouse) -> None:
    house = await open_house()
    ada = await house.person("ada")
    browser, native = cookies(ada), await bearer(house, ada)
    known = await let_in(house, browser)
    await let_in(house, native)
    await house.auth.key_ring.revoke((await house.auth.key_ring.signing_key()).kid)
    assert await house.auth.gate.reaffirm(browser, HERE, known=known) == known
    assert await refused(house, native) is Reason.TOKEN_REVOKED


async def test_two_cookies_of_two_sessions_do_not_go_on_for_each_other(house: House) -> None:
    ada, mary = await house.person("ada"), await house.person("mary")
    mixed = cookies(ada)._replace(session_secret=cookies(mary).session_secret)
    known = await let_in(house, mixed)
    assert await house.auth.gate.reaffirm(mixed, HERE, known=known) == known
    house.clock.move(timedelta(minutes=6))
    assert await refused(house, mixed, known) is Reason.TOKEN_EXPIRED


@pytest.mark.parametrize("fault", [Reason.COOKIE_REPEATED, Reason.CREDENTIAL_MALFORMED])
async def test_what_cannot_be_read_is_refused(house: House, fault: Reason) -> None:
    assert await refused(house, Credential(fault=fault)) is fault


async def test_what_was_never_let_in_is_no_better_for_it(house: House, ada: Person) -> None:
    token = (await bearer(house, ada)).token
    assert token is not None
    signed, _, signature = token.reveal().rpartition(".")
    spoiled = Secret(f"{signed}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}")
    assert await refused(house, Credential(spoiled)) is Reason.TOKEN_INVALID
    assert await refused(house, Credential(session_secret=Secret("x" * 43))) is Reason.SESSION_UNKNOWN
    script = await api_token(ada, "profile:read")
    assert await refused(house, script._replace(by_cookie=True)) is Reason.TOKEN_INVALID


async def test_a_database_that_does_not_answer_ends_nobodys_session(open_house: OpenHouse) -> None:
    house = await open_house()
    ada = await house.person("ada")
    await house.auth.database.close()
    with pytest.raises(StoreUnavailable):
        await house.auth.gate.reaffirm(cookies(ada), HERE)


async def test_many_looks_at_once_are_as_good_as_one(house: House, ada: Person) -> None:
    credential = cookies(ada)
    known = await let_in(house, credential)
    looks = await asyncio.gather(*[house.auth.gate.reaffirm(credential, HERE, known=known) for _ in range(20)])
    assert set(looks) == {known}
