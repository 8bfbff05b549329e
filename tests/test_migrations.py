"""Migrations: they make exactly the tables that the code knows, whole or not at all, once, for their owner's eyes."""

import asyncio
import os
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from store import StoreUnavailable
from store.fence import MigrationRefused
from store.locations import SQLiteFile
from store.migrate import MigrationFailed, Pending, pending, upgrade
from store.namespaces import CORE, Namespace
from store.tables import metadata

SCRIPTS = ScriptDirectory(str(CORE.folder.parent), version_locations=[str(CORE.folder)])
HEAD = SCRIPTS.get_current_head()


def revision(folder: Path, name: str, *statements: str, after: str | None = None, then: str = "") -> None:
    folder.mkdir(exist_ok=True)
    body = "".join(f"    op.execute({statement!r})\n" for statement in statements)
    (folder / f"{name}.py").write_text(
        f"from alembic import op\n\nrevision = {name!r}\ndown_revision = {after!r}\n\n\n"
        f"def upgrade():\n{body}    {then or 'pass'}\n"
    )


def books(folder: Path, *statements: str, then: str = "") -> Namespace:
    """Return a scratch domain's line of migrations, with one revision."""
    revision(folder / "books", "b1", *statements, then=then)
    return Namespace("books", folder / "books")


def tables(file: Path) -> set[str]:
    with closing(sqlite3.connect(file)) as connection:
        return {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "data" / "watchword.sqlite"


@pytest.fixture
def migrated(file: Path) -> Path:
    upgrade(SQLiteFile(file))
    return file


def test_a_migrated_database_is_what_the_code_takes_it_for(migrated: Path) -> None:
    engine = create_engine(f"sqlite:///{migrated}", poolclass=NullPool)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
    assert tables(migrated) == {*metadata.tables, "alembic_version"}


def test_every_constraint_and_index_bears_the_name_that_the_code_gives_it(migrated: Path, tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'code.sqlite'}", poolclass=NullPool)
    metadata.create_all(engine)

    def named(file: Path) -> set[str]:
        with closing(sqlite3.connect(file)) as connection:
            rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE name NOT LIKE '%alembic%'").fetchall()
        words = {word.strip("(),") for _, sql in rows for word in (sql or "").split()}
        return {name for name, sql in rows if sql} | {
            word for word in words if word[:3] in {"pk_", "fk_", "uq_", "ix_"}
        }

    assert named(migrated) == named(tmp_path / "code.sqlite")


def test_the_committed_migrations_are_one_line_with_one_head() -> None:
    assert len(SCRIPTS.get_heads()) == 1
    assert len(SCRIPTS.get_bases()) == 1


def test_file_and_folder_are_made_for_their_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        upgrade(SQLiteFile(tmp_path / "data" / "watchword.sqlite"))
    finally:
        os.umask(before)
    assert mode(tmp_path / "data") == 0o700
    for made in (tmp_path / "data").iterdir():
        assert mode(made) == 0o600, made


def test_a_folder_that_was_there_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o750)
    upgrade(SQLiteFile(tmp_path / "data" / "watchword.sqlite"))
    assert mode(tmp_path / "data") == 0o750


def test_upgrading_again_finds_nothing_to_do_and_changes_nothing(file: Path) -> None:
    assert upgrade(SQLiteFile(file)) == [Pending("core", None, HEAD)]
    before = file.read_bytes()
    assert upgrade(SQLiteFile(file)) == []
    assert file.read_bytes() == before


def test_upgrading_loses_no_row(migrated: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(migrated)) as connection:
        connection.execute("INSERT INTO setup_tokens VALUES (x'01', 5)")
        connection.commit()
    upgrade(SQLiteFile(migrated), [books(tmp_path, "CREATE TABLE books_titles (id INTEGER)")])
    with closing(sqlite3.connect(migrated)) as connection:
        assert connection.execute("SELECT * FROM setup_tokens").fetchall() == [(b"\x01", 5)]


def test_what_is_behind_is_named_before_it_is_done(file: Path, tmp_path: Path) -> None:
    domain = books(tmp_path, "CREATE TABLE books_titles (id INTEGER)")
    assert pending(SQLiteFile(file), [domain]) == [Pending("core", None, HEAD), Pending("books", None, "b1")]
    assert not file.parent.exists()  # asking makes nothing
    upgrade(SQLiteFile(file))
    assert pending(SQLiteFile(file)) == []
    assert pending(SQLiteFile(file), [domain]) == [Pending("books", None, "b1")]
    assert upgrade(SQLiteFile(file), [domain]) == [Pending("books", None, "b1")]
    assert pending(SQLiteFile(file), [domain]) == []
    revision(domain.folder, "b2", "CREATE TABLE books_shelves (id INTEGER)", after="b1")
    assert pending(SQLiteFile(file), [domain]) == [Pending("books", "b1", "b2")]
    assert upgrade(SQLiteFile(file), [domain]) == [Pending("books", "b1", "b2")]
    assert {"books_titles", "books_shelves"} <= tables(file)


def test_asking_what_is_behind_changes_no_byte(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "plain.sqlite")) as connection:
        connection.execute("CREATE TABLE plain (id INTEGER)")
    before = (tmp_path / "plain.sqlite").read_bytes()
    assert pending(SQLiteFile(tmp_path / "plain.sqlite")) == [Pending("core", None, HEAD)]
    assert (tmp_path / "plain.sqlite").read_bytes() == before


@pytest.mark.parametrize(
    ("wrong", "then"),
    [
        ("FROB THE TABLE", ""),
        ("INSERT INTO books_titles VALUES (1), (1)", ""),
        ("SELECT 1", "raise RuntimeError('halfway')"),
        ("SELECT 1", "undefined_name"),
    ],
)
def test_a_migration_that_fails_leaves_nothing_and_the_next_start_begins_anew(
    migrated: Path, tmp_path: Path, wrong: str, then: str
) -> None:
    before = tables(migrated)
    made = "CREATE TABLE books_titles (id INTEGER PRIMARY KEY)"
    revision(tmp_path / "books", "b0", "CREATE TABLE books_shelves (id INTEGER)")
    revision(tmp_path / "books", "b1", made, wrong, after="b0", then=then)
    domain = Namespace("books", tmp_path / "books")
    with pytest.raises(MigrationFailed, match=r"'books'.*(FROB|UNIQUE|halfway|undefined_name)"):
        upgrade(SQLiteFile(migrated), [domain])
    assert tables(migrated) - {"alembic_version_books"} == before
    assert pending(SQLiteFile(migrated), [domain]) == [Pending("books", None, "b1")]
    revision(domain.folder, "b1", made, after="b0")
    assert upgrade(SQLiteFile(migrated), [domain]) == [Pending("books", None, "b1")]
    assert tables(migrated) == before | {"books_titles", "books_shelves", "alembic_version_books"}


def test_a_domain_that_fails_leaves_the_core_migrated(file: Path, tmp_path: Path) -> None:
    with pytest.raises(MigrationFailed, match="FROB"):
        upgrade(SQLiteFile(file), [books(tmp_path, "FROB")])
    assert pending(SQLiteFile(file)) == []


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM users",
        "UPDATE USERS SET email = 'eve@example.org'",
        "INSERT INTO user_roles VALUES ('x', 'admin', 0)",
        "DROP TABLE sessions",
        "ALTER TABLE users ADD COLUMN books TEXT",
        "ALTER TABLE users RENAME TO books_users",
        "ALTER TABLE books_titles RENAME TO users_of_books",
        "CREATE INDEX books_index ON users (email)",
        "CREATE TRIGGER books_trigger AFTER INSERT ON users BEGIN SELECT 1; END",
        "CREATE TRIGGER books_trigger AFTER INSERT ON books_titles BEGIN DELETE FROM users; END",
        "CREATE TABLE titles (id INTEGER)",
        "CREATE TABLE cars_titles (id INTEGER)",
        "UPDATE alembic_version SET version_num = '0'",
        "PRAGMA writable_schema = ON",
        "ATTACH DATABASE ':memory:' AS books_other",
        "COMMIT",
        pytest.param("CREATE TRIGGER books_trigger AFTER INSERT ON BOOKS_TITLES BEGIN DELETE FROM users; END"),
    ],
)
def test_a_domains_migration_that_reaches_beyond_its_own_tables_is_refused_whole(
    migrated: Path, tmp_path: Path, statement: str
) -> None:
    before = tables(migrated)
    domain = books(tmp_path, "CREATE TABLE books_titles (id INTEGER)", statement)
    with pytest.raises(MigrationRefused, match="'books'"):
        upgrade(SQLiteFile(migrated), [domain])
    assert tables(migrated) - {"alembic_version_books"} == before
    assert pending(SQLiteFile(migrated), [domain]) == [Pending("books", None, "b1")]


@pytest.mark.parametrize("name", ["core", "user", "signing", "setup", "alembic"])
def test_no_name_of_a_namespace_lays_claim_to_what_is_the_cores(migrated: Path, tmp_path: Path, name: str) -> None:
    for place, victim in enumerate(("user_roles", "signing_keys", "setup_tokens", "alembic_version", "users")):
        revision(tmp_path / f"{name}{place}", "x1", f"DELETE FROM {victim}")  # noqa: S608
        with pytest.raises((MigrationRefused, StoreUnavailable)):
            upgrade(SQLiteFile(migrated), [Namespace(name, tmp_path / f"{name}{place}")])
    assert pending(SQLiteFile(migrated)) == []


def test_a_migration_that_leaves_a_reference_to_nobody_is_taken_back(migrated: Path, tmp_path: Path) -> None:
    domain = books(
        tmp_path,
        "CREATE TABLE books_titles (id INTEGER PRIMARY KEY, owner TEXT REFERENCES users (id))",
        "INSERT INTO books_titles VALUES (1, 'nobody')",
    )
    with pytest.raises(MigrationFailed, match="refers to one that is not there"):
        upgrade(SQLiteFile(migrated), [domain])
    assert "books_titles" not in tables(migrated)


def test_a_domain_may_refer_to_people_and_do_as_it_likes_with_its_own(migrated: Path, tmp_path: Path) -> None:
    domain = books(
        tmp_path,
        "CREATE TABLE books_titles (id INTEGER PRIMARY KEY, owner TEXT REFERENCES users (id) ON DELETE CASCADE)",
        "CREATE INDEX books_by_owner ON books_titles (owner)",
        "INSERT INTO books_titles (id) VALUES (1)",
        "ALTER TABLE books_titles ADD COLUMN title TEXT",
        "UPDATE books_titles SET title = 'The Trial'",
        "ALTER TABLE books_titles RENAME TO books_works",
        "DROP INDEX books_by_owner",
    )
    assert upgrade(SQLiteFile(migrated), [domain]) == [Pending("books", None, "b1")]
    assert "books_works" in tables(migrated)


def test_a_database_from_a_newer_version_is_refused_with_a_sentence(migrated: Path) -> None:
    with closing(sqlite3.connect(migrated)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    for look in (upgrade, pending):
        with pytest.raises(StoreUnavailable, match=r"newer.*9999"):
            look(SQLiteFile(migrated))


@pytest.mark.parametrize("look", [upgrade, pending])
def test_a_file_that_is_no_database_is_unavailable_and_is_not_touched(tmp_path: Path, look: object) -> None:
    assert callable(look)
    junk = b"somebody's thesis, in the wrong place. " * 200
    (tmp_path / "thesis.txt").write_bytes(junk)
    with pytest.raises(StoreUnavailable):
        look(SQLiteFile(tmp_path / "thesis.txt"))
    assert (tmp_path / "thesis.txt").read_bytes() == junk


def test_where_no_file_can_be_made_it_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "watchword.sqlite", tmp_path / "folder"):
        with pytest.raises(StoreUnavailable):
            upgrade(SQLiteFile(path))


@pytest.mark.parametrize(
    "name",
    [
        "a folder",
        "\u00fcber \U0001f6f0",
        "semi;colon,comma:colon",
        "'quoted' \"twice\"",
        "#hash",
        "what?",
        "50%25 off",
    ],
)
def test_a_database_may_lie_in_any_folder(tmp_path: Path, name: str) -> None:
    upgrade(SQLiteFile(tmp_path / name / "watchword.sqlite"))
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]
    assert "users" in tables(tmp_path / name / "watchword.sqlite")


@pytest.mark.parametrize(
    "name",
    [
        "a folder",
        "\u00fcber",
        "semi;colon,comma:colon",
        "100% books",
    ],
)
def test_migrations_may_lie_in_any_folder(migrated: Path, tmp_path: Path, name: str) -> None:
    revision(tmp_path / name, "b1", "CREATE TABLE books_titles (id INTEGER)")
    assert upgrade(SQLiteFile(migrated), [Namespace("books", tmp_path / name)]) == [Pending("books", None, "b1")]


def test_a_folder_of_migrations_that_is_not_there_is_refused(migrated: Path, tmp_path: Path) -> None:
    with pytest.raises(MigrationRefused, match="nowhere"):
        upgrade(SQLiteFile(migrated), [Namespace("books", tmp_path / "nowhere")])


def test_migrations_that_branch_are_refused_with_a_sentence(migrated: Path, tmp_path: Path) -> None:
    domain = books(tmp_path, "CREATE TABLE books_titles (id INTEGER)")
    revision(domain.folder, "b2", "CREATE TABLE books_shelves (id INTEGER)")
    with pytest.raises(MigrationRefused, match="books"):
        upgrade(SQLiteFile(migrated), [domain])


UPGRADE = """
import sys
from store.locations import read_location
from store.migrate import upgrade
print(upgrade(read_location(f"sqlite:///{sys.argv[1]}")))
"""


async def test_of_processes_that_start_together_one_migrates_and_the_other_waits_for_it(file: Path) -> None:
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", UPGRADE, str(file), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        for _ in range(2)
    ]
    said = await asyncio.gather(*[process.communicate() for process in processes])
    assert [process.returncode for process in processes] == [0, 0], said
    applied = sorted((out.decode().strip() for out, _ in said), key=len)
    assert applied == ["[]", str([Pending("core", None, HEAD)])]
    assert pending(SQLiteFile(file)) == []


def test_a_copy_of_a_migrated_database_needs_no_migration(migrated: Path, tmp_path: Path) -> None:
    shutil.copy(migrated, tmp_path / "copy.sqlite")
    assert upgrade(SQLiteFile(tmp_path / "copy.sqlite")) == []
