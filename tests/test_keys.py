"""The signing key: named by its thumbprint, sealed at rest, shared by whoever starts on one database, never printed."""

import asyncio
import base64
import json
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from joserfc.jwk import OKPKey

import store.signing_keys
from auth import keys
from auth.clock import SystemClock
from auth.gate import Credential
from auth.key_ring import KeyRing, open_key_ring
from auth.keys import SigningKey
from auth.sealing import SealBroken, Sealer
from auth.secret import Secret, new_secret
from auth.sessions import Device
from settings import WrongSettings, load_settings
from store import Database, migrate
from store.signing_keys import SigningKeyRow
from store.sqlite import SQLiteDatabase
from tests.house import PASSWORD, WHO_AM_I, House, OpenHouse

OLD, NEW, OTHER = "old " * 10, "new " * 10, "other " * 10
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)

RFC_8037_A_1 = {
    "kty": "OKP",
    "crv": "Ed25519",
    "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
}


@asynccontextmanager
async def database_in(folder: Path) -> AsyncIterator[Database]:
    migrate.upgrade(folder / "watchword.sqlite")
    database = SQLiteDatabase(folder / "watchword.sqlite")
    try:
        yield database
    finally:
        await database.close()


async def ring(database: Database, *secrets: str) -> KeyRing:
    return await open_key_ring(database, Sealer([Secret(secret) for secret in secrets]), SystemClock())


def row_of(key: SigningKey, secret: str) -> SigningKeyRow:
    sealed = Sealer([Secret(secret)]).seal(key.private_jwk())
    return SigningKeyRow(key.kid, key.algorithm, key.public_jwk(), sealed, LONG_AGO)


async def add(database: Database, *rows: SigningKeyRow) -> None:
    async with database.transaction() as tx:
        for row in rows:
            await store.signing_keys.add(tx, row)


def secret_parts(key: SigningKey) -> list[bytes]:
    text = json.loads(key.private_jwk())["d"]
    raw = base64.urlsafe_b64decode(text + "=")
    return [text.encode(), raw, base64.b64encode(raw), raw.hex().encode()]


def everything_in(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file())


def test_the_kid_is_the_thumbprint_of_rfc_7638_by_the_vector_of_rfc_8037_a_3() -> None:
    key = keys.from_private_jwk(json.dumps(RFC_8037_A_1).encode())
    assert key.kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_a_kid_that_a_stored_key_claims_is_not_believed() -> None:
    key = keys.from_private_jwk(json.dumps({**RFC_8037_A_1, "kid": "mine", "alg": "none", "use": "enc"}).encode())
    assert key.kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    assert key.algorithm == "EdDSA"


def test_a_made_key_is_read_back_as_the_same_key() -> None:
    key = keys.generate()
    again = keys.from_private_jwk(key.private_jwk())
    assert (again.kid, again.algorithm) == (key.kid, "EdDSA")
    assert keys.generate().kid != key.kid


def test_the_public_half_can_be_published_and_holds_no_private_part() -> None:
    key = keys.generate()
    published = json.loads(key.public_jwk())
    assert set(published) == {"kty", "crv", "x", "kid", "alg", "use"}
    assert (published["kty"], published["crv"], published["alg"], published["use"]) == (
        "OKP",
        "Ed25519",
        "EdDSA",
        "sig",
    )
    assert OKPKey.import_key(published).thumbprint() == published["kid"] == key.kid
    assert not any(part in key.public_jwk().encode() for part in secret_parts(key))


async def test_neither_the_private_key_nor_a_secret_is_anywhere_in_the_database(
    open_house: OpenHouse, tmp_path: Path
) -> None:
    house = await open_house("own", secret_key=OLD)
    ada = await house.person("ada")
    token = (await house.client().log_in(ada.email, delivery="BODY")).data["login"]["accessToken"]
    setup_token = await house.auth.setup.issue()
    assert setup_token is not None
    stored = everything_in(tmp_path / "own")
    assert house.auth.key_ring.current.kid.encode() in stored  # we look in the right place
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
    assert not any(part in stored for part in secret_parts(house.auth.key_ring.current))


async def test_in_development_the_secret_key_is_made_and_kept_beside_the_database_for_its_owner_alone(
    open_house: OpenHouse, tmp_path: Path
) -> None:
    house = await open_house("own")
    kept = tmp_path / "own" / "secret_key"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert len(kept.read_text()) >= 32
    assert kept.read_bytes() not in (tmp_path / "own" / "watchword.sqlite").read_bytes()
    again = await open_house("own")
    assert again.auth.key_ring.current.kid == house.auth.key_ring.current.kid
    assert sorted(file.name for file in (tmp_path / "own").iterdir() if "sqlite" not in file.name) == ["secret_key"]


async def test_a_start_with_another_secret_key_is_refused_and_says_why(open_house: OpenHouse) -> None:
    house = await open_house("own", secret_key=OLD)
    with pytest.raises(SealBroken, match="WATCHWORD_SECRET_KEY is not the one"):
        await open_house("own", secret_key=OTHER)
    with pytest.raises(SealBroken, match="WATCHWORD_SECRET_KEY"):
        await open_house("own")
    assert len(await store.signing_keys.load_all(house.auth.database)) == 1  # no second key was made in its place
    again = await open_house("own", secret_key=OLD)
    assert again.auth.key_ring.current.kid == house.auth.key_ring.current.kid


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


async def test_a_list_of_secret_keys_opens_what_the_old_one_sealed(open_house: OpenHouse) -> None:
    house = await open_house("own", secret_key=OLD)
    ada = await house.person("ada")
    rotated = await open_house("own", secret_key=f"{NEW}, {OLD}")
    assert rotated.auth.key_ring.current.kid == house.auth.key_ring.current.kid
    client = rotated.client()
    client.cookies.update(dict(ada.client.cookies))
    assert (await client.ask(WHO_AM_I)).data["viewer"]["id"] == ada.id
    with pytest.raises(SealBroken):
        await open_house("own", secret_key=NEW)


def test_a_sealer_seals_under_the_first_secret_key_and_opens_under_any() -> None:
    both = Sealer([Secret(NEW), Secret(OLD)])
    assert both.open(Sealer([Secret(OLD)]).seal(b"private")) == b"private"
    assert Sealer([Secret(NEW)]).open(both.seal(b"private")) == b"private"
    with pytest.raises(SealBroken):
        Sealer([Secret(OLD)]).open(both.seal(b"private"))
    assert b"private" not in both.seal(b"private")
    assert both.seal(b"private") != both.seal(b"private")


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
            await ring(database, OLD)


async def test_a_key_from_another_installation_is_refused(tmp_path: Path) -> None:
    async with database_in(tmp_path) as database:
        await add(database, row_of(keys.generate(), OLD), row_of(keys.generate(), OTHER))
        with pytest.raises(SealBroken):
            await ring(database, OLD)


async def test_the_newest_key_signs_and_all_of_them_verify(tmp_path: Path) -> None:
    older, newer = keys.generate(), keys.generate()
    async with database_in(tmp_path) as database:
        now = datetime.now(UTC)
        await add(database, replace(row_of(newer, OLD), created_at=now), row_of(older, OLD))
        opened = await ring(database, OLD)
        assert opened.current.kid == newer.kid
        assert set(opened.by_kid) == {older.kid, newer.kid}


async def test_the_ring_cannot_be_added_to_from_outside(tmp_path: Path) -> None:
    async with database_in(tmp_path) as database:
        opened = await ring(database, OLD)
        with pytest.raises(TypeError):
            opened.by_kid["x"] = keys.generate()  # type: ignore[index]


async def test_whoever_starts_on_one_empty_database_at_once_shares_one_key(tmp_path: Path) -> None:
    async with database_in(tmp_path) as one, database_in(tmp_path) as two, database_in(tmp_path) as three:
        rings = await asyncio.gather(*[ring(database, OLD) for database in (one, two, three) * 4])
        assert len({opened.current.kid for opened in rings}) == 1
        assert len(await store.signing_keys.load_all(one)) == 1


STARTED = """
import asyncio, sys
from pathlib import Path
from auth.clock import SystemClock
from auth.key_ring import open_key_ring
from auth.sealing import Sealer
from auth.secret import Secret
from store import migrate
from store.sqlite import SQLiteDatabase

async def start(file: Path) -> None:
    migrate.upgrade(file)
    database = SQLiteDatabase(file)
    ring = await open_key_ring(database, Sealer([Secret(sys.argv[2])]), SystemClock())
    print(ring.current.kid)
    await database.close()

asyncio.run(start(Path(sys.argv[1])))
"""


async def test_processes_that_start_together_where_there_is_nothing_yet_share_one_database_and_one_key(
    tmp_path: Path,
) -> None:
    arguments = (sys.executable, "-c", STARTED, str(tmp_path / "new" / "watchword.sqlite"), OLD)
    processes = [
        await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
        for _ in range(2)
    ]
    said = await asyncio.gather(*[process.communicate() for process in processes])
    assert [process.returncode for process in processes] == [0, 0], said
    assert len({kid for kid, _ in said}) == 1


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
    started = await house.auth.login.log_in(ada.email, PASSWORD, Device())
    assert started is not None
    key, settings = house.auth.key_ring.current, load_settings(secret_key=[OLD, NEW])
    secrets = {
        "a secret": (new := new_secret(), [new.reveal()]),
        "a signing key": (key, [part.decode("latin-1") for part in secret_parts(key)]),
        "a person": (user, [user.password_hash, user.email, user.display_name]),
        "the settings": (settings, [OLD.strip(), NEW.strip()]),
        "a session": (started, [started.secret.reveal(), started.grant.access_token.reveal()]),
        "a credential": (Credential(access_token=Secret("hunter2"), session_secret=Secret("hunter3")), ["hunter"]),
        "the ring": (house.auth.key_ring, [part.decode("latin-1") for part in secret_parts(key)]),
        "the authority": (house.auth, [part.decode("latin-1") for part in secret_parts(key)]),
    }
    for name, (value, hidden) in secrets.items():
        printed = f"{value!r} {value!s} {[value]} { ({'x': value}) }"
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
