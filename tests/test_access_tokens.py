"""Tokens of every kind: what is in one, and everything for which one is refused. Forged here with `cryptography`."""

import base64
import hmac
import json
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa_key
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import assume, given
from hypothesis import strategies as st

from auth import keys
from auth.extra_claims import LARGEST
from auth.jws import MAX_TOKEN_BYTES
from auth.keys import ALGORITHMS, SigningKey
from auth.refusals import Reason, Unauthenticated
from auth.tokens import Claims, TokenKind, TooManyScopes, issue, read
from auth.tokens import verify as verify_token
from tests.house import House

ISSUER = "https://id.example.org"
OUR_API = f"{ISSUER}/graphql"
NOW = datetime(2030, 1, 2, 3, 4, 5, 600_000, UTC)
SECOND = timedelta(seconds=1)
ISSUED = int(NOW.timestamp())

SUBJECT = "01890a5d-ac96-774b-bcce-b302099a8057"
TOKEN_ID = "01890a5d-ac96-774b-bcce-b302099a8059"

SAID = Claims(
    kind=TokenKind.SESSION,
    subject=SUBJECT,
    token_id=TOKEN_ID,
    scopes=frozenset({"sessions:read", "profile:read"}),
    issued_at=NOW,
    expires_at=NOW + timedelta(minutes=5),
    client_id="watchword",
    session_id="01890a5d-ac96-774b-bcce-b302099a8058",
    authentication_methods=("pwd",),
    authenticated_at=NOW - timedelta(hours=3),
)
SAID_OF_SERVICE = Claims(
    kind=TokenKind.SERVICE,
    subject=SUBJECT,
    token_id=TOKEN_ID,
    scopes=SAID.scopes,
    issued_at=NOW,
    expires_at=NOW + timedelta(minutes=5),
    client_id=SUBJECT,
    credential_id="01890a5d-ac96-774b-bcce-b302099a8060",
)
SAID_OF_API = Claims(
    kind=TokenKind.API,
    subject=SUBJECT,
    token_id=TOKEN_ID,
    scopes=SAID.scopes,
    issued_at=NOW,
    expires_at=NOW + timedelta(days=90),
)

OF_EVERY_KIND: Mapping[str, Any] = {
    "iss": ISSUER,
    "sub": SUBJECT,
    "aud": ISSUER,
    "exp": ISSUED + 300,
    "iat": ISSUED,
    "jti": TOKEN_ID,
    "scope": "profile:read sessions:read",
}
PAYLOAD: Mapping[str, Any] = {
    **OF_EVERY_KIND,
    "client_id": "watchword",
    "sid": SAID.session_id,
    "amr": ["pwd"],
    "auth_time": ISSUED - 10_800,
}


@dataclass(frozen=True)
class Kind:
    """A kind of token: what is said in it, in our words and on the wire."""

    said: Claims
    typ: str
    payload: Mapping[str, Any]


KINDS: Mapping[str, Kind] = {
    "session": Kind(SAID, "at+jwt", PAYLOAD),
    "service": Kind(
        SAID_OF_SERVICE,
        "at+jwt",
        {**OF_EVERY_KIND, "client_id": SUBJECT, "credential_id": SAID_OF_SERVICE.credential_id},
    ),
    "api": Kind(SAID_OF_API, "api+jwt", {**OF_EVERY_KIND, "aud": OUR_API, "exp": ISSUED + 90 * 86_400}),
}

of_every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
under_every_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS)


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def number(value: int, size: int) -> str:
    return b64(value.to_bytes(size, "big"))


def decoded(part: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return value


class Forger:
    """Somebody with a key, who signs whatever they like, header included."""

    def __init__(self, algorithm: str = "EdDSA") -> None:
        self.algorithm = algorithm
        jwk, self.sign, self.public_halves = _MADE_BY[algorithm]()
        private = {"d", "k", "p", "q", "dp", "dq", "qi"}
        self.jwk = {name: value for name, value in jwk.items() if name not in private}
        self.key = keys.from_private_jwk(json.dumps(jwk).encode())

    def token(
        self,
        payload: Mapping[str, Any] | bytes = PAYLOAD,
        *,
        sign: Callable[[bytes], bytes] | None = None,
        **header: Any,
    ) -> str:
        usual = {"alg": self.algorithm, "typ": "at+jwt", "kid": self.key.kid}
        members = {name: value for name, value in {**usual, **header}.items() if value is not ...}
        raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        text = f"{b64(json.dumps(members).encode())}.{b64(raw)}"
        return f"{text}.{b64((sign or self.sign)(text.encode()))}"


Made = tuple[dict[str, str], Callable[[bytes], bytes], list[bytes]]


def _eddsa() -> Made:
    private = Ed25519PrivateKey.generate()
    public = private.public_key()
    jwk = {"kty": "OKP", "crv": "Ed25519", "d": b64(private.private_bytes_raw()), "x": b64(public.public_bytes_raw())}
    return jwk, private.sign, [public.public_bytes_raw(), *_encodings(public)]


def _es256() -> Made:
    private = generate_ec_key(SECP256R1())
    numbers = private.private_numbers()
    x, y = numbers.public_numbers.x, numbers.public_numbers.y
    jwk = {"kty": "EC", "crv": "P-256", "x": number(x, 32), "y": number(y, 32), "d": number(numbers.private_value, 32)}
    point = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return jwk, lambda text: raw_ecdsa(private, text), [point, *_encodings(private.public_key())]


def raw_ecdsa(private: EllipticCurvePrivateKey, text: bytes) -> bytes:
    r, s = decode_dss_signature(private.sign(text, ECDSA(SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def _rs256() -> Made:
    private = RSA
    numbers = private.private_numbers()
    jwk = {
        "kty": "RSA",
        "n": number(numbers.public_numbers.n, 256),
        "e": number(numbers.public_numbers.e, 3),
        "d": number(numbers.d, 256),
        **{name: number(getattr(numbers, name), 128) for name in ("p", "q")},
        "dp": number(numbers.dmp1, 128),
        "dq": number(numbers.dmq1, 128),
        "qi": number(numbers.iqmp, 128),
    }
    modulus = numbers.public_numbers.n.to_bytes(256, "big")
    pkcs1 = private.public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1)
    return (
        jwk,
        lambda text: private.sign(text, PKCS1v15(), SHA256()),
        [modulus, pkcs1, *_encodings(private.public_key())],
    )


def _hs256() -> Made:
    secret = Ed25519PrivateKey.generate().private_bytes_raw()
    return {"kty": "oct", "k": b64(secret)}, lambda text: hmac.digest(secret, text, "sha256"), []


def _encodings(public: Any) -> list[bytes]:
    """Return a public half as anybody may have it, with and without the last line's end."""
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return [pem, pem.rstrip(), public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)]


RSA: RSAPrivateKey = generate_rsa_key(65537, 2048)  # takes as long as all the rest here: one is enough
_MADE_BY: Mapping[str, Callable[[], Made]] = {"EdDSA": _eddsa, "ES256": _es256, "RS256": _rs256, "HS256": _hs256}

FORGERS: Mapping[str, Forger] = {algorithm: Forger(algorithm) for algorithm in ALGORITHMS}
WE = FORGERS["EdDSA"]


def verify(token: str, *, now: datetime = NOW, key: SigningKey = WE.key) -> Claims:
    return verify_token(read(token), key, issuer=ISSUER, now=now)


def reason_for(token: str, *, now: datetime = NOW, key: SigningKey = WE.key) -> Reason:
    with pytest.raises(Unauthenticated) as refused:
        verify(token, now=now, key=key)
    return refused.value.reason


def with_claims(kind: Kind = KINDS["session"], **claims: Any) -> str:
    """Return a token of our own key with these claims; `...` leaves one out."""
    members = {name: value for name, value in {**kind.payload, **claims}.items() if value is not ...}
    return WE.token(members, typ=kind.typ)


def as_read(said: Claims, key: SigningKey) -> Claims:
    """Return what is read of what was said: instants in whole seconds, and who signed it."""

    def whole(instant: datetime) -> datetime:
        return instant.replace(microsecond=0)

    return replace(
        said,
        issued_at=whole(said.issued_at),
        expires_at=whole(said.expires_at),
        authenticated_at=whole(said.authenticated_at) if said.authenticated_at else None,
        kid=key.kid,
        issuer=ISSUER,
    )


@of_every_kind
@under_every_algorithm
def test_what_was_said_is_what_is_read_to_the_second(kind: Kind, algorithm: str) -> None:
    key = FORGERS[algorithm].key
    token = issue(kind.said, key, issuer=ISSUER).reveal()
    assert verify(token, key=key) == as_read(kind.said, key)


@of_every_kind
@under_every_algorithm
def test_the_header_names_type_algorithm_and_key_and_nothing_else(kind: Kind, algorithm: str) -> None:
    key = FORGERS[algorithm].key
    header, _, _ = issue(kind.said, key, issuer=ISSUER).reveal().split(".")
    assert decoded(header) == {"alg": algorithm, "typ": kind.typ, "kid": key.kid}


@of_every_kind
def test_the_claims_are_those_of_rfc_9068_and_nothing_personal(kind: Kind) -> None:
    _, payload, _ = issue(kind.said, WE.key, issuer=ISSUER).reveal().split(".")
    assert decoded(payload) == kind.payload


async def test_no_two_tokens_have_the_same_id(house: House) -> None:
    ada = await house.person("ada")
    answers = [await house.client().log_in(ada.email, delivery="BODY") for _ in range(5)]
    tokens = [answer.data["login"]["accessToken"] for answer in answers]
    assert len({decoded(token.split(".")[1])["jti"] for token in tokens}) == 5


def test_a_token_does_not_print_itself() -> None:
    token = issue(SAID, WE.key, issuer=ISSUER)
    assert token.reveal() not in f"{token} {token!r} {[token]} {token!s}"


@of_every_kind
@under_every_algorithm
def test_the_forgers_own_tools_are_sound(kind: Kind, algorithm: str) -> None:
    forger = FORGERS[algorithm]
    assert verify(forger.token(kind.payload, typ=kind.typ), key=forger.key) == as_read(kind.said, forger.key)


def test_claims_of_a_domains_are_added_and_never_take_the_place_of_ours() -> None:
    wanted = dict.fromkeys(PAYLOAD, "taken over") | {"https://example.org/plan": "gold", "books:shelf": 7}
    token = issue(SAID, WE.key, issuer=ISSUER, extra=wanted).reveal()
    assert decoded(token.split(".")[1]) == {**PAYLOAD, "https://example.org/plan": "gold", "books:shelf": 7}
    assert verify(token) == as_read(SAID, WE.key)


@under_every_algorithm
def test_however_many_scopes_and_claims_there_are_a_token_fits_into_a_cookie(algorithm: str) -> None:
    key = FORGERS[algorithm].key
    very_many = replace(SAID, scopes=frozenset(f"warehouse:manage-shelf-{place}" for place in range(500)))
    extra = {"https://example.org/x": "x" * (LARGEST - len('{"https://example.org/x":""}'))}
    token = issue(very_many, key, issuer=ISSUER, extra=extra).reveal()
    assert len(f"__Host-watchword-access={token}") <= MAX_TOKEN_BYTES
    read_again = verify(token, key=key)
    assert read_again == as_read(replace(very_many, scopes=frozenset()), key)  # less than the truth, never more


def test_a_service_is_told_when_the_scopes_that_it_asked_for_do_not_fit() -> None:
    very_many = replace(SAID_OF_SERVICE, scopes=frozenset(f"warehouse:manage-shelf-{place}" for place in range(500)))
    with pytest.raises(TooManyScopes):
        issue(very_many, WE.key, issuer=ISSUER)


def test_scopes_that_fit_are_never_left_out() -> None:
    many = replace(SAID, scopes=frozenset(f"warehouse:shelf-{place}" for place in range(80)))
    assert verify(issue(many, WE.key, issuer=ISSUER).reveal()).scopes == many.scopes


@of_every_kind
def test_a_token_holds_until_the_second_in_which_it_expires(kind: Kind) -> None:
    token = with_claims(kind)
    expires = datetime.fromtimestamp(kind.payload["exp"], UTC)
    assert verify(token, now=expires - SECOND)
    assert verify(token, now=expires - timedelta(microseconds=1))
    assert reason_for(token, now=expires) is Reason.TOKEN_EXPIRED
    assert reason_for(token, now=expires + SECOND) is Reason.TOKEN_EXPIRED
    assert reason_for(token, now=expires + timedelta(days=3650)) is Reason.TOKEN_EXPIRED


@of_every_kind
@under_every_algorithm
def test_that_a_token_has_expired_is_told_only_of_one_that_was_ours(kind: Kind, algorithm: str) -> None:
    later = NOW + timedelta(days=100)
    forged = FORGERS[algorithm].token(kind.payload, typ=kind.typ, kid=WE.key.kid)
    if algorithm == WE.algorithm:
        forged = Forger().token(kind.payload, typ=kind.typ, kid=WE.key.kid)
    assert reason_for(with_claims(kind), now=later) is Reason.TOKEN_EXPIRED
    assert reason_for(forged, now=later) is Reason.TOKEN_INVALID
    assert reason_for(with_claims(kind, aud="https://api.example.org"), now=later) is Reason.TOKEN_INVALID
    assert reason_for(with_claims(kind, sub=...), now=later) is Reason.TOKEN_INVALID


@of_every_kind
@pytest.mark.parametrize(
    "typ",
    [
        ...,
        None,
        "",
        "JWT",
        "jwt",
        "rt+jwt",
        "at+jwt ",
        "at +jwt",
        "application/at+jwt",
        "at",
        "+jwt",
        1,
        ["at+jwt"],
        {},
    ],
)
def test_a_token_of_another_type_is_refused(kind: Kind, typ: object) -> None:
    assert reason_for(WE.token(kind.payload, typ=typ)) is Reason.TOKEN_INVALID


def test_an_assertion_of_a_services_is_no_token() -> None:
    for typ in ("JWT", "client-authentication+jwt", ...):
        assert reason_for(WE.token(typ=typ)) is Reason.TOKEN_INVALID


@pytest.mark.parametrize("kind", [KINDS["session"], KINDS["service"]], ids=["session", "service"])
def test_an_access_token_that_calls_itself_an_api_token_is_refused_or_one_and_nothing_more(kind: Kind) -> None:
    assert reason_for(WE.token(kind.payload, typ="api+jwt")) is Reason.TOKEN_INVALID
    claims = verify(WE.token({**kind.payload, "aud": OUR_API}, typ="api+jwt"))
    assert (claims.kind, claims.session_id, claims.client_id, claims.credential_id) == (TokenKind.API, None, None, None)
    assert (claims.authentication_methods, claims.authenticated_at) == ((), None)


@pytest.mark.parametrize("audience", [ISSUER, OUR_API])
def test_an_api_token_that_calls_itself_an_access_token_is_refused(audience: str) -> None:
    payload = {**KINDS["api"].payload, "exp": ISSUED + 300, "aud": audience}
    assert reason_for(WE.token(payload, typ="at+jwt")) is Reason.TOKEN_INVALID


def test_an_api_token_is_for_our_api_alone_and_an_access_token_for_whoever_trusts_the_issuer() -> None:
    # It lives for months, and a verifier elsewhere that looks at the audience must not take it.
    assert reason_for(with_claims(KINDS["api"], aud=ISSUER)) is Reason.TOKEN_INVALID
    for kind in (KINDS["session"], KINDS["service"]):
        assert reason_for(with_claims(kind, aud=OUR_API)) is Reason.TOKEN_INVALID


def test_an_access_token_with_an_api_tokens_life_is_refused() -> None:
    for kind in (KINDS["session"], KINDS["service"]):
        assert reason_for(with_claims(kind, exp=ISSUED + 90 * 86_400)) is Reason.TOKEN_INVALID


def test_a_services_token_is_no_sessions_and_a_sessions_is_no_services() -> None:
    session, service = KINDS["session"], KINDS["service"]
    assert verify(with_claims(session, credential_id=SAID_OF_SERVICE.credential_id)).kind is TokenKind.SESSION
    assert verify(with_claims(session, credential_id=SAID_OF_SERVICE.credential_id)).credential_id is None
    assert verify(with_claims(service, amr=["pwd"], auth_time=ISSUED)).authenticated_at is None
    assert reason_for(with_claims(session, sid=...)) is Reason.TOKEN_INVALID
    assert reason_for(with_claims(service, sid=SAID.session_id)) is Reason.TOKEN_INVALID
    assert reason_for(with_claims(service, sid=None)) is Reason.TOKEN_INVALID


@of_every_kind
@pytest.mark.parametrize("kid", [..., None, "", "unknown", "../../etc/passwd", "' OR 1=1 --", 0, ["x"], {"x": 1}])
def test_a_token_of_an_unknown_key_is_refused(kind: Kind, kid: object) -> None:
    assert reason_for(WE.token(kind.payload, typ=kind.typ, kid=kid)) is Reason.TOKEN_INVALID


@under_every_algorithm
def test_a_token_that_another_key_signed_under_our_kid_is_refused(algorithm: str) -> None:
    ours = FORGERS[algorithm]
    for other in (*FORGERS.values(), Forger("EdDSA"), Forger("ES256"), Forger("HS256")):
        if other is not ours:
            assert reason_for(other.token(kid=ours.key.kid), key=ours.key) is Reason.TOKEN_INVALID


@under_every_algorithm
def test_a_token_that_we_signed_under_another_keys_name_is_refused(algorithm: str) -> None:
    ours = FORGERS[algorithm]
    for other in (*FORGERS.values(), Forger("EdDSA")):
        if other is not ours:
            assert reason_for(ours.token(kid=other.key.kid), key=ours.key) is Reason.TOKEN_INVALID
            assert reason_for(ours.token(kid=other.key.kid), key=other.key) is Reason.TOKEN_INVALID


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


@under_every_algorithm
@pytest.mark.parametrize(
    "alg",
    [
        *[
            ...,
            None,
            "",
            "none",
            "None",
            "NONE",
            "HS256",
            "HS384",
            "HS512",
            "ES256",
            "ES384",
            "ES256K",
            "RS256",
            "RS384",
        ],
        *[
            "RS512",
            "PS256",
            "PS384",
            "Ed25519",
            "Ed448",
            "eddsa",
            "EDDSA",
            "es256",
            "rs256",
            "hs256",
            "dir",
            1,
            ["EdDSA"],
        ],
    ],
    ids=str,
)
def test_a_token_that_names_another_algorithm_is_refused(algorithm: str, alg: object) -> None:
    forger = FORGERS[algorithm]
    if alg == algorithm:
        assert verify(forger.token(alg=alg), key=forger.key)
    else:
        assert reason_for(forger.token(alg=alg), key=forger.key) is Reason.TOKEN_INVALID


@under_every_algorithm
@of_every_kind
@pytest.mark.parametrize("signature", ["", "AA", "kept"])
def test_an_unsigned_token_is_refused(algorithm: str, kind: Kind, signature: str) -> None:
    forger = FORGERS[algorithm]
    for alg in ("none", "None", "nOnE", ""):
        head = forger.token(kind.payload, typ=kind.typ, alg=alg).rpartition(".")[0]
        kept = forger.token(kind.payload, typ=kind.typ).rpartition(".")[2]
        token = f"{head}.{kept if signature == 'kept' else signature}"
        assert reason_for(token, key=forger.key) is Reason.TOKEN_INVALID


@pytest.mark.parametrize("algorithm", ["EdDSA", "ES256", "RS256"])
def test_algorithm_confusion_a_token_signed_with_our_public_half_as_if_it_were_a_secret_is_refused(
    algorithm: str,
) -> None:
    ours = FORGERS[algorithm]
    published = ours.key.public_jwk()
    texts = [published, json.dumps(ours.jwk), json.dumps(ours.jwk, separators=(",", ":")), *ours.jwk.values()]
    for secret in (*ours.public_halves, *(text.encode() for text in texts), b"", ours.key.kid.encode()):
        for alg in ("HS256", algorithm):
            token = ours.token(alg=alg, sign=lambda text, secret=secret: hmac.digest(secret, text, "sha256"))  # type: ignore[misc]
            assert reason_for(token, key=ours.key) is Reason.TOKEN_INVALID


def test_algorithm_confusion_a_token_of_another_scheme_for_the_same_rsa_key_is_refused() -> None:
    ours = FORGERS["RS256"]

    def pss(text: bytes) -> bytes:
        return RSA.sign(text, PSS(MGF1(SHA256()), 32), SHA256())

    for alg in ("PS256", "RS256"):
        assert reason_for(ours.token(alg=alg, sign=pss), key=ours.key) is Reason.TOKEN_INVALID


def test_a_signature_by_ecdsa_in_der_as_other_protocols_have_it_is_refused() -> None:
    private = generate_ec_key(SECP256R1())
    numbers = private.public_key().public_numbers()
    jwk = {"kty": "EC", "crv": "P-256", "x": number(numbers.x, 32), "y": number(numbers.y, 32)}
    key = keys.from_public_jwk(json.dumps(jwk))
    ours = FORGERS["ES256"]
    good = ours.token(kid=key.kid, sign=lambda text: raw_ecdsa(private, text))
    assert verify(good, key=key)
    der = ours.token(kid=key.kid, sign=lambda text: private.sign(text, ECDSA(SHA256())))
    assert reason_for(der, key=key) is Reason.TOKEN_INVALID


@pytest.mark.parametrize("signature", [b"\0" * 64, b"\0" * 63 + b"\1", b"\xff" * 64, b"\0" * 32, b"\0"])
def test_a_signature_of_zeros_which_broken_verifiers_have_taken_is_refused(signature: bytes) -> None:
    for forger in FORGERS.values():
        assert reason_for(forger.token(sign=lambda _: signature), key=forger.key) is Reason.TOKEN_INVALID


BAD_IN_ANY_KIND = [
    pytest.param({"iss": "https://evil.example"}, id="another issuer"),
    pytest.param({"iss": f"{ISSUER}/"}, id="an issuer with a slash more"),
    pytest.param({"iss": ISSUER.upper()}, id="an issuer in capitals"),
    pytest.param({"iss": [ISSUER]}, id="an issuer in a list"),
    pytest.param({"aud": "https://api.example.org"}, id="another audience"),
    pytest.param({"aud": [ISSUER]}, id="an audience in a list"),
    pytest.param({"aud": [OUR_API]}, id="our API in a list"),
    pytest.param({"aud": ["https://api.example.org", ISSUER, OUR_API]}, id="an audience among others"),
    pytest.param({"aud": f"{OUR_API}/"}, id="an audience with a slash more"),
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
    pytest.param({"exp": ISSUED + 366 * 86_400 + 1}, id="a life over a year"),
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
    pytest.param({"sub": ""}, id="an empty subject"),
    pytest.param({"sub": "mallory"}, id="a subject that is no id"),
    pytest.param({"sub": SUBJECT.upper()}, id="a subject in capitals"),
    pytest.param({"sub": f"{SUBJECT}\n"}, id="a subject with a line's end"),
    pytest.param({"jti": 5}, id="an id that is a number"),
    pytest.param({"jti": None}, id="an id that is null"),
    pytest.param({"jti": "' OR 1=1 --"}, id="an id that is none"),
    pytest.param({"scope": ["users:read"]}, id="scopes in a list"),
    pytest.param({"scope": None}, id="scopes that are null"),
]


@of_every_kind
@pytest.mark.parametrize("claims", BAD_IN_ANY_KIND)
def test_a_claim_that_we_never_write_is_refused_in_every_kind(kind: Kind, claims: dict[str, Any]) -> None:
    assert reason_for(with_claims(kind, **claims)) is Reason.TOKEN_INVALID


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({"exp": ISSUED + 3_601}, id="a life over an hour"),
        pytest.param({"client_id": None}, id="a client that is null"),
        pytest.param({"client_id": ["watchword"]}, id="a client in a list"),
        pytest.param({"sid": ["x"]}, id="a session that is a list"),
        pytest.param({"sid": None}, id="a session that is null"),
        pytest.param({"sid": ""}, id="an empty session"),
        pytest.param({"sid": "x"}, id="a session that is no id"),
        pytest.param({"amr": "pwd"}, id="methods in a string"),
        pytest.param({"amr": [1]}, id="methods that are numbers"),
        pytest.param({"amr": {"pwd": True}}, id="methods in an object"),
        pytest.param({"auth_time": "yesterday"}, id="a login at a string"),
        pytest.param({"auth_time": 1.5}, id="a login at a float"),
        pytest.param({"auth_time": True}, id="a login at true"),
        pytest.param({"auth_time": 2**53 - 1}, id="a login beyond the calendar"),
    ],
)
def test_a_claim_that_we_never_write_into_a_sessions_token_is_refused(claims: dict[str, Any]) -> None:
    assert reason_for(with_claims(**claims)) is Reason.TOKEN_INVALID


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({"exp": ISSUED + 3_601}, id="a life over an hour"),
        pytest.param({"client_id": None}, id="a client that is null"),
        pytest.param({"client_id": 5}, id="a client that is a number"),
        pytest.param({"credential_id": None}, id="a credential that is null"),
        pytest.param({"credential_id": ""}, id="an empty credential"),
        pytest.param({"credential_id": "' OR 1=1 --"}, id="a credential that is no id"),
        pytest.param({"credential_id": [SUBJECT]}, id="a credential in a list"),
    ],
)
def test_a_claim_that_we_never_write_into_a_services_token_is_refused(claims: dict[str, Any]) -> None:
    assert reason_for(with_claims(KINDS["service"], **claims)) is Reason.TOKEN_INVALID


@pytest.mark.parametrize(
    ("kind", "claim"),
    [(kind, claim) for kind in KINDS for claim in KINDS[kind].payload],
)
def test_a_claim_that_is_missing_is_refused(kind: str, claim: str) -> None:
    assert reason_for(with_claims(KINDS[kind], **{claim: ...})) is Reason.TOKEN_INVALID


@of_every_kind
def test_another_machines_clock_may_be_a_minute_ahead_but_expiry_has_no_grace(kind: Kind) -> None:
    assert verify(with_claims(kind, iat=ISSUED + 60))
    assert verify(with_claims(kind, nbf=ISSUED + 60))
    assert verify(with_claims(kind, nbf=ISSUED - 60))
    assert reason_for(with_claims(kind, iat=ISSUED - 300, exp=ISSUED)) is Reason.TOKEN_EXPIRED


@pytest.mark.parametrize(("kind", "longest"), [("session", 3_600), ("service", 3_600), ("api", 366 * 86_400)])
def test_the_longest_life_of_a_kind_is_accepted_and_a_second_more_is_not(kind: str, longest: int) -> None:
    assert verify(with_claims(KINDS[kind], exp=ISSUED + longest))
    assert reason_for(with_claims(KINDS[kind], exp=ISSUED + longest + 1)) is Reason.TOKEN_INVALID


@of_every_kind
@pytest.mark.parametrize(
    "respelled",
    [
        pytest.param(lambda text: text[:-1] + f', "sub": "{SUBJECT}"}}', id="the subject twice, alike"),
        pytest.param(lambda text: text[:-1] + ', "exp": 9999999999}', id="the expiry twice"),
        pytest.param(lambda text: '{"sub": "mallory", ' + text[1:], id="another subject before"),
        pytest.param(lambda text: text[:-1] + ', "\\u0073ub": "mallory"}', id="the subject again, escaped"),
        pytest.param(lambda text: text[:-1] + ', "x": {"y": 1, "y": 2}}', id="a member twice, further in"),
        pytest.param(lambda text: text[:-1] + ', "x": NaN}', id="not a number"),
        pytest.param(lambda text: f"[{text}]", id="a list"),
        pytest.param(lambda _: '"token"', id="a string"),
        pytest.param(lambda _: "null", id="null"),
        pytest.param(lambda text: text[:-1], id="cut off"),
        pytest.param(lambda text: f"{text} {text}", id="two payloads"),
        pytest.param(lambda _: "[" * 2_000, id="nested without end"),
        pytest.param(lambda _: '{"exp": ' + "9" * 2_500 + "}", id="a number without end"),
    ],
)
def test_a_payload_that_can_be_read_in_two_ways_or_in_none_is_refused(
    kind: Kind, respelled: Callable[[str], str]
) -> None:
    payload = respelled(json.dumps(kind.payload))
    assert reason_for(WE.token(payload.encode(), typ=kind.typ)) is Reason.TOKEN_INVALID


@of_every_kind
def test_claims_that_we_do_not_know_are_passed_over(kind: Kind) -> None:
    assert verify(with_claims(kind, future="something", azp="x")) == as_read(kind.said, WE.key)


GOOD = {
    (name, algorithm): issue(kind.said, forger.key, issuer=ISSUER).reveal()
    for name, kind in KINDS.items()
    for algorithm, forger in FORGERS.items()
}


@pytest.mark.parametrize(("kind", "algorithm"), list(GOOD))
@given(data=st.data())
def test_any_single_changed_character_is_refused(kind: str, algorithm: str, data: st.DataObject) -> None:
    token = GOOD[kind, algorithm]
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from(string.printable) | st.characters())
    assume(other != token[place])
    changed = token[:place] + other + token[place + 1 :]
    assert reason_for(changed, key=FORGERS[algorithm].key) is Reason.TOKEN_INVALID


@pytest.mark.parametrize(("kind", "algorithm"), list(GOOD))
def test_every_letter_of_the_alphabet_in_the_last_place_of_each_part_is_refused_but_the_right_one(
    kind: str, algorithm: str
) -> None:
    # There a character has bits that a lenient decoder ignores, and a token other spellings.
    token = GOOD[kind, algorithm]
    dots = [place for place, character in enumerate(token) if character == "."]
    for place in (dots[0] - 1, dots[1] - 1, len(token) - 1):
        for other in set(string.ascii_letters + string.digits + "-_+/=. ") - {token[place]}:
            changed = token[:place] + other + token[place + 1 :]
            assert reason_for(changed, key=FORGERS[algorithm].key) is Reason.TOKEN_INVALID


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@of_every_kind
@given(claim=st.sampled_from([*PAYLOAD, "nbf", "credential_id"]), value=json_values)
def test_whatever_stands_in_a_claim_there_is_an_answer_and_no_other_error(
    kind: Kind, claim: str, value: object
) -> None:
    token = with_claims(kind, **{claim: value})
    try:
        said = verify(token)
    except Unauthenticated:
        return
    longest = timedelta(days=366) if said.kind is TokenKind.API else timedelta(hours=1)
    assert said.expires_at <= said.issued_at + longest
    assert said.expires_at > NOW


@of_every_kind
@given(
    scopes=st.frozensets(st.sampled_from(["users:read", "users:write", "sessions:read", "books:lend", "a:b"])),
    life=st.integers(1, 3_600),
    age=st.integers(0, 3_600),
)
def test_scopes_come_out_as_they_went_in_and_a_token_lives_exactly_as_long_as_it_says(
    kind: Kind, scopes: frozenset[str], life: int, age: int
) -> None:
    said = replace(kind.said, scopes=scopes, expires_at=kind.said.issued_at + timedelta(seconds=life))
    token = issue(said, WE.key, issuer=ISSUER).reveal()
    asked = said.issued_at.replace(microsecond=0) + timedelta(seconds=age)
    if age < life:
        assert verify(token, now=asked).scopes == scopes
    else:
        assert reason_for(token, now=asked) is Reason.TOKEN_EXPIRED
