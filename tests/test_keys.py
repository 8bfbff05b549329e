"""Signing keys: named by their thumbprint, sealed at rest, shared by whoever starts on one database, never printed."""

import asyncio
import base64
import json
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import example, given
from hypothesis import strategies as st
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

import store.signing_keys
import store.users
from auth import Auth, keys, open_auth
from auth.gate import Credential
from auth.jws import JwsRefused, UnverifiedJws
from auth.key_states import KeyState
from auth.keys import ALGORITHMS, KeyRefused, SigningKey, read_public_key
from auth.origin import NOWHERE
from auth.policy import HashingCost, Policy
from auth.scopes import rights
from auth.sealing import SealBroken, Sealer
from auth.secret import Secret, new_secret
from settings import WrongSettings, load_settings
from store import Database, StoreUnavailable, migrate
from store.locations import SQLiteFile
from store.signing_keys import SigningKeyRow
from store.sqlite import SQLiteDatabase
from tests.commands import runner
from tests.house import PASSWORD, WHO_AM_I, House, OpenHouse
from tests.running import ROOT, environment

OLD, NEW, OTHER = "old " * 10, "new " * 10, "other " * 10
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)

RFC_8037_A_1 = {
    "kty": "OKP",
    "crv": "Ed25519",
    "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
}
RFC_7638_3_1 = {
    "kty": "RSA",
    "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3"
    "oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdA"
    "ZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-"
    "kEgU8awapJzKnqDKgw",
    "e": "AQAB",
    "alg": "RS256",
    "kid": "2011-04-29",
}

MADE = {algorithm: keys.generate(algorithm) for algorithm in ALGORITHMS}

under_every_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS)


@asynccontextmanager
async def database_in(folder: Path) -> AsyncIterator[Database]:
    migrate.upgrade(SQLiteFile(folder / "watchword.sqlite"))
    database = SQLiteDatabase(folder / "watchword.sqlite")
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def opened(database: Database, *secrets: str) -> AsyncIterator[Auth]:
    policy = Policy(issuer="https://id.example.org", hashing=HashingCost(8, 1, 1))
    auth = await open_auth(database, policy, rights(), [Secret(secret) for secret in secrets])
    try:
        yield auth
    finally:
        await auth.close()


def row_of(key: SigningKey, secret: str, **more: Any) -> SigningKeyRow:
    sealed = Sealer([Secret(secret)]).seal(key.private_jwk())
    usual = {"created_at": LONG_AGO, "signs_from": LONG_AGO}
    return SigningKeyRow(key.kid, key.algorithm, key.public_jwk(), sealed, **{**usual, **more})


async def add(database: Database, *rows: SigningKeyRow) -> None:
    async with database.transaction() as tx:
        for row in rows:
            await store.signing_keys.add(tx, row)


async def rows_in(house: House) -> list[SigningKeyRow]:
    return await store.signing_keys.load_all(house.auth.database)


def secret_parts(key: SigningKey) -> list[bytes]:
    """Return every number of a key that nobody else may have, in the spellings that it may be found in."""
    members = json.loads(key.private_jwk())
    texts = [members[name] for name in ("d", "k", "p", "q", "dp", "dq", "qi") if name in members]
    found = []
    for text in texts:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        # Within a longer text in base64, such as a PEM, it begins at any of three places.
        shifted = [base64.b64encode(b"\0" * before + raw)[4:-4] for before in range(3)]
        number = str(int.from_bytes(raw, "big")).encode()
        found += [text.encode(), raw, base64.b64encode(raw), raw.hex().encode(), raw[::-1], number, *shifted]
    return found


def everything_in(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file())


def pem(public: Any) -> str:
    text: bytes = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return text.decode()


def private_pem(private: Any, *, password: bytes | None = None) -> str:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    text: bytes = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    return text.decode()


def test_the_kid_is_the_thumbprint_of_rfc_7638_by_the_vector_of_rfc_8037_a_3() -> None:
    key = keys.from_private_jwk(json.dumps(RFC_8037_A_1).encode())
    assert key.kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_the_kid_is_the_thumbprint_of_rfc_7638_by_its_own_vector() -> None:
    key = keys.from_public_jwk(json.dumps(RFC_7638_3_1))
    assert (key.kid, key.algorithm) == ("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", "RS256")


@pytest.mark.parametrize(
    ("algorithm", "required"),
    [
        ("EdDSA", ["crv", "kty", "x"]),
        ("ES256", ["crv", "kty", "x", "y"]),
        ("RS256", ["e", "kty", "n"]),
        ("HS256", ["k", "kty"]),
    ],
)
def test_the_kid_is_the_digest_of_the_members_that_rfc_7638_names_in_their_order(
    algorithm: str, required: list[str]
) -> None:
    key = MADE[algorithm]
    members = json.loads(key.private_jwk())
    text = "{" + ",".join(f'"{name}":"{members[name]}"' for name in required) + "}"
    digest = sha256(text.encode()).digest()
    assert key.kid == base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


@under_every_algorithm
def test_a_kid_that_a_stored_key_claims_is_not_believed(algorithm: str) -> None:
    members = json.loads(MADE[algorithm].private_jwk())
    key = keys.from_private_jwk(json.dumps({**members, "kid": "mine", "alg": "none", "use": "enc"}).encode())
    assert (key.kid, key.algorithm) == (MADE[algorithm].kid, algorithm)


@under_every_algorithm
def test_a_made_key_is_read_back_as_the_same_key(algorithm: str) -> None:
    key = MADE[algorithm]
    again = keys.from_private_jwk(key.private_jwk())
    assert (again.kid, again.algorithm) == (key.kid, algorithm)
    assert again.verify(UnverifiedJws(key.sign(b"{}", typ="x"))) == b"{}"


def test_keys_are_eddsa_if_nothing_else_is_said_and_no_two_are_the_same() -> None:
    assert keys.generate().algorithm == "EdDSA"
    assert len({keys.generate().kid for _ in range(20)}) == 20
    assert len({keys.generate("HS256").kid for _ in range(20)}) == 20


def test_made_keys_are_as_long_as_their_algorithm_wants_them() -> None:
    okp, elliptic, rsa_key, secret = (MADE[algorithm].key for algorithm in ("EdDSA", "ES256", "RS256", "HS256"))
    assert isinstance(okp, OKPKey)
    assert okp.curve_name == "Ed25519"
    assert isinstance(elliptic, ECKey)
    assert elliptic.curve_name == "P-256"
    assert isinstance(rsa_key, RSAKey)
    assert rsa_key.public_key.key_size == 2048
    assert isinstance(secret, OctKey)
    assert len(secret.raw_value) == 32


@pytest.mark.parametrize(
    ("algorithm", "members"), [("EdDSA", {"crv", "x"}), ("ES256", {"crv", "x", "y"}), ("RS256", {"n", "e"})]
)
def test_the_public_half_can_be_published_and_holds_no_private_part(algorithm: str, members: set[str]) -> None:
    key = MADE[algorithm]
    published = json.loads(key.public_jwk())
    assert set(published) == {"kty", "kid", "alg", "use", *members}
    assert (published["alg"], published["use"]) == (algorithm, "sig")
    assert keys.from_public_jwk(key.public_jwk()).kid == published["kid"] == key.kid
    assert not any(part in key.public_jwk().encode() for part in secret_parts(key))


def test_a_secret_of_hs256_has_nothing_that_could_be_published() -> None:
    assert MADE["HS256"].public_jwk() == ""


@pytest.mark.parametrize("algorithm", ["EdDSA", "ES256", "RS256"])
def test_a_public_half_verifies_and_cannot_sign(algorithm: str) -> None:
    public = keys.from_public_jwk(MADE[algorithm].public_jwk())
    assert public.verify(UnverifiedJws(MADE[algorithm].sign(b"{}", typ="x"))) == b"{}"
    with pytest.raises(JoseError, match="public key"):
        public.sign(b"{}", typ="x")


@under_every_algorithm
def test_what_another_key_of_the_same_algorithm_signed_is_refused(algorithm: str) -> None:
    signed = keys.generate(algorithm).sign(b"{}", typ="x")
    with pytest.raises(JwsRefused):
        MADE[algorithm].verify(UnverifiedJws(signed))


@pytest.mark.parametrize(
    "weak",
    [
        pytest.param({"kty": "oct", "k": "A" * 40}, id="a secret of 30 bytes"),
        pytest.param(OKPKey.generate_key("Ed448", private=True).as_dict(private=True), id="another Edwards curve"),
        pytest.param(OKPKey.generate_key("X25519", private=True).as_dict(private=True), id="a key that cannot sign"),
        pytest.param(ECKey.generate_key("P-384", private=True).as_dict(private=True), id="another curve"),
        pytest.param(ECKey.generate_key("secp256k1", private=True).as_dict(private=True), id="a coin's curve"),
    ],
)
def test_a_stored_key_of_no_algorithm_of_ours_is_refused(weak: dict[str, str]) -> None:
    with pytest.raises(KeyRefused):
        keys.from_private_jwk(json.dumps(weak).encode())


@pytest.mark.parametrize("algorithm", ["EdDSA", "ES256", "RS256"])
def test_a_public_key_that_somebody_brings_is_read_as_pem_and_as_jwk(algorithm: str) -> None:
    key = MADE[algorithm]
    assert not isinstance(key.key, OctKey)
    text = key.key.as_pem(private=False).decode()
    named_by_them = json.dumps({**json.loads(key.public_jwk()), "kid": "ours-2026", "use": "sig", "alg": algorithm})
    for brought in (text, f"\n  {text}\n\n", text.replace("\n", "\r\n"), key.public_jwk(), f" {named_by_them}\n"):
        read = read_public_key(brought)
        assert (read.kid, read.algorithm, read.key.is_private) == (key.kid, algorithm, False)


PRIVATE = ed25519.Ed25519PrivateKey.generate()
TOO_LONG = rsa.RSAPublicNumbers(65537, (1 << 8191) + 1).public_key()
TOO_SHORT = rsa.RSAPublicNumbers(65537, (1 << 1023) + 1).public_key()


@pytest.mark.parametrize("algorithm", ["EdDSA", "ES256", "RS256"])
def test_a_private_key_that_somebody_brings_is_refused_whatever_its_form_and_not_repeated(algorithm: str) -> None:
    key = MADE[algorithm]
    assert not isinstance(key.key, OctKey)
    for brought in (key.private_jwk().decode(), key.key.as_pem(private=True).decode()):
        with pytest.raises(KeyRefused, match="private") as refused:
            read_public_key(brought)
        assert not any(part in str(refused.value).encode() for part in secret_parts(key))


@pytest.mark.parametrize(
    "brought",
    [
        pytest.param(private_pem(PRIVATE, password=b"hunter2"), id="a private key under a password"),
        pytest.param(pem(TOO_SHORT), id="RSA of 1024 bits"),
        pytest.param(pem(TOO_LONG), id="RSA of 8192 bits"),
        pytest.param(pem(ec.generate_private_key(ec.SECP384R1()).public_key()), id="P-384"),
        pytest.param(pem(ec.generate_private_key(ec.SECP256K1()).public_key()), id="secp256k1"),
        pytest.param(pem(ed448.Ed448PrivateKey.generate().public_key()), id="Ed448"),
        pytest.param(pem(x25519.X25519PrivateKey.generate().public_key()), id="X25519"),
        pytest.param(MADE["HS256"].private_jwk().decode(), id="a secret"),
        pytest.param(json.dumps({"keys": [json.loads(MADE["EdDSA"].public_jwk())]}), id="a set of keys"),
        pytest.param(json.dumps([json.loads(MADE["EdDSA"].public_jwk())]), id="a list"),
        pytest.param("https://example.org/jwks.json", id="an address"),
        pytest.param("file:///etc/passwd", id="a file"),
        pytest.param("{" * 100_000, id="JSON without end"),
        pytest.param('{"a":' * 100_000, id="JSON nested without end"),
        pytest.param('{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}', id="a point that is not on the curve"),
        pytest.param('{"kty":"OKP","crv":"Ed25519","x":"AA"}', id="a point that is too short"),
        pytest.param('{"kty":"OKP","crv":"Ed25519","x":7}', id="a number"),
        pytest.param('{"kty":["OKP"],"crv":"Ed25519","x":"AA"}', id="a type in a list"),
        pytest.param("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", id="a PEM of nothing"),
        pytest.param("", id="nothing"),
    ],
)
def test_whatever_else_somebody_brings_for_a_public_key_is_refused(brought: str) -> None:
    with pytest.raises(KeyRefused):
        read_public_key(brought)


jwks = st.dictionaries(
    st.sampled_from(["kty", "crv", "x", "y", "n", "e", "d", "k", "use", "key_ops", "alg", "kid", "x5c"]),
    st.sampled_from(["OKP", "EC", "RSA", "oct", "Ed25519", "P-256", RFC_8037_A_1["x"], "AQAB", RFC_7638_3_1["n"]])
    | st.text(max_size=5)
    | st.none()
    | st.integers()
    | st.lists(st.text(max_size=3), max_size=2),
)


@given(brought=st.text() | jwks.map(json.dumps))
@example(brought="\ud800")
@example(brought='{"kty":"RSA","n":"AA","e":"AA"}')
def test_nobody_can_bring_a_key_that_raises_anything_but_a_refusal(brought: str) -> None:
    try:
        read = read_public_key(brought)
    except KeyRefused:
        return
    assert read.algorithm in {"EdDSA", "ES256", "RS256"}
    assert not read.key.is_private


async def test_neither_the_private_key_nor_a_secret_is_anywhere_in_the_database(
    open_house: OpenHouse, tmp_path: Path
) -> None:
    house = await open_house("own", secret_key=OLD)
    ada = await house.person("ada")
    token = (await house.client().log_in(ada.email, delivery="BODY")).data["login"]["accessToken"]
    setup_token = await house.auth.setup.issue()
    assert setup_token is not None
    stored = everything_in(tmp_path / "own")
    key = await house.auth.key_ring.signing_key()
    assert key.kid.encode() in stored  # we look in the right place
    assert ada.email.encode() in stored
    for secret in (
        OLD,
        OLD.strip(),
        PASSWORD,
        token,
        token.split(".")[2],
        *ada.client.cookies.values(),
        setup_token.reveal(),
    ):
        assert secret.encode() not in stored
    assert not any(part in stored for part in secret_parts(key))


async def test_in_development_the_secret_key_is_made_and_kept_beside_the_database_for_its_owner_alone(
    open_house: OpenHouse, tmp_path: Path
) -> None:
    house = await open_house("own")
    kept = tmp_path / "own" / "secret_key"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert len(kept.read_text()) >= 32
    assert kept.read_bytes() not in (tmp_path / "own" / "watchword.sqlite").read_bytes()
    again = await open_house("own")
    assert (await again.auth.key_ring.signing_key()).kid == (await house.auth.key_ring.signing_key()).kid
    assert sorted(file.name for file in (tmp_path / "own").iterdir() if "sqlite" not in file.name) == ["secret_key"]


async def test_a_start_with_another_secret_key_is_refused_and_says_why(open_house: OpenHouse) -> None:
    house = await open_house("own", secret_key=OLD)
    before = await rows_in(house)
    with pytest.raises(SealBroken, match="WATCHWORD_SECRET_KEY is not the one"):
        await open_house("own", secret_key=OTHER)
    with pytest.raises(SealBroken, match="WATCHWORD_SECRET_KEY"):
        await open_house("own")
    with pytest.raises(SealBroken, match="WATCHWORD_SECRET_KEY"):
        await open_house("own", secret_key=OTHER, signing_algorithm="ES256")
    assert await rows_in(house) == before  # no other key was made in the place of one, and none was sealed anew
    again = await open_house("own", secret_key=OLD)
    assert (await again.auth.key_ring.signing_key()).kid == (await house.auth.key_ring.signing_key()).kid


@pytest.mark.parametrize("kept", ["", "\n", "x", "changeme"])
async def test_a_kept_secret_key_that_is_empty_or_short_is_refused(
    open_house: OpenHouse, tmp_path: Path, kept: str
) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "secret_key").write_text(kept)
    with pytest.raises(WrongSettings, match="secret_key"):
        await open_house("own")


async def test_a_kept_secret_key_that_cannot_be_read_is_a_fault_of_the_settings(
    open_house: OpenHouse, tmp_path: Path
) -> None:
    (tmp_path / "own" / "secret_key").mkdir(parents=True)
    with pytest.raises(WrongSettings, match="secret_key"):
        await open_house("own")


async def test_a_list_of_secret_keys_opens_what_the_old_one_sealed_and_seals_it_under_the_new_one(
    open_house: OpenHouse,
) -> None:
    house = await open_house("own", secret_key=OLD)
    ada = await house.person("ada")
    kid = (await house.auth.key_ring.signing_key()).kid
    rotated = await open_house("own", secret_key=f"{NEW}, {OLD}")
    assert (await rotated.auth.key_ring.signing_key()).kid == kid
    client = rotated.client()
    client.cookies.update(dict(ada.client.cookies))
    assert (await client.ask(WHO_AM_I)).data["viewer"]["id"] == ada.id
    alone = await open_house("own", secret_key=NEW)
    assert (await alone.auth.key_ring.signing_key()).kid == kid
    with pytest.raises(SealBroken):
        await open_house("own", secret_key=OLD)
    with pytest.raises(SealBroken):
        await open_house("own", secret_key=OTHER)


def test_a_sealer_seals_under_the_first_secret_key_and_opens_under_any() -> None:
    both = Sealer([Secret(NEW), Secret(OLD)])
    assert both.open(Sealer([Secret(OLD)]).seal(b"private")) == b"private"
    assert Sealer([Secret(NEW)]).open(both.seal(b"private")) == b"private"
    with pytest.raises(SealBroken):
        Sealer([Secret(OLD)]).open(both.seal(b"private"))
    assert b"private" not in both.seal(b"private")
    assert both.seal(b"private") != both.seal(b"private")


def test_a_sealer_says_which_seals_still_need_an_older_secret_key() -> None:
    both = Sealer([Secret(NEW), Secret(OLD)])
    assert both.is_first(both.seal(b"private"))
    for other in (OLD, OTHER):
        assert not both.is_first(Sealer([Secret(other)]).seal(b"private"))
    assert not both.is_first(b"")


def test_a_seal_that_was_changed_in_any_byte_is_broken() -> None:
    sealer = Sealer([Secret(OLD)])
    sealed = base64.urlsafe_b64decode(sealer.seal(b"private"))
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(SealBroken):
            sealer.open(base64.urlsafe_b64encode(changed))
    for wrong in (b"", sealed[:-1], sealed[:40], sealed + b"\0", sealed[1:]):
        with pytest.raises(SealBroken):
            sealer.open(base64.urlsafe_b64encode(wrong))
    for nonsense in (b"", b"x", b"\xff" * 100, b'{"kty":"OKP"}'):
        with pytest.raises(SealBroken):
            sealer.open(nonsense)


async def test_sealed_halves_that_were_swapped_are_refused(tmp_path: Path) -> None:
    one, two = row_of(keys.generate(), OLD), row_of(keys.generate(), OLD)
    async with database_in(tmp_path) as database:
        await add(database, replace(one, sealed_private_jwk=two.sealed_private_jwk))
        with pytest.raises(SealBroken, match=one.kid):
            async with opened(database, OLD):
                pass


async def test_a_key_whose_sealed_half_was_swapped_while_servers_run_neither_signs_nor_verifies(
    open_house: OpenHouse,
) -> None:
    house = await open_house("own", secret_key=OLD)
    ada = await house.person("ada")
    await house.auth.key_ring.rotate(at_once=True)
    sealer = Sealer([Secret(OLD.strip())])
    (swapped,) = [row for row in await rows_in(house) if row.signs_from is None]  # nobody has opened it yet
    async with house.auth.database.transaction() as tx:
        planted = sealer.seal(keys.generate().private_jwk())
        await store.signing_keys.reseal(tx, swapped.kid, planted)
    house.clock.move(timedelta(minutes=1))
    assert (await house.auth.key_ring.rotate(at_once=True)).kid == swapped.kid
    with pytest.raises(StoreUnavailable, match="does not open"):
        await house.auth.key_ring.signing_key()
    assert (await house.client().log_in(ada.email)).code == "UNAVAILABLE"
    ready = await house.client().get("/readyz")
    assert (ready.status_code, ready.json()["keys"]) == (503, "unavailable")
    real = keys.from_private_jwk(sealer.open(swapped.sealed_private_jwk))
    answer = await house.client().ask(WHO_AM_I, authorization=f"Bearer {real.sign(b'{}', typ='at+jwt')}")
    assert answer.code == "UNAVAILABLE"
    assert swapped.kid not in answer.response.text


async def test_a_key_under_another_algorithms_name_is_refused(tmp_path: Path) -> None:
    async with database_in(tmp_path) as database:
        await add(database, replace(row_of(keys.generate(), OLD), algorithm="HS256"))
        with pytest.raises(SealBroken):
            async with opened(database, OLD) as auth:
                await auth.key_ring.signing_key()


async def test_a_key_from_another_installation_is_refused(tmp_path: Path) -> None:
    async with database_in(tmp_path) as database:
        await add(database, row_of(keys.generate(), OLD), row_of(keys.generate(), OTHER))
        with pytest.raises(SealBroken):
            async with opened(database, OLD):
                pass


async def test_the_key_whose_turn_came_last_signs_and_all_of_them_verify(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    older, newer, to_come = keys.generate(), keys.generate(), keys.generate()
    async with database_in(tmp_path) as database:
        await add(
            database,
            row_of(newer, OLD, signs_from=now - timedelta(hours=1)),
            row_of(older, OLD, created_at=now, verifies_until=now + timedelta(hours=1)),
            row_of(to_come, OLD, created_at=now, signs_from=now + timedelta(hours=1)),
        )
        async with opened(database, OLD) as auth:
            assert (await auth.key_ring.signing_key()).kid == newer.kid
            states = {standing.kid: standing.state for standing in await auth.key_ring.standings()}
            assert states[newer.kid] is KeyState.CURRENT
            assert states[older.kid] is KeyState.RETIRED
            assert states[to_come.kid] is KeyState.NEXT
            for key in (older, newer, to_come):
                found = await auth.key_ring.verifying_key(key.kid)
                assert found is not None
                known, is_good = found
                assert is_good
                assert known.verify(UnverifiedJws(key.sign(b"{}", typ="x"))) == b"{}"


async def test_what_the_ring_hands_out_is_a_copy(house: House) -> None:
    before = await house.auth.key_ring.published()
    (await house.auth.key_ring.published()).clear()
    (await house.auth.key_ring.standings()).clear()
    assert await house.auth.key_ring.published() == before
    assert before


async def test_whoever_starts_on_one_empty_database_at_once_shares_one_ring(tmp_path: Path) -> None:
    async def kid_in(database: Database) -> str:
        async with opened(database, OLD) as auth:
            return (await auth.key_ring.signing_key()).kid

    async with database_in(tmp_path) as one, database_in(tmp_path) as two, database_in(tmp_path) as three:
        kids = await asyncio.gather(*[kid_in(database) for database in (one, two, three) * 4])
        assert len(set(kids)) == 1
        rows = await store.signing_keys.load_all(one)
        assert sorted(row.signs_from is None for row in rows) == [False, True]


async def test_processes_that_start_together_where_there_is_nothing_yet_share_one_database_and_one_ring(
    tmp_path: Path,
) -> None:
    runner(tmp_path / "new")("migrate")
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cli", "keys", "list"),
            cwd=ROOT,
            env=environment(data_dir=str(tmp_path / "new"), secret_key=OLD),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        for _ in range(2)
    ]
    said = await asyncio.gather(*[process.communicate() for process in processes])
    assert [process.returncode for process in processes] == [0, 0], said
    assert len({listed for listed, _ in said}) == 1
    assert len(said[0][0].splitlines()) == 2


async def test_two_houses_on_one_database_know_each_others_sessions(open_house: OpenHouse) -> None:
    one, two = await open_house("same"), await open_house("same")
    ada = await one.person("ada")
    client = two.client()
    client.cookies.update(dict(ada.client.cookies))
    assert (await client.ask(WHO_AM_I)).data["viewer"]["id"] == ada.id
    await client.ask("mutation { logout { sessionEnded } }")
    assert (await ada.ask(WHO_AM_I)).reason == "SESSION_REVOKED"


async def test_a_copied_database_without_the_secret_key_opens_nothing(open_house: OpenHouse, tmp_path: Path) -> None:
    house = await open_house("own", secret_key=OLD)
    await house.auth.database.close()
    (tmp_path / "stolen").mkdir()
    shutil.copy(tmp_path / "own" / "watchword.sqlite", tmp_path / "stolen")
    with pytest.raises(SealBroken):
        await open_house("stolen")


async def test_nothing_that_holds_a_secret_prints_it(house: House) -> None:
    ada = await house.person("ada")
    user = await store.users.find_by_email(house.auth.database, ada.email)
    assert user is not None
    started = await house.auth.login.log_in(ada.email, PASSWORD, NOWHERE)
    assert started is not None
    ours = started.grant.identity
    api_token = await house.auth.api_tokens.create(ours, name="backup", scopes=["profile:read"])
    account = await house.auth.service_accounts.create(ours, name="robot", scopes=["profile:read"])
    secret_made = await house.auth.service_accounts.create_secret(ours, account.id)
    file_made = await house.auth.service_accounts.create_key_file(ours, account.id)
    assert secret_made.shown_once is not None
    assert file_made.shown_once is not None
    private_key = json.loads(file_made.shown_once.reveal())["private_key"]
    key, settings = await house.auth.key_ring.signing_key(), load_settings(secret_key=[OLD, NEW])
    key_parts = [part.decode("latin-1") for part in secret_parts(key)]
    secrets = {
        "a secret": (new := new_secret(), [new.reveal()]),
        "a signing key": (key, key_parts),
        "a person": (user, [user.password_hash, user.email, user.display_name]),
        "the settings": (settings, [OLD.strip(), NEW.strip()]),
        "a session": (
            started,
            [started.secret.reveal(), started.grant.access_token.reveal(), started.refresh_token.reveal()],
        ),
        "an API token": (api_token, [api_token.token.reveal()]),
        "a service's secret": (secret_made, [secret_made.shown_once.reveal()]),
        "a key file": (file_made, private_key.splitlines()[1:-1]),
        "a credential": (
            Credential(token=Secret("hunter2"), session_secret=Secret("hunter3"), shown_secrets=(Secret("hunter4"),)),
            ["hunter"],
        ),
        "the ring": (house.auth.key_ring, key_parts),
        "the authority": (house.auth, key_parts),
    }
    for algorithm, made in MADE.items():
        secrets[algorithm] = (made, [part.decode("latin-1") for part in secret_parts(made)])
    for name, (value, hidden) in secrets.items():
        printed = f"{value!r} {value!s} {[value]} { ({'x': value}) }"
        assert hidden
        for secret in hidden:
            assert secret not in printed, name


def test_a_secret_is_itself_only_to_itself() -> None:
    secret = new_secret()
    assert secret == Secret(secret.reveal())
    assert secret != Secret(secret.reveal()[:-1])
    assert secret != secret.reveal()
    assert hash(secret) == hash(Secret(secret.reveal()))
    assert len(secret.digest()) == 32
    assert secret.reveal().encode() not in secret.digest()
    assert len(secret.reveal()) == 43
    assert len({new_secret().reveal() for _ in range(100)}) == 100
