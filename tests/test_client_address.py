"""Where a request comes from: whom a proxy of ours saw, and never what a stranger wrote."""

import re

import pytest
from structlog.testing import capture_logs

from settings import WrongSettings, load_settings
from tests.house import LOG_IN, PASSWORD, House, OpenHouse

PROXY, INNER_PROXY, PROXY_6 = "10.0.0.1", "10.0.0.2", "fd00::1"
CLIENT, LIE = "203.0.113.7", "198.51.100.66"


@pytest.fixture
async def behind(open_house: OpenHouse) -> House:
    """Open a house behind proxies that it trusts."""
    return await open_house("behind", trusted_proxies=["10.0.0.0/24", "fd00::/64"])


async def address_of(house: House, peer: str, *forwarded: str, **headers: str) -> str:
    """Return the address in the log of a request."""
    sent = [*(("x-forwarded-for", value) for value in forwarded), *headers.items()]
    with capture_logs() as logged:
        answer = await house.client(peer).post("/graphql", json={"query": "{ __typename }"}, headers=sent)
    assert answer.status_code == 200
    (line,) = (line for line in logged if line["event"] == "request")
    return str(line["address"])


async def test_the_address_is_the_one_that_the_proxy_saw(behind: House) -> None:
    assert await address_of(behind, PROXY, CLIENT) == CLIENT
    assert await address_of(behind, PROXY_6, CLIENT) == CLIENT


async def test_spoofing_what_stands_left_of_what_a_proxy_saw_is_what_the_client_wrote(behind: House) -> None:
    for lie in (LIE, "127.0.0.1", PROXY, f"{LIE}, {PROXY}", "unknown", "", ",", "a" * 10_000, f"{LIE}, " * 500 + LIE):
        assert await address_of(behind, PROXY, f"{lie}, {CLIENT}") == CLIENT


async def test_spoofing_who_is_no_proxy_is_taken_for_itself_whatever_it_writes(behind: House) -> None:
    for peer in (CLIENT, "10.0.1.1", "fd01::1", "127.0.0.1"):
        assert await address_of(behind, peer, LIE) == peer
        assert await address_of(behind, peer, f"{LIE}, {PROXY}") == peer


async def test_spoofing_without_trusted_proxies_nobody_is_believed(house: House) -> None:
    for peer in (PROXY, "127.0.0.1", "::1"):
        assert await address_of(house, peer, LIE) == peer


async def test_spoofing_by_other_headers_nobody_reads(behind: House) -> None:
    others = {
        "forwarded": f"for={LIE}",
        "x-real-ip": LIE,
        "x-client-ip": LIE,
        "cf-connecting-ip": LIE,
        "true-client-ip": LIE,
        "x-forwarded": LIE,
        "x_forwarded_for": LIE,
    }
    assert await address_of(behind, PROXY, **others) == PROXY
    assert await address_of(behind, PROXY, CLIENT, **others) == CLIENT


async def test_a_chain_of_our_proxies_is_followed_to_whom_the_first_one_saw(behind: House) -> None:
    assert await address_of(behind, PROXY, f"{CLIENT}, {INNER_PROXY}") == CLIENT
    assert await address_of(behind, PROXY, f"{LIE}, {CLIENT}, {PROXY_6}, {INNER_PROXY}") == CLIENT
    assert await address_of(behind, PROXY, f"{CLIENT}, 10.0.1.1, {INNER_PROXY}") == "10.0.1.1"


async def test_two_headers_are_one_list_in_their_order(behind: House) -> None:
    assert await address_of(behind, PROXY, LIE, CLIENT) == CLIENT
    assert await address_of(behind, PROXY, f"{LIE}, {CLIENT}", INNER_PROXY) == CLIENT


@pytest.mark.parametrize(
    ("written", "address"),
    [
        (f"{CLIENT}:51234", CLIENT),
        (f"  {CLIENT}\t", CLIENT),
        ("2001:db8::7", "2001:db8::7"),
        ("2001:DB8:0:0:0:0:0:7", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("[2001:db8::7]:51234", "2001:db8::7"),
        (f"::ffff:{CLIENT}", CLIENT),
        (f"[::ffff:{CLIENT}]:51234", CLIENT),
        (f"::ffff:{INNER_PROXY}", INNER_PROXY),
    ],
)
async def test_an_address_has_one_spelling_however_a_proxy_writes_it(behind: House, written: str, address: str) -> None:
    assert await address_of(behind, PROXY, written) == address


@pytest.mark.parametrize(
    "rubbish",
    [
        "",
        ",",
        "unknown",
        "_hidden",
        "localhost",
        "203.0.113",
        "203.0.113.256",
        "203.0.113.007",
        "0xcb.0.113.7",
        "3405803783",
        "::ffff:203.0.113.7:80:80",
        "[",
        "[]",
        "fe80::1%<b>anything",
        "\x1b[31m",
        "';DROP TABLE sessions--",
        "9" * 5_000,
        ":" * 5_000,
    ],
)
async def test_after_what_is_no_address_nothing_is_believed(behind: House, rubbish: str) -> None:
    assert await address_of(behind, PROXY, rubbish) == PROXY
    assert await address_of(behind, PROXY, f"{LIE}, {rubbish}") == PROXY
    assert await address_of(behind, PROXY, f"{LIE}, {rubbish}, {CLIENT}") == CLIENT


async def test_hundreds_of_hops_are_not_followed(behind: House) -> None:
    chain = ", ".join([LIE, *(f"10.0.0.{number}" for number in range(2, 250))])
    assert (await address_of(behind, PROXY, chain)).startswith("10.0.0.")


async def test_a_socket_for_both_families_spells_addresses_of_the_old_one_as_they_are(
    house: House, behind: House
) -> None:
    assert await address_of(behind, f"::ffff:{PROXY}", CLIENT) == CLIENT
    assert await address_of(behind, f"::ffff:{LIE}", CLIENT) == LIE
    assert await address_of(house, f"::ffff:{LIE}", CLIENT) == LIE


async def test_a_peer_without_an_address_is_believed_by_nobody(behind: House) -> None:
    assert await address_of(behind, "unix", LIE) == "unix"


async def test_the_address_shows_in_the_session_and_in_the_record(behind: House) -> None:
    ada = await behind.person("ada")
    browser = behind.client(PROXY)
    browser.headers["x-forwarded-for"] = f"{LIE}, {CLIENT}"
    login = await browser.ask(LOG_IN, {"input": {"email": ada.email, "password": PASSWORD}})
    assert login.data["login"]["__typename"] == "LoginSucceeded"
    query = "{ viewer { session { address } auditEvents(first: 1) { nodes { action address } } } }"
    viewer = (await browser.ask(query)).data["viewer"]
    assert viewer["session"]["address"] == CLIENT
    assert viewer["auditEvents"]["nodes"] == [{"action": "SESSION_START", "address": CLIENT}]


@pytest.mark.parametrize("proxies", ["0.0.0.0/0", "::/0", "10.0.0.1,::/0"])
def test_a_list_of_proxies_with_everybody_on_it_is_a_fault_at_the_start(proxies: str) -> None:
    with pytest.raises(WrongSettings, match=r"WATCHWORD_TRUSTED_PROXIES: must name the proxies: with \S+/0, anybody"):
        load_settings(trusted_proxies=proxies)


@pytest.mark.parametrize("proxies", ["localhost", "10.0.0.1/8", "10.0.0.0/33", "10.0.0", "*"])
def test_a_proxy_that_is_no_address_and_no_network_is_a_fault_at_the_start(proxies: str) -> None:
    told = f"must be a list of addresses and networks like 127.0.0.1,10.0.0.0/24; {proxies!r} is not one"
    with pytest.raises(WrongSettings, match=re.escape(f"WATCHWORD_TRUSTED_PROXIES: {told}")):
        load_settings(trusted_proxies=f"192.0.2.1,{proxies}")
