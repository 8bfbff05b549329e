"""Labels: addresses, people's names and devices' names, and the ways in which one could pass for another."""

import time
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth.faults import Fault, InputRefused
from auth.ids import new_id
from auth.labels import read_device_name, read_display_name, read_email
from tests.house import PASSWORD, House, Person

READERS = [
    pytest.param(read_display_name, Fault.DISPLAY_NAME_INVALID, id="a person's name"),
    pytest.param(read_device_name, Fault.DEVICE_NAME_INVALID, id="a device's name"),
]


def fault_of(read: Callable[[str], object], text: str) -> Fault:
    with pytest.raises(InputRefused) as refused:
        read(text)
    return refused.value.fault


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ada@example.org", "ada@example.org"),
        ("  ada@example.org \n", "ada@example.org"),
        ("Ada.Lovelace+news@Example.ORG", "Ada.Lovelace+news@example.org"),
        ("a@b.co", "a@b.co"),
        ("ada@intranet.corp", "ada@intranet.corp"),
        ("\u00fcbung@example.org", "\u00fcbung@example.org"),
        ("u\u0308bung@example.org", "\u00fcbung@example.org"),
        ("ada@xn--bcher-kva.example", "ada@b\u00fccher.example"),
    ],
)
def test_an_address_is_read_in_its_normal_form(text: str, address: str) -> None:
    assert read_email(text).address == address


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ada@example.org", "ADA@EXAMPLE.ORG"),
        ("ada@example.org", "Ada@Example.Org "),
        ("\u00fcbung@example.org", "U\u0308BUNG@example.org"),
        ("ada@b\u00fccher.example", "ada@xn--bcher-kva.example"),
    ],
)
def test_two_spellings_of_one_address_have_one_key(one: str, other: str) -> None:
    assert read_email(one).key == read_email(other).key


@pytest.mark.parametrize(
    ("one", "other"),
    [("ada@example.org", "ada@example.com"), ("a.da@example.org", "ada@example.org"), ("ada+1@x.org", "ada+2@x.org")],
)
def test_two_addresses_have_two_keys(one: str, other: str) -> None:
    assert read_email(one).key != read_email(other).key


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "ada",
        "@example.org",
        "ada@",
        "ada@@example.org",
        "ada@example..org",
        "ada@.example.org",
        ".ada@example.org",
        "ada.@example.org",
        "a da@example.org",
        "ada@exam ple.org",
        "ada@-example.org",
        "ada@[127.0.0.1]",
        '"ada"@example.org',
        "Ada <ada@example.org>",
        "ada@example.org, eve@example.org",
        "ada@example.org\nbcc: eve@example.org",
        "ada\u0000@example.org",
        "ada\u202e@example.org",
        "ada@exa\u200bmple.org",
        f"{'a' * 255}@example.org",
        f"ada@{'a' * 64}.org",
        f"ada@{'a.' * 130}org",
    ],
)
def test_whatever_is_not_one_address_is_refused(text: str) -> None:
    assert fault_of(read_email, text) is Fault.EMAIL_INVALID


@pytest.mark.parametrize(("read", "_fault"), READERS)
@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Ada", "Ada"),
        ("  Ada Lovelace\t", "Ada Lovelace"),
        ("\u4f60\u597d", "\u4f60\u597d"),
        ("\u0645\u0631\u062d\u0628\u0627", "\u0645\u0631\u062d\u0628\u0627"),
        ("O'Brien-\u0160koda \U0001f6f0", "O'Brien-\u0160koda \U0001f6f0"),
        ("Ame\u0301lie", "Am\u00e9lie"),
        ("x" * 80, "x" * 80),
        (" " * 100 + "x", "x"),
        ("e\u0301" * 80, "\u00e9" * 80),
    ],
)
def test_a_name_is_trimmed_and_composed(read: Callable[[str], str], _fault: Fault, text: str, name: str) -> None:
    assert read(text) == name


@pytest.mark.parametrize(("read", "fault"), READERS)
@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param(" \t\n\u00a0\u2003", id="nothing but spaces"),
        pytest.param("x" * 81, id="81 letters"),
        pytest.param("ada\u202egro.elpmaxe", id="a change of direction"),
        pytest.param("\u2066ada\u2069", id="an isolated direction"),
        pytest.param("ad\u200ba", id="a space without width"),
        pytest.param("ad\u00ada", id="a soft hyphen"),
        pytest.param("\ufeffada", id="a byte order mark"),
        pytest.param("ada\nadministrator", id="a line end"),
        pytest.param("ada\u2028administrator", id="a line separator"),
        pytest.param("ada\u0000", id="a NUL"),
        pytest.param("ada\u001b[31m", id="a terminal's escape"),
        pytest.param("ada\u0085x", id="a C1 control"),
        pytest.param("ada\ue000", id="a private letter"),
        pytest.param("ada\uffff", id="no letter at all"),
        pytest.param("ada\ud800", id="a lone surrogate"),
        pytest.param("ada\U000e0041", id="a tag"),
    ],
)
def test_a_name_that_is_empty_long_or_not_visible_is_refused(
    read: Callable[[str], str], fault: Fault, text: str
) -> None:
    assert fault_of(read, text) is fault


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("\u3164", id="Hangul filler"),
        pytest.param("\u115f\u1160", id="Hangul jamo fillers"),
        pytest.param("\uffa0", id="halfwidth Hangul filler"),
        pytest.param("\u2800", id="blank Braille"),
        pytest.param("\u034f", id="grapheme joiner"),
        pytest.param("Ada\u3164", id="a name that looks like another's"),
    ],
)
def test_a_name_with_letters_that_do_not_show_is_refused(text: str) -> None:
    assert fault_of(read_display_name, text) is Fault.DISPLAY_NAME_INVALID


# Two marks of different classes, over and over: to put n of them into canonical order takes n² steps.
MARKS = "\u0301\u0323" * 6_000


@pytest.mark.parametrize("read", [read_display_name, read_device_name, lambda text: read_email(f"{text}@example.org")])
def test_a_name_of_a_hundred_thousand_marks_is_refused_before_it_costs_anything(read: Callable[[str], object]) -> None:
    begun = time.thread_time()
    with pytest.raises(InputRefused):
        read(f"a{MARKS}")
    assert time.thread_time() - begun < 0.02


async def test_a_name_is_found_however_its_letters_were_composed(house: House, grace: Person) -> None:
    name = f"\u00c5ngstr\u00f6m {new_id()}"
    await house.auth.users.create(email=house.address("anders"), password=PASSWORD, display_name=name)
    search = "query($search: String) { users(search: $search) { nodes { displayName } } }"
    for form in ("NFC", "NFD"):
        answer = await grace.ask(search, {"search": unicodedata.normalize(form, name)})
        assert answer.data["users"]["nodes"] == [{"displayName": name}]


@given(st.text())
def test_reading_a_name_twice_changes_nothing_and_no_text_breaks_it(text: str) -> None:
    try:
        name = read_display_name(text)
    except InputRefused:
        return
    assert read_display_name(name) == name == unicodedata.normalize("NFC", name)
    assert 1 <= len(name) <= 80


@given(st.text() | st.emails() | st.builds("{}@{}".format, st.text(max_size=10), st.text(max_size=10)))
def test_reading_an_address_twice_changes_nothing_and_no_text_breaks_it(text: str) -> None:
    try:
        email = read_email(text)
    except InputRefused:
        return
    assert read_email(email.address) == email


@given(st.emails())
def test_an_address_in_capitals_has_the_same_key(address: str) -> None:
    try:
        email = read_email(address)
    except InputRefused:
        return
    assert read_email(address.upper()).key == read_email(address.lower()).key == email.key
