"""Refresh tokens as text: one spelling, one for each number of a session, and nobody else can write one."""

import base64
import hmac
import string
import uuid
from hashlib import sha256

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from auth.refresh_tokens import RefreshToken, RefreshTokens
from auth.secret import Secret

SESSION = "01890a5d-ac96-774b-bcce-b302099a8057"
OTHER_SESSION = "01890a5d-ac96-774b-bcce-b302099a8058"

OLD, NEW, OTHER = (Secret(name * 10) for name in ("old ", "new ", "other "))
OURS = RefreshTokens([OLD])
GOOD = OURS.make(SESSION, 7).reveal()

MOST = 2**64 - 1

sessions = st.uuids().map(str)
counters = st.integers(0, MOST)


def parts(token: str) -> tuple[bytes, bytes]:
    """Return what a token names, and the 32 bytes that vouch for it."""
    raw = base64.urlsafe_b64decode(token.removeprefix("wwr_") + "=")
    return raw[:24], raw[24:]


def written(named: bytes, mac: bytes) -> str:
    return "wwr_" + base64.urlsafe_b64encode(named + mac).rstrip(b"=").decode()


def is_refused(text: str, tokens: RefreshTokens = OURS) -> bool:
    return tokens.read(Secret(text)) is None


@given(session=sessions, counter=counters)
@example(session=SESSION, counter=0)
@example(session=SESSION, counter=MOST)
def test_what_was_made_is_what_is_read(session: str, counter: int) -> None:
    assert OURS.read(OURS.make(session, counter)) == RefreshToken(session, counter)


@given(session=sessions, counter=counters)
def test_a_token_is_always_made_the_same_so_that_it_can_be_given_twice(session: str, counter: int) -> None:
    assert (
        OURS.make(session, counter) == OURS.make(session, counter) == RefreshTokens([OLD, NEW]).make(session, counter)
    )


@given(one=st.tuples(sessions, counters), two=st.tuples(sessions, counters))
def test_no_two_of_them_are_alike(one: tuple[str, int], two: tuple[str, int]) -> None:
    assume(one != two)
    assert OURS.make(*one) != OURS.make(*two)


def test_a_token_says_what_it_is_and_is_as_long_as_any_other() -> None:
    for counter in (0, 1, 1_000_000, MOST):
        token = OURS.make(SESSION, counter).reveal()
        assert token.startswith("wwr_")
        assert len(token) == 79
        assert set(token) <= set(string.ascii_letters + string.digits + "-_")


def test_a_token_does_not_print_itself() -> None:
    token = OURS.make(SESSION, 7)
    assert GOOD not in f"{token} {token!r} {[token]} {OURS!r} {OURS}"


@given(place=st.integers(0, len(GOOD) - 1), other=st.sampled_from(string.printable) | st.characters())
@example(place=len(GOOD) - 1, other="=")
def test_any_single_changed_character_is_refused(place: int, other: str) -> None:
    assume(GOOD[place] != other)
    assert is_refused(GOOD[:place] + other + GOOD[place + 1 :])


def test_the_last_character_has_one_spelling_though_its_last_bits_are_no_part_of_the_token() -> None:
    for other in set(string.ascii_letters + string.digits + "-_") - {GOOD[-1]}:
        assert is_refused(GOOD[:-1] + other)


@given(place=st.integers(0, len(GOOD)), more=st.text(min_size=1, max_size=3))
@example(place=len(GOOD), more="\n")
@example(place=len(GOOD), more="=")
@example(place=0, more=" ")
@example(place=0, more="wwr_")
def test_any_character_more_is_refused(place: int, more: str) -> None:
    assert is_refused(GOOD[:place] + more + GOOD[place:])


@given(end=st.integers(0, len(GOOD) - 1))
def test_a_token_that_was_cut_off_is_refused(end: int) -> None:
    assert is_refused(GOOD[:end])
    assert is_refused(GOOD[len(GOOD) - end :])


@given(text=st.text() | st.text(alphabet=string.ascii_letters + string.digits + "-_", min_size=75, max_size=75))
@example(text="")
@example(text="\ud800")
@example(text="x" * 1_000_000)
def test_no_text_raises_anything_or_is_taken_for_ours(text: str) -> None:
    assert is_refused(text)
    assert is_refused(f"wwr_{text}")


def test_the_same_bytes_in_plain_base64_or_another_prefix_are_refused() -> None:
    for counter in range(50):
        token = OURS.make(SESSION, counter).reveal()
        body = token.removeprefix("wwr_")
        plain = body.replace("-", "+").replace("_", "/")
        if plain != body:
            assert is_refused(f"wwr_{plain}")
        for other in (body, f"WWR_{body}", f"wwr-{body}", f"wwa_{body}", f"{token}=", f"Bearer {token}"):
            assert is_refused(other)


def test_a_number_or_a_session_under_anothers_proof_is_refused() -> None:
    named, mac = parts(GOOD)
    assert OURS.read(Secret(written(named, mac))) == RefreshToken(SESSION, 7)  # the tools of this test are sound
    for counter in (6, 8, 0, MOST):
        assert is_refused(written(named[:16] + counter.to_bytes(8, "big"), mac))
    assert is_refused(written(uuid.UUID(OTHER_SESSION).bytes + named[16:], mac))
    assert is_refused(written(parts(OURS.make(OTHER_SESSION, 7).reveal())[0], mac))


@given(st.integers(0, 56 * 8 - 1))
def test_any_single_changed_bit_is_refused(place: int) -> None:
    raw = bytearray(b"".join(parts(GOOD)))
    raw[place // 8] ^= 1 << (place % 8)
    assert is_refused(written(bytes(raw[:24]), bytes(raw[24:])))


@pytest.mark.parametrize(
    "key",
    [b"", OLD.reveal().encode(), sha256(OLD.reveal().encode()).digest(), bytes(32), uuid.UUID(SESSION).bytes],
    ids=["no key", "the secret key itself", "its digest", "zeros", "the session's id"],
)
def test_what_somebody_proves_with_a_key_that_they_can_guess_is_refused(key: bytes) -> None:
    named, _ = parts(GOOD)
    session_key = hmac.digest(key, named[:16], sha256)
    for mac in (hmac.digest(key, named, sha256), hmac.digest(session_key, named, sha256), bytes(32)):
        assert is_refused(written(named, mac))


def test_each_session_has_a_key_of_its_own() -> None:
    # One session's proof tells nothing of another's, not even for the same number.
    proofs = {parts(OURS.make(session, 7).reveal())[1] for session in (SESSION, OTHER_SESSION)}
    assert len(proofs) == 2


@given(session=sessions, counter=counters)
def test_another_installations_token_is_refused(session: str, counter: int) -> None:
    assert RefreshTokens([OTHER]).read(OURS.make(session, counter)) is None
    assert OURS.read(RefreshTokens([OTHER]).make(session, counter)) is None


def test_while_the_secret_key_is_rotated_tokens_of_both_are_taken_and_new_ones_are_made_under_the_first() -> None:
    both = RefreshTokens([NEW, OLD])
    assert both.read(Secret(GOOD)) == RefreshToken(SESSION, 7)
    made = both.make(SESSION, 8)
    assert both.read(made) == RefreshTokens([NEW]).read(made) == RefreshToken(SESSION, 8)
    assert is_refused(made.reveal())


def test_a_secret_key_that_was_taken_off_the_list_takes_its_tokens_with_it() -> None:
    assert is_refused(GOOD, RefreshTokens([NEW]))
    assert is_refused(GOOD, RefreshTokens([NEW, OTHER]))


def test_whichever_of_many_secret_keys_made_a_token_it_is_read() -> None:
    secret_keys = [Secret(f"{place} " * 20) for place in range(5)]
    for secret_key in secret_keys:
        assert RefreshTokens(secret_keys).read(RefreshTokens([secret_key]).make(SESSION, 1)) == RefreshToken(SESSION, 1)


def test_a_secret_key_that_stands_in_the_list_twice_counts_once() -> None:
    assert RefreshTokens([OLD, OLD]).read(Secret(GOOD)) == RefreshToken(SESSION, 7)


@pytest.mark.parametrize("text", ["a.b.c", "eyJhbGciOiJub25lIn0.e30.", "null", "undefined", "wwr_", "wwr_null"])
def test_what_a_confused_client_sends_is_refused(text: str) -> None:
    assert is_refused(text)
