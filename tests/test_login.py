"""Logging in and out."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.house import LOG_IN, LOG_OUT, PASSWORD, PRODUCTION_HASHING, WHO_AM_I, Client, House, OpenHouse, Person

ON_BOTH_ENGINES = True


async def test_a_login_sets_two_cookies_and_keeps_the_tokens_out_of_the_body(house: House) -> None:
    ada = await house.person("ada")
    client = house.client()
    answer = await client.log_in(ada.email)
    cookies = answer.response.headers.get_list("set-cookie")
    assert [cookie.partition("=")[0] for cookie in cookies] == ["watchword-access", "watchword-session"]
    for cookie in cookies:
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie
        assert "Path=/" in cookie
        assert "Secure" not in cookie  # plain http on loopback: no browser would send it back
        value = cookie.partition("=")[2].partition(";")[0]
        assert value not in answer.response.text
    assert answer.data["login"]["accessToken"] is None


async def test_on_https_the_cookies_are_bound_to_the_host(open_house: OpenHouse) -> None:
    house = await open_house(public_url="https://id.example.org", secret_key="k" * 40, **PRODUCTION_HASHING)
    ada = await house.person("ada")
    cookies = (await house.client().log_in(ada.email)).response.headers.get_list("set-cookie")
    assert [cookie.partition("=")[0] for cookie in cookies] == [
        "__Host-watchword-access",
        "__Host-watchword-session",
    ]
    assert all("Secure" in cookie and "Domain" not in cookie for cookie in cookies)


async def test_a_login_with_delivery_in_the_body_sets_no_cookie(house: House, ada: Person) -> None:
    client = house.client()
    answer = await client.log_in(ada.email, delivery="BODY")
    assert "set-cookie" not in answer.response.headers
    token = answer.data["login"]["accessToken"]
    bearer = await client.ask(WHO_AM_I, authorization=f"Bearer {token}")
    assert bearer.data["viewer"]["user"]["email"] == ada.email


async def test_the_answer_to_a_login_is_already_given_to_whoever_logged_in(house: House, ada: Person) -> None:
    answer = await house.client().log_in(ada.email)
    assert answer.data["login"]["viewer"]["user"]["email"] == ada.email


async def test_an_address_is_the_same_in_capitals(house: House, ada: Person) -> None:
    answer = await house.client().log_in(ada.email.upper())
    assert answer.data["login"]["__typename"] == "LoginSucceeded"


async def test_unknown_account_and_wrong_password_give_the_same_answer(house: House, ada: Person) -> None:
    unknown = await house.client().log_in(house.address("nobody"), PASSWORD)
    wrong = await house.client().log_in(ada.email, "not the password at all")
    malformed = await house.client().log_in("not an address", PASSWORD)
    endless = await house.client().log_in(ada.email, PASSWORD + "x" * 1000)
    assert unknown.body == wrong.body == malformed.body == endless.body
    assert unknown.data["login"]["code"] == "INVALID_CREDENTIALS"
    assert not unknown.response.headers.get_list("set-cookie")


async def test_a_disabled_account_gives_that_answer_too(house: House, ada: Person, grace: Person) -> None:
    wrong = await house.client().log_in(ada.email, "not the password at all")
    await grace.ask(
        "mutation($i: DisableUserInput!) { disableUser(input: $i) { user { id } } }", {"i": {"id": ada.user_id}}
    )
    assert (await house.client().log_in(ada.email)).body == wrong.body


async def test_logging_out_ends_the_unexpired_token_at_once(house: House, ada: Person) -> None:
    kept = dict(ada.client.cookies)
    thief = house.client()
    thief.cookies.update(kept)
    assert (await thief.ask(WHO_AM_I)).data["viewer"]
    assert (await ada.ask(LOG_OUT)).data == {"logout": {"sessionEnded": True}}
    assert not dict(ada.client.cookies)
    answer = await thief.ask(WHO_AM_I)
    assert (answer.code, answer.reason) == ("UNAUTHENTICATED", "SESSION_REVOKED")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda kept: {"cookie": f"watchword-access=junk; watchword-session={kept['watchword-session']}"},
        lambda kept: {"cookie": f"{_spelled(kept)}; watchword-access=x"},
        lambda kept: {"cookie": f"{_spelled(kept)}; watchword-session=x"},
        lambda kept: {"cookie": _spelled(kept), "authorization": "Bearer x"},
    ],
    ids=["a spoiled token", "a second token", "a second secret", "a header that is bad"],
)
async def test_logging_out_ends_the_session_whatever_spoils_its_credential(
    house: House, ada: Person, spoil: Callable[[dict[str, str]], dict[str, str]]
) -> None:
    kept = dict(ada.client.cookies)
    answer = await house.client(**spoil(kept)).ask(LOG_OUT)
    assert answer.data == {"logout": {"sessionEnded": True}}
    assert (await house.client().ask(WHO_AM_I, cookie=_spelled(kept))).reason == "SESSION_REVOKED"


async def test_a_login_beside_a_spoiled_token_ends_the_session_before(house: House, ada: Person) -> None:
    kept = dict(ada.client.cookies)
    client = house.client(cookie=f"watchword-access=junk; watchword-session={kept['watchword-session']}")
    await client.log_in(ada.email)
    assert (await house.client().ask(WHO_AM_I, cookie=_spelled(kept))).reason == "SESSION_REVOKED"


async def test_logging_out_twice_is_no_error(ada: Person) -> None:
    await ada.ask(LOG_OUT)
    assert (await ada.ask(LOG_OUT)).data == {"logout": {"sessionEnded": False}}


async def test_somebody_with_a_stale_cookie_can_log_in(house: House, ada: Person) -> None:
    client = house.client(cookie="watchword-access=stale.and.wrong")
    assert (await client.ask(WHO_AM_I)).code == "UNAUTHENTICATED"
    assert (await client.log_in(ada.email)).data["login"]["__typename"] == "LoginSucceeded"


async def test_a_new_login_in_the_same_browser_ends_the_session_before(house: House, ada: Person) -> None:
    thief = house.client()
    thief.cookies.update(dict(ada.client.cookies))
    await ada.client.log_in(ada.email)
    assert (await thief.ask(WHO_AM_I)).reason == "SESSION_REVOKED"
    assert (await ada.ask(WHO_AM_I)).data["viewer"]["id"] == ada.id


async def test_a_login_elsewhere_leaves_the_session_alone(house: House, ada: Person) -> None:
    await house.client().log_in(ada.email)
    assert (await ada.ask(WHO_AM_I)).data["viewer"]["id"] == ada.id


async def test_a_browser_is_given_a_new_access_token_when_its_own_has_expired(house: House, ada: Person) -> None:
    before = ada.client.cookies["watchword-access"]
    house.clock.move(timedelta(minutes=6))
    answer = await ada.ask(WHO_AM_I, cookie=_both(ada.client))
    assert answer.data["viewer"]["id"] == ada.id
    (cookie,) = answer.response.headers.get_list("set-cookie")
    assert cookie.startswith("watchword-access=")
    assert before not in cookie


async def test_a_login_with_an_expired_token_sets_each_cookie_once(house: House, ada: Person) -> None:
    house.clock.move(timedelta(minutes=6))
    cookie = _both(ada.client)
    answer = await ada.client.ask(LOG_IN, {"input": {"email": ada.email, "password": PASSWORD}}, cookie=cookie)
    names = [header.partition("=")[0] for header in answer.response.headers.get_list("set-cookie")]
    assert sorted(names) == ["watchword-access", "watchword-session"]


async def test_an_expired_token_without_a_session_is_refused_with_the_reason(house: House, ada: Person) -> None:
    token = (await house.client().log_in(ada.email, delivery="BODY")).data["login"]["accessToken"]
    house.clock.move(timedelta(minutes=5, seconds=1))
    answer = await house.client().ask(WHO_AM_I, authorization=f"Bearer {token}")
    assert (answer.code, answer.reason) == ("UNAUTHENTICATED", "TOKEN_EXPIRED")


async def test_a_device_name_that_cannot_be_shown_is_refused(house: House, ada: Person) -> None:
    answer = await house.client().log_in(ada.email, deviceName="evil\u202ename")
    assert answer.code == "BAD_USER_INPUT"


def _spelled(cookies: dict[str, str]) -> str:
    return "; ".join(f"{name}={value}" for name, value in cookies.items())


def _both(client: Client) -> str:
    # The jar drops the access token when it expires, as a browser does; this one sends both, as a script may.
    return _spelled(dict(client.cookies))
