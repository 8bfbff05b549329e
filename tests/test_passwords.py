"""Passwords: which are accepted, how they are hashed, and what it costs a stranger to make us hash them."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.low_level import Type
from hypothesis import given, settings
from hypothesis import strategies as st

import store.users
from auth.faults import Fault, InputRefused
from auth.password_rules import LONGEST, SHORTEST, check_password
from auth.passwords import Passwords
from auth.policy import HashingCost
from auth.refusals import Overloaded
from settings import load_settings
from store.users import UserRow
from tests.house import PASSWORD, SIGN_UP, WHO_AM_I, Answer, House, OpenHouse, Person

CHANGE = """
mutation ChangePassword($input: ChangePasswordInput!) {
  changePassword(input: $input) {
    __typename
    ... on ChangePasswordSucceeded { endedSessions }
    ... on ChangePasswordFailed { code field message suggestions }
  }
}
"""

# A thousand different letters: of this text, any part of twelve or more is beyond guessing.
UNGUESSABLE = "".join(chr(0x4E00 + 7 * place) for place in range(1_000))

CHEAP = HashingCost(memory_kib=8, iterations=1, threads=1)


@asynccontextmanager
async def hashing(cost: HashingCost = CHEAP) -> AsyncIterator[Passwords]:
    passwords = Passwords(cost)
    try:
        yield passwords
    finally:
        passwords.close()


async def row_of(house: House, email: str) -> UserRow:
    row = await store.users.find_by_email(house.auth.database, email)
    assert row is not None
    return row


async def sign_up(house: House, password: str, name: str = "Ada", email: str | None = None) -> Answer:
    details = {"email": email or house.address("ada"), "password": password, "displayName": name}
    return await house.client().ask(SIGN_UP, {"input": details})


def fault_of(password: str, *about: str) -> InputRefused | None:
    try:
        check_password(password, about_its_owner=about)
    except InputRefused as refused:
        return refused
    return None


async def test_the_hash_is_argon2id_at_the_cost_of_the_settings(open_house: OpenHouse) -> None:
    house = await open_house(password_memory_kib=64, password_iterations=3)
    ada = await house.person("ada")
    parameters = extract_parameters((await row_of(house, ada.email)).password_hash)
    assert parameters.type is Type.ID
    assert (parameters.memory_cost, parameters.time_cost, parameters.parallelism) == (64, 3, 1)
    assert parameters.salt_len >= 16
    assert parameters.hash_len >= 32


def test_the_cost_is_owasps_unless_it_is_set() -> None:
    settings = load_settings()
    assert (settings.password_memory_kib, settings.password_iterations) == (19_456, 2)
    assert HashingCost() == HashingCost(memory_kib=19_456, iterations=2, threads=2)


async def test_two_people_with_one_password_have_two_hashes(house: House, ada: Person, grace: Person) -> None:
    one, other = await row_of(house, ada.email), await row_of(house, grace.email)
    assert one.password_hash != other.password_hash
    assert PASSWORD not in one.password_hash


async def test_parameters_that_changed_are_written_at_the_next_login_and_not_before(open_house: OpenHouse) -> None:
    before = await open_house("same")
    ada = await before.person("ada")
    old = await row_of(before, ada.email)
    after = await open_house("same", password_memory_kib=32, password_iterations=2)
    await after.client().log_in(ada.email, "not the password at all")
    assert await row_of(after, ada.email) == old
    await after.client().log_in(ada.email)
    new = await row_of(after, ada.email)
    parameters = extract_parameters(new.password_hash)
    assert (parameters.memory_cost, parameters.time_cost) == (32, 2)
    assert PasswordHasher().verify(new.password_hash, PASSWORD)
    assert new.password_changed_at == old.password_changed_at  # it is the same password
    await after.client().log_in(ada.email)
    assert await row_of(after, ada.email) == new
    assert (await ada.ask(WHO_AM_I)).data["viewer"]["id"] == ada.id  # and nobody was logged out


async def test_two_logins_at_once_after_parameters_changed_both_succeed(open_house: OpenHouse) -> None:
    before = await open_house("same")
    ada = await before.person("ada")
    after = await open_house("same", password_memory_kib=512, password_iterations=50)
    answers = await asyncio.gather(*[after.client().log_in(ada.email) for _ in range(4)])
    assert [answer.data["login"]["__typename"] for answer in answers] == ["LoginSucceeded"] * 4


async def test_an_unknown_account_costs_what_a_wrong_password_costs() -> None:
    async with hashing(HashingCost(memory_kib=8_192, iterations=2, threads=1)) as passwords:
        stored = await passwords.rehash(PASSWORD)

        async def cost_of(stored_hash: str | None, password: str) -> float:
            # The processor's time: how busy the machine is otherwise does not show in it.
            begun = time.process_time()
            assert not await passwords.verify(stored_hash, password)
            return time.process_time() - begun

        wrong, unknown, endless = [], [], []
        for _ in range(7):
            wrong.append(await cost_of(stored, "not the password at all"))
            unknown.append(await cost_of(None, "not the password at all"))
            endless.append(await cost_of(stored, PASSWORD + "x" * 10_000))
        assert 0.5 < min(unknown) / min(wrong) < 2
        assert 0.5 < min(endless) / min(wrong) < 2


async def test_nothing_that_is_typed_for_an_unknown_account_is_ever_right() -> None:
    async with hashing() as passwords:
        for attempt in ("", PASSWORD, "x" * 128, "x" * 129, "\0", UNGUESSABLE):
            assert not await passwords.verify(None, attempt)


async def test_a_stored_hash_that_is_no_hash_is_never_right() -> None:
    async with hashing() as passwords:
        for stored in ("", "!", "x", PASSWORD, "$argon2id$", "$argon2id$v=19$m=8,t=1,p=1$c2FsdA$", "$2b$12$abc"):
            assert not await passwords.verify(stored, PASSWORD)


@pytest.mark.parametrize(
    ("length", "code"),
    [
        (0, "PASSWORD_TOO_SHORT"),
        (11, "PASSWORD_TOO_SHORT"),
        (12, None),
        (128, None),
        (129, "PASSWORD_TOO_LONG"),
        (1_000, "PASSWORD_TOO_LONG"),
    ],
)
async def test_a_password_has_twelve_to_a_hundred_and_twenty_eight_characters(
    house: House, length: int, code: str | None
) -> None:
    result = (await sign_up(house, UNGUESSABLE[:length])).data["signUp"]
    assert result.get("code") == code
    assert result["__typename"] == ("SignUpSucceeded" if code is None else "SignUpFailed")
    if code is not None:
        assert result["field"] == "password"


async def test_the_longest_password_counts_to_its_last_character(house: House) -> None:
    email = house.address("ada")
    await sign_up(house, UNGUESSABLE[:128], email=email)
    for almost in (UNGUESSABLE[:127], UNGUESSABLE[:127] + "x", UNGUESSABLE[:129]):
        assert (await house.client().log_in(email, almost)).data["login"]["__typename"] == "LoginFailed"
    assert (await house.client().log_in(email, UNGUESSABLE[:128])).data["login"]["__typename"] == "LoginSucceeded"


async def test_a_password_counts_as_it_was_typed_case_and_blanks_included(house: House) -> None:
    email, password = house.address("ada"), f"  {PASSWORD}\t"
    await sign_up(house, password, email=email)
    for almost in (PASSWORD, password.strip(), password.upper()):
        assert (await house.client().log_in(email, almost)).data["login"]["__typename"] == "LoginFailed"
    assert (await house.client().log_in(email, password)).data["login"]["__typename"] == "LoginSucceeded"


@pytest.mark.parametrize(
    "password",
    [
        pytest.param("password1234", id="common"),
        pytest.param("P@ssw0rd1234", id="common, in disguise"),
        pytest.param("qwertyuiop[]", id="a row of keys"),
        pytest.param("123456789012", id="counting"),
        pytest.param("aaaaaaaaaaaaaaaa", id="one letter"),
        pytest.param("abcabcabcabcabc", id="a repetition"),
        pytest.param("a" * 128, id="one letter, as often as it may be"),
        pytest.param("iloveyou1234", id="a phrase everybody has"),
    ],
)
async def test_a_common_or_guessable_password_is_refused_with_advice(house: House, password: str) -> None:
    result = (await sign_up(house, password)).data["signUp"]
    assert (result["code"], result["field"]) == ("PASSWORD_TOO_GUESSABLE", "password")
    assert result["suggestions"]
    assert password not in str(result)


@pytest.mark.parametrize(
    "password",
    [
        "wilhelminaxanthopoulos",
        "Wilhelmina Xanthopoulos",
        "Xanthopoulos1",
        "w.xantho@planck.example",
        "W.Xantho@Planck.Example",
        "watchword1234",
        "Wilhelmina.Xanthopoulos",
        "xanthopoulos-wilhelmina-1",
    ],
)
async def test_a_password_made_of_what_is_known_of_its_owner_is_refused(house: House, password: str) -> None:
    answer = await sign_up(house, password, name="Wilhelmina Xanthopoulos", email="w.xantho@planck.example")
    assert answer.data["signUp"]["code"] == "PASSWORD_TOO_GUESSABLE"
    about = ("w.xantho@planck.example", "Wilhelmina Xanthopoulos")
    refusal = fault_of(password, *about)
    assert refusal is not None
    assert refusal.fault is Fault.PASSWORD_TOO_GUESSABLE


async def test_whoever_takes_their_own_name_is_told_to_leave_it_out(house: House) -> None:
    result = (await sign_up(house, "Wilhelmina.Xanthopoulos", name="Wilhelmina Xanthopoulos")).data["signUp"]
    assert result["suggestions"]


async def test_a_password_is_changed_to_none_that_could_not_be_chosen(ada: Person) -> None:
    for new, code in (
        ("too short", "PASSWORD_TOO_SHORT"),
        (UNGUESSABLE[:129], "PASSWORD_TOO_LONG"),
        ("password1234", "PASSWORD_TOO_GUESSABLE"),
        (ada.email, "PASSWORD_TOO_GUESSABLE"),
    ):
        result = (await ada.ask(CHANGE, {"input": {"currentPassword": PASSWORD, "newPassword": new}})).data
        assert result["changePassword"]["code"] == code
        assert result["changePassword"]["field"] == "newPassword"
    assert (await ada.client.log_in(ada.email)).data["login"]["__typename"] == "LoginSucceeded"


@pytest.mark.parametrize(
    "password",
    [
        pytest.param("correct horse battery staple", id="words"),
        pytest.param("\u6b63\u78ba\u306a\u99ac\u306e\u96fb\u6c60\u3068\u30db\u30c1\u30ad\u30b9", id="another script"),
        pytest.param(
            "\U0001f40e\U0001f50b\U0001f4ce\U0001f6f0\U0001f30d\U0001f9ed\U0001f3d4\U0001f33b" * 2, id="pictures"
        ),
        pytest.param("hV7#qLz2!mXw9$Kd", id="made by a program"),
        pytest.param("only small letters here", id="no capitals, no digits"),
        pytest.param("%&/()=?*+~#-_.:,;<>!", id="signs alone"),
    ],
)
async def test_no_kind_of_letter_is_asked_for_and_none_is_refused(house: House, password: str) -> None:
    email = house.address("ada")
    assert (await sign_up(house, password, email=email)).data["signUp"]["__typename"] == "SignUpSucceeded"
    assert (await house.client().log_in(email, password)).data["login"]["__typename"] == "LoginSucceeded"


SPELLINGS = "4@8({[<3691!|10$57+%2"  # every letter that has one, spelled in every way that zxcvbn knows


@pytest.mark.parametrize(
    "password",
    [
        pytest.param((SPELLINGS * 7)[:128], id="letters in every spelling"),
        pytest.param("".join(chr(33 + place % 94) for place in range(128)), id="the keyboard from end to end"),
    ],
)
def test_no_password_takes_long_to_look_at(password: str) -> None:
    fault_of("warm the dictionaries up")
    begun = time.thread_time()
    fault_of(password, "ada@example.org", "Ada")
    assert time.thread_time() - begun < 0.25


@settings(max_examples=50)
@given(password=st.text(max_size=140), about=st.lists(st.text(max_size=20), max_size=3))
def test_no_text_breaks_the_rules_and_a_known_word_never_makes_a_password_better(
    password: str, about: list[str]
) -> None:
    refusal = fault_of(password, *about)
    if len(password) < SHORTEST:
        assert refusal is not None
        assert refusal.fault is Fault.PASSWORD_TOO_SHORT
    elif len(password) > LONGEST:
        assert refusal is not None
        assert refusal.fault is Fault.PASSWORD_TOO_LONG
    elif refusal is None:
        assert fault_of(password) is None


async def test_beyond_a_bounded_line_a_hash_is_refused_at_once() -> None:
    async with hashing() as passwords:
        attempts = await asyncio.gather(*[passwords.verify(None, "x") for _ in range(70)], return_exceptions=True)
        refused = [answer for answer in attempts if isinstance(answer, Overloaded)]
        assert len(refused) == 6
        assert refused[0].retry_after == timedelta(seconds=2)
        assert [answer for answer in attempts if not isinstance(answer, Overloaded)] == [False] * 64
        assert await passwords.verify(None, "x") is False  # the line is free again


async def test_a_crowd_at_the_door_is_told_to_come_back_and_whoever_is_inside_is_served(open_house: OpenHouse) -> None:
    house = await open_house(password_threads=1, password_memory_kib=19_456, password_iterations=3)
    ada = await house.person("ada")
    crowd = asyncio.gather(*[house.client().log_in(house.address("nobody")) for _ in range(90)])
    served = [await ada.ask(WHO_AM_I) for _ in range(5)]
    answers = await crowd
    assert all(answer.data["viewer"]["id"] == ada.id for answer in served)
    refused = [answer for answer in answers if "errors" in answer.body]
    assert refused
    for answer in refused:
        assert (answer.code, answer.refusal["retryAfter"]) == ("UNAVAILABLE", 2)
        assert "set-cookie" not in answer.response.headers
    failed = [answer.data["login"]["code"] for answer in answers if "errors" not in answer.body]
    assert failed == ["INVALID_CREDENTIALS"] * (90 - len(refused))
    assert len(failed) >= 64


async def test_hanging_up_on_a_hash_that_is_being_computed_makes_no_room_for_another() -> None:
    async with hashing(HashingCost(memory_kib=65_536, iterations=3, threads=1)) as passwords:
        computed = asyncio.ensure_future(passwords.verify(None, "x"))
        while not passwords._under_way or passwords._threads._work_queue.qsize():  # noqa: ASYNC110
            await asyncio.sleep(0)  # until the thread has taken it up, which it tells nobody
        waiting = [asyncio.ensure_future(passwords.verify(None, "x")) for _ in range(63)]
        await asyncio.sleep(0)
        for caller in (computed, *waiting):
            caller.cancel()
        await asyncio.wait([computed, *waiting])
        # Those who waited have left the line. The one who was served has left too, and the work goes on.
        again = [asyncio.ensure_future(passwords.verify(None, "x")) for _ in range(64)]
        done, pending = await asyncio.wait(again, return_when=asyncio.FIRST_COMPLETED)
        refused = [caller for caller in done if isinstance(caller.exception(), Overloaded)]
        assert len(refused) == 1
        for caller in pending:
            caller.cancel()
        await asyncio.wait(again)


async def test_a_caller_who_hangs_up_leaves_the_threads_sound() -> None:
    async with hashing() as passwords:
        for _ in range(3):
            callers = [asyncio.ensure_future(passwords.verify(None, "x")) for _ in range(10)]
            await asyncio.sleep(0)
            for caller in callers:
                caller.cancel()
            await asyncio.wait(callers)
        stored = await passwords.rehash(PASSWORD)
        assert await passwords.verify(stored, PASSWORD)


async def test_what_is_refused_in_a_thread_is_refused_to_the_caller_and_frees_the_place() -> None:
    async with hashing() as passwords:
        for _ in range(70):
            with pytest.raises(InputRefused):
                await passwords.hash_checked("too short", about_its_owner=())
        assert await passwords.hash_checked(PASSWORD, about_its_owner=())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives each thread a niceness of its own")
async def test_the_threads_that_hash_give_way_to_everything_else() -> None:
    def niceness() -> dict[str, int]:
        return {
            task.name: os.getpriority(os.PRIO_PROCESS, int(task.name)) for task in Path("/proc/self/task").iterdir()
        }

    before = niceness()
    async with hashing(HashingCost(memory_kib=1_024, iterations=1, threads=3)) as passwords:
        await asyncio.gather(*[passwords.verify(None, "x") for _ in range(12)])
        fresh = {task: nice for task, nice in niceness().items() if task not in before}
        assert [nice for nice in fresh.values() if nice == 19] == [19, 19, 19]
        assert os.getpriority(os.PRIO_PROCESS, 0) == before[str(os.getpid())]  # and the process itself does not
