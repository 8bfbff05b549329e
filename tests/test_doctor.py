"""The doctor: what it looks at, what it finds, and that it changes nothing."""

import asyncio
import json
import os
import sqlite3
import tomllib
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

import store.signing_keys
from auth import keys
from auth.sealing import SealBroken, Sealer
from auth.secret import Secret
from doctor import OWN_MODULES, Finding, examine, module_owners
from installation import Installation, assemble
from settings import load_settings
from store.signing_keys import SigningKeyRow
from tests.house import PRODUCTION_HASHING

SECRET, ANOTHER = "one " * 10, "two " * 10

Install = Callable[..., Installation]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "own"


@pytest.fixture
def install(data: Path) -> Install:
    def installed(**settings: Any) -> Installation:
        return assemble(load_settings(**{"data_dir": data, "password_memory_kib": 8, **settings}))

    return installed


def start(installation: Installation) -> None:
    """Do what the first start does: make the database, the signing key, and the secret key if none is set."""

    async def open_and_close() -> None:
        async with installation.open_auth():
            pass

    installation.prepare_database()
    asyncio.run(open_and_close())


def add_key(installation: Installation, row: SigningKeyRow) -> None:
    async def add() -> None:
        database = await installation.open_database()
        async with database.transaction() as tx:
            await store.signing_keys.add(tx, row)
        await database.close()

    asyncio.run(add())


def found(installation: Installation, subject: str) -> Finding:
    (finding,) = [finding for finding in examine(installation) if subject in finding.subject]
    return finding


def wrong(installation: Installation) -> list[str]:
    return [
        finding.subject for finding in examine(installation) if not finding.is_good and finding.subject != "front end"
    ]


def everything_in(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {file.name: (file.stat().st_mode, file.read_bytes()) for file in folder.iterdir()}


def test_each_module_of_ours_has_one_owner_where_the_tests_run() -> None:
    distributions = packages_distributions()
    for module in OWN_MODULES:
        assert set(distributions.get(module, ["watchword"])) == {"watchword"}, module
    assert [str(finding) for finding in module_owners(distributions)] == ["ok    modules: each name has one owner"]


def test_the_names_looked_at_are_all_that_the_package_brings() -> None:
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    assert sorted(OWN_MODULES) == sorted(name.removesuffix(".py") for name in included)


def test_a_name_that_another_package_owns_too_is_found_with_its_owner() -> None:
    shared = {**packages_distributions(), "auth": ["watchword", "auth"], "schema": ["schema", "eve"]}
    findings = list(module_owners(shared))
    assert [(finding.subject, finding.is_good) for finding in findings] == [
        ("module auth", False),
        ("module schema", False),
    ]
    assert "auth owns this name too" in str(findings[0])
    assert "eve, schema" in str(findings[1])
    assert "environment of its own" in (findings[0].remedy or "")


def test_a_new_installation_is_well_and_looking_makes_nothing(install: Install, data: Path) -> None:
    assert wrong(install()) == []
    assert "the first start makes it" in str(found(install(), "database"))
    assert not data.exists()


def test_an_installation_that_has_started_is_well(install: Install, data: Path) -> None:
    start(install())
    assert wrong(install()) == []
    assert found(install(), "migrations").state == "up to date"
    assert found(install(), "signing keys").state == "2, all of them open"
    assert found(install(), str(data / "secret_key")).state == "0600"
    assert found(install(), "watchword.sqlite").state == "0600"


def test_looking_changes_nothing_in_the_data_folder(install: Install, data: Path) -> None:
    start(install())
    before = everything_in(data)
    examine(install())
    assert everything_in(data) == before


def test_looking_makes_no_secret_key_where_the_database_was_only_migrated(install: Install, data: Path) -> None:
    install().migrate()
    assert wrong(install()) == []
    assert not (data / "secret_key").exists()


@pytest.mark.parametrize("name", ["secret_key", "watchword.sqlite"])
@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_what_others_may_read_is_wrong_and_the_remedy_mends_it(
    install: Install, data: Path, name: str, mode: int
) -> None:
    start(install())
    (data / name).chmod(mode)
    finding = found(install(), str(data / name))
    assert finding.state == f"{mode:04o}"
    assert finding.remedy == f"chmod 600 {data / name}"
    _, octal, path = finding.remedy.split()
    os.chmod(path, int(octal, 8))  # noqa: PTH101
    assert wrong(install()) == []


def test_a_database_that_is_behind_is_wrong_and_the_remedy_mends_it(install: Install, data: Path) -> None:
    data.mkdir()
    (data / "watchword.sqlite").touch(mode=0o600)
    finding = found(install(), "migrations")
    assert finding.state == "core is at nothing, not 0004"
    assert finding.remedy == "watchword migrate"
    install().migrate()
    assert "migrations" not in wrong(install())


def test_another_secret_key_is_found_before_the_server_refuses_to_start(install: Install) -> None:
    start(install(secret_key=SECRET))
    assert wrong(install(secret_key=SECRET)) == []
    assert wrong(install(secret_key=f"{ANOTHER},{SECRET}")) == []
    finding = found(install(secret_key=ANOTHER), "signing keys")
    assert "WATCHWORD_SECRET_KEY" in finding.state
    assert finding.remedy
    with pytest.raises(SealBroken):
        start(install(secret_key=ANOTHER))


def test_a_secret_key_that_was_lost_is_found_and_no_new_one_takes_its_place(install: Install, data: Path) -> None:
    start(install())
    kept = (data / "secret_key").rename(data / "elsewhere")
    assert found(install(), "secret key").remedy
    assert not (data / "secret_key").exists()
    kept.rename(data / "secret_key")
    assert wrong(install()) == []


def test_sealed_halves_that_were_swapped_are_found_before_the_server_refuses_to_start(install: Install) -> None:
    start(install(secret_key=SECRET))
    one, two = keys.generate(), keys.generate()
    sealed = Sealer([Secret(SECRET.strip())]).seal(two.private_jwk())
    row = SigningKeyRow(one.kid, one.algorithm, one.public_jwk(), sealed, datetime(2020, 1, 1, tzinfo=UTC))
    add_key(install(), row)
    with pytest.raises(SealBroken):
        start(install(secret_key=SECRET))
    assert wrong(install(secret_key=SECRET)) == ["signing keys"]


def test_a_finding_is_a_line_and_its_remedy_another() -> None:
    good, bad = Finding("subject", "state"), Finding("subject", "state", "remedy")
    assert str(good) == "ok    subject: state"
    assert str(bad) == "WRONG subject: state\n      -> remedy"
    assert good.is_good
    assert not bad.is_good


def test_no_finding_shows_a_secret(install: Install, data: Path) -> None:
    start(install())
    secret = (data / "secret_key").read_text()
    with closing(sqlite3.connect(data / "watchword.sqlite")) as connection:
        (sealed,) = connection.execute("SELECT sealed_private_jwk FROM signing_keys").fetchone()
    private = json.loads(Sealer([Secret(secret)]).open(sealed))["d"]
    told = "\n".join(str(finding) for finding in examine(install()))
    assert secret not in told
    assert private not in told
    assert replace(found(install(), "signing keys"), remedy="x").remedy == "x"


def test_in_production_a_proxy_that_is_not_trusted_is_found_with_what_to_set(install: Install) -> None:
    production: dict[str, Any] = {"public_url": "https://id.example.org", "secret_key": SECRET, **PRODUCTION_HASHING}
    finding = found(install(**production), "trusted proxies")
    assert "WATCHWORD_TRUSTED_PROXIES" in (finding.remedy or "")
    assert found(install(**production, trusted_proxies="127.0.0.1"), "trusted proxies").is_good
    # What listens beyond this machine may have callers that come by themselves.
    assert "trusted proxies" not in wrong(install(**production, host="192.0.2.1"))
    assert "trusted proxies" not in wrong(install())
