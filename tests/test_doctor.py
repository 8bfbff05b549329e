"""The doctor: what it looks at, what it finds, and that it changes nothing."""

import asyncio
import json
import os
import resource
import sqlite3
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import packages_distributions
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest

import store.signing_keys
from auth import keys
from auth.sealing import SealBroken, Sealer
from auth.secret import Secret
from doctor import OWN_MODULES, Finding, Standing, examine, module_owners
from doctor.database import filesystem_of, server_findings
from doctor.machine import free_space
from doctor.reaching import is_same_site
from installation import Installation, assemble
from settings import load_settings
from store.condition import PostgreSQLCondition
from store.signing_keys import SigningKeyRow
from tests.certificates import Authority
from tests.commands import runner
from tests.house import PRODUCTION_HASHING, MovableClock
from tests.postgres import Postgres
from tests.running import free_port, serving

SECRET, ANOTHER = "one secret of the tests that is long", "two secrets of the tests that are long"
PUBLIC = "https://id.example.org"

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


def in_production(**settings: Any) -> dict[str, Any]:
    return {"public_url": PUBLIC, "secret_key": SECRET, "trusted_proxies": "127.0.0.1"} | PRODUCTION_HASHING | settings


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
    assert finding.state == "core is at nothing, not 0005"
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
    sealed = Sealer([Secret(SECRET)]).seal(two.private_jwk())
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


def test_what_may_be_meant_so_has_a_remedy_and_is_not_wrong() -> None:
    note = Finding("subject", "state", "remedy", may_be_meant=True)
    assert str(note) == "note  subject: state\n      -> remedy"
    assert note.is_good
    assert note.as_json() == {"subject": "subject", "standing": "NOTE", "state": "state", "remedy": "remedy"}


def test_programs_read_the_findings_as_json(install: Install, data: Path) -> None:
    start(install())
    (data / "secret_key").chmod(0o644)
    told = runner(data)("doctor", "--json")
    assert told.exit_code == 1
    findings = json.loads(told.stdout)
    assert {finding["standing"] for finding in findings} == {"OK", "WRONG"}
    assert {
        "subject": f"mode of {data / 'secret_key'}",
        "standing": "WRONG",
        "state": "0644",
        "remedy": f"chmod 600 {data / 'secret_key'}",
    } in findings


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
    finding = found(install(**in_production(trusted_proxies="")), "trusted proxies")
    assert "WATCHWORD_TRUSTED_PROXIES" in (finding.remedy or "")
    assert found(install(**in_production()), "trusted proxies").is_good
    # What listens beyond this machine may have callers that come by themselves.
    assert "trusted proxies" not in wrong(install(**in_production(trusted_proxies="", host="192.0.2.1")))
    assert "trusted proxies" not in wrong(install())


def test_an_allowed_origin_of_another_site_is_found_for_its_pages_have_no_cookies(install: Install) -> None:
    same, other = "https://app.example.org", "https://app.example.com"
    house = install(**in_production(allowed_origins=f"{same},{other}"))
    assert found(house, same).standing is Standing.OK
    finding = found(house, other)
    assert finding.standing is Standing.NOTE
    assert "BODY" in (finding.remedy or "")
    assert wrong(house) == []
    assert found(house, "cookies").state.startswith("__Host-watchword-session, for https://id.example.org")
    assert found(install(), "cookies").state.startswith("watchword-session, for http://127.0.0.1")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://id.example.org", "https://id.example.org:8443", True),
        ("https://a.example.org", "https://b.c.example.org", True),
        ("https://example.org", "https://id.example.org", True),
        ("http://id.example.org", "https://id.example.org", False),
        ("https://example.com", "https://example.org", False),
        ("https://192.0.2.1", "https://1.2.2.1", False),
        ("https://localhost", "https://id.localhost.org", False),
        ("app://id.example.org", "https://id.example.org", False),
    ],
)
def test_a_site_is_a_scheme_and_the_domain_that_somebody_registered(one: str, other: str, same: bool) -> None:
    assert is_same_site(urlsplit(one), urlsplit(other)) is same


def test_plain_http_beyond_this_machine_is_found(install: Install) -> None:
    assert "passwords" in found(install(allow_insecure_http=True, public_url="http://id.example.org"), "plain").state
    assert found(install(**in_production(allow_insecure_http=True)), "plain http").standing is Standing.NOTE
    assert "plain http" not in [finding.subject for finding in examine(install())]


def test_a_certificate_is_found_that_ends_soon_or_is_for_another_host(install: Install, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    files = authority.write("id.example.org", holds=timedelta(days=60))
    house = install(**in_production(tls_certificate=files.certificate, tls_key=files.key, trusted_proxies=""))
    assert wrong(house) == []
    assert found(house, f"mode of {files.key}").state == "0600"
    clock, standings = MovableClock(), []
    for days in (30, 45, 56, 61):
        clock.stop()
        clock.move(timedelta(days=days))
        (end,) = [each for each in examine(house, clock=clock) if each.subject == "TLS certificate's end"]
        standings.append(end.standing.name)
        clock = MovableClock()
    assert standings == ["OK", "NOTE", "WRONG", "WRONG"]
    assert end.state.startswith("expired")
    authority.write("other.example.org")
    assert "TLS certificate" in wrong(house)
    files.key.chmod(0o604)
    assert (found(house, f"mode of {files.key}").remedy or "").startswith("chmod")
    files.key.write_text("nothing")
    (finding,) = [each for each in examine(house) if each.subject == "TLS certificate"]
    assert finding.state == f"{files.key} has no private key in PEM"


def test_a_secret_key_that_can_be_guessed_or_stands_beside_the_database_is_found(install: Install, data: Path) -> None:
    for guessable in ("k" * 40, "put the answer of openssl rand -base64 48 here"):
        assert "guessed" in found(install(**in_production(secret_key=guessable)), "secret key").state
    start(install())
    (data / "watchword.sqlite").unlink()
    developed = (data / "secret_key").read_text()
    house = install(**in_production(secret_key=f"{SECRET},{developed}"))
    start(house)
    assert "development" in found(house, "secret key").state
    assert developed not in str(found(house, "secret key"))
    (data / "secret_key").unlink()
    assert found(house, "secret key").state == "set, with 1 that still open"


def test_a_disk_without_room_and_too_few_open_files_are_found(install: Install, tmp_path: Path) -> None:
    assert free_space(tmp_path / "not" / "made", least=1).is_good
    assert "room" in (free_space(tmp_path, least=1 << 80).remedy or "")
    # As many as may be wished for are more than a process may have here: the kernel's own bound is lower.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    finding = found(install(connections=1_000_000), "open files")
    assert finding.is_good is (hard == resource.RLIM_INFINITY or hard >= 1_000_128)
    assert found(install(connections=10), "open files").is_good


def test_a_database_on_a_network_filesystem_is_told_by_the_list_of_mounts() -> None:
    mounts = "/dev/vda / ext4 rw 0 0\nhost:/data /srv/data nfs4 rw 0 0\n/dev/vdb /srv/data/here xfs rw 0 0\n"
    assert filesystem_of("/srv/data/watchword.sqlite", mounts) == "nfs4"
    assert filesystem_of("/srv/data/here/watchword.sqlite", mounts) == "xfs"
    assert filesystem_of("/srv/database/watchword.sqlite", mounts) == "ext4"


def test_a_file_that_is_no_database_is_a_finding_and_no_failure(install: Install, data: Path) -> None:
    data.mkdir()
    (data / "watchword.sqlite").write_bytes(b"no database " * 1000)
    (data / "watchword.sqlite").chmod(0o600)
    assert wrong(install()) == ["database"]


# PostgreSQL


def test_a_postgresql_server_is_looked_at_and_nothing_that_it_is_asked_with_is_shown(
    install: Install, postgres: Postgres
) -> None:
    location = postgres.database()
    try:
        house = install(database_url=location.uri)
        start(house)
        findings = {finding.subject: finding for finding in examine(house)}
        assert "PostgreSQL at 127.0.0.1" in findings["database"].state
        assert findings["clock"].state == "0 seconds from the database server's"
        assert findings["migrations"].state == "up to date"
        assert findings["signing keys"].state == "2, all of them open"
        assert findings["database connections"].is_good
        # The tests' own server is told to be quick, and not to keep what it is told.
        assert [*filter(lambda each: each.startswith("database"), wrong(house))] in (
            ["database fsync", "database full_page_writes"],
            [],
        )
        many = install(database_url=location.uri, database_connections=1_000)
        assert "max_connections" in (found(many, "database connections").remedy or "")
        assert "watchword@" not in "".join(map(str, examine(house)))
    finally:
        postgres.drop(location)


def test_a_postgresql_server_that_is_not_there_is_a_finding_without_its_password(install: Install) -> None:
    url = f"postgresql://watchword:an-open-secret@127.0.0.1:{free_port()}/watchword"
    finding = found(install(database_url=url), "database")
    assert not finding.is_good
    assert "an-open-secret" not in str(finding)
    assert "watchword" in finding.state


def test_what_a_postgresql_server_must_not_be_is_found_with_its_remedy() -> None:
    good = PostgreSQLCondition(
        version="16.2",
        version_number=160_002,
        encoding="UTF8",
        fsync=True,
        full_page_writes=True,
        is_standby=False,
        is_read_only=False,
        most_connections=97,
        held_by_others=10,
        is_local=True,
        is_encrypted=False,
        now=datetime(2030, 1, 1, tzinfo=UTC),
    )

    def faults(**changed: Any) -> list[str]:
        judged = server_findings(replace(good, **changed), "PostgreSQL at db/watchword", 11)
        return [finding.subject for finding in judged if finding.remedy]

    assert faults() == []
    assert faults(version_number=130_004) == ["database"]
    assert faults(is_standby=True, is_read_only=True) == ["database takes writes"]
    assert faults(is_read_only=True) == ["database takes writes"]
    assert faults(encoding="SQL_ASCII") == ["database encoding"]
    assert faults(fsync=False, full_page_writes=False) == ["database fsync", "database full_page_writes"]
    assert faults(most_connections=20) == ["database connections"]
    assert faults(is_local=False) == ["connection to the database"]
    assert faults(is_local=False, is_encrypted=True) == []


# Asked from outside


def test_a_server_that_answers_as_it_should_is_well_from_outside_too(install: Install, tmp_path: Path) -> None:
    with serving(tmp_path / "served") as server:
        assert {finding.subject: finding.is_good for finding in online(install(public_url=server.url))} == {
            "public URL": True,
            "clock of the public URL": True,
            "paths": True,
            "GraphQL": True,
            "WebSockets": True,
        }
        # A server that goes by another name is behind an address that is not its own.
        other = server.url.replace("127.0.0.1", "localhost")
        assert [each.subject for each in online(install(public_url=other)) if not each.is_good] == ["paths"]


def online(installation: Installation) -> list[Finding]:
    findings = examine(installation, online=True)
    (first,) = [number for number, finding in enumerate(findings) if finding.subject == "public URL"]
    return findings[first:]


class _Elsewhere(BaseHTTPRequestHandler):
    """A server of somebody else's at the public URL, or a proxy that changes what it passes on."""

    health = b"<html>"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Age", "17")
        self.send_header("Content-Length", str(len(self.health)))
        self.end_headers()
        self.wfile.write(self.health)

    def do_POST(self) -> None:
        self.send_error(403)

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string(1_000_000_000) if timestamp is None else ""

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class _Meddling(_Elsewhere):
    @property
    def health(self) -> bytes:  # type: ignore[override]
        issuer = f"http://{self.headers['host']}"
        return b'{"status":"ok"}' if self.path == "/healthz" else b'{"issuer":"%s"}' % issuer.encode()


@contextmanager
def elsewhere(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_somebody_elses_server_at_the_public_url_is_found(install: Install) -> None:
    with elsewhere(_Elsewhere) as url:
        (finding,) = online(install(public_url=url))
    assert finding.subject == "public URL"
    assert "pass all paths on" in (finding.remedy or "")


def test_what_a_proxy_changes_is_found_with_what_to_let_it_do(install: Install) -> None:
    with elsewhere(_Meddling) as url:
        findings = {finding.subject: finding for finding in online(install(public_url=url))}
    assert [subject for subject, finding in findings.items() if not finding.is_good] == [
        "clock of the public URL",
        "paths",
        "GraphQL",
        "WebSockets",
    ]
    assert "copies" in (findings["paths"].remedy or "")
    assert "Upgrade" in (findings["WebSockets"].remedy or "")


def test_a_public_url_that_does_not_answer_is_found(install: Install) -> None:
    (finding,) = online(install(public_url=f"http://127.0.0.1:{free_port()}"))
    assert finding.subject == "public URL"
    assert "gives no answer" in finding.state


def test_a_certificate_that_nobody_vouches_for_is_found(install: Install, tmp_path: Path) -> None:
    port, files = free_port(), (authority := Authority(tmp_path / "authority")).write()
    production = in_production(public_url=f"https://localhost:{port}", trusted_proxies="")
    given = {name: str(value) for name, value in production.items()}
    given |= {"tls_certificate": str(files.certificate), "tls_key": str(files.key)}
    with serving(tmp_path / "served", authority.trusted(), port=port, **given):
        (finding,) = online(install(**production))
    assert "not believed" in finding.state
    assert "localhost" in (finding.remedy or "")
