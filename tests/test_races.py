"""What two processes decide at the same moment comes out as if one had decided after the other, on both engines.

Two houses stand on one database, as two processes do. `at_once` has acts go on together, each up to where it is
recorded, with its decision made and nothing committed; only then may any of them go on. That is the moment at which a
decision without a lock goes wrong.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import pytest

import store.service_assertions
import store.throttles
from auth.alone import account
from auth.api_tokens import MOST_TOKENS
from auth.faults import Fault, InputRefused
from auth.foundation import Foundation
from auth.identity import Identity
from auth.key_states import KeyState
from auth.origin import Origin
from auth.refusals import Conflict, Forbidden, NotFound, RateLimited, Reason, Unauthenticated
from auth.secret import Secret
from auth.service_accounts import MOST_ACCOUNTS, MOST_CREDENTIALS
from auth.throttles import EVERYBODY, Throttles
from examples.bookshop import bookshop
from tests.acts import ADD_BOOK, Act, Acts, identity_of
from tests.elsewhere import held, is_on_postgresql, rows
from tests.house import PASSWORD, SIGN_UP, WHO_AM_I, Answer, Client, House, OpenHouse, Person

ON_BOTH_ENGINES = True

NEW_PASSWORD = "another lighthouse, other secrets"
SHELVE = "mutation($input: ShelveBookInput!) { shelveBook(input: $input) { shelvedBook { id } } }"
UNSHELVE = "mutation($input: UnshelveBookInput!) { unshelveBook(input: $input) { book { id } } }"

PATIENT = {"database_timeout": timedelta(seconds=20)}


@dataclass(frozen=True)
class Two:
    """Two processes' worth of one installation."""

    one: House
    other: House

    async def at_once(self, *acts: Coroutine[Any, Any, Any], at: str = "audit_events") -> list[Any]:
        """Begin acts one after another, and end none before all have come to where they write to a table.

        On SQLite, which has one that writes, they go on in this order. Errors are returned.
        """
        if not is_on_postgresql(self.one):
            return [(await asyncio.gather(act, return_exceptions=True))[0] for act in acts]
        with held(self.one, at) as until:
            tasks = []
            for number, act in enumerate(acts, 1):
                tasks.append(asyncio.create_task(act))
                await until(number)
        return await asyncio.gather(*tasks, return_exceptions=True)

    def each(self, times: int) -> list[House]:
        return [self.one, self.other] * (times // 2)


@pytest.fixture(scope="module")
async def two(
    engine_name: str, tmp_path_factory: pytest.TempPathFactory, database_for: Callable[[str], dict[str, Any]]
) -> AsyncIterator[Two]:
    settings: dict[str, Any] = {**database_for(engine_name), **PATIENT}
    folder = tmp_path_factory.mktemp("two")
    async with House(folder, **settings) as one, House(folder, **settings) as other:
        yield Two(one, other)


@pytest.fixture
async def ada(two: Two) -> Person:
    return await two.one.person("ada")


async def begin(house: House, email: str, password: str = PASSWORD) -> Client | None:
    """Log in, and return the browser that is logged in, or None where the password was refused."""
    client = house.client()
    answer = await client.log_in(email, password)
    return client if answer.data["login"]["__typename"] == "LoginSucceeded" else None


async def is_in(client: Client | None) -> bool:
    return (
        client is not None
        and "errors" not in (answer := await client.ask(WHO_AM_I)).body
        and bool(answer.data["viewer"]["user"])
    )


async def administrators(house: House, *people: Person) -> list[Person]:
    """Return which of these can still do what administrators do."""
    return [person for person in people if "users:write" in (await identity_of(house, person)).scopes]


# --- A login, and what shuts somebody out ----------------------------------------------------------------------------


@pytest.mark.parametrize("login_first", [True, False])
async def test_no_session_that_the_old_password_began_outlives_a_change_of_password(
    two: Two, ada: Person, login_first: bool
) -> None:
    login = begin(two.one, ada.email)
    changed = two.other.auth.users.change_password(
        await identity_of(two.other, ada), current=PASSWORD, new=NEW_PASSWORD
    )
    acts = (login, changed) if login_first else (changed, login)
    outcome = await two.at_once(*acts)
    client, ended = outcome if login_first else reversed(outcome)
    assert isinstance(ended, int)
    assert not await is_in(client)
    assert await is_in(await begin(two.one, ada.email, NEW_PASSWORD))


@pytest.mark.parametrize("login_first", [True, False])
async def test_no_session_outlives_that_its_owner_is_disabled(two: Two, ada: Person, login_first: bool) -> None:
    grace = await two.other.person("grace", administrator=True)
    by = await identity_of(two.other, grace)
    user_id = (await identity_of(two.one, ada)).subject or ""
    login, disabled = begin(two.one, ada.email), two.other.auth.users.disable(by, user_id)
    outcome = await two.at_once(*((login, disabled) if login_first else (disabled, login)))
    client = outcome[0 if login_first else 1]
    await two.other.auth.users.enable(by, user_id)
    assert not await is_in(client)
    assert not await is_in(ada.client)
    assert await is_in(await begin(two.one, ada.email))


async def test_who_is_being_logged_out_elsewhere_makes_nothing_that_stays(two: Two, ada: Person) -> None:
    identity = await identity_of(two.one, ada)
    second = await begin(two.other, ada.email)
    assert second is not None
    elsewhere = await identity_of(two.other, replace(ada, client=second))
    ending = two.other.auth.sessions.revoke_others(elsewhere)
    made = two.one.auth.api_tokens.create(identity, name="kept", scopes=["profile:read"])
    assert isinstance((await two.at_once(ending, made))[1], Unauthenticated)
    assert await two.one.auth.api_tokens.page(identity, limit=10, after=None) == []


async def test_who_is_being_demoted_makes_nothing_with_the_rights_of_before(two: Two) -> None:
    grace = await two.one.person("grace", administrator=True)
    ruth = await two.other.person("ruth", administrator=True)
    demoted = await identity_of(two.one, grace)
    demoting = two.other.auth.users.set_roles(
        await identity_of(two.other, ruth), demoted.subject or "", frozenset({"user"})
    )
    made = two.one.auth.service_accounts.create(demoted, name="kept", scopes=["users:read"], of_installation=True)
    assert isinstance((await two.at_once(demoting, made))[1], InputRefused)


async def test_a_refresh_of_a_session_that_is_being_ended_is_refused_and_not_recorded(two: Two, ada: Person) -> None:
    client = two.one.client()
    login = (await client.log_in(ada.email, delivery="BODY")).data["login"]
    token = await refresh_token(two.one, ada.email)
    session_id = two.one.auth.renewal.session_of(token)
    assert session_id is not None
    assert login["accessToken"]
    outcome = await two.at_once(
        two.other.auth.sessions.end_shown(session_id, Origin()), two.one.auth.renewal.refresh(token, Origin())
    )
    assert isinstance(outcome[1], Unauthenticated)
    recorded = rows(two.one, "SELECT action FROM audit_events WHERE object_id = ? ORDER BY id", session_id)
    assert [row[0] for row in recorded] == ["session:start", "session:end"]


# --- Administrators --------------------------------------------------------------------------------------------------


@pytest.fixture
async def alone(open_house: OpenHouse) -> Two:
    """Open two houses on a database of their own, where nobody administers yet."""
    return Two(await open_house(**PATIENT), await open_house(**PATIENT))


def demote(house: House, by: Identity, user_id: str | None) -> Coroutine[Any, Any, Any]:
    return house.auth.users.set_roles(by, user_id or "", frozenset({"user"}))


def disable(house: House, by: Identity, user_id: str | None) -> Coroutine[Any, Any, Any]:
    return house.auth.users.disable(by, user_id or "")


@pytest.mark.parametrize(
    ("act", "counteract"), [(demote, demote), (disable, disable), (demote, disable)], ids=["demote", "disable", "both"]
)
async def test_of_two_administrators_who_turn_on_each_other_one_stays(
    alone: Two, act: Callable[..., Any], counteract: Callable[..., Any]
) -> None:
    grace = await alone.one.person("grace", administrator=True)
    ruth = await alone.other.person("ruth", administrator=True)
    hers, theirs = await identity_of(alone.one, grace), await identity_of(alone.other, ruth)
    outcome = await alone.at_once(act(alone.one, hers, theirs.subject), counteract(alone.other, theirs, hers.subject))
    assert isinstance(outcome[1], (Forbidden, Unauthenticated))
    assert await administrators(alone.one, grace) == [grace]
    assert (await alone.one.auth.setup.issue()) is None  # there is one


async def test_of_two_administrators_who_both_step_down_one_stays(alone: Two) -> None:
    grace = await alone.one.person("grace", administrator=True)
    ruth = await alone.other.person("ruth", administrator=True)
    hers, theirs = await identity_of(alone.one, grace), await identity_of(alone.other, ruth)
    outcome = await alone.at_once(demote(alone.one, hers, hers.subject), disable(alone.other, theirs, theirs.subject))
    assert isinstance(outcome[1], Conflict)
    assert outcome[1].reason is Reason.LAST_ADMINISTRATOR


def first(house: House, token: Secret, email: str) -> Coroutine[Any, Any, Any]:
    return house.auth.setup.create_first_administrator(token, email=email, password=PASSWORD, display_name="First")


async def test_a_setup_token_makes_one_administrator(alone: Two) -> None:
    token = await alone.one.auth.setup.issue()
    assert token is not None
    outcome = await alone.at_once(
        first(alone.one, token, "grace@example.org"), first(alone.other, token, "eve@example.org")
    )
    assert [getattr(refused, "fault", None) for refused in outcome] == [None, Fault.SETUP_TOKEN_INVALID]
    assert rows(alone.one, "SELECT user_id FROM user_roles WHERE role = 'admin'") == [(outcome[0].id,)]


async def test_of_processes_that_start_at_the_same_time_one_has_issued_the_setup_token_that_is_good(alone: Two) -> None:
    for _ in range(8):
        await asyncio.gather(*(house.auth.setup.issue() for house in alone.each(6)))
        assert len(rows(alone.one, "SELECT * FROM setup_tokens")) == 1


# --- How much somebody may have --------------------------------------------------------------------------------------


async def test_nobody_has_more_api_tokens_than_they_may(two: Two, ada: Person) -> None:
    one, other = await identity_of(two.one, ada), await identity_of(two.other, ada)
    for _ in range(MOST_TOKENS - 1):
        await two.one.auth.api_tokens.create(one, name="script", scopes=["profile:read"])
    outcome = await two.at_once(
        two.one.auth.api_tokens.create(one, name="last", scopes=["profile:read"]),
        two.other.auth.api_tokens.create(other, name="one more", scopes=["profile:read"]),
    )
    assert [getattr(refused, "fault", None) for refused in outcome] == [None, Fault.TOO_MANY]


async def test_nobody_has_more_service_accounts_and_no_account_more_credentials_than_they_may(
    two: Two, ada: Person
) -> None:
    one, other = await identity_of(two.one, ada), await identity_of(two.other, ada)
    for _ in range(MOST_ACCOUNTS - 1):
        made = await two.one.auth.service_accounts.create(one, name="robot", scopes=["profile:read"])
    outcome = await two.at_once(
        two.one.auth.service_accounts.create(one, name="last", scopes=["profile:read"]),
        two.other.auth.service_accounts.create(other, name="one more", scopes=["profile:read"]),
    )
    assert [getattr(refused, "fault", None) for refused in outcome] == [None, Fault.TOO_MANY]
    for _ in range(MOST_CREDENTIALS - 1):
        await two.one.auth.service_accounts.create_secret(one, made.id)
    outcome = await two.at_once(
        two.one.auth.service_accounts.create_secret(one, made.id),
        two.other.auth.service_accounts.create_secret(other, made.id),
    )
    assert [getattr(refused, "fault", None) for refused in outcome] == [None, Fault.TOO_MANY]


async def test_two_administrators_give_an_account_of_the_installation_no_more_credentials_than_it_may_have(
    two: Two,
) -> None:
    grace = await two.one.person("grace", administrator=True)
    ruth = await two.other.person("ruth", administrator=True)
    hers, theirs = await identity_of(two.one, grace), await identity_of(two.other, ruth)
    made = await two.one.auth.service_accounts.create(hers, name="robot", scopes=["users:read"], of_installation=True)
    for _ in range(MOST_CREDENTIALS - 1):
        await two.one.auth.service_accounts.create_secret(hers, made.id)
    outcome = await two.at_once(
        two.one.auth.service_accounts.create_secret(hers, made.id),
        two.other.auth.service_accounts.create_secret(theirs, made.id),
    )
    assert [getattr(refused, "fault", None) for refused in outcome] == [None, Fault.TOO_MANY]


# --- What happens once -----------------------------------------------------------------------------------------------


async def refresh_token(house: House, email: str) -> Secret:
    logged_in = await house.auth.login.log_in(email, PASSWORD, Origin())
    assert logged_in is not None
    return logged_in.refresh_token


async def test_of_two_refreshes_in_two_processes_one_counts_and_both_have_the_same_answer(
    two: Two, ada: Person
) -> None:
    token = await refresh_token(two.one, ada.email)
    for _ in range(3):
        outcome = await two.at_once(*(house.auth.renewal.refresh(token, Origin()) for house in (two.one, two.other)))
        (following,) = {refreshed.refresh_token.reveal() for refreshed in outcome}
        session_id = two.one.auth.renewal.session_of(token)
        counted = rows(
            two.one,
            "SELECT count(*) FROM audit_events WHERE object_id = ? AND action = 'session:refresh' AND detail IS NULL",
            session_id,
        )
        token = Secret(following)
    assert counted == [(3,)]


async def test_a_thief_who_refreshes_at_the_same_moment_as_the_owner_leaves_nobody_in(two: Two, ada: Person) -> None:
    stolen = await refresh_token(two.one, ada.email)
    current = stolen
    for _ in range(2):
        current = (await two.one.auth.renewal.refresh(current, Origin())).refresh_token
    outcome = await two.at_once(
        two.one.auth.renewal.refresh(current, Origin()), two.other.auth.renewal.refresh(stolen, Origin())
    )
    assert [getattr(refused, "reason", None) for refused in outcome] == [None, Reason.REFRESH_TOKEN_REUSED]
    with pytest.raises(Unauthenticated) as refused:
        await two.one.auth.renewal.refresh(outcome[0].refresh_token, Origin())
    assert refused.value.reason is Reason.SESSION_REVOKED


async def test_of_two_who_sign_up_with_one_address_one_has_the_account_and_both_the_same_answer(two: Two) -> None:
    email = two.one.address("ada")
    details = {"email": email, "password": PASSWORD, "displayName": "Ada"}
    outcome = await two.at_once(
        *(house.client().ask(SIGN_UP, {"input": details}) for house in (two.one, two.other)),
    )
    assert [answer.data for answer in outcome] == [outcome[0].data] * 2
    ((user_id,),) = rows(two.one, "SELECT id FROM users WHERE email = ?", email)
    recorded = rows(two.one, "SELECT action FROM audit_events WHERE subject_id = ? ORDER BY id", user_id)
    assert [row[0] for row in recorded] == ["user:create", "user:repeat"]
    assert rows(two.one, "SELECT id FROM users WHERE email_key LIKE ' %'") == []  # nothing of what was taken back


async def test_an_assertion_is_taken_once_in_all_processes(two: Two) -> None:
    async def take(house: House, digest: bytes) -> bool:
        now = house.clock.now()
        async with house.auth.database.transaction() as tx:
            return await store.service_assertions.take(tx, digest, expires_at=now + timedelta(minutes=1), now=now)

    for number in range(10):
        digest = sha256(str(number).encode()).digest()
        taken = await asyncio.gather(*(take(house, digest) for house in two.each(6)))
        assert sorted(taken) == [False] * 5 + [True]


async def test_a_book_is_taken_off_a_shelf_once(open_house: OpenHouse) -> None:
    alone = Two(await open_house(domains=[bookshop], **PATIENT), await open_house(domains=[bookshop], **PATIENT))
    grace = await alone.one.person("grace", administrator=True)
    book = (await grace.ask(ADD_BOOK, {"input": {"title": "Emma", "author": "Jane Austen"}})).data["addBook"]["book"][
        "id"
    ]
    shelved = (await grace.ask(SHELVE, {"input": {"bookId": book}})).data["shelveBook"]["shelvedBook"]["id"]
    elsewhere = await begin(alone.other, grace.email)
    assert elsewhere is not None
    outcome: list[Answer] = await alone.at_once(
        grace.ask(UNSHELVE, {"input": {"id": shelved}}),
        elsewhere.ask(UNSHELVE, {"input": {"id": shelved}}),
        at="books_shelves",
    )
    assert sorted("errors" in answer.body for answer in outcome) == [False, True]


# --- Keys ------------------------------------------------------------------------------------------------------------


async def states(house: House) -> list[KeyState]:
    return [key.state for key in await house.auth.key_ring.standings()]


async def test_processes_that_start_at_the_same_time_make_one_key_that_signs_and_one_that_is_next(
    tmp_path: Path, engine_name: str, database_for: Callable[[str], dict[str, Any]]
) -> None:
    settings: dict[str, Any] = {**database_for(engine_name), **PATIENT}
    houses = [House(tmp_path, **settings) for _ in range(4)]
    try:
        await asyncio.gather(*(house.__aenter__() for house in houses))
        for house in houses:
            assert await states(house) == [KeyState.NEXT, KeyState.CURRENT]
    finally:
        await asyncio.gather(*(house.__aexit__(None, None, None) for house in houses))


async def test_of_two_who_rotate_at_the_same_moment_one_does(alone: Two) -> None:
    await alone.at_once(*(house.auth.key_ring.rotate() for house in (alone.one, alone.other)))
    assert await states(alone.one) == [KeyState.NEXT, KeyState.NEXT, KeyState.CURRENT]  # one of them waits for its turn


@pytest.mark.parametrize("rotation_first", [True, False])
async def test_when_one_rotates_and_another_revokes_one_key_signs_and_one_is_next(
    alone: Two, rotation_first: bool
) -> None:
    current = (await alone.one.auth.key_ring.signing_key()).kid
    rotated, revoked = alone.one.auth.key_ring.rotate(), alone.other.auth.key_ring.revoke(current)
    outcome = await alone.at_once(*((rotated, revoked) if rotation_first else (revoked, rotated)))
    assert not [error for error in outcome if isinstance(error, BaseException)]
    waits = [] if rotation_first else [KeyState.NEXT]  # of what came first, or comes after
    assert await states(alone.one) == [*waits, KeyState.NEXT, KeyState.CURRENT, KeyState.REVOKED]
    assert (await alone.one.auth.key_ring.signing_key()).kid != current


async def test_an_api_token_that_is_made_while_another_key_is_chosen_lives_as_long_as_it_says(alone: Two) -> None:
    ada = await alone.one.person("ada")
    identity = await identity_of(alone.one, ada)
    made, _ = await alone.at_once(
        alone.one.auth.api_tokens.create(identity, name="script", scopes=["profile:read"]),
        alone.other.auth.key_ring.rotate(at_once=True),
    )
    for house in (alone.one, alone.other):
        house.clock.move(timedelta(days=80))
    answer = await alone.other.client().ask("{ viewer { kind } }", authorization=f"Bearer {made.token.reveal()}")
    assert answer.data["viewer"]["kind"] == "USER"


async def test_an_api_token_that_is_made_while_the_key_is_revoked_is_good_and_the_key_stays_revoked(alone: Two) -> None:
    ada = await alone.one.person("ada")
    identity, key = await identity_of(alone.one, ada), await alone.one.auth.key_ring.signing_key()
    before = (await alone.one.auth.api_tokens.create(identity, name="before", scopes=["profile:read"])).token
    _, made = await alone.at_once(
        alone.other.auth.key_ring.revoke(key.kid),
        alone.one.auth.api_tokens.create(identity, name="after", scopes=["profile:read"]),
    )
    answers = [
        await alone.other.client().ask("{ viewer { kind } }", authorization=f"Bearer {token.reveal()}")
        for token in (before, made.token)
    ]
    assert answers[0].reason == "TOKEN_REVOKED"
    assert answers[1].data["viewer"]["kind"] == "USER"


# --- Throttles -------------------------------------------------------------------------------------------------------


async def test_guesses_at_the_same_moment_in_two_processes_are_counted_exactly(alone: Two) -> None:
    ada = await alone.one.person("ada")
    alone.one.clock.stop()
    alone.other.clock.stop()
    guesses = [
        house.client(f"198.51.{number}.1").log_in(ada.email, "not the password at all")
        for number, house in enumerate(alone.each(24))
    ]
    codes = [answer.data["login"]["code"] for answer in await asyncio.gather(*guesses)]
    assert codes.count("INVALID_CREDENTIALS") == EVERYBODY.burst
    assert codes.count("RATE_LIMITED") == 24 - EVERYBODY.burst


async def test_what_is_given_back_while_another_process_counts_is_not_lost(alone: Two) -> None:
    alone.one.clock.stop()
    alone.other.clock.stop()
    one, other = throttles_of(alone.one), throttles_of(alone.other)
    for number in range(4):
        guess: dict[str, Any] = {
            "origin": Origin(address=f"198.51.{number}.1"),
            "user_id": None,
            "typed": f"ada{number}",
        }
        given = await one.count_guess("login", **guess)
        _, second = await alone.at_once(one.give_back_alone(given), other.count_guess("login", **guess), at="throttles")
        full_at = dict(rows(alone.one, "SELECT key, full_at FROM throttles"))
        skew = abs(second.at - given.at)
        for bucket in second.buckets:
            assert full_at[bucket.key] <= second.at + bucket.rate.interval + skew  # as after one guess, not after two


async def test_what_is_taken_while_another_process_forgets_full_buckets_is_not_forgotten(alone: Two) -> None:
    key, now = b"x" * 32, int(alone.one.clock.now().timestamp() * 1000)
    async with alone.one.auth.database.transaction() as tx:
        await store.throttles.put(tx, key, 1)
    async with alone.one.auth.database.transaction() as tx:
        await store.throttles.put(tx, key, now + 60_000)
        sweeping = asyncio.create_task(alone.other.auth.housekeeping.sweep_if_due())
        await asyncio.wait([sweeping], timeout=0.5)
    assert await sweeping
    assert rows(alone.one, "SELECT full_at FROM throttles") == [(now + 60_000,)]


def throttles_of(house: House) -> Throttles:
    auth = house.auth
    foundation = Foundation(auth.database, auth.clock, auth.policy, auth.rights, auth.audit)
    return Throttles(foundation, [Secret("x" * 43)])


# --- Others go on ----------------------------------------------------------------------------------------------------


async def test_while_somebody_is_decided_about_others_go_on_and_a_crowd_that_waits_takes_nothing_from_them(
    two: Two, ada: Person
) -> None:
    identity, bob = await identity_of(two.one, ada), await two.one.person("bob")
    holding = two.other.auth.database.transaction(account(identity.subject))
    crowd_at = two.one.auth.sessions
    if not is_on_postgresql(two.one):
        async with holding:  # one writes at a time there, and whoever reads waits for nobody
            assert await is_in(bob.client)
        return
    async with holding:
        crowd = [asyncio.create_task(crowd_at.revoke_others(identity)) for _ in range(40)]
        assert await is_in(await begin(two.one, bob.email))
        assert await refresh_token(two.one, bob.email)
        assert await two.one.person("eve")
        assert not any(task.done() for task in crowd)
    assert await asyncio.gather(*crowd) == [0] * 40


async def test_nobody_who_has_a_connection_waits_for_a_second_one(open_house: OpenHouse) -> None:
    house = await open_house(database_connections=2, domains=[bookshop], **PATIENT)
    grace = await house.person("grace", administrator=True)
    people = [await house.person(f"p{number}") for number in range(3)]
    async with asyncio.timeout(15):
        assert await broken_off(Acts(house, grace).of(people)) == []


async def test_whatever_is_done_at_the_same_time_in_two_processes_nobody_is_broken_off(open_house: OpenHouse) -> None:
    one, other = [await open_house(domains=[bookshop], **PATIENT) for _ in range(2)]
    grace, ruth = [await one.person(name, administrator=True) for name in ("grace", "ruth")]
    people = [await one.person(f"p{number}") for number in range(3)]
    shuffled = Random(5)  # noqa: S311 - an order that comes again
    for _ in range(3):
        acts = [*Acts(one, grace).of(people), *Acts(other, ruth).of(people), *Acts(other, grace).of(people)]
        shuffled.shuffle(acts)
        assert await broken_off(acts) == []
        for house in (one, other):  # so that there is much to be forgotten by the way
            house.clock.move(timedelta(days=1))


async def broken_off(acts: Iterable[Act]) -> list[BaseException]:
    """Do all of these at the same time; return what went wrong with them, but for refusals."""
    outcome = await asyncio.gather(*(act() for act in acts), return_exceptions=True)
    return [error for error in outcome if isinstance(error, BaseException) and not isinstance(error, _REFUSALS)]


_REFUSALS = (Unauthenticated, Forbidden, NotFound, Conflict, RateLimited, InputRefused)
