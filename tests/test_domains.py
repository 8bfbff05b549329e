"""Domains: what a developer may add, and what the build and the migrations refuse."""

import base64
import shutil
import sqlite3
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import indent
from typing import Annotated, Any, Self

import pytest
import strawberry
from sqlalchemy import Column, MetaData, Table, Text, func, insert, literal_column, select
from strawberry import relay
from strawberry.permission import BasePermission
from structlog.testing import capture_logs

from auth import Auth
from auth.refusals import NotFound
from schema import (
    BadInput,
    Domain,
    DomainRefused,
    Info,
    IsAuthenticated,
    Public,
    UnguardedField,
    build_schema,
    has_role,
    has_scope,
)
from server import create_app
from settings import WrongSettings, load_settings
from store import Database, Statement, StoreUnavailable
from store.fence import MigrationRefused
from store.locations import SQLiteFile
from store.migrate import Pending, pending, upgrade
from store.namespaces import Namespace
from tests.house import House, OpenHouse

HERE = __name__

# --- What the build refuses ------------------------------------------------------------------------------------------


@strawberry.type
class Greeting:
    @strawberry.field(permission_classes=[Public], description="Says hello.")
    def greeting(self) -> str:
        return "hello"


def build(*domains: Domain[Any]) -> None:
    create_app(load_settings(), domains)


@pytest.mark.parametrize("root", ["query", "mutation", "subscription"])
def test_a_root_field_without_a_permission_class_does_not_build(root: str) -> None:
    @strawberry.type
    class Bare:
        @strawberry.field(description="Left open by mistake.")
        def left_open(self) -> str:
            return "open"

    declared: dict[str, Any] = {root: Bare}
    with pytest.raises(UnguardedField) as refused:
        build(Domain(name="notes", **declared))
    assert f"{root.title()}.leftOpen" in str(refused.value)
    assert f"{HERE}.{Bare.__qualname__}" in str(refused.value)


def test_an_attribute_is_a_root_field_too() -> None:
    @strawberry.type
    class Bare:
        left_open: str = "open"

    with pytest.raises(UnguardedField, match=r"Query\.leftOpen"):
        build(Domain(name="notes", query=Bare))


def test_a_permission_class_that_is_not_a_guard_does_not_count() -> None:
    class LetsEverybodyIn(BasePermission):
        def has_permission(self, source: Any, info: Any, **arguments: Any) -> bool:
            del source, info, arguments
            return True

    @strawberry.type
    class Query:
        @strawberry.field(permission_classes=[LetsEverybodyIn], description="The SDL could not say who may.")
        def half_open(self) -> str:
            return "open"

    with pytest.raises(UnguardedField, match=r"Query\.halfOpen"):
        build(Domain(name="notes", query=Query))


def test_a_field_that_shadows_one_of_the_core_is_refused() -> None:
    @strawberry.type
    class Mutation:
        @strawberry.mutation(permission_classes=[Public], description="Collects passwords.")
        def login(self, password: str) -> str:
            return password

    with pytest.raises(DomainRefused) as refused:
        build(Domain(name="notes", mutation=Mutation))
    for named in ("Mutation.login", f"{HERE}.{Mutation.__qualname__}", "schema.login.LoginMutation"):
        assert named in str(refused.value)


def test_a_field_shadows_by_the_name_that_it_has_in_graphql() -> None:
    @strawberry.type
    class Query:
        @strawberry.field(name="viewer", permission_classes=[Public], description="Says that you are somebody else.")
        def harmless(self) -> str:
            return "you"

    with pytest.raises(DomainRefused, match=r"Query\.viewer"):
        build(Domain(name="notes", query=Query))


def test_two_domains_cannot_have_a_field_of_one_name() -> None:
    @strawberry.type
    class AnotherGreeting:
        @strawberry.field(permission_classes=[Public], description="Says hello as well.")
        def greeting(self) -> str:
            return "hello, hello"

    with pytest.raises(DomainRefused) as refused:
        build(Domain(name="notes", query=Greeting), Domain(name="letters", query=AnotherGreeting))
    for named in ("Query.greeting", f"{HERE}.Greeting", f"{HERE}.{AnotherGreeting.__qualname__}"):
        assert named in str(refused.value)


def test_two_domains_cannot_have_one_name() -> None:
    with pytest.raises(DomainRefused, match="two domains are called 'notes'"):
        build(Domain(name="notes", query=Greeting), Domain(name="notes"))


@pytest.mark.parametrize("name", ["", "Notes", "my-notes", "my_notes", "1notes", "nötes", "notes\n", "a b", "../notes"])
def test_a_name_that_is_not_one_lower_case_word_is_refused(name: str) -> None:
    with pytest.raises(DomainRefused, match="lower-case word"):
        Domain(name=name)


@pytest.mark.parametrize("name", ["users", "user", "sessions", "profile", "signing", "core", "alembic", "sqlite"])
def test_a_name_that_the_cores_tables_or_scopes_begin_with_is_refused(name: str) -> None:
    # `user` would own the table user_roles, `users` could grant users:write to everybody, `core` would have no fence.
    with pytest.raises(DomainRefused, match=name):
        Domain(name=name)


@pytest.mark.parametrize(
    ("declared", "sentence"),
    [
        ({"scopes": {"letters:read": "Read letters"}}, "'letters:read'"),
        ({"scopes": {"users:write": "Change accounts"}}, "'users:write'"),
        ({"scopes": {"notesread:all": "Read notes"}}, "'notesread:all'"),
        ({"scopes": {"notes:": "Read notes"}}, "'notes:'"),
        ({"scopes": {"notes:Read Aloud": "Read notes"}}, "'notes:Read Aloud'"),
        ({"scopes": {"notes:read": "  "}}, "no sentence"),
        ({"scopes": {"notes:read": "Read notes"}, "grants": {"king": ["notes:read"]}}, "'king'"),
        ({"scopes": {"notes:read": "Read notes"}, "grants": {"user": ["notes:write"]}}, "notes:write"),
        ({"grants": {"user": ["users:write"]}}, "users:write"),
    ],
)
def test_a_scope_or_a_grant_that_is_not_the_domains_to_give_is_refused(declared: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DomainRefused) as refused:
        Domain(name="notes", **declared)
    assert sentence in str(refused.value)


def test_a_guard_that_wants_a_scope_nobody_declares_is_refused() -> None:
    @strawberry.type
    class Query:
        @strawberry.field(permission_classes=[has_scope("notes:raed")], description="Nobody could ever read it.")
        def notes(self) -> str:
            return "a note"

    with pytest.raises(DomainRefused) as refused:
        build(Domain(name="notes", query=Query, scopes={"notes:read": "Read notes"}))
    for named in ("notes", "'notes:raed'", f"{HERE}.{Query.__qualname__}"):
        assert named in str(refused.value)


def test_a_nested_guard_that_wants_a_scope_nobody_declares_is_refused() -> None:
    @strawberry.type(description="A note.")
    class Note:
        secret: str = strawberry.field(permission_classes=[has_scope("notes:raed")], description="What it hides.")

    @strawberry.type
    class Query:
        @strawberry.field(permission_classes=[Public], description="The note of the day.")
        def note(self) -> Note:
            return Note(secret="b")

    with pytest.raises(DomainRefused) as refused:
        build(Domain(name="notes", query=Query, scopes={"notes:read": "Read notes"}))
    for named in ("Note.secret", "'notes:raed'", f"{HERE}.{Note.__qualname__}"):
        assert named in str(refused.value)


def test_a_type_that_bears_the_name_of_a_core_type_is_refused() -> None:
    @strawberry.type(description="Not the core's.")
    class User:
        name: str = strawberry.field(description="What they are called.")

    @strawberry.type
    class Query:
        @strawberry.field(permission_classes=[Public], description="Somebody.")
        def somebody(self) -> User:
            return User(name="x")

    with pytest.raises(DomainRefused) as refused:
        build(Domain(name="notes", query=Query))
    for named in ("schema.users.User", f"{HERE}.{User.__qualname__}"):
        assert named in str(refused.value)


def test_a_class_that_is_no_strawberry_type_is_refused() -> None:
    with pytest.raises(DomainRefused, match=f"{HERE}.Notes"):
        build(Domain(name="notes", query=Notes))


NOT_A_DOMAIN = Greeting


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nowhere.at_all:notes", "No module named 'nowhere'"),
        ("tests.test_domains:NOTHING", "NOTHING"),
        ("tests.test_domains:NOT_A_DOMAIN", "not a Domain"),
        ("tests.test_domains:HERE", "not a Domain"),
        (".books:notes", "relative"),
    ],
)
def test_a_setting_that_names_no_domain_is_refused(name: str, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHWORD_DOMAINS", name)
    with pytest.raises(DomainRefused) as refused:
        build()
    assert "WATCHWORD_DOMAINS" in str(refused.value)
    assert name in str(refused.value)
    assert sentence in str(refused.value)


@pytest.mark.parametrize("name", ["tests.test_domains", "tests.test_domains:", ":NOTES", "a:b:c"])
def test_a_setting_that_names_no_attribute_is_a_fault_of_the_settings(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHWORD_DOMAINS", name)
    with pytest.raises(WrongSettings, match="WATCHWORD_DOMAINS"):
        build()


# --- What the schema then says ---------------------------------------------------------------------------------------


def test_nested_fields_print_who_may() -> None:
    @strawberry.type(description="A note.")
    class Note:
        text: str = strawberry.field(description="What it says.")
        secret: str = strawberry.field(permission_classes=[has_scope("notes:read")], description="What it hides.")

        @strawberry.field(permission_classes=[IsAuthenticated, has_role("admin")], description="Who looked at it.")
        def readers(self) -> list[str]:
            return []

    @strawberry.type
    class Query:
        @strawberry.field(permission_classes=[Public], description="The note of the day.")
        def note(self) -> Note:
            return Note(text="a", secret="b")

    sdl = build_schema([Domain(name="notes", query=Query, scopes={"notes:read": "Read notes"})]).schema.as_str()
    assert '  secret: String! @hasScope(scope: "notes:read")\n' in sdl
    assert '  readers: [String!]! @isAuthenticated @hasRole(role: "admin")\n' in sdl
    assert "  text: String!\n" in sdl
    assert "  note: Note! @public\n" in sdl


async def test_a_nested_field_is_refused_alone(open_house: OpenHouse) -> None:
    @strawberry.type(description="A note.")
    class Note:
        text: str = strawberry.field(description="What it says.")
        secret: str | None = strawberry.field(permission_classes=[IsAuthenticated], description="What it hides.")

    @strawberry.type
    class Query:
        @strawberry.field(permission_classes=[Public], description="The note of the day.")
        def note(self) -> Note:
            return Note(text="a", secret="b")

    house = await open_house(domains=[Domain(name="notes", query=Query)])
    answer = await house.client().ask("{ note { text secret } }")
    assert answer.code == "UNAUTHENTICATED"
    assert answer.body["data"] == {"note": {"text": "a", "secret": None}}
    ada = await house.person("ada")
    assert (await ada.ask("{ note { secret } }")).data == {"note": {"secret": "b"}}


async def test_a_role_holds_what_the_domain_grants_and_administrators_hold_all(open_house: OpenHouse) -> None:
    scopes = {"notes:read": "Read notes", "notes:burn": "Burn notes"}
    house = await open_house(domains=[Domain(name="notes", scopes=scopes, grants={"user": ["notes:read"]})])
    ada, grace = await house.person("ada"), await house.person("grace", administrator=True)
    held = [set((await who.ask("{ viewer { scopes } }")).data["viewer"]["scopes"]) for who in (ada, grace)]
    assert [set(scopes) & of for of in held] == [{"notes:read"}, {"notes:read", "notes:burn"}]


async def test_a_node_may_be_found_without_waiting(open_house: OpenHouse) -> None:
    @strawberry.type(description="A note.")
    class Note(relay.Node):
        id: relay.NodeID[str]

        @classmethod
        def resolve_nodes(  # type: ignore[override]
            cls, *, info: Info, node_ids: Iterable[str], required: bool = False
        ) -> list[Self | None]:
            del info, required
            return [cls(id=node_id) if node_id == "1" else None for node_id in node_ids]

    house = await open_house(domains=[Domain(name="notes", types=[Note])])
    ada = await house.person("ada")
    one, two = (base64.b64encode(f"Note:{number}".encode()).decode() for number in (1, 2))
    answer = await ada.ask(f'{{ one: node(id: "{one}") {{ __typename }} two: node(id: "{two}") {{ __typename }} }}')
    assert answer.data == {"one": {"__typename": "Note"}, "two": None}


# --- Migrations ------------------------------------------------------------------------------------------------------

CREATE = 'op.execute("CREATE TABLE notes_pages (id TEXT PRIMARY KEY, text TEXT)")\n'

REVISION = """
import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = {below!r}
branch_labels = None
depends_on = None


def upgrade():
{body}
"""


def revision(folder: Path, body: str, number: int = 1) -> Path:
    """Write a revision into a folder of migrations, and return the folder."""
    folder.mkdir(exist_ok=True)
    below = f"{number - 1:04}" if number > 1 else None
    text = REVISION.format(revision=f"{number:04}", below=below, body=indent(body, "    "))
    (folder / f"{number:04}_notes.py").write_text(text)
    return folder


def sql(statement: str) -> str:
    return f"op.execute({statement!r})\n"


@dataclass(frozen=True)
class File:
    """A database that has the core's tables and one person, and a folder for a domain's migrations."""

    path: Path

    def migrate(self, body: str, name: str = "notes", number: int = 1) -> list[Pending]:
        return upgrade(SQLiteFile(self.path), [self.namespace(body, name, number)])

    def namespace(self, body: str, name: str = "notes", number: int = 1) -> Namespace:
        return Namespace(name, revision(self.path.parent / name, body, number))

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(query).fetchall()

    def everything(self) -> dict[str, list[tuple[Any, ...]]]:
        """Return what is in the file: every definition, and every row of every table."""
        definitions = self.rows("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name")
        tables = [name for kind, name, *_ in definitions if kind == "table"]
        return {"": definitions} | {table: self.rows(f'SELECT * FROM "{table}"') for table in tables}  # noqa: S608


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("core") / "core.sqlite"
    upgrade(SQLiteFile(path))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO users VALUES ('1', 'a@b', 'a@b', 'Ada', 'ada', 'hash', 0, 0, NULL)")
        connection.execute(
            "INSERT INTO sessions (id, user_id, secret_digest, authentication_methods, authenticated_at,"
            " created_at, last_seen_at, expires_at) VALUES ('1', '1', x'00', 'pwd', 0, 0, 0, 0)"
        )
        connection.commit()
        connection.execute("PRAGMA journal_mode = DELETE")
    return path


@pytest.fixture
def file(core: Path, tmp_path: Path) -> File:
    return File(Path(shutil.copy(core, tmp_path / "watchword.sqlite")))


def test_each_domain_has_a_line_of_revisions_of_its_own(file: File) -> None:
    notes, letters = file.namespace(CREATE), file.namespace(sql("CREATE TABLE letters_all (id TEXT)"), "letters")
    assert upgrade(SQLiteFile(file.path), [notes, letters]) == [
        Pending("notes", None, "0001"),
        Pending("letters", None, "0001"),
    ]
    assert upgrade(SQLiteFile(file.path), [notes, letters]) == []
    file.namespace(sql("ALTER TABLE notes_pages ADD COLUMN colour TEXT"), number=2)
    assert pending(SQLiteFile(file.path), [notes, letters]) == [Pending("notes", "0001", "0002")]
    assert upgrade(SQLiteFile(file.path), [notes, letters]) == [Pending("notes", "0001", "0002")]
    assert file.rows("SELECT * FROM alembic_version_notes") == [("0002",)]
    assert file.rows("SELECT * FROM alembic_version_letters") == [("0001",)]
    assert pending(SQLiteFile(file.path)) == []


OWN_AFFAIRS = {
    "a key into the core's tables": sql(
        "CREATE TABLE notes_owned (owner TEXT REFERENCES users (id) ON DELETE CASCADE)"
    ),
    "rows made of the core's": sql("CREATE TABLE notes_owned (owner TEXT)")
    + sql("INSERT INTO notes_owned SELECT id FROM users"),
    "a table made anew": CREATE
    + 'with op.batch_alter_table("notes_pages") as batch:\n    batch.alter_column("text", new_column_name="body")\n',
    "a table renamed": CREATE + sql("ALTER TABLE notes_pages RENAME TO notes_leaves"),
    "a table dropped": CREATE + sql("DROP TABLE notes_pages"),
    "an index": CREATE + sql("CREATE INDEX ix_notes_pages_text ON notes_pages (text)"),
    "a view": CREATE + sql("CREATE VIEW notes_short AS SELECT id FROM notes_pages"),
    "a trigger among its tables": CREATE
    + sql("CREATE TRIGGER notes_t AFTER INSERT ON notes_pages BEGIN DELETE FROM notes_pages WHERE text IS NULL; END"),
    "a full-text index": sql("CREATE VIRTUAL TABLE notes_search USING fts5(text)"),
    "a savepoint": sql("SAVEPOINT a") + CREATE + sql("RELEASE a"),
}


@pytest.mark.parametrize("body", OWN_AFFAIRS.values(), ids=OWN_AFFAIRS)
def test_within_its_namespace_a_migration_is_free(file: File, body: str) -> None:
    before = file.everything()
    assert file.migrate(body) == [Pending("notes", None, "0001")]
    after = file.everything()
    assert {table: after[table] for table in before if table} == {table: before[table] for table in before if table}
    assert set(before[""]) < set(after[""])


TRESPASSES = {
    "ALTER TABLE users ADD COLUMN nickname TEXT": "users",
    "ALTER TABLE users RENAME TO notes_users": "users",
    "ALTER TABLE users DROP COLUMN disabled_at": "users",
    "INSERT INTO users SELECT * FROM users WHERE false": "users",
    "INSERT INTO users VALUES ('2', 'e', 'e', 'E', 'e', 'hash', 0, 0, NULL)": "users",
    "INSERT INTO user_roles VALUES ('1', 'admin', 0)": "user_roles",
    "UPDATE users SET password_hash = 'known'": "users",
    "UPDATE alembic_version SET version_num = '0000'": "alembic_version",
    "DELETE FROM sessions": "sessions",
    "DELETE FROM signing_keys WHERE kid = 'no such key'": "signing_keys",
    "DROP TABLE users": "users",
    "DROP INDEX ix_users_display_name_key": "users",
    "CREATE INDEX ix_notes_on_users ON users (created_at)": "users",
    "CREATE TRIGGER notes_spy AFTER INSERT ON users BEGIN SELECT 1; END": "users",
    "CREATE TABLE pages (id TEXT)": "pages",
    "CREATE TABLE notespages (id TEXT)": "notespages",
    "CREATE TABLE letters_all (id TEXT)": "letters_all",
    "CREATE TABLE alembic_version_letters (version_num TEXT)": "alembic_version_letters",
    "WITH them AS (SELECT id FROM users) UPDATE users SET email = 'x' WHERE id IN them": "users",
    "REPLACE INTO user_roles VALUES ('1', 'admin', 0)": "user_roles",
}


@pytest.mark.parametrize(("statement", "table"), TRESPASSES.items(), ids=TRESPASSES)
def test_a_migration_that_touches_what_is_not_its_own_is_refused_whole(file: File, statement: str, table: str) -> None:
    before = file.everything()
    with pytest.raises(MigrationRefused) as refused:
        file.migrate(CREATE + sql(statement))
    assert f"the table {table!r}" in str(refused.value)
    assert "the domain 'notes'" in str(refused.value)
    assert str(file.path.parent / "notes") in str(refused.value)
    assert file.everything() == before
    assert pending(SQLiteFile(file.path)) == []


def test_a_batch_over_a_core_table_is_refused(file: File) -> None:
    before = file.everything()
    with pytest.raises(MigrationRefused, match="users"):
        file.migrate('with op.batch_alter_table("users") as batch:\n    batch.alter_column("email", nullable=True)\n')
    assert file.everything() == before


def test_a_trigger_of_its_own_that_fires_into_the_core_is_refused(file: File) -> None:
    before = file.everything()
    trigger = "CREATE TRIGGER notes_t AFTER INSERT ON notes_pages BEGIN UPDATE users SET email = 'x'; END"
    with pytest.raises(MigrationRefused, match="users"):
        file.migrate(CREATE + sql(trigger) + sql("INSERT INTO notes_pages VALUES ('1', 'a')"))
    assert file.everything() == before


def test_a_later_revision_that_is_refused_leaves_the_ones_before(file: File) -> None:
    file.migrate(CREATE)
    before = file.everything()
    with pytest.raises(MigrationRefused):
        file.migrate(sql("ALTER TABLE notes_pages ADD COLUMN colour TEXT") + sql("DELETE FROM sessions"), number=2)
    assert file.everything() == before


def test_a_migration_that_fails_by_itself_leaves_nothing(file: File) -> None:
    before = file.everything()
    with pytest.raises(Exception, match="no such table: nowhere"):
        file.migrate(CREATE + sql("SELECT * FROM nowhere"))
    assert file.everything() == before


def test_a_refused_domain_does_not_undo_the_one_before_it(file: File) -> None:
    letters = file.namespace(sql("CREATE TABLE letters_all (id TEXT)"), "letters")
    with pytest.raises(MigrationRefused, match="'notes'"):
        upgrade(SQLiteFile(file.path), [letters, file.namespace(sql("DELETE FROM letters_all"))])
    assert file.rows("SELECT version_num FROM alembic_version_letters") == [("0001",)]


async def test_a_domain_whose_migration_is_refused_is_not_served(tmp_path: Path) -> None:
    folder = revision(tmp_path / "notes", CREATE + sql("DELETE FROM users"))
    house = House(tmp_path / "house", domains=[Domain(name="notes", migrations=folder)])
    with pytest.raises(MigrationRefused, match="'users'"):
        await house.__aenter__()
    async with House(tmp_path / "house") as without:
        assert (await without.person("ada")).user_id


WAYS_AROUND = {
    "another database": sql("ATTACH DATABASE 'OTHER' AS other") + sql("CREATE TABLE other.notes_pages (id TEXT)"),
    "the same database by another name": sql("ATTACH DATABASE 'SELF' AS other") + sql("DELETE FROM other.users"),
    "a view of a foreign name": sql("CREATE VIEW everybody AS SELECT * FROM users"),
    "a trigger on a view of a foreign name": sql("CREATE VIEW everybody AS SELECT * FROM users")
    + sql("CREATE TRIGGER notes_t INSTEAD OF INSERT ON everybody BEGIN SELECT 1; END"),
    "a trigger that waits": CREATE
    + sql("CREATE TRIGGER notes_t AFTER DELETE ON notes_pages BEGIN DELETE FROM sessions; END"),
    "a trigger that waits for one column": CREATE
    + sql("CREATE TRIGGER notes_t AFTER UPDATE OF text ON notes_pages BEGIN DELETE FROM sessions; END"),
    "a trigger that waits on a view": sql("CREATE VIEW notes_v AS SELECT id FROM users")
    + sql("CREATE TRIGGER notes_t INSTEAD OF INSERT ON notes_v BEGIN DELETE FROM sessions; END"),
    "a temporary trigger": sql("CREATE TEMP TRIGGER notes_t AFTER INSERT ON main.users BEGIN SELECT 1; END"),
    "a temporary table before a core table": sql("CREATE TEMP TABLE users (id TEXT)"),
    "the definitions themselves": sql("PRAGMA writable_schema = ON")
    + sql("UPDATE sqlite_master SET sql = replace(sql, 'disabled_at', 'enabled_at') WHERE name = 'users'"),
    "an index struck from the definitions": sql("PRAGMA writable_schema = ON")
    + sql("DELETE FROM sqlite_master WHERE name = 'ix_users_display_name_key'"),
    "a table renamed out of the namespace": CREATE + sql("ALTER TABLE notes_pages RENAME TO pages"),
    "a virtual table of a foreign name": sql("CREATE VIRTUAL TABLE search USING fts5(text)"),
    "what comes before is committed": CREATE + sql("COMMIT") + sql("BEGIN") + sql("DELETE FROM users"),
    "the transaction is given up": sql("ROLLBACK") + sql("BEGIN") + CREATE,
    "the refusal is swallowed": f"try:\n    {sql('DROP TABLE users')}except Exception:\n    pass\n" + CREATE,
    "the file's own version": sql("PRAGMA user_version = 7"),
}


@pytest.mark.parametrize(
    "body",
    [pytest.param(body, id=name) for name, body in WAYS_AROUND.items()],
)
def test_a_way_around_the_fence_is_refused(file: File, body: str, tmp_path: Path) -> None:
    before, other = file.everything(), tmp_path / "other.sqlite"
    with pytest.raises(MigrationRefused):
        file.migrate(body.replace("OTHER", str(other)).replace("SELF", str(file.path)))
    assert file.everything() == before
    assert file.rows("PRAGMA user_version") == [(0,)]
    assert not other.exists()


# --- Running ---------------------------------------------------------------------------------------------------------

pages = Table("notes_pages", MetaData(), Column("id", Text, primary_key=True), Column("text", Text))
ADD_PAGE = Statement(insert(pages))
COUNT_PAGES = Statement(select(func.count(literal_column("*"))).select_from(pages))

DEFECT = "the colour of the defect"


class Notes:
    """A service that keeps pages, and says whether it is open."""

    def __init__(self, auth: Auth) -> None:
        self.auth = auth
        self.is_open = True

    @property
    def database(self) -> Database:
        return self.auth.database

    async def count(self) -> int:
        row = await self.database.one(COUNT_PAGES)
        assert row is not None
        return int(row[0])

    async def add_two(self, *, failing_with: Exception | None) -> None:
        async with self.database.transaction() as tx:
            await tx.run(ADD_PAGE, id=f"{await self.count()}-1", text="first")
            if failing_with is not None:
                raise failing_with
            await tx.run(ADD_PAGE, id=f"{await self.count()}-2", text="second")


@asynccontextmanager
async def open_notes(auth: Auth) -> AsyncIterator[Notes]:
    service = Notes(auth)
    try:
        yield service
    finally:
        await service.count()  # the database is still there
        service.is_open = False


notes = Domain(name="notes", lifespan=open_notes)

FAILURES = {
    "defect": RuntimeError(DEFECT),
    "bad input": BadInput("`failure` is not accepted."),
    "not found": NotFound("There is no such page."),
}


@strawberry.type
class AddPages:
    @strawberry.mutation(permission_classes=[IsAuthenticated], description="Adds two pages, or fails between them.")
    async def add_pages(
        self, info: Info, failure: Annotated[str | None, strawberry.argument(description="How to fail.")] = None
    ) -> int | None:
        service = notes.of(info)
        await service.add_two(failing_with=FAILURES[failure] if failure else None)
        return await service.count()


@pytest.fixture
def notebook(tmp_path: Path) -> Domain[Notes]:
    return replace(notes, mutation=AddPages, migrations=revision(tmp_path / "notes", CREATE))


ADD_PAGES = "mutation Add($failure: String) { addPages(failure: $failure) }"


async def test_a_service_is_open_from_the_first_request_to_the_last(tmp_path: Path, notebook: Domain[Notes]) -> None:
    opened: list[Notes] = []

    @asynccontextmanager
    async def observed(auth: Auth) -> AsyncIterator[Notes]:
        async with open_notes(auth) as service:
            opened.append(service)
            yield service

    async with House(tmp_path / "house", domains=[replace(notebook, lifespan=observed)]) as house:
        ada = await house.person("ada")
        assert (await ada.ask(ADD_PAGES)).data == {"addPages": 2}
        (service,) = opened
        assert service.is_open
        assert service.auth is house.auth
        assert await service.count() == 2
    assert not service.is_open
    with pytest.raises(StoreUnavailable):
        await service.count()


async def test_a_service_that_does_not_open_stops_the_start_and_closes_what_was_open(
    tmp_path: Path, notebook: Domain[Notes]
) -> None:
    opened: list[Notes] = []

    @asynccontextmanager
    async def first(auth: Auth) -> AsyncIterator[Notes]:
        async with open_notes(auth) as service:
            opened.append(service)
            yield service

    @asynccontextmanager
    async def failing(auth: Auth) -> AsyncIterator[None]:
        assert auth.rights
        raise ConnectionError("the other machine does not answer")
        yield

    house = House(
        tmp_path / "house", domains=[replace(notebook, lifespan=first), Domain(name="letters", lifespan=failing)]
    )
    with pytest.raises(ConnectionError, match="the other machine"):
        await house.__aenter__()
    (service,) = opened
    assert not service.is_open
    with pytest.raises(StoreUnavailable):
        await service.count()


@pytest.mark.parametrize(
    ("failure", "code", "message"),
    [
        ("defect", "INTERNAL", "Something went wrong on our side."),
        ("bad input", "BAD_USER_INPUT", "`failure` is not accepted."),
        ("not found", "NOT_FOUND", "There is no such page."),
    ],
)
async def test_an_act_that_fails_leaves_nothing_and_a_defect_is_masked(
    open_house: OpenHouse, notebook: Domain[Notes], failure: str, code: str, message: str
) -> None:
    house = await open_house(domains=[notebook])
    ada = await house.person("ada")
    with capture_logs() as logged:
        answer = await ada.ask(ADD_PAGES, {"failure": failure})
    request_id = answer.response.headers["x-request-id"]
    assert answer.body["data"] == {"addPages": None}
    assert answer.refusal == {"code": code, "requestId": request_id}
    assert answer.body["errors"][0]["message"] == message
    assert DEFECT not in answer.response.text
    told = [(line["request_id"], str(line["exc_info"])) for line in logged if line["event"] == "internal_error"]
    assert told == ([(request_id, DEFECT)] if failure == "defect" else [])
    assert (await ada.ask(ADD_PAGES)).data == {"addPages": 2}
