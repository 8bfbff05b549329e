"""Throttles: how often a password may be guessed, and that nobody is locked out by somebody else."""

import asyncio
from collections.abc import Awaitable, Iterable
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from auth.origin import NOWHERE
from auth.rates import MINUTE, MOST_SKEW, Rate, at_most_each_minute, full_after_one, given_back, until_next
from auth.refusals import RateLimited
from auth.throttles import EVERYBODY, KNOWN_FOR, PAIR, PAIR_IN_THE_LONG_RUN, RESERVE
from store.networks import network_of
from tests.documents import CREATE, CREATE_SECRET
from tests.elsewhere import everything, stored
from tests.faults import locked
from tests.house import LOG_IN, LOG_OUT, PASSWORD, SIGN_UP, WHO_AM_I, Answer, Client, House, OpenHouse, Person

ON_BOTH_ENGINES = True

HOME = "127.0.0.1"  # where `House.person` logs in from
WRONG = "not the password at all"
SECOND = timedelta(seconds=1)

CHANGE_PASSWORD = """
mutation($input: ChangePasswordInput!) {
  changePassword(input: $input) { __typename ... on ChangePasswordFailed { code } }
}
"""
SET_UP = """
mutation($input: CreateFirstAdministratorInput!) { createFirstAdministrator(input: $input) { __typename } }
"""


def stranger(number: int = 0) -> str:
    """Return an address that nobody has been seen at."""
    return f"203.0.113.{number}"


async def guess(client: Client, email: str, password: str = WRONG) -> str:
    """Return the code of a failed login, or "in"."""
    answered = (await client.log_in(email, password)).data["login"]
    return str(answered.get("code", "in"))


async def evaluated(house: House, guesses: Iterable[Awaitable[str]]) -> list[datetime]:
    """Return when a guess was looked at, of all these, one after another."""
    return [house.clock.now() for guessed in guesses if await guessed == "INVALID_CREDENTIALS"]


def most_in_a_minute(instants: list[datetime]) -> int:
    minute = timedelta(minutes=1)
    return max((sum(begun <= instant <= begun + minute for instant in instants) for begun in instants), default=0)


def rows(house: House, table: str = "throttles") -> list[tuple[Any, ...]]:
    return sorted(everything(house)[table])


@pytest.fixture
async def own(open_house: OpenHouse) -> House:
    """Open a house whose clock stands still."""
    house = await open_house()
    house.clock.stop()
    return house


# The rates


def most_within(rate: Rate, span: int) -> int:
    """Return the most that a rate lets through within any span, its first and its last instant included."""
    return rate.burst + span // rate.interval


def test_the_two_buckets_of_an_account_let_ten_through_within_any_minute() -> None:
    assert most_within(EVERYBODY, MINUTE) + most_within(RESERVE, MINUTE) == 10


def test_a_network_gets_less_in_the_long_run_than_comes_back_to_everybody() -> None:
    assert PAIR.burst == EVERYBODY.burst
    assert PAIR.interval > EVERYBODY.interval
    assert PAIR_IN_THE_LONG_RUN.interval >= 10 * EVERYBODY.interval


class Bucket:
    """A bucket as the store keeps it: one number."""

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self.full_at = 0

    def take(self, now: int) -> bool:
        if until_next(self.rate, self.full_at, now):
            return False
        self.full_at = full_after_one(self.rate, self.full_at, now)
        return True

    def give_back(self, taken_at: int, now: int) -> None:
        self.full_at -= given_back(self.rate, taken_at, now)


@given(
    st.lists(
        st.tuples(
            st.integers(min_value=0, max_value=30_000),  # since the guess before
            st.booleans(),  # from where its owner is known
            st.one_of(st.none(), st.integers(min_value=0, max_value=90_000)),  # right, and so long in the making
        ),
        max_size=120,
    )
)
def test_no_order_of_guesses_gets_more_than_ten_wrong_ones_looked_at_within_a_minute(
    guesses: list[tuple[int, bool, int | None]],
) -> None:
    everybody, reserve = Bucket(EVERYBODY), Bucket(RESERVE)
    now, wrong, to_give_back = 1_700_000_000_000, list[int](), list[tuple[int, Bucket, int]]()
    for pause, is_known, is_right_after in guesses:
        now += pause
        for due in sorted(to_give_back, key=lambda due: due[0]):
            if due[0] <= now:
                due[1].give_back(due[2], due[0])
                to_give_back.remove(due)
        bucket = reserve if is_known and until_next(EVERYBODY, everybody.full_at, now) else everybody
        if bucket.take(now):
            if is_right_after is None:
                wrong.append(now)
            else:
                to_give_back.append((now + is_right_after, bucket, now))
    assert all(sum(begun <= instant <= begun + MINUTE for instant in wrong) <= 10 for begun in wrong)


@given(st.integers(min_value=1, max_value=60_000))
def test_a_rate_of_so_many_a_minute_is_never_more_within_any_minute(most: int) -> None:
    within_a_minute = most_within(at_most_each_minute(most), MINUTE)
    assert within_a_minute <= most
    assert within_a_minute >= most - 1 or most > 100  # an interval is a whole millisecond


@given(
    st.integers(min_value=1, max_value=20),
    st.integers(min_value=1, max_value=60_000),
    st.lists(st.integers(min_value=0, max_value=100_000), max_size=100),
)
def test_a_bucket_never_lets_more_through_than_its_rate_says_and_says_when_to_come_back(
    burst: int, interval: int, pauses: list[int]
) -> None:
    bucket, now, taken = Bucket(Rate(burst, interval)), 10**12, list[int]()
    for pause in pauses:
        now += pause
        if bucket.take(now):
            taken.append(now)
            continue
        wait = until_next(bucket.rate, bucket.full_at, now)
        assert until_next(bucket.rate, bucket.full_at, now + wait) == 0
        assert until_next(bucket.rate, bucket.full_at, now + wait - 1) == 1
    for span in (0, interval, 10 * interval):
        most = most_within(bucket.rate, span)
        assert all(sum(begun <= instant <= begun + span for instant in taken) <= most for begun in taken)


def test_a_clock_that_is_set_back_locks_nobody_out() -> None:
    bucket, now = Bucket(EVERYBODY), 10**12
    assert bucket.take(now)
    year = 365 * 24 * 60 * MINUTE
    assert until_next(EVERYBODY, bucket.full_at, now - year) == 0


def test_a_process_whose_clock_is_behind_by_less_than_a_minute_takes_an_empty_bucket_for_an_empty_one() -> None:
    bucket, now = Bucket(EVERYBODY), 10**12
    while bucket.take(now):
        pass
    assert until_next(EVERYBODY, bucket.full_at, now - MOST_SKEW) > 0


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8:0:0:ffff::9", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("a socket", "a socket"),
        ("", None),
        (None, None),
    ],
)
def test_an_address_counts_as_itself_and_one_of_ipv6_as_its_network(address: str | None, network: str | None) -> None:
    assert network_of(address) == network


# Attacks on one account


async def test_a_thousand_guesses_on_one_account_from_a_hundred_addresses_get_ten_looked_at(own: House) -> None:
    ada = await own.person("ada")
    before, clients = len(rows(own)), [own.client(stranger(number)) for number in range(100)]
    looked_at = await evaluated(own, (guess(clients[number % 100], ada.email) for number in range(1000)))
    assert 0 < len(looked_at) <= 10
    assert len(looked_at) == sum(row[2] == "login:fail" for row in rows(own, "audit_events"))
    assert len(rows(own)) <= before + 1 + 3 * len(looked_at)  # what was refused has left no row


async def test_within_no_minute_of_an_hours_attack_are_more_than_ten_guesses_looked_at(own: House) -> None:
    ada = await own.person("ada")
    clients = [own.client(address) for address in (HOME, *map(stranger, range(40)))]

    async def guess_on(number: int) -> str:
        own.clock.move(timedelta(seconds=10))
        return await guess(clients[number % len(clients)], ada.email)

    looked_at = await evaluated(own, (guess_on(number) for number in range(360)))
    assert most_in_a_minute(looked_at) <= 10
    assert len(looked_at) > 100  # it is a throttle and no lock


async def test_one_address_that_goes_on_guessing_waits_longer_and_longer(own: House) -> None:
    ada, client = await own.person("ada"), own.client(stranger())

    async def guess_on(_number: int) -> str:
        own.clock.move(timedelta(seconds=3))
        return await guess(client, ada.email)

    looked_at = await evaluated(own, (guess_on(number) for number in range(300)))
    pauses = [(after - before).total_seconds() for before, after in pairwise(looked_at)]
    assert pauses[:4] == [3] * 4  # five at once
    assert all(45 <= pause <= 65 for pause in pauses[4:9])
    assert all(pause >= 200 for pause in pauses[10:])
    assert len(looked_at) == 12


@pytest.mark.parametrize("attackers", [1, 30])
async def test_a_stranger_who_hammers_an_account_does_not_lock_its_owner_out_where_they_are_known(
    own: House, attackers: int
) -> None:
    ada = await own.person("ada")
    await ada.ask(LOG_OUT)  # it was hers all the same
    clients = [own.client(stranger(number)) for number in range(attackers)]
    for second in range(90):
        own.clock.move(SECOND)
        for client in clients[second % attackers :][:3]:
            await guess(client, ada.email)
        if second % 10 == 0:
            assert await guess(own.client(HOME), ada.email, PASSWORD) == "in"
    assert await guess(own.client(HOME), ada.email) == "INVALID_CREDENTIALS"  # she mistypes it
    assert await guess(own.client(HOME), ada.email, PASSWORD) == "in"


async def test_a_stranger_who_hammers_an_account_leaves_room_for_its_owner_at_a_new_address(own: House) -> None:
    ada, attacker = await own.person("ada"), own.client(stranger())
    waits = []
    for _ in range(3):
        own.clock.move(timedelta(minutes=7))
        for second in range(120):
            own.clock.move(SECOND)
            await guess(attacker, ada.email)
            if await guess(own.client("198.51.100.1"), ada.email, PASSWORD) == "in":
                waits.append(second)
                break
    assert len(waits) == 3
    assert max(waits) <= 30


async def test_the_same_network_is_known_though_its_last_bits_change_daily(own: House) -> None:
    ada = await own.person("ada")
    assert await guess(own.client("2001:db8::1:2:3"), ada.email, PASSWORD) == "in"
    for number in range(10):
        await guess(own.client(stranger(number)), ada.email)
    assert await guess(own.client("2001:db8::4:5:6"), ada.email, PASSWORD) == "in"
    assert await guess(own.client("2001:db8:0:1::1"), ada.email, PASSWORD) == "RATE_LIMITED"


async def test_an_address_is_known_for_thirty_days_after_a_session_was_seen_there(own: House) -> None:
    ada = await own.person("ada")
    for beyond, answered in ((-SECOND, "in"), (KNOWN_FOR + SECOND, "RATE_LIMITED")):
        own.clock.move(KNOWN_FOR + beyond)
        for number in range(10):
            await guess(own.client(stranger(number)), ada.email)
        assert await guess(own.client(HOME), ada.email, PASSWORD) == answered


async def test_the_reserve_is_for_whoever_was_seen_there_and_not_for_others_from_there(own: House) -> None:
    ada, eve = await own.person("ada"), await own.person("eve")
    assert await guess(own.client("198.51.100.1"), eve.email, PASSWORD) == "in"
    for number in range(10):
        await guess(own.client(stranger(number)), ada.email)
    assert await guess(own.client("198.51.100.1"), ada.email) == "RATE_LIMITED"


async def test_an_attacker_who_logs_in_as_themselves_in_between_gains_nothing(own: House) -> None:
    ada, eve, client = await own.person("ada"), await own.person("eve"), own.client(stranger())
    answers = []
    for _ in range(20):
        answers.append(await guess(client, ada.email))
        assert await guess(client, eve.email, PASSWORD) == "in"
    assert answers.count("INVALID_CREDENTIALS") == 5


async def test_a_thousand_aliases_in_a_document_are_no_guess_at_all(own: House, ada: Person) -> None:
    aliased = "".join(
        f'a{number}: login(input: {{ email: "{ada.email}", password: "x" }}) {{ __typename }} ' for number in range(50)
    )
    assert (await own.client().ask(f"mutation {{ {aliased} }}")).code == "OPERATION_TOO_LARGE"
    assert rows(own) == []


async def test_guesses_by_login_and_by_a_change_of_password_are_counted_together(own: House) -> None:
    ada = await own.person("ada")
    looked_at = []
    for number in range(120):
        own.clock.move(SECOND)
        change = await ada.ask(CHANGE_PASSWORD, {"input": {"currentPassword": WRONG, "newPassword": PASSWORD}})
        if "errors" not in change.body:
            assert change.data["changePassword"]["code"] == "CURRENT_PASSWORD_WRONG"
            looked_at.append(own.clock.now())
        if await guess(own.client(stranger(number)), ada.email) == "INVALID_CREDENTIALS":
            looked_at.append(own.clock.now())
    assert 10 <= len(looked_at) <= 20
    assert most_in_a_minute(looked_at) <= 10


async def test_a_change_of_password_that_is_tried_too_often_is_refused_with_when_to_come_back(own: House) -> None:
    ada = await own.person("ada")
    given = {"input": {"currentPassword": WRONG, "newPassword": PASSWORD}}
    for _ in range(5):
        assert (await ada.ask(CHANGE_PASSWORD, given)).data["changePassword"]["code"] == "CURRENT_PASSWORD_WRONG"
    refused = await ada.ask(CHANGE_PASSWORD, given)
    assert (refused.code, refused.refusal["retryAfter"]) == ("RATE_LIMITED", 60)
    assert (await ada.ask(WHO_AM_I)).data["viewer"]["id"] == ada.id
    own.clock.move(timedelta(minutes=1))
    changed = {"input": {"currentPassword": PASSWORD, "newPassword": "a windmill turns all night"}}
    assert (await ada.ask(CHANGE_PASSWORD, changed)).data["changePassword"]["__typename"] == "ChangePasswordSucceeded"


async def test_a_new_password_may_be_tried_in_many_forms_while_the_current_one_is_right(own: House) -> None:
    ada = await own.person("ada")
    for _ in range(20):
        given = {"input": {"currentPassword": PASSWORD, "newPassword": "short"}}
        assert (await ada.ask(CHANGE_PASSWORD, given)).data["changePassword"]["code"] == "PASSWORD_TOO_SHORT"


async def test_two_processes_on_one_database_count_together(open_house: OpenHouse) -> None:
    one, two = await open_house("same"), await open_house("same")
    one.clock.stop()
    two.clock.stop()
    ada = await one.person("ada")
    answers = [await guess(house.client(stranger()), ada.email) for _ in range(10) for house in (one, two)]
    assert answers == ["INVALID_CREDENTIALS"] * 5 + ["RATE_LIMITED"] * 15


async def test_of_guesses_that_two_processes_take_in_at_once_no_more_are_looked_at(open_house: OpenHouse) -> None:
    one, two = await open_house("same"), await open_house("same")
    ada = await one.person("ada")
    answers = await asyncio.gather(
        *(guess(house.client(stranger(number)), ada.email) for number in range(20) for house in (one, two))
    )
    assert answers.count("INVALID_CREDENTIALS") == 5
    assert answers.count("RATE_LIMITED") == 35


# What a throttle tells, and costs


async def test_an_unknown_account_is_throttled_exactly_as_a_known_one(own: House) -> None:
    ada = await own.person("ada")
    client, disabled = own.client(stranger()), await own.person("eve")
    grace = await own.person("grace", administrator=True)
    disable = "mutation($i: DisableUserInput!) { disableUser(input: $i) { user { id } } }"
    await grace.ask(disable, {"i": {"id": disabled.user_id}})

    async def answers(email: str, password: str = WRONG) -> list[dict[str, Any]]:
        return [(await client.log_in(spelled, password)).body for spelled in (email, email.upper()) for _ in range(4)]

    seen = [
        await answers(ada.email),
        await answers("nobody@example.org"),
        await answers("not an address"),
        await answers(disabled.email),
        await answers(f"other.{disabled.email}"),
    ]
    assert all(told == seen[0] for told in seen)
    # The right password of a disabled account tells no more.
    own.clock.move(timedelta(hours=2))
    assert await answers(disabled.email, PASSWORD) == seen[0]


async def test_who_is_alone_at_an_address_cannot_tell_a_known_account_by_its_reserve(own: House) -> None:
    ada = await own.person("ada")
    for seconds in (0, 7, 31, 60, 300):
        own.clock.move(timedelta(seconds=seconds))
        known = [(await own.client(HOME).log_in(ada.email, WRONG)).body for _ in range(6)]
        unknown = [(await own.client(HOME).log_in("nobody@example.org", WRONG)).body for _ in range(6)]
        assert known == unknown


async def test_a_throttled_attempt_is_told_when_to_come_back_and_nothing_of_the_password(own: House) -> None:
    ada, client = await own.person("ada"), own.client(stranger())
    for _ in range(5):
        await guess(client, ada.email)
    wrong, right = await client.log_in(ada.email, WRONG), await client.log_in(ada.email, PASSWORD)
    assert wrong.body == right.body
    assert "set-cookie" not in right.response.headers
    assert right.data["login"] == {
        "__typename": "LoginFailed",
        "code": "RATE_LIMITED",
        "message": "There were too many attempts; try again later.",
        "retryAfter": 60,
    }
    own.clock.move(timedelta(seconds=59))
    assert (await client.log_in(ada.email, PASSWORD)).data["login"]["retryAfter"] == 1
    own.clock.move(SECOND)
    assert await guess(client, ada.email, PASSWORD) == "in"


async def test_a_throttled_attempt_writes_nothing_and_hashes_nothing(own: House) -> None:
    ada, client = await own.person("ada"), own.client(stranger())
    for _ in range(5):
        await guess(client, ada.email)
    before, recorded = rows(own), rows(own, "audit_events")
    own.auth.passwords.close()
    with locked(own):  # whoever wanted to write would be UNAVAILABLE, and whoever wanted to hash INTERNAL
        assert await guess(client, ada.email) == "RATE_LIMITED"
    assert (rows(own), rows(own, "audit_events")) == (before, recorded)


async def test_live_sessions_know_nothing_of_it(own: House) -> None:
    ada = await own.person("ada")
    for number in range(20):
        await guess(own.client(stranger(number)), ada.email)
    own.clock.move(timedelta(minutes=6))  # so that its access token is renewed, too
    assert (await ada.ask(WHO_AM_I)).data["viewer"]["id"] == ada.id


async def test_what_is_right_is_no_guess(own: House) -> None:
    ada, client = await own.person("ada"), own.client(stranger())
    assert [await guess(client, ada.email, PASSWORD) for _ in range(30)] == ["in"] * 30
    assert await guess(client, ada.email) == "INVALID_CREDENTIALS"


async def test_what_is_right_gives_back_its_own_guess_and_not_those_before(own: House) -> None:
    ada, client = await own.person("ada"), own.client(stranger())
    answers = [await guess(client, ada.email, typed) for typed in (*[WRONG] * 4, PASSWORD, WRONG, PASSWORD)]
    assert answers == [*["INVALID_CREDENTIALS"] * 4, "in", "INVALID_CREDENTIALS", "RATE_LIMITED"]


async def test_a_guess_that_cannot_be_counted_is_not_looked_at(open_house: OpenHouse) -> None:
    house = await open_house(database_timeout="PT0.2S")
    ada = await house.person("ada")
    before = rows(house)
    with locked(house):
        assert [(await house.client().log_in(ada.email, WRONG)).code for _ in range(3)] == ["UNAVAILABLE"] * 3
    assert rows(house) == before


@pytest.mark.parametrize("is_seen_first", [True, False])
async def test_a_guess_for_which_there_is_no_room_is_not_counted(open_house: OpenHouse, is_seen_first: bool) -> None:
    house = await open_house(password_threads=1, password_memory_kib=19_456, password_iterations=2)
    house.clock.stop()
    ada = await house.person("ada")
    before, line = rows(house), asyncio.gather(*[house.auth.passwords.rehash("x" * 20) for _ in range(64)])
    if is_seen_first:
        await ada.ask(WHO_AM_I)  # meanwhile the line fills; otherwise it does while the guess is being counted
    assert (await house.client().log_in(ada.email, WRONG)).code == "UNAVAILABLE"
    assert rows(house) == before
    line.cancel()


async def test_a_database_tells_nothing_of_what_was_typed(own: House) -> None:
    typed = "my password in the wrong field"
    await guess(own.client(stranger()), typed)
    assert len(rows(own)) == 4
    assert all(len(key) == 32 for key, _ in rows(own))
    assert typed.encode() not in stored(own)
    elsewhere = {key for key, _ in rows(own)}
    assert not elsewhere & {typed.encode(), stranger().encode()}


async def test_what_is_full_again_is_forgotten_in_passing(own: House) -> None:
    for number in range(12):
        await guess(own.client(stranger(number)), f"nobody.{number}@example.org")
    assert len(rows(own)) == 48
    own.clock.move(timedelta(hours=1))
    for _ in range(4):
        await guess(own.client(stranger()), "nobody@example.org")
    assert len(rows(own)) == 4


async def test_the_log_has_a_line_a_minute_for_a_network_and_an_account_and_no_more(own: House) -> None:
    ada, client = await own.person("ada"), own.client(stranger())
    with capture_logs() as logged:
        for _ in range(3):
            own.clock.move(timedelta(minutes=1))
            for _ in range(12):
                await guess(client, ada.email)
    lines = [line for line in logged if line["event"] == "login_throttled"]
    assert len(lines) == 3
    for line in lines:
        assert (line["log_level"], line["door"], line["address"]) == ("warning", "login", stranger())
        assert line["request_id"]
        assert ada.email not in str(line)
        assert WRONG not in str(line)


# Attacks from one address


async def test_one_address_that_tries_one_password_on_many_accounts_has_so_many_guesses(open_house: OpenHouse) -> None:
    house = await open_house(guesses_per_address=10)
    house.clock.stop()
    await house.person("ada")
    client = house.client(stranger())
    assert [await guess(client, house.address("x")) for _ in range(6)] == ["INVALID_CREDENTIALS"] * 5 + ["RATE_LIMITED"]
    assert (await client.log_in("other@example.org")).data["login"]["retryAfter"] == 12
    assert await guess(house.client(stranger(1)), house.address("x")) == "INVALID_CREDENTIALS"
    looked_at = await evaluated(house, (_later(house, client, 3) for _ in range(100)))
    assert most_in_a_minute(looked_at) <= 10


async def _later(house: House, client: Client, seconds: int) -> str:
    house.clock.move(timedelta(seconds=seconds))
    return await guess(client, house.address("x"))


async def test_all_addresses_of_a_network_of_ipv6_are_one(open_house: OpenHouse) -> None:
    house = await open_house(guesses_per_address=2)
    assert await guess(house.client("2001:db8::1"), "a@example.org") == "INVALID_CREDENTIALS"
    assert await guess(house.client("2001:db8::2:2"), "b@example.org") == "RATE_LIMITED"
    assert await guess(house.client("2001:db8:0:1::1"), "c@example.org") == "INVALID_CREDENTIALS"


async def test_each_new_account_text_from_a_throttled_address_makes_no_line_in_the_log(open_house: OpenHouse) -> None:
    house = await open_house(guesses_per_address=1)
    with capture_logs() as logged:
        for number in range(10):
            await guess(house.client(stranger()), f"{number}@example.org")
    assert sum(line["event"] == "login_throttled" for line in logged) == 1


async def test_signing_up_and_setting_up_count_for_the_address_because_they_cost_a_hash(open_house: OpenHouse) -> None:
    house = await open_house(guesses_per_address=4)
    house.clock.stop()
    client = house.client(stranger())

    async def sign_up(**changed: str) -> Answer:
        details = {"email": house.address("new"), "password": PASSWORD, "displayName": "New", **changed}
        return await client.ask(SIGN_UP, {"input": details})

    for _ in range(5):  # costs none
        assert (await sign_up(email="no address")).data["signUp"]["code"] == "EMAIL_INVALID"
    assert (await sign_up()).data["signUp"]["__typename"] == "SignUpSucceeded"
    assert (await sign_up(password="password1234")).data["signUp"]["code"] == "PASSWORD_TOO_GUESSABLE"
    refused = await sign_up()
    assert (refused.code, refused.refusal["retryAfter"]) == ("RATE_LIMITED", 30)
    details = {"setupToken": "x", "email": "a@example.org", "password": PASSWORD, "displayName": "A"}
    assert (await client.ask(SET_UP, {"input": details})).code == "RATE_LIMITED"
    assert await guess(client, "nobody@example.org") == "RATE_LIMITED"
    house.clock.move(timedelta(seconds=30))
    assert (await sign_up()).data["signUp"]["__typename"] == "SignUpSucceeded"


async def test_without_a_known_address_an_account_is_throttled_and_its_owner_is_let_in_elsewhere(own: House) -> None:
    ada, log_in = await own.person("ada"), own.auth.login.log_in
    for _ in range(5):
        assert await log_in(ada.email, WRONG, NOWHERE) is None
    with pytest.raises(RateLimited) as refused:
        await log_in(ada.email, PASSWORD, NOWHERE)
    assert refused.value.seconds == 30
    assert await guess(own.client(HOME), ada.email, PASSWORD) == "in"


# Programs at the OAuth endpoints


async def a_program(house: House) -> dict[str, str]:
    """Return what a service account proves itself by."""
    ada = await house.person("ada")
    given = {"name": "robot", "scopes": ["profile:read"]}
    account = (await ada.ask(CREATE, {"input": given})).data["createServiceAccount"]["serviceAccount"]
    made = (await ada.ask(CREATE_SECRET, {"input": {"id": account["id"]}})).data["createServiceAccountSecret"]
    return {"client_id": account["clientId"], "client_secret": made["secret"]}


async def ask_for_token(client: Client, proof: dict[str, str]) -> httpx2.Response:
    return await client.post("/oauth/token", data={"grant_type": "client_credentials", **proof})


@pytest.mark.parametrize("path", ["token", "introspect", "revoke"])
async def test_a_program_that_fails_too_often_is_told_to_wait(open_house: OpenHouse, path: str) -> None:
    house = await open_house(guesses_per_address=4)
    house.clock.stop()
    proof = await a_program(house)
    wrong = {"grant_type": "client_credentials", "token": "x", **proof, "client_secret": "wrong"}
    client = house.client(stranger())
    assert [(await client.post(f"/oauth/{path}", data=wrong)).status_code for _ in range(2)] == [401] * 2
    refused = await client.post(f"/oauth/{path}", data=wrong)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "30")
    assert refused.headers["cache-control"] == "no-store"
    assert refused.json() == {
        "error": "temporarily_unavailable",
        "error_description": "There were too many attempts; try again later.",
    }
    assert (await ask_for_token(client, proof)).status_code == 200  # what is right is let in
    house.clock.move(timedelta(seconds=30))
    assert (await client.post(f"/oauth/{path}", data=wrong)).status_code == 401


async def test_failures_of_a_program_count_over_all_addresses_and_a_strangers_shut_nobody_out(
    open_house: OpenHouse,
) -> None:
    house = await open_house(guesses_per_address=4)
    house.clock.stop()
    proof = await a_program(house)
    wrong = {**proof, "client_secret": "wrong"}
    statuses = [(await ask_for_token(house.client(stranger(number)), wrong)).status_code for number in range(4)]
    assert statuses == [401, 401, 429, 429]
    assert (await ask_for_token(house.client("198.51.100.1"), proof)).status_code == 200


async def test_a_flood_of_failures_of_programs_leaves_few_rows_and_few_lines(open_house: OpenHouse) -> None:
    house = await open_house(guesses_per_address=4)
    house.clock.stop()
    with capture_logs() as logged:
        for number in range(50):
            proof = {"client_id": f"client {number}", "client_secret": "wrong"}
            await ask_for_token(house.client(stranger()), proof)
    assert len(rows(house)) <= 3
    assert sum(line["event"] in {"service_refused", "login_throttled"} for line in logged) <= 3


async def test_an_unknown_program_is_throttled_as_a_known_one(open_house: OpenHouse) -> None:
    house = await open_house(guesses_per_address=4)
    house.clock.stop()
    proof = await a_program(house)
    names = (proof["client_id"], "01890000-0000-7000-8000-000000000000", "nobody")
    told = []
    for place, name in enumerate(names):
        wrong = {"client_id": name, "client_secret": "wrong"}
        clients = [house.client(f"192.0.{place}.{number}") for number in range(4)]
        answers = [await ask_for_token(client, wrong) for client in clients]
        told.append([(answer.status_code, answer.content, answer.headers.get("retry-after")) for answer in answers])
    assert told[0] == told[1] == told[2]
    assert [status for status, _, _ in told[0]] == [401, 401, 429, 429]


# The header


async def wait_of(house: House, query: str, given: dict[str, Any]) -> str | None:
    """Return what the headers of an answer say of when to come back."""
    answer = await house.client(**{"x-forwarded-for": "192.0.2.1"}).ask(query, {"input": given})
    return answer.response.headers.get("retry-after")


async def test_the_answer_says_in_a_header_that_something_in_the_operation_was_throttled(open_house: OpenHouse) -> None:
    house = await open_house(guesses_per_address=2)
    house.clock.stop()
    login = {"email": "nobody@example.org", "password": WRONG}
    sign_up = {"email": "new@example.org", "password": PASSWORD, "displayName": "New"}
    assert await wait_of(house, LOG_IN, login) is None
    assert await wait_of(house, LOG_IN, login) == "60"
    assert await wait_of(house, SIGN_UP, sign_up) == "60"
