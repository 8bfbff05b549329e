"""Access tokens: what is in one, and everything for which one is refused. Forged here with `cryptography` directly."""

import base64
import json
import string
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import assume, given
from hypothesis import strategies as st

from auth import keys
from auth.keys import SigningKey
from auth.refusals import Reason, Unauthenticated
from auth.tokens import AccessClaims, issue_access_token, verify_access_token

ISSUER = "https://id.example.org"
NOW = datetime(2030, 1, 2, 3, 4, 5, 600_000, UTC)
SECOND = timedelta(seconds=1)
ISSUED = int(NOW.timestamp())

SAID = AccessClaims(
    subject="01890a5d-ac96-774b-bcce-b302099a8057",
    session_id="01890a5d-ac96-774b-bcce-b302099a8058",
    scopes=frozenset({"sessions:read", "profile:read"}),
    authentication_methods=("pwd",),
    authenticated_at=NOW - timedelta(hours=3),
    issued_at=NOW,
    expires_at=NOW + timedelta(minutes=5),
)

PAYLOAD: Mapping[str, Any] = {
    "iss": ISSUER,
    "sub": SAID.subject,
    "aud": ISSUER,
    "exp": ISSUED + 300,
    "iat": ISSUED,
    "jti": "01890a5d-ac96-774b-bcce-b302099a8059",
    "client_id": "watchword",
    "sid": SAID.session_id,
    "scope": "profile:read sessions:read",
    "amr": ["pwd"],
    "auth_time": ISSUED - 10_800,
}


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decoded(part: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return value


class Forger:
    """Somebody with an Ed25519 key, who signs whatever they like, header included."""

    def __init__(self) -> None:
        self._private = Ed25519PrivateKey.generate()
        jwk = {"d": b64(self._private.private_bytes_raw()), "x": b64(self._private.public_key().public_bytes_raw())}
        self.jwk = {"kty": "OKP", "crv": "Ed25519", "x": jwk["x"]}
        self.key = keys.from_private_jwk(json.dumps({**self.jwk, **jwk}).encode())

    def token(self, payload: Mapping[str, Any] | bytes = PAYLOAD, **header: Any) -> str:
        usual = {"alg": "EdDSA", "typ": "at+jwt", "kid": self.key.kid}
        members = {name: value for name, value in {**usual, **header}.items() if value is not ...}
        raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        text = f"{b64(json.dumps(members).encode())}.{b64(raw)}"
        return f"{text}.{b64(self._private.sign(text.encode()))}"


WE = Forger()
RING = {WE.key.kid: WE.key}


def verify(token: str, *, now: datetime = NOW, ring: Mapping[str, SigningKey] = RING) -> AccessClaims:
    return verify_access_token(token, ring, issuer=ISSUER, now=now)


def reason_for(token: str, *, now: datetime = NOW, ring: Mapping[str, SigningKey] = RING) -> Reason:
    with pytest.raises(Unauthenticated) as refused:
        verify(token, now=now, ring=ring)
    return refused.value.reason


def with_claims(**claims: Any) -> str:
    """Return a token of our own key with these claims; `...` leaves one out."""
    return WE.token({name: value for name, value in {**PAYLOAD, **claims}.items() if value is not ...})


def test_what_was_said_is_what_is_read_to_the_second() -> None:
    token = issue_access_token(SAID, WE.key, issuer=ISSUER).reveal()
    fraction = timedelta(microseconds=NOW.microsecond)
    assert verify(token) == replace(
        SAID,
        authenticated_at=SAID.authenticated_at - fraction,
        issued_at=SAID.issued_at - fraction,
        expires_at=SAID.expires_at - fraction,
    )


def test_the_header_names_type_algorithm_and_key_and_nothing_else() -> None:
    header, _, _ = issue_access_token(SAID, WE.key, issuer=ISSUER).reveal().split(".")
    assert decoded(header) == {"alg": "EdDSA", "typ": "at+jwt", "kid": WE.key.kid}


def test_the_claims_are_those_of_rfc_9068_and_nothing_personal() -> None:
    _, payload, _ = issue_access_token(SAID, WE.key, issuer=ISSUER).reveal().split(".")
    claims = decoded(payload)
    assert {**claims, "jti": PAYLOAD["jti"]} == PAYLOAD


def test_no_two_tokens_have_the_same_id() -> None:
    tokens = [issue_access_token(SAID, WE.key, issuer=ISSUER).reveal() for _ in range(20)]
    assert len({decoded(token.split(".")[1])["jti"] for token in tokens}) == 20


def test_a_token_does_not_print_itself() -> None:
    token = issue_access_token(SAID, WE.key, issuer=ISSUER)
    assert token.reveal() not in f"{token} {token!r} {[token]} {token!s}"


def test_the_forgers_own_tools_are_sound() -> None:
    assert verify(WE.token()).subject == SAID.subject


def test_a_token_holds_until_the_second_in_which_it_expires() -> None:
    token = with_claims()
    expires = datetime.fromtimestamp(PAYLOAD["exp"], UTC)
    assert verify(token, now=expires - SECOND)
    assert verify(token, now=expires - timedelta(microseconds=1))
    assert reason_for(token, now=expires) is Reason.TOKEN_EXPIRED
    assert reason_for(token, now=expires + SECOND) is Reason.TOKEN_EXPIRED
    assert reason_for(token, now=expires + timedelta(days=3650)) is Reason.TOKEN_EXPIRED


def test_that_a_token_has_expired_is_told_only_of_one_that_was_ours() -> None:
    later = NOW + timedelta(days=1)
    forged = Forger().token(PAYLOAD, kid=WE.key.kid)
    assert reason_for(forged, now=later) is Reason.TOKEN_INVALID
    assert reason_for(with_claims(aud="https://api.example.org"), now=later) is Reason.TOKEN_INVALID
    assert reason_for(with_claims(sub=...), now=later) is Reason.TOKEN_INVALID


@pytest.mark.parametrize("typ", [..., None, "", "JWT", "jwt", "api+jwt", "rt+jwt", "at+jwt ", "at +jwt", 1, ["at+jwt"]])
def test_a_token_of_another_type_is_refused(typ: object) -> None:
    assert reason_for(WE.token(typ=typ)) is Reason.TOKEN_INVALID


@pytest.mark.parametrize("kid", [..., None, "", "unknown", "../../etc/passwd", "' OR 1=1 --", 0, ["x"], {"x": 1}])
def test_a_token_of_an_unknown_key_is_refused(kid: object) -> None:
    assert reason_for(WE.token(kid=kid)) is Reason.TOKEN_INVALID


def test_a_token_that_another_key_signed_under_our_kid_is_refused() -> None:
    assert reason_for(Forger().token(PAYLOAD, kid=WE.key.kid)) is Reason.TOKEN_INVALID


@pytest.mark.parametrize("under_our_kid", [True, False])
def test_a_key_that_comes_along_in_the_token_is_never_used(under_our_kid: bool) -> None:
    forger = Forger()
    named: dict[str, Any] = {"kid": WE.key.kid if under_our_kid else forger.key.kid}
    brought: list[dict[str, Any]] = [
        {"jwk": forger.jwk},
        {"jwk": {**forger.jwk, "kid": WE.key.kid}},
        {"jku": "https://evil.example/jwks.json"},
        {"x5u": "https://evil.example/chain.pem"},
        {"x5c": [base64.b64encode(b"certificate").decode()]},
    ]
    for header in brought:
        assert reason_for(forger.token(PAYLOAD, **named, **header)) is Reason.TOKEN_INVALID


@pytest.mark.parametrize("alg", [..., "none", "HS256", "ES256", "RS256", "Ed25519", "Ed448", "eddsa"])
def test_a_token_that_names_another_algorithm_is_refused(alg: object) -> None:
    assert reason_for(WE.token(alg=alg)) is Reason.TOKEN_INVALID


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({"iss": "https://evil.example"}, id="another issuer"),
        pytest.param({"iss": f"{ISSUER}/"}, id="an issuer with a slash more"),
        pytest.param({"iss": ISSUER.upper()}, id="an issuer in capitals"),
        pytest.param({"iss": [ISSUER]}, id="an issuer in a list"),
        pytest.param({"aud": "https://api.example.org"}, id="another audience"),
        pytest.param({"aud": [ISSUER]}, id="an audience in a list"),
        pytest.param({"aud": ["https://api.example.org", ISSUER]}, id="an audience among others"),
        pytest.param({"aud": ""}, id="an empty audience"),
        pytest.param({"aud": None}, id="no audience"),
        pytest.param({"exp": float(PAYLOAD["exp"])}, id="an expiry that is a float"),
        pytest.param({"exp": str(PAYLOAD["exp"])}, id="an expiry that is a string"),
        pytest.param({"exp": True}, id="an expiry that is true"),
        pytest.param({"exp": 10**400}, id="an expiry beyond all time"),
        pytest.param({"exp": 2**53 - 1}, id="an expiry beyond the calendar"),
        pytest.param({"exp": -PAYLOAD["exp"]}, id="an expiry before 1970"),
        pytest.param({"exp": 0}, id="an expiry in 1970"),
        pytest.param({"exp": None}, id="an expiry that is null"),
        pytest.param({"exp": ISSUED + 3_601}, id="a life over an hour"),
        pytest.param({"exp": ISSUED}, id="no life at all"),
        pytest.param({"exp": ISSUED - 1}, id="an end before the beginning"),
        pytest.param({"iat": ISSUED + 62, "exp": ISSUED + 300}, id="issued in the future"),
        pytest.param({"iat": float(ISSUED)}, id="issued at a float"),
        pytest.param({"iat": True}, id="issued at true"),
        pytest.param({"iat": 10**400}, id="issued beyond all time"),
        pytest.param({"iat": 1}, id="issued in 1970"),
        pytest.param({"nbf": ISSUED + 62}, id="not yet valid"),
        pytest.param({"nbf": str(ISSUED)}, id="not before a string"),
        pytest.param({"nbf": None}, id="not before null"),
        pytest.param({"nbf": False}, id="not before false"),
        pytest.param({"sub": 5}, id="a subject that is a number"),
        pytest.param({"sub": None}, id="a subject that is null"),
        pytest.param({"sid": ["x"]}, id="a session that is a list"),
        pytest.param({"scope": ["users:read"]}, id="scopes in a list"),
        pytest.param({"scope": None}, id="scopes that are null"),
        pytest.param({"amr": "pwd"}, id="methods in a string"),
        pytest.param({"amr": [1]}, id="methods that are numbers"),
        pytest.param({"amr": {"pwd": True}}, id="methods in an object"),
        pytest.param({"auth_time": "yesterday"}, id="a login at a string"),
        pytest.param({"auth_time": 1.5}, id="a login at a float"),
        pytest.param({"auth_time": 2**53 - 1}, id="a login beyond the calendar"),
    ],
)
def test_a_claim_that_we_never_write_is_refused(claims: dict[str, object]) -> None:
    assert reason_for(with_claims(**claims)) is Reason.TOKEN_INVALID


@pytest.mark.parametrize("claim", ["iss", "sub", "aud", "exp", "iat", "sid", "scope", "amr", "auth_time"])
def test_a_claim_that_is_missing_is_refused(claim: str) -> None:
    assert reason_for(with_claims(**{claim: ...})) is Reason.TOKEN_INVALID


def test_another_machines_clock_may_be_a_minute_ahead_but_expiry_has_no_grace() -> None:
    assert verify(with_claims(iat=ISSUED + 60))
    assert verify(with_claims(nbf=ISSUED + 60))
    assert verify(with_claims(nbf=ISSUED - 60))
    assert reason_for(with_claims(iat=ISSUED - 300, exp=ISSUED)) is Reason.TOKEN_EXPIRED


def test_an_hour_is_the_longest_life_and_is_accepted() -> None:
    assert verify(with_claims(exp=ISSUED + 3_600))


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(json.dumps(PAYLOAD)[:-1] + f', "sub": "{SAID.subject}"}}', id="the subject twice, alike"),
        pytest.param(json.dumps(PAYLOAD)[:-1] + ', "exp": 9999999999}', id="the expiry twice"),
        pytest.param('{"sub": "mallory", ' + json.dumps(PAYLOAD)[1:], id="another subject before"),
        pytest.param(json.dumps(PAYLOAD)[:-1] + ', "\\u0073ub": "mallory"}', id="the subject again, escaped"),
        pytest.param(json.dumps(PAYLOAD)[:-1] + ', "x": NaN}', id="not a number"),
        pytest.param(json.dumps([PAYLOAD]), id="a list"),
        pytest.param(json.dumps("token"), id="a string"),
        pytest.param("null", id="null"),
        pytest.param(json.dumps(PAYLOAD)[:-1], id="cut off"),
        pytest.param("[" * 2_000, id="nested without end"),
        pytest.param('{"exp": ' + "9" * 2_500 + "}", id="a number without end"),
    ],
)
def test_a_payload_that_can_be_read_in_two_ways_or_in_none_is_refused(payload: str) -> None:
    assert reason_for(WE.token(payload.encode())) is Reason.TOKEN_INVALID


def test_claims_that_we_do_not_know_are_passed_over() -> None:
    assert verify(with_claims(future="something", azp="x")).subject == SAID.subject


@given(st.data())
def test_any_single_changed_character_is_refused(data: st.DataObject) -> None:
    token = with_claims()
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from(string.printable) | st.characters())
    assume(other != token[place])
    assert reason_for(token[:place] + other + token[place + 1 :]) is Reason.TOKEN_INVALID


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(claim=st.sampled_from([*PAYLOAD, "nbf"]), value=json_values)
def test_whatever_stands_in_a_claim_there_is_an_answer_and_no_other_error(claim: str, value: object) -> None:
    token = with_claims(**{claim: value})
    try:
        said = verify(token)
    except Unauthenticated:
        return
    assert said.expires_at <= said.issued_at + timedelta(hours=1)
    assert said.expires_at > NOW


@given(
    scopes=st.frozensets(st.sampled_from(["users:read", "users:write", "sessions:read", "books:lend", "a:b"])),
    life=st.integers(1, 3_600),
    age=st.integers(0, 3_600),
)
def test_scopes_come_out_as_they_went_in_and_a_token_lives_exactly_as_long_as_it_says(
    scopes: frozenset[str], life: int, age: int
) -> None:
    said = replace(SAID, scopes=scopes, expires_at=SAID.issued_at + timedelta(seconds=life))
    token = issue_access_token(said, WE.key, issuer=ISSUER).reveal()
    asked = said.issued_at.replace(microsecond=0) + timedelta(seconds=age)
    if age < life:
        assert verify(token, now=asked).scopes == scopes
    else:
        assert reason_for(token, now=asked) is Reason.TOKEN_EXPIRED
