"""The operator's commands: what they do, what they print, and what they say when something is wrong."""

import asyncio
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from schema import build_schema
from tests.commands import Run, refused, runner, succeeded
from tests.house import PASSWORD, WHO_AM_I, OpenHouse

GRACE = ("users", "create", "--email", "grace@example.org", "--name", "Grace", "--password-stdin")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "own"


@pytest.fixture
def run(data: Path) -> Run:
    """Run a command on an installation of the test's own."""
    return runner(data)


def people(data: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(data / "watchword.sqlite")) as connection:
        query = "SELECT email, display_name, role FROM users JOIN user_roles ON user_id = id ORDER BY email, role"
        return connection.execute(query).fetchall()


def test_help_names_every_command_with_a_sentence(run: Run) -> None:
    told = succeeded(run("--help"))
    for command in ("serve", "migrate", "doctor", "users", "schema"):
        (line,) = [line for line in told.splitlines() if line.split()[:1] == [command]]
        assert len(line.split()) > 3, command
    assert succeeded(run("-h")) == told
    assert "create" in succeeded(run("users", "--help"))
    assert "print" in succeeded(run("schema", "--help"))


def test_help_is_given_even_where_the_settings_are_wrong(run: Run, data: Path) -> None:
    assert "Usage" in succeeded(run("migrate", "--help", port="0"))
    assert not data.exists()


def test_the_version_is_the_installed_one(run: Run) -> None:
    assert succeeded(run("--version")) == f"watchword, version {version('watchword')}\n"


def test_a_command_that_is_not_known_is_refused(run: Run) -> None:
    assert run("frobnicate").exit_code == 2


def test_migrate_says_what_it_did_and_then_that_there_is_nothing_to_do(run: Run, data: Path) -> None:
    assert re.fullmatch(r"core: nothing -> \d{4}\n", succeeded(run("migrate")))
    assert (data / "watchword.sqlite").exists()
    assert succeeded(run("migrate")) == "The database is up to date.\n"


def test_schema_print_prints_the_sdl_and_touches_no_database(run: Run, data: Path) -> None:
    assert succeeded(run("schema", "print")) == build_schema().schema.as_str() + "\n"
    assert not data.exists()


async def test_a_person_made_on_the_command_line_can_log_in(run: Run, open_house: OpenHouse) -> None:
    house = await open_house("own")
    made = await asyncio.to_thread(run, *GRACE, "--role", "admin", stdin=f"{PASSWORD}\n")
    assert succeeded(made) == "grace@example.org has an account with the roles: admin, user\n"
    client = house.client()
    assert (await client.log_in("grace@example.org")).data["login"]["__typename"] == "LoginSucceeded"
    assert (await client.ask(WHO_AM_I)).data["viewer"]["user"]["roles"] == ["USER", "ADMIN"]


def test_a_person_is_made_where_there_is_no_database_yet(run: Run, data: Path) -> None:
    assert succeeded(run(*GRACE, stdin=PASSWORD)) == "grace@example.org has an account with the roles: user\n"
    assert people(data) == [("grace@example.org", "Grace", "user")]
    assert (data / "watchword.sqlite").stat().st_mode & 0o777 == 0o600
    assert (data / "secret_key").stat().st_mode & 0o777 == 0o600


def test_a_role_more_is_given_and_that_of_a_user_always(run: Run, data: Path) -> None:
    succeeded(run(*GRACE, "--role", "admin", "--role", "user", stdin=PASSWORD))
    assert people(data) == [("grace@example.org", "Grace", "admin"), ("grace@example.org", "Grace", "user")]


def test_a_role_that_does_not_exist_is_refused(run: Run, data: Path) -> None:
    result = run(*GRACE, "--role", "root", stdin=PASSWORD)
    assert result.exit_code == 2
    assert "'root'" in result.stderr
    assert not data.exists()


def test_an_address_that_is_taken_is_refused_and_nothing_changes(run: Run, data: Path) -> None:
    succeeded(run(*GRACE, stdin=PASSWORD))
    again = run(*GRACE, "--role", "admin", stdin="another lighthouse, without any secrets")
    assert refused(again) == "Error: This e-mail address has an account already.\n"
    assert people(data) == [("grace@example.org", "Grace", "user")]


@pytest.mark.parametrize(
    ("password", "says"),
    [
        ("password1234", "common, or easily guessed"),
        ("short", "at least 12 characters"),
        ("", "at least 12 characters"),
        ("\n", "at least 12 characters"),
        ("x" * 129, "at most 128 characters"),
    ],
)
def test_a_password_that_nobody_may_choose_is_refused_to_operators_too(
    run: Run, data: Path, password: str, says: str
) -> None:
    assert says in refused(run(*GRACE, stdin=password))
    assert people(data) == []


def test_an_address_or_a_name_that_is_none_is_refused(run: Run) -> None:
    create = ("users", "create", "--password-stdin")
    assert "e-mail" in refused(run(*create, "--email", "grace", "--name", "Grace", stdin=PASSWORD))
    assert "name" in refused(run(*create, "--email", "g@example.org", "--name", "  ", stdin=PASSWORD))


def test_the_password_is_one_line_without_its_end_and_is_never_printed(run: Run, data: Path) -> None:
    for place, end in enumerate(("", "\n", "\r\n", "\nand a second line that does not count")):
        email = f"grace{place}@example.org"
        result = run("users", "create", "--email", email, "--name", "Grace", "--password-stdin", stdin=PASSWORD + end)
        assert PASSWORD not in succeeded(result)
    assert len(people(data)) == 4


def test_the_password_is_asked_for_twice_and_not_shown(run: Run, data: Path) -> None:
    asked = run(*GRACE[:-1], stdin=f"{PASSWORD}\n{PASSWORD}\n")
    assert asked.exit_code == 0
    assert PASSWORD not in asked.output
    different = run("users", "create", "--email", "b@example.org", "--name", "B", stdin=f"{PASSWORD}\nsomething else\n")
    assert different.exit_code == 1
    assert [row[0] for row in people(data)] == ["grace@example.org"]


def test_there_is_no_option_for_a_password_that_a_list_of_processes_would_show(run: Run) -> None:
    result = run(*GRACE[:-1], "--password", PASSWORD)
    assert result.exit_code == 2
    assert "No such option" in result.stderr


def test_a_password_that_is_not_utf_8_is_refused_with_a_sentence(run: Run) -> None:
    assert "Error: " in refused(run(*GRACE, stdin=b"a lighthouse keeps no \xff\xfe secrets\n"))


def test_a_password_that_is_not_utf_8_is_refused_where_no_locale_is_set_as_in_a_container(data: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "cli", *GRACE],
        input=b"a lighthouse keeps no \xff\xfe secrets\n",
        env={"WATCHWORD_DATA_DIR": str(data)},
        capture_output=True,
        check=False,
    )
    assert process.returncode == 1
    assert process.stderr.decode() == "Error: the password is not text in UTF-8\n"


@pytest.mark.parametrize("command", [("serve",), ("migrate",), ("doctor",), GRACE, ("schema", "print")])
def test_wrong_settings_are_all_named_and_nothing_is_begun(run: Run, data: Path, command: tuple[str, ...]) -> None:
    told = refused(run(*command, stdin=PASSWORD, port="0", log_level="loud", nonsense="1"))
    lines = told.splitlines()
    assert lines[0] == "Error: these settings are wrong:"
    assert [line.partition(":")[0].strip() for line in lines[1:]] == [
        "WATCHWORD_LOG_LEVEL",
        "WATCHWORD_NONSENSE",
        "WATCHWORD_PORT",
    ]
    assert not data.exists()


@pytest.mark.parametrize("command", [("serve",), ("migrate",), GRACE])
def test_a_domain_that_cannot_be_imported_is_named(run: Run, data: Path, command: tuple[str, ...]) -> None:
    for domains in ("no_such_module:domain", "cli:no_such_name", "cli:main"):
        assert repr(domains) in refused(run(*command, stdin=PASSWORD, domains=domains))
    assert not data.exists()


@pytest.mark.parametrize("command", [("migrate",), GRACE])
def test_a_file_that_is_no_database_is_said_to_be_so(run: Run, data: Path, command: tuple[str, ...]) -> None:
    data.mkdir()
    (data / "watchword.sqlite").write_bytes(b"somebody's thesis, in the wrong place. " * 200)
    assert "SQLITE_NOTADB" in refused(run(*command, stdin=PASSWORD))


@pytest.mark.parametrize("command", [("migrate",), GRACE])
def test_a_data_folder_that_cannot_be_made_is_said_to_be_so(run: Run, data: Path, command: tuple[str, ...]) -> None:
    data.write_text("not a folder")
    assert "cannot be made" in refused(run(*command, stdin=PASSWORD))


def test_another_secret_key_is_said_to_be_another(run: Run) -> None:
    succeeded(run(*GRACE, stdin=PASSWORD, secret_key="one " * 10))
    again = run(
        "users",
        "create",
        "--email",
        "b@example.org",
        "--name",
        "B",
        "--password-stdin",
        stdin=PASSWORD,
        secret_key="two " * 10,
    )
    assert "WATCHWORD_SECRET_KEY is not the one" in refused(again)


def test_where_migrating_is_left_to_the_operator_a_command_says_what_to_run(run: Run) -> None:
    behind = refused(run(*GRACE, stdin=PASSWORD, migrate_on_start="false"))
    assert "watchword migrate" in behind
    succeeded(run("migrate", migrate_on_start="false"))
    succeeded(run(*GRACE, stdin=PASSWORD, migrate_on_start="false"))


def test_doctor_finds_nothing_wrong_with_what_was_just_made(run: Run) -> None:
    succeeded(run(*GRACE, stdin=PASSWORD))
    told = run("doctor")
    lines = [line for line in told.stdout.splitlines() if "front end" not in line and "make front-end" not in line]
    assert lines
    assert all(line.startswith("ok") for line in lines), told.stdout


def test_doctor_ends_with_status_1_and_a_remedy_where_something_is_wrong(run: Run, data: Path) -> None:
    succeeded(run(*GRACE, stdin=PASSWORD))
    (data / "secret_key").chmod(0o644)
    told = run("doctor")
    assert told.exit_code == 1
    assert f"chmod 600 {data / 'secret_key'}" in told.stdout
