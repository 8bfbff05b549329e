"""JSON Web Signatures: the RFCs' own vectors, and every respelling of a good one that must not pass for it."""

import base64
import json
import string

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import assume, example, given
from hypothesis import strategies as st
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from auth.jws import MAX_TOKEN_BYTES, JwsRefused, Key, UnverifiedJws, sign, strict_object

A_1_KEY = OctKey.import_key(
    {"kty": "oct", "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}
)
A_1_HEADER = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9"
A_1_PAYLOAD = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
A_1_SIGNATURE = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
A_1 = f"{A_1_HEADER}.{A_1_PAYLOAD}.{A_1_SIGNATURE}"

A_2_KEY = RSAKey.import_key(
    {
        "kty": "RSA",
        "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd"
        "2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2"
        "CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h"
        "4FRWyuXpoQ",
        "e": "AQAB",
    }
)
A_2 = (
    f"eyJhbGciOiJSUzI1NiJ9.{A_1_PAYLOAD}."
    "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1d"
    "nZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwu"
    "sC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
)

A_3_KEY = ECKey.import_key(
    {
        "kty": "EC",
        "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        "d": "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI",
    }
)
A_3 = (
    f"eyJhbGciOiJFUzI1NiJ9.{A_1_PAYLOAD}."
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
)

A_4_KEY = OKPKey.import_key(
    {
        "kty": "OKP",
        "crv": "Ed25519",
        "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    }
)
A_4 = (
    "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc."
    "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
)

# An older tutorial's token, as FACTS has it: right in base64url, wrong in the plain base64 that the tutorial wrote.
TUTORIAL_SIGNED = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ1c2VybmFtZSI6IkZsYXZpbyJ9"
TUTORIAL = f"{TUTORIAL_SIGNED}.MQWECYWUT7bayj8miVgsj8KdYI3ZRVS-WRRZjfZrGrw"


NONE = b'{"alg":"none"}'


def verify(text: str, key: Key = A_4_KEY, algorithm: str = "EdDSA") -> bytes:
    return UnverifiedJws(text).verify(key, algorithm)


def b64(raw: bytes | bytearray) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@pytest.fixture
def tutorial_key() -> OctKey:
    with pytest.warns(SecurityWarning, match="112 bits"):
        return OctKey.import_key({"kty": "oct", "k": b64(b"secretKey")})


def signed(header: bytes, payload: bytes = b"{}") -> str:
    """Sign whatever bytes stand in the place of the header: what our own `sign` would never write."""
    text = f"{b64(header)}.{b64(payload)}"
    private = A_4_KEY.get_op_key("sign")
    assert isinstance(private, Ed25519PrivateKey)
    return f"{text}.{b64(private.sign(text.encode()))}"


def test_the_vector_of_rfc_7515_a_1_verifies() -> None:
    assert verify(A_1, A_1_KEY, "HS256") == (
        b'{"iss":"joe",\r\n "exp":1300819380,\r\n "http://example.com/is_root":true}'
    )


def test_the_vector_of_rfc_7515_a_2_verifies() -> None:
    assert verify(A_2, A_2_KEY, "RS256") == verify(A_1, A_1_KEY, "HS256")


def test_the_vector_of_rfc_7515_a_3_verifies_and_no_two_signatures_by_ecdsa_are_the_same() -> None:
    payload = verify(A_3, A_3_KEY, "ES256")
    assert payload == verify(A_1, A_1_KEY, "HS256")
    ours = sign(payload, A_3_KEY, "ES256", {})
    assert ours != A_3
    assert ours.rpartition(".")[0] == A_3.rpartition(".")[0]
    assert verify(ours, A_3_KEY, "ES256") == payload


@pytest.mark.parametrize(("text", "key"), [(A_2, A_2_KEY), (A_3, A_3_KEY)], ids=["RS256", "ES256"])
def test_the_vectors_of_rfc_7515_are_refused_with_one_bit_of_their_signature_changed(text: str, key: Key) -> None:
    algorithm = str(UnverifiedJws(text).header["alg"])
    head, _, signature = text.rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
    for place in range(len(raw)):
        changed = bytearray(raw)
        changed[place] ^= 1 << (place % 8)
        with pytest.raises(JwsRefused):
            verify(f"{head}.{b64(changed)}", key, algorithm)


def test_the_vector_of_rfc_8037_a_4_is_signed_to_the_letter_and_verifies() -> None:
    assert sign(b"Example of Ed25519 signing", A_4_KEY, "EdDSA", {}) == A_4
    assert verify(A_4) == b"Example of Ed25519 signing"


def test_the_tutorials_payload_is_signed_to_the_letter_and_verifies(tutorial_key: OctKey) -> None:
    payload = b'{"username":"Flavio"}'
    assert sign(payload, tutorial_key, "HS256", {"typ": "JWT"}) == TUTORIAL
    assert verify(TUTORIAL, tutorial_key, "HS256") == payload


@pytest.mark.parametrize(
    "signature",
    [
        "MQWECYWUT7bayj8miVgsj8KdYI3ZRVS+WRRZjfZrGrw=",
        "MQWECYWUT7bayj8miVgsj8KdYI3ZRVS+WRRZjfZrGrw",
        "MQWECYWUT7bayj8miVgsj8KdYI3ZRVS-WRRZjfZrGrw=",
    ],
)
def test_the_tutorials_signature_in_plain_base64_or_padded_is_refused(tutorial_key: OctKey, signature: str) -> None:
    with pytest.raises(JwsRefused):
        verify(f"{TUTORIAL_SIGNED}.{signature}", tutorial_key, "HS256")


def test_the_header_is_read_before_verification_and_the_payload_only_after() -> None:
    jws = UnverifiedJws(A_1)
    assert jws.header == {"typ": "JWT", "alg": "HS256"}
    assert not hasattr(jws, "payload")


def test_algorithm_confusion_the_algorithm_is_the_keys_and_the_header_must_agree() -> None:
    with pytest.raises(JwsRefused):
        verify(A_1, A_1_KEY, "HS512")
    with pytest.raises(JwsRefused):
        verify(signed(b'{"alg":"HS256"}'))
    with pytest.raises(JwsRefused):
        verify(signed(b'{"alg":"Ed25519"}'))
    public_half = OctKey.import_key(json.dumps(A_4_KEY.as_dict(private=False)))
    with pytest.raises(JwsRefused):
        verify(sign(b"{}", public_half, "HS256", {}))


@pytest.mark.parametrize(
    "header",
    [
        b'{"alg":"none"}',
        b'{"alg":"None"}',
        b'{"alg":"eddsa"}',
        b'{"alg":""}',
        b'{"alg":null}',
        b'{"alg":["EdDSA"]}',
        b'{"alg":{"EdDSA":1}}',
        b'{"alg":1}',
        b"{}",
    ],
)
def test_no_algorithm_and_no_known_algorithm_are_refused(header: bytes) -> None:
    with pytest.raises(JwsRefused):
        verify(signed(header))


def test_the_unsigned_token_of_alg_none_is_refused() -> None:
    for signature in ("", "AA"):
        with pytest.raises(JwsRefused):
            verify(f"{b64(NONE)}.{b64(b'{}')}.{signature}")


@pytest.mark.parametrize(
    "header",
    [
        b'{"alg":"EdDSA","crit":["exp"],"exp":1}',
        b'{"alg":"EdDSA","crit":["b64"],"b64":false}',
        b'{"alg":"EdDSA","crit":[]}',
        b'{"alg":"EdDSA","crit":null}',
        b'{"alg":"EdDSA","\\u0063rit":["exp"],"exp":1}',
    ],
)
def test_whatever_is_critical_is_refused_for_no_extension_is_understood(header: bytes) -> None:
    with pytest.raises(JwsRefused):
        verify(signed(header))


def test_an_unencoded_payload_is_refused_for_whoever_sends_one_has_to_declare_it_critical() -> None:
    # RFC 7797 §6. Read in one place as base64url and in another as it stands, one token would have two payloads.
    with pytest.raises(JwsRefused):
        verify(signed(b'{"alg":"EdDSA","b64":false}', b"payload"))


@pytest.mark.parametrize(
    "header",
    [
        b'{"alg":"EdDSA","alg":"EdDSA"}',
        b'{"alg":"none","alg":"EdDSA"}',
        b'{"alg":"EdDSA","\\u0061lg":"EdDSA"}',
        b'{"alg":"EdDSA","x":{"y":1,"y":2}}',
    ],
)
def test_duplicate_members_in_the_header_are_refused(header: bytes) -> None:
    with pytest.raises(JwsRefused):
        verify(signed(header))


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"x",
        b"[]",
        b'"EdDSA"',
        b"null",
        b'{"alg":"EdDSA",}',
        b"{'alg':'EdDSA'}",
        b'{"alg":"EdDSA","x":NaN}',
        b'{"alg":"EdDSA","x":-Infinity}',
        b'{"alg":"EdDSA"} {}',
        b'\xef\xbb\xbf{"alg":"EdDSA"}',
        b'{"alg":"EdDSA","x":"\xff"}',
        '{"alg":"EdDSA"}'.encode("utf-16"),
    ],
)
def test_a_header_that_is_not_a_strict_json_object_is_refused(header: bytes) -> None:
    with pytest.raises(JwsRefused):
        verify(signed(header))


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"x":', b"}")])
def test_json_nested_without_end_is_refused_and_breaks_nothing(opening: bytes, closing: bytes) -> None:
    for depth in (400, 5_000, 100_000):
        with pytest.raises(JwsRefused):
            verify(signed(b'{"alg":"EdDSA","x":' + opening * depth + b"0" + closing * depth + b"}"))
    with pytest.raises(JwsRefused):
        strict_object(b'{"x":' + opening * 100_000 + b"0" + closing * 100_000 + b"}")


def test_every_respelling_of_a_part_with_stray_last_bits_is_refused() -> None:
    alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
    respelled = [alphabet[alphabet.index(A_1[-1]) ^ bits] for bits in (1, 2, 3)]
    for last in respelled:
        # They all decode to the same 32 bytes: without the check, one signature has four spellings.
        spelling = A_1_SIGNATURE[:-1] + last
        assert base64.urlsafe_b64decode(spelling + "=") == base64.urlsafe_b64decode(A_1_SIGNATURE + "=")
        with pytest.raises(JwsRefused):
            verify(f"{A_1_HEADER}.{A_1_PAYLOAD}.{spelling}", A_1_KEY, "HS256")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"{A_1}=", id="padding at the end"),
        pytest.param(f"{A_1_HEADER}.{A_1_PAYLOAD}==.{A_1_SIGNATURE}", id="padding within"),
        pytest.param(f"{A_1}\n", id="newline at the end"),
        pytest.param(f"\n{A_1}", id="newline before"),
        pytest.param(f"{A_1} ", id="space at the end"),
        pytest.param(A_1.replace("-", "+"), id="plain base64 plus"),
        pytest.param(A_1.replace("_", "/"), id="plain base64 slash"),
        pytest.param(f"{A_1_HEADER}.{A_1_PAYLOAD}.!{A_1_SIGNATURE}", id="a character that decoders drop"),
        pytest.param(f"{A_1_HEADER}.{A_1_PAYLOAD[:8]}\r\n{A_1_PAYLOAD[8:]}.{A_1_SIGNATURE}", id="a line break within"),
        pytest.param(A_1.replace("4", "\u0664"), id="an Arabic digit"),
        pytest.param(A_1.replace("4", "\uff14"), id="a fullwidth digit"),
        pytest.param(A_1.replace("K", "\u212a"), id="a Kelvin sign"),
        pytest.param(f"{A_1}\u0000", id="a NUL"),
        pytest.param(f"{A_1}\ud800", id="a lone surrogate"),
        pytest.param(f"{A_1_HEADER}.{A_1_PAYLOAD}", id="two parts"),
        pytest.param(f"{A_1}.{A_1_SIGNATURE}", id="four parts"),
        pytest.param(f"{A_1}.", id="three parts and a dot"),
        pytest.param(f"{A_1_HEADER}..{A_1_SIGNATURE}", id="an empty payload"),
        pytest.param(f".{A_1_PAYLOAD}.{A_1_SIGNATURE}", id="an empty header"),
        pytest.param(f"{A_1_HEADER}.{A_1_PAYLOAD}.", id="an empty signature"),
        pytest.param(f"{A_1_HEADER}.{A_1_PAYLOAD}.{A_1_SIGNATURE[:-2]}", id="a signature cut off"),
        pytest.param(f"{A_1_HEADER}.{A_1_PAYLOAD}.{A_1_SIGNATURE[:-3]}", id="a length that no bytes have"),
        pytest.param("..", id="dots alone"),
        pytest.param("", id="nothing"),
    ],
)
def test_whatever_is_not_three_parts_of_canonical_base64url_is_refused(text: str) -> None:
    assert text != A_1
    with pytest.raises(JwsRefused):
        verify(text, A_1_KEY, "HS256")


def test_a_token_larger_than_a_cookie_is_refused_whoever_signed_it() -> None:
    fits = sign(b"x" * 2_900, A_4_KEY, "EdDSA", {})
    assert len(fits) <= MAX_TOKEN_BYTES
    assert verify(fits)
    too_large = sign(b"x" * 3_100, A_4_KEY, "EdDSA", {})
    assert len(too_large) > MAX_TOKEN_BYTES
    with pytest.raises(JwsRefused):
        verify(too_large)


def test_another_keys_signature_is_refused() -> None:
    other = OKPKey.generate_key("Ed25519", private=True)
    with pytest.raises(JwsRefused):
        verify(sign(b"{}", other, "EdDSA", {}))


def test_parts_of_two_good_tokens_do_not_make_a_third() -> None:
    one, two = sign(b"one", A_4_KEY, "EdDSA", {}), sign(b"two", A_4_KEY, "EdDSA", {})
    head, _, signature = one.split(".")
    with pytest.raises(JwsRefused):
        verify(f"{head}.{two.split('.')[1]}.{signature}")


@given(
    place=st.integers(0, len(A_4) - 1),
    other=st.sampled_from(string.printable) | st.characters(),
)
@example(place=len(A_4) - 1, other="h")
@example(place=0, other=" ")
def test_any_single_changed_character_is_refused(place: int, other: str) -> None:
    assume(A_4[place] != other)
    with pytest.raises(JwsRefused):
        verify(A_4[:place] + other + A_4[place + 1 :])


@given(place=st.integers(0, len(A_4)), more=st.text(min_size=1, max_size=3))
@example(place=len(A_4), more="\n")
@example(place=len(A_4), more="=")
def test_any_character_more_is_refused(place: int, more: str) -> None:
    with pytest.raises(JwsRefused):
        verify(A_4[:place] + more + A_4[place:])


@given(text=st.text() | st.text(alphabet=string.ascii_letters + string.digits + "-_.=", max_size=80))
def test_no_text_raises_anything_but_a_refusal(text: str) -> None:
    with pytest.raises(JwsRefused):
        verify(text)


@given(payload=st.binary(min_size=1, max_size=200))
def test_what_was_signed_comes_out_again(payload: bytes) -> None:
    assert verify(sign(payload, A_4_KEY, "EdDSA", {"typ": "at+jwt", "kid": "x"})) == payload
