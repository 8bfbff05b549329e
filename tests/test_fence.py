"""The fence around a domain's migrations: on both engines, what is not the domain's own is refused and undone."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from store.fence import MigrationRefused
from store.locations import Location, PostgreSQL, SQLiteFile
from store.migrate import MigrationFailed, Pending, pending, upgrade
from store.namespaces import Namespace
from tests.postgres import Postgres, run
from tests.revisions import CREATE, revision, sql

on_both_engines = pytest.mark.parametrize("engine_name", ["sqlite", "postgresql"])

PERSON = (
    "INSERT INTO users VALUES ('00000000-0000-7000-8000-000000000001', 'a@b', 'a@b', 'Ada', 'ada', 'hash', 0, 0, NULL)",
    """
    INSERT INTO sessions (id, user_id, secret_digest, authentication_methods,
        authenticated_at, created_at, last_seen_at, expires_at)
    VALUES ('00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-000000000001', '', 'pwd', 0, 0, 0, 0)
    """,
    "INSERT INTO setup_tokens VALUES ('', 0)",
)

# All that PostgreSQL can say of what there is, told by its own description of it.
_DEFINITIONS = """
SELECT table_schema || table_name || table_type FROM information_schema.tables WHERE table_schema !~ '^(pg_|infor)'
UNION ALL SELECT concat_ws(' ', table_name, column_name, data_type, is_nullable, column_default)
    FROM information_schema.columns WHERE table_schema !~ '^(pg_|infor)'
UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname !~ '^pg_'
UNION ALL SELECT concat(conrelid::regclass, pg_get_constraintdef(oid)) FROM pg_constraint WHERE conrelid > 16384
UNION ALL SELECT concat(pg_get_triggerdef(oid), tgenabled) FROM pg_trigger
UNION ALL SELECT concat_ws(' ', grantee, table_name, privilege_type)
    FROM information_schema.table_privileges WHERE table_schema !~ '^(pg_|infor)'
UNION ALL SELECT proname FROM pg_proc WHERE oid >= 16384
UNION ALL SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_'
ORDER BY 1
"""


@dataclass(frozen=True)
class Base:
    """A database that has the core's tables and one person, and a folder for a domain's migrations."""

    location: Location
    folder: Path

    def migrate(self, body: str, name: str = "notes", number: int = 1) -> list[Pending]:
        return upgrade(self.location, [self.namespace(body, name, number)])

    def namespace(self, body: str, name: str = "notes", number: int = 1) -> Namespace:
        return Namespace(name, revision(self.folder / name, body, number))

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        if isinstance(self.location, PostgreSQL):
            return [tuple(row) for row in run(self.location.uri, query)]
        with closing(sqlite3.connect(self.location.path)) as connection:
            return connection.execute(query).fetchall()

    def everything(self) -> dict[str, list[Any]]:
        """Return what is in the database: every definition, and every row of every table."""
        if isinstance(self.location, PostgreSQL):
            names = run(self.location.uri, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            rows = "(SELECT coalesce(jsonb_agg(t ORDER BY t), '[]')::text FROM \"{}\" t)"
            tables = {name: rows.format(name) for (name,) in names}
            (texts,) = run(self.location.uri, f"SELECT {', '.join(tables.values())}")
            definitions = [str(row) for row in run(self.location.uri, _DEFINITIONS)]
            return {"": definitions} | {name: [text] for name, text in zip(tables, texts, strict=True)}
        definitions = [
            str(row) for row in self.rows("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name")
        ]
        listed = self.rows("SELECT name FROM sqlite_master WHERE type = 'table'")
        return {"": definitions} | {name: self.rows(f'SELECT * FROM "{name}"') for (name,) in listed}  # noqa: S608


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("core") / "core.sqlite"
    upgrade(SQLiteFile(path))
    with closing(sqlite3.connect(path)) as connection:
        for statement in PERSON:
            connection.execute(statement)
        connection.commit()
        connection.execute("PRAGMA journal_mode = DELETE")
    return path


@pytest.fixture(scope="module")
def shared_server(request: pytest.FixtureRequest) -> Callable[[], PostgreSQL]:
    """Return what gives one database to all tests that leave it as it was."""
    made: list[PostgreSQL] = []

    def database() -> PostgreSQL:
        if not made:
            postgres: Postgres = request.getfixturevalue("postgres")
            made.append(postgres.database())
            run(made[0].uri, *PERSON, "CREATE SCHEMA reports")
        return made[0]

    return database


@pytest.fixture
def untouched(engine_name: str, core: Path, tmp_path: Path, shared_server: Callable[[], PostgreSQL]) -> Base:
    """Give a database that the test must leave as it was."""
    if engine_name == "postgresql":
        return Base(shared_server(), tmp_path)
    return Base(SQLiteFile(Path(shutil.copy(core, tmp_path / "watchword.sqlite"))), tmp_path)


@pytest.fixture
def base(engine_name: str, core: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Base:
    """Give a database of the test's own."""
    if engine_name == "postgresql":
        postgres: Postgres = request.getfixturevalue("postgres")
        location = postgres.database()
        run(location.uri, *PERSON)
        return Base(location, tmp_path)
    return Base(SQLiteFile(Path(shutil.copy(core, tmp_path / "watchword.sqlite"))), tmp_path)


@on_both_engines
def test_each_domain_has_a_line_of_revisions_of_its_own(base: Base) -> None:
    notes, letters = base.namespace(CREATE), base.namespace(sql("CREATE TABLE letters_all (id TEXT)"), "letters")
    assert upgrade(base.location, [notes, letters]) == [
        Pending("notes", None, "0001"),
        Pending("letters", None, "0001"),
    ]
    assert upgrade(base.location, [notes, letters]) == []
    base.namespace(sql("ALTER TABLE notes_pages ADD COLUMN colour TEXT"), number=2)
    assert pending(base.location, [notes, letters]) == [Pending("notes", "0001", "0002")]
    assert upgrade(base.location, [notes, letters]) == [Pending("notes", "0001", "0002")]
    assert base.rows("SELECT * FROM alembic_version_notes") == [("0002",)]
    assert base.rows("SELECT * FROM alembic_version_letters") == [("0001",)]
    assert pending(base.location) == []


def on(engine_names: str, cases: dict[str, str]) -> list[Any]:
    """Return a test's parameters for these engines."""
    return [
        pytest.param(engine_name, body, id=f"{engine_name}: {name}")
        for engine_name in engine_names.split()
        for name, body in cases.items()
    ]


OWN_AFFAIRS = on(
    "sqlite postgresql",
    {
        "rows made of the core's": sql(
            "CREATE TABLE notes_owned (owner TEXT)", "INSERT INTO notes_owned SELECT CAST(id AS TEXT) FROM users"
        ),
        "a table made anew": CREATE
        + 'with op.batch_alter_table("notes_pages") as batch:\n'
        + '    batch.alter_column("text", new_column_name="body")\n',
        "a table renamed": CREATE + sql("ALTER TABLE notes_pages RENAME TO notes_leaves"),
        "a table dropped": CREATE + sql("DROP TABLE notes_pages"),
        "an index": CREATE + sql("CREATE INDEX ix_notes_pages_text ON notes_pages (text)"),
        "a view": CREATE + sql("CREATE VIEW notes_short AS SELECT id FROM notes_pages"),
        "a savepoint": sql("SAVEPOINT a") + CREATE + sql("RELEASE a"),
    },
)
OWN_AFFAIRS += on(
    "sqlite",
    {
        "a key into the core's tables": sql(
            "CREATE TABLE notes_owned (owner TEXT REFERENCES users (id) ON DELETE CASCADE)"
        ),
        "a trigger among its tables": CREATE
        + sql(
            "CREATE TRIGGER notes_t AFTER INSERT ON notes_pages BEGIN DELETE FROM notes_pages WHERE text IS NULL; END"
        ),
        "a full-text index": sql("CREATE VIRTUAL TABLE notes_search USING fts5(text)"),
    },
)

_KEY = "CREATE TABLE notes_owned (number serial PRIMARY KEY, owner uuid REFERENCES users (id) ON DELETE CASCADE)"


def function(body: str, name: str = "notes_f") -> str:
    return f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; RETURN NULL; END $$"


TRIGGER = "CREATE TRIGGER notes_t AFTER INSERT ON notes_pages EXECUTE FUNCTION notes_f()"

OWN_AFFAIRS += on(
    "postgresql",
    {
        "a key into the core's tables": sql(_KEY, "INSERT INTO notes_owned (owner) SELECT id FROM users"),
        "a key into the core's tables, dropped": sql(_KEY, "DROP TABLE notes_owned"),
        "a number drawn": sql("CREATE SEQUENCE notes_numbers", "SELECT nextval('notes_numbers')"),
        "a trigger among its tables": CREATE
        + sql(function("UPDATE notes_pages SET text = (SELECT max(email) FROM users)"), TRIGGER),
        "a full-text index": CREATE
        + sql("CREATE INDEX ON notes_pages USING gin (to_tsvector('simple', coalesce(text, '')))"),
        "a type": sql("CREATE TYPE notes_colour AS ENUM ('red')", "CREATE TABLE notes_pages (colour notes_colour)"),
        "parts of a table": sql(
            "CREATE TABLE notes_pages (id int) PARTITION BY RANGE (id)",
            "CREATE TABLE notes_first PARTITION OF notes_pages FOR VALUES FROM (0) TO (100)",
        ),
        "a table of a moment": sql("CREATE TEMP TABLE notes_moment AS SELECT id FROM users", "SELECT 1"),
        "a savepoint that is returned to": sql("SAVEPOINT a", "DELETE FROM users", "ROLLBACK TO SAVEPOINT a") + CREATE,
    },
)


@pytest.mark.parametrize(("engine_name", "body"), OWN_AFFAIRS)
def test_within_its_namespace_a_migration_is_free(base: Base, body: str) -> None:
    before = base.everything()
    assert base.migrate(body) == [Pending("notes", None, "0001")]
    after = base.everything()
    assert {table: after[table] for table in before if table} == {table: before[table] for table in before if table}
    assert set(before[""]) < set(after[""])


@on_both_engines
def test_what_a_domain_made_before_it_may_change_later(base: Base) -> None:
    base.migrate(CREATE)
    later = sql("ALTER TABLE notes_pages RENAME TO notes_leaves", "CREATE INDEX any_name ON notes_leaves (text)")
    assert base.migrate(later, number=2) == [Pending("notes", "0001", "0002")]


TRESPASSES = {
    "ALTER TABLE users ADD COLUMN nickname TEXT": "users",
    "ALTER TABLE users RENAME TO notes_users": "users",
    "ALTER TABLE users DROP COLUMN disabled_at": "users",
    "INSERT INTO users SELECT * FROM users WHERE false": "users",
    "INSERT INTO user_roles VALUES ('00000000-0000-7000-8000-000000000001', 'admin', 0)": "user_roles",
    "UPDATE users SET password_hash = 'known'": "users",
    "UPDATE alembic_version SET version_num = '0000'": "alembic_version",
    "DELETE FROM sessions": "sessions",
    "DELETE FROM signing_keys WHERE kid = 'no such key'": "signing_keys",
    "DROP INDEX ix_users_display_name_key": "users",
    "CREATE INDEX ix_notes_on_users ON users (created_at)": "users",
    "CREATE TABLE pages (id TEXT)": "pages",
    "CREATE TABLE notespages (id TEXT)": "notespages",
    "CREATE TABLE letters_all (id TEXT)": "letters_all",
    "CREATE TABLE alembic_version_letters (version_num TEXT)": "alembic_version_letters",
    "WITH them AS (SELECT id FROM users) UPDATE users SET email = 'x' WHERE id IN (SELECT id FROM them)": "users",
}
ON_SQLITE = {
    "DROP TABLE users": "users",
    "CREATE TRIGGER notes_spy AFTER INSERT ON users BEGIN SELECT 1; END": "users",
    "REPLACE INTO user_roles VALUES ('1', 'admin', 0)": "user_roles",
}
ON_POSTGRESQL = {
    "DROP TABLE throttles": "throttles",
    "DROP TABLE users CASCADE": "(users|sessions)",  # one went, and a key of the other
    "TRUNCATE setup_tokens": "setup_tokens",
    "GRANT SELECT ON users TO PUBLIC": "users",
    "ALTER TABLE users ALTER email DROP NOT NULL": "users",
    "ALTER TABLE users ALTER disabled_at SET DEFAULT 0": "users",
    "ALTER TABLE users ADD FOREIGN KEY (password_hash) REFERENCES notes_pages (id) NOT VALID": "users",
    "ALTER TABLE sessions DISABLE TRIGGER ALL": "sessions",
    "ALTER TABLE users ENABLE ROW LEVEL SECURITY": "users",
    "CREATE POLICY notes_p ON users USING (false)": "users",
    "CREATE RULE notes_r AS ON DELETE TO users DO INSTEAD NOTHING": "users",
    "CREATE TRIGGER notes_t BEFORE INSERT ON users EXECUTE FUNCTION suppress_redundant_updates_trigger()": "users",
    "CREATE TABLE notes_users () INHERITS (users)": "users",
    "DO $$ BEGIN DELETE FROM users; END $$": "users",
    "COPY setup_tokens FROM PROGRAM 'true'": "setup_tokens",
    "MERGE INTO users u USING users v ON v.id = u.id WHEN MATCHED THEN DELETE": "users",
    'CREATE TABLE "Users" (id TEXT)': "Users",
}


@pytest.mark.parametrize(
    ("engine_name", "statement", "table"),
    [
        pytest.param(engine_name, statement, table, id=f"{engine_name}: {statement}")
        for engine_name, more in {"sqlite": ON_SQLITE, "postgresql": ON_POSTGRESQL}.items()
        for statement, table in {**TRESPASSES, **more}.items()
    ],
)
def test_a_migration_that_touches_what_is_not_its_own_is_refused_whole(
    untouched: Base, statement: str, table: str
) -> None:
    before = untouched.everything()
    with pytest.raises(MigrationRefused, match=f"the domain 'notes' .* touches the table '{table}'") as refused:
        untouched.migrate(CREATE + sql(statement))
    assert str(untouched.folder / "notes") in str(refused.value)
    assert untouched.everything() == before
    assert pending(untouched.location) == []


@on_both_engines
def test_a_batch_over_a_core_table_is_refused(untouched: Base) -> None:
    before = untouched.everything()
    batch = 'with op.batch_alter_table("users") as batch:\n    batch.alter_column("email", nullable=True)\n'
    with pytest.raises(MigrationRefused, match="users"):
        untouched.migrate(batch)
    assert untouched.everything() == before


@on_both_engines
def test_a_trigger_of_its_own_that_fires_into_the_core_is_refused(untouched: Base, engine_name: str) -> None:
    before = untouched.everything()
    trigger = {
        "sqlite": sql("CREATE TRIGGER notes_t AFTER INSERT ON notes_pages BEGIN UPDATE users SET email = 'x'; END"),
        # By a name that is put together as it runs, so that only what it did can tell.
        "postgresql": sql(function("EXECUTE concat('UPDATE us', 'ers SET email = email')"), TRIGGER),
    }
    with pytest.raises(MigrationRefused, match="users"):
        untouched.migrate(CREATE + trigger[engine_name] + sql("INSERT INTO notes_pages VALUES ('1', 'a')"))
    assert untouched.everything() == before


@on_both_engines
def test_a_later_revision_that_is_refused_leaves_the_ones_before(base: Base) -> None:
    base.migrate(CREATE)
    before = base.everything()
    with pytest.raises(MigrationRefused):
        base.migrate(sql("ALTER TABLE notes_pages ADD COLUMN colour TEXT", "DELETE FROM sessions"), number=2)
    assert base.everything() == before


@on_both_engines
def test_a_migration_that_fails_by_itself_leaves_nothing(untouched: Base) -> None:
    before = untouched.everything()
    with pytest.raises(MigrationFailed, match="nowhere"):
        untouched.migrate(CREATE + sql("SELECT * FROM nowhere"))
    assert untouched.everything() == before


@on_both_engines
def test_a_refused_domain_does_not_undo_the_one_before_it(base: Base) -> None:
    letters = base.namespace(sql("CREATE TABLE letters_all (id TEXT)"), "letters")
    with pytest.raises(MigrationRefused, match="'notes'"):
        upgrade(base.location, [letters, base.namespace(sql("DELETE FROM letters_all"))])
    assert base.rows("SELECT version_num FROM alembic_version_letters") == [("0001",)]


SWALLOWED = "try:\n    {}except Exception:\n    pass\n"

WAYS_AROUND = on(
    "sqlite",
    {
        "another database": sql("ATTACH DATABASE 'OTHER' AS other", "CREATE TABLE other.notes_pages (id TEXT)"),
        "the same database by another name": sql("ATTACH DATABASE 'SELF' AS other", "DELETE FROM other.users"),
        "a trigger on a view of a foreign name": sql(
            "CREATE VIEW everybody AS SELECT * FROM users",
            "CREATE TRIGGER notes_t INSTEAD OF INSERT ON everybody BEGIN SELECT 1; END",
        ),
        "a trigger that waits": CREATE
        + sql("CREATE TRIGGER notes_t AFTER DELETE ON notes_pages BEGIN DELETE FROM sessions; END"),
        "a trigger that waits for one column": CREATE
        + sql("CREATE TRIGGER notes_t AFTER UPDATE OF text ON notes_pages BEGIN DELETE FROM sessions; END"),
        "a trigger that waits on a view": sql(
            "CREATE VIEW notes_v AS SELECT id FROM users",
            "CREATE TRIGGER notes_t INSTEAD OF INSERT ON notes_v BEGIN DELETE FROM sessions; END",
        ),
        "a temporary trigger": sql("CREATE TEMP TRIGGER notes_t AFTER INSERT ON main.users BEGIN SELECT 1; END"),
        "the definitions themselves": sql(
            "PRAGMA writable_schema = ON",
            "UPDATE sqlite_master SET sql = replace(sql, 'disabled_at', 'enabled_at') WHERE name = 'users'",
        ),
        "an index struck from the definitions": sql(
            "PRAGMA writable_schema = ON", "DELETE FROM sqlite_master WHERE name = 'ix_users_display_name_key'"
        ),
        "a virtual table of a foreign name": sql("CREATE VIRTUAL TABLE search USING fts5(text)"),
        "the file's own version": sql("PRAGMA user_version = 7"),
    },
)
WAYS_AROUND += on(
    "sqlite postgresql",
    {
        "a view of a foreign name": sql("CREATE VIEW everybody AS SELECT * FROM users"),
        "a temporary table before a core table": sql("CREATE TEMP TABLE users (id TEXT)"),
        "a table renamed out of the namespace": CREATE + sql("ALTER TABLE notes_pages RENAME TO pages"),
        "what comes before is committed": CREATE + sql("COMMIT", "BEGIN", "DELETE FROM users"),
        "the transaction is given up": sql("ROLLBACK", "BEGIN") + CREATE,
        "the transaction is ended from Python": CREATE + "op.get_bind().commit()\n",
        "the refusal is swallowed": SWALLOWED.format(sql("DROP INDEX ix_users_display_name_key")) + CREATE,
        "the refused end is swallowed": CREATE + SWALLOWED.format(sql("COMMIT")),
    },
)
WAYS_AROUND += on(
    "postgresql",
    {
        "another schema": sql("CREATE SCHEMA other", "CREATE TABLE other.notes_pages (id TEXT)"),
        "a schema that is there": sql("CREATE TABLE reports.notes_pages (id TEXT)"),
        "a trigger that waits": CREATE + sql(function('DELETE FROM ONLY public . "sessions"'), TRIGGER),
        "a rule that waits": CREATE + sql("CREATE RULE notes_r AS ON DELETE TO notes_pages DO ALSO DELETE FROM users"),
        "a function of a foreign name": sql(function("PERFORM 1", name="touch")),
        "a type of a foreign name": sql("CREATE TYPE colour AS ENUM ('red')"),
        "a sequence of a foreign name": sql("CREATE SEQUENCE numbers"),
        "a comment before the end": CREATE + sql("/* the first half */ -- is done\n END"),
        "the transaction is prepared for another": CREATE + sql("PREPARE TRANSACTION 'notes'"),
        "the transaction is chained": CREATE + sql("COMMIT AND CHAIN", "DELETE FROM users"),
        "rows taken for a while": CREATE
        + sql("CREATE TEMP TABLE notes_kept AS SELECT * FROM setup_tokens", "DELETE FROM setup_tokens")
        + sql("INSERT INTO setup_tokens SELECT * FROM notes_kept"),
    },
)


@pytest.mark.parametrize(("engine_name", "body"), WAYS_AROUND)
def test_a_way_around_the_fence_is_refused(untouched: Base, body: str, tmp_path: Path) -> None:
    before, other = untouched.everything(), tmp_path / "other.sqlite"
    own = getattr(untouched.location, "path", "")
    with pytest.raises(MigrationRefused):
        untouched.migrate(body.replace("OTHER", str(other)).replace("SELF", str(own)))
    assert untouched.everything() == before
    assert not other.exists()


def test_the_fence_leaves_the_files_own_version_alone(core: Path) -> None:
    with closing(sqlite3.connect(core)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (0,)


def test_what_others_do_meanwhile_is_no_trespass_of_the_domains(postgres: Postgres, tmp_path: Path) -> None:
    location = postgres.database()
    run(location.uri, *PERSON, "CREATE SCHEMA reports", "CREATE TABLE reports.sums AS SELECT 1 AS sum")
    acts = ("TRUNCATE reports.sums", "CREATE TABLE reports.more (id int)", "DELETE FROM sessions")
    meanwhile = f"from tests.postgres import run\nrun({location.uri!r}, *{acts!r})\n"
    notes = Namespace("notes", revision(tmp_path / "notes", CREATE + meanwhile))
    assert upgrade(location, [notes]) == [Pending("notes", None, "0001")]
    assert run(location.uri, "SELECT * FROM sessions") == []


def test_each_case_has_a_name_of_its_own() -> None:
    for cases in (OWN_AFFAIRS, WAYS_AROUND):
        assert len({case.id for case in cases}) == len(cases)
