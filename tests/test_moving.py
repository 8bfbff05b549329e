"""Moving an installation to another database: everybody is still logged in, every row is there, or nothing happened."""

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from examples.bookshop import bookshop
from store import StoreUnavailable
from store.locations import Location, PostgreSQL, SQLiteFile
from store.migrate import upgrade
from store.moving import Moved, MoveRefused, move
from store.moving_ends import opened
from store.namespaces import Namespace
from store.tables import metadata
from tests.commands import refused, runner, succeeded
from tests.house import PASSWORD, SIGN_UP, WHO_AM_I, Client, House, Person
from tests.postgres import Postgres, of_server, run
from tests.revisions import CREATE, revision, sql

BOOKS = Namespace("books", bookshop.migrations or Path())

LOG_IN_BY_BODY = """
mutation($input: LoginInput!) { login(input: $input) { ... on LoginSucceeded { accessToken refreshToken } } }
"""
REFRESH = """
mutation($input: RefreshInput!) { refresh(input: $input) { ... on RefreshSucceeded { viewer { id } refreshToken } } }
"""
CREATE_TOKEN = """
mutation { createApiToken(input: { name: "script", scopes: ["profile:read", "books:read"] }) {
  ... on CreateApiTokenSucceeded { token }
} }
"""
CREATE_ACCOUNT = """
mutation { createServiceAccount(input: { name: "robot", scopes: ["profile:read"] }) {
  ... on CreateServiceAccountSucceeded { serviceAccount { id clientId } }
} }
"""
CREATE_SECRET = """
mutation($id: ID!) { createServiceAccountSecret(input: { id: $id }) {
  ... on CreateServiceAccountSecretSucceeded { secret }
} }
"""
ADD_BOOK = """
mutation { addBook(input: { title: "Moving Day", author: "Ada" }) { ... on BookAdded { book { id } } } }
"""
SHELVE = "mutation($id: ID!) { shelveBook(input: { bookId: $id, note: null }) { shelvedBook { id } } }"
SHELF = "{ shelf(first: 10) { nodes { book { title } } } }"
WHO = "{ viewer { kind scopes } }"

ROUTES = [("sqlite", "postgresql"), ("postgresql", "sqlite"), ("postgresql", "postgresql")]

Where = Callable[..., Location]


@pytest.fixture
def somewhere(tmp_path: Path, request: pytest.FixtureRequest) -> Where:
    """Return what says where a new database is: with nothing in it, or with tables."""
    made: list[Location] = []

    def place(engine_name: str, *, migrated: bool = False) -> Location:
        location: Location = SQLiteFile(tmp_path / f"{len(made)}.sqlite")
        if engine_name == "postgresql":
            postgres: Postgres = request.getfixturevalue("postgres")
            location = postgres.database(empty=not migrated)
        elif migrated:
            upgrade(location)
        made.append(location)
        return location

    return place


def url(location: Location) -> str:
    return location.uri if isinstance(location, PostgreSQL) else f"sqlite:///{location.path}"


def rows(location: Location) -> dict[str, list[str]]:
    """Return every row of every table, as text that is alike on both engines."""
    if isinstance(location, PostgreSQL):
        names = [name for (name,) in run(location.uri, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
        named = {name: _named(location, name) for name in names}
    else:
        with closing(sqlite3.connect(location.path)) as connection:
            connection.row_factory = sqlite3.Row
            names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            named = {name: [dict(row) for row in connection.execute(f'SELECT * FROM "{name}"')] for name in names}  # noqa: S608
    alike = {name: [sorted(f"{key}={value}" for key, value in row.items()) for row in of] for name, of in named.items()}
    return {name: sorted(map(str, of)) for name, of in alike.items()}


def _named(location: PostgreSQL, table: str) -> list[dict[str, object]]:
    of_table = f"table_name = '{table}' AND table_schema = 'public' ORDER BY ordinal_position"
    asked = f"SELECT column_name FROM information_schema.columns WHERE {of_table}"  # noqa: S608
    columns = [name for (name,) in run(location.uri, asked)]
    return [dict(zip(columns, row, strict=True)) for row in run(location.uri, f'SELECT * FROM "{table}"')]  # noqa: S608


def put(location: Location, *statements: str) -> None:
    if isinstance(location, PostgreSQL):
        run(location.uri, *statements)
        return
    with closing(sqlite3.connect(location.path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


@dataclass
class Household:
    """What people and programs hold who were there before the move."""

    ada: Person
    refresh_token: str
    api_token: str
    client_id: str
    client_secret: str
    service_token: str
    jwks: Any


async def settle(house: House) -> Household:
    """Let people log in by every way there is, guess a password, and let the key that signs be replaced twice."""
    ada = await house.person("ada")
    by_body = {"input": {"email": ada.email, "password": PASSWORD, "delivery": "BODY"}}
    native = (await house.client().ask(LOG_IN_BY_BODY, by_body)).data["login"]
    api_token = (await ada.ask(CREATE_TOKEN)).data["createApiToken"]["token"]
    account = (await ada.ask(CREATE_ACCOUNT)).data["createServiceAccount"]["serviceAccount"]
    secret = (await ada.ask(CREATE_SECRET, {"id": account["id"]})).data["createServiceAccountSecret"]["secret"]
    service_token = await service_login(house, account["clientId"], secret)
    await house.client().log_in(ada.email, "a wrong guess")
    await house.auth.key_ring.rotate(at_once=True)
    await house.auth.key_ring.rotate(at_once=True)
    book = (await ada.ask(ADD_BOOK)).data["addBook"]["book"]
    await ada.ask(SHELVE, {"id": book["id"]})
    jwks = (await house.client().get("/.well-known/jwks.json")).json()
    return Household(ada, native["refreshToken"], api_token, account["clientId"], secret, service_token, jwks)


async def service_login(house: House, client_id: str, secret: str) -> str:
    form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
    answer = await house.client().post("/oauth/token", data=form)
    assert answer.status_code == 200, answer.text
    token: str = answer.json()["access_token"]
    return token


def with_cookies_of(house: House, client: Client) -> Client:
    moved = house.client()
    moved.cookies.update(client.cookies)
    return moved


async def require_everybody(house: House, household: Household) -> None:
    browser = with_cookies_of(house, household.ada.client)
    viewer = (await browser.ask(WHO_AM_I)).data["viewer"]
    assert (viewer["id"], viewer["user"]["email"]) == (household.ada.id, household.ada.email)
    assert (await browser.ask(SHELF)).data["shelf"]["nodes"] == [{"book": {"title": "Moving Day"}}]
    for token, kind in ((household.api_token, "USER"), (household.service_token, "SERVICE")):
        answer = await house.client().ask(WHO, Authorization=f"Bearer {token}")
        assert answer.data["viewer"]["kind"] == kind
    assert await service_login(house, household.client_id, household.client_secret)
    refreshed = await house.client().ask(REFRESH, {"input": {"refreshToken": household.refresh_token}})
    assert refreshed.data["refresh"]["viewer"]["id"] == household.ada.id
    assert (await house.client().get("/.well-known/jwks.json")).json() == household.jwks
    assert len(household.jwks["keys"]) >= 3  # the next, the current, and those that the tokens were signed with


@pytest.mark.parametrize(("begin", "end"), ROUTES)
async def test_after_a_move_everybody_is_still_logged_in_and_every_row_is_there(
    somewhere: Where, tmp_path: Path, begin: str, end: str
) -> None:
    source, target = somewhere(begin), somewhere(end)
    async with House(tmp_path / "house", [bookshop], database_url=url(source)) as house:
        household = await settle(house)
    before = rows(source)
    assert all(before[name] for name in ("throttles", "audit_events", "service_credentials", "books_shelves"))

    moved = move(source, target, [BOOKS])

    assert rows(target) == rows(source) == before
    assert {table.table: table.rows for table in moved} == {
        name: len(of) for name, of in before.items() if not name.startswith("alembic_version")
    }
    async with House(tmp_path / "house", [bookshop], database_url=url(target)) as house:
        await require_everybody(house, household)


async def test_the_operator_moves_with_one_command_that_prints_nothing_secret(
    somewhere: Where, tmp_path: Path, postgres: Postgres
) -> None:
    source, target = somewhere("sqlite"), somewhere("postgresql")
    assert isinstance(target, PostgreSQL)
    async with House(tmp_path / "house", database_url=url(source)) as house:
        await house.person("ada")
    watchword = runner(tmp_path / "house")
    with_password = target.uri.replace("watchword@", "watchword:swordfish@")
    printed = succeeded(watchword("migrate", "--from", url(source), "--to", with_password))
    assert "users: 1 rows\n" in printed
    assert "swordfish" not in printed
    assert rows(target) == rows(source)
    again = refused(watchword("migrate", "--from", url(source), database_url=with_password))
    assert "is in use: there are rows in" in again
    assert "swordfish" not in again
    elsewhere = of_server(postgres.uri, "no_such_database")
    away = refused(watchword("migrate", "--from", url(source), "--to", elsewhere.uri.replace("@", ":swordfish@")))
    assert "swordfish" not in away


def test_a_command_that_says_where_to_and_not_from_where_is_refused(tmp_path: Path) -> None:
    result = runner(tmp_path)("migrate", "--to", "sqlite:///elsewhere.sqlite")
    assert result.exit_code == 2
    assert "--from" in result.stderr
    assert not (tmp_path / "elsewhere.sqlite").exists()


@pytest.mark.parametrize("option", ["--from", "--to"])
def test_what_is_no_url_of_a_database_is_told_without_a_word_of_it(tmp_path: Path, option: str) -> None:
    other = "--to" if option == "--from" else "--from"
    said = refused(runner(tmp_path)("migrate", option, "mysql://root:swordfish@host/x", other, "sqlite:///x.sqlite"))
    assert said.startswith(f"Error: {option} must be sqlite:///")
    assert "swordfish" not in said


@pytest.mark.parametrize("engine_name", ["sqlite", "postgresql"])
async def test_while_it_is_moved_the_server_reads_and_what_it_cannot_write_is_unavailable(
    somewhere: Where, tmp_path: Path, engine_name: str
) -> None:
    source = somewhere(engine_name)
    async with House(
        tmp_path / "house", database_url=url(source), database_timeout=timedelta(milliseconds=200)
    ) as house:
        ada = await house.person("ada")
        details = {"email": house.address("bob"), "password": PASSWORD, "displayName": "Bob"}
        async with opened(source) as end:
            await end.lock(list(metadata.tables))
            counted = await end.count("users")
            assert (await ada.ask(WHO_AM_I)).data["viewer"]["id"] == ada.id
            assert (await ada.client.ask(SIGN_UP, {"input": details})).code == "UNAVAILABLE"
            assert await end.count("users") == counted
        answer = await ada.client.ask(SIGN_UP, {"input": details})
        assert answer.data["signUp"]["__typename"] == "SignUpSucceeded"


@pytest.mark.parametrize("end", ["sqlite", "postgresql"])
def test_a_database_that_was_used_is_not_moved_to(somewhere: Where, end: str) -> None:
    source, target = somewhere("sqlite", migrated=True), somewhere(end, migrated=True)
    put(target, "INSERT INTO throttles VALUES ('', 1)")
    before = rows(target)
    with pytest.raises(MoveRefused, match="in use: there are rows in 'throttles'"):
        move(source, target)
    assert rows(target) == before


@pytest.mark.parametrize("end", ["sqlite", "postgresql"])
def test_what_the_migrations_of_a_domain_brought_is_there_once(somewhere: Where, end: str) -> None:
    source, target = somewhere("sqlite"), somewhere(end)
    for location in (source, target):
        upgrade(location, [BOOKS])
    put(source, "DELETE FROM books_catalogue WHERE title LIKE 'The%'")
    assert Moved("books_catalogue", 2) in move(source, target, [BOOKS])
    assert rows(target) == rows(source)


def test_a_database_that_is_behind_or_not_there_is_not_moved_and_none_is_made(somewhere: Where, tmp_path: Path) -> None:
    target = SQLiteFile(tmp_path / "target.sqlite")
    with pytest.raises(MoveRefused, match="there is no database file"):
        move(SQLiteFile(tmp_path / "nowhere.sqlite"), target)
    with pytest.raises(MoveRefused, match="is behind in 'core': run `watchword migrate`"):
        move(somewhere("postgresql"), target)
    with pytest.raises(MoveRefused, match="is behind in 'books'"):
        move(somewhere("sqlite", migrated=True), target, [BOOKS])
    assert not target.path.exists()


def test_a_domain_that_is_not_loaded_is_not_left_behind(somewhere: Where) -> None:
    source, target = somewhere("sqlite"), somewhere("postgresql")
    upgrade(source, [BOOKS])
    with pytest.raises(MoveRefused, match="domain 'books', which is not loaded: name it in WATCHWORD_DOMAINS"):
        move(source, target)
    assert rows(target) == {}


def test_a_table_that_only_one_engines_migrations_make_is_not_left_behind(somewhere: Where, tmp_path: Path) -> None:
    only = 'if op.get_bind().dialect.name == "sqlite":\n    op.execute("CREATE TABLE notes_more (id TEXT)")\n'
    notes = Namespace("notes", revision(tmp_path / "notes", CREATE + only))
    source, target = somewhere("sqlite"), somewhere("postgresql")
    upgrade(source, [notes])
    with pytest.raises(MoveRefused, match="has no table 'notes_more'"):
        move(source, target, [notes])


ALL_TYPES = """
op.create_table(
    "notes_kinds",
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("above", sa.Integer, sa.ForeignKey("notes_kinds.number"), nullable=True),
    sa.Column("is_open", sa.Boolean),
    sa.Column("at", sa.DateTime(timezone=True)),
    sa.Column("local", sa.DateTime),
    sa.Column("day", sa.Date),
    sa.Column("price", sa.Numeric(10, 2)),
    sa.Column("share", sa.Float),
    sa.Column("detail", sa.JSON),
    sa.Column("key", sa.Uuid),
    sa.Column("bytes", sa.LargeBinary),
    sa.Column("colour", sa.Enum("red", "blue", name="notes_colour")),
    sa.Column("twice", sa.Integer, sa.Computed("number * 2", persisted=True)),
)
op.create_table("notes_before", sa.Column("number", sa.Integer, sa.ForeignKey("notes_kinds.number")))
"""
ONE_OF_EACH = (
    "INSERT INTO notes_kinds (number, above, is_open, at, local, day, price, share, detail, key, bytes, colour) VALUES"
    """
    (2, 7, true, '2026-01-02 03:04:05.000006', '2026-01-02 03:04:05.000006', '2026-01-02', 12.5, 0.25,
     '{"a": [1]}', '019b76daa80070008000000000000001', 'bytes', 'red'),
    (7, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)
    """
)


def test_values_of_every_usual_type_arrive_and_come_back_and_numbers_go_on(somewhere: Where, tmp_path: Path) -> None:
    notes = Namespace("notes", revision(tmp_path / "notes", ALL_TYPES))
    source, server, back = somewhere("sqlite"), somewhere("postgresql"), somewhere("sqlite")
    assert isinstance(server, PostgreSQL)
    upgrade(source, [notes])
    put(source, ONE_OF_EACH, "INSERT INTO notes_before VALUES (7)")
    put(source, "UPDATE notes_kinds SET bytes = x'00ff' WHERE number = 2")
    move(source, server, [notes])
    ((row,),) = run(
        server.uri,
        "SET timezone TO 'UTC'",
        "SELECT concat_ws(' ', above, is_open, at, local, day, price, share, detail, key, bytes, colour, twice)"
        " FROM notes_kinds WHERE number = 2",
    )
    assert row == (
        "7 t 2026-01-02 03:04:05.000006+00 2026-01-02 03:04:05.000006 2026-01-02 12.50 0.25"
        ' {"a": [1]} 019b76da-a800-7000-8000-000000000001 \\x00ff red 4'
    )
    assert run(server.uri, "INSERT INTO notes_kinds DEFAULT VALUES RETURNING number") == [(8,)]
    run(server.uri, "DELETE FROM notes_kinds WHERE number = 8")
    move(server, back, [notes])
    assert rows(back) == rows(source)


@pytest.mark.parametrize(
    ("column", "value"),
    [("text", "'swordfish' || char(0)"), ("text", "x'73776f7264'"), ("id", "x''")],
)
def test_a_value_that_has_no_place_on_the_other_engine_moves_nothing_and_is_not_shown(
    somewhere: Where, tmp_path: Path, column: str, value: str
) -> None:
    notes = Namespace("notes", revision(tmp_path / "notes", CREATE))
    source, target = somewhere("sqlite"), somewhere("postgresql")
    upgrade(source, [notes])
    put(source, "INSERT INTO setup_tokens VALUES (x'01', 1)", f"INSERT INTO notes_pages ({column}) VALUES ({value})")  # noqa: S608
    with pytest.raises(MoveRefused, match=f"a row of 'notes_pages' has a value in '{column}' that") as told:
        move(source, target, [notes])
    assert "sword" not in str(told.value)
    assert rows(target)["setup_tokens"] == []


def test_what_the_server_refuses_moves_nothing_and_shows_no_row(somewhere: Where, tmp_path: Path) -> None:
    strict = 'check = ", CHECK (text <> \'swordfish\')" if op.get_bind().dialect.name != "sqlite" else ""\n'
    made = 'op.execute("CREATE TABLE notes_pages (id TEXT, number INT, text TEXT" + check + ")")\n'
    notes = Namespace("notes", revision(tmp_path / "notes", strict + made))
    source, target = somewhere("sqlite"), somewhere("postgresql")
    upgrade(source, [notes])
    for values, why in (("'1', 1, 'swordfish'", "violates check constraint"), ("'1', 99999999999, 'x'", "not take")):
        put(source, "DELETE FROM notes_pages", f"INSERT INTO notes_pages VALUES ({values})")  # noqa: S608
        with pytest.raises(MoveRefused, match=why) as told:
            move(source, target, [notes])
        assert not {"swordfish", "99999999999"} & set(str(told.value).split())
        assert rows(target)["notes_pages"] == []


def test_a_trigger_that_adds_rows_of_its_own_is_found_out(somewhere: Where, tmp_path: Path) -> None:
    trigger = "CREATE TRIGGER notes_t AFTER INSERT ON notes_pages WHEN new.id = '1' BEGIN {} END".format(
        "INSERT INTO notes_pages VALUES ('2', 'of the trigger');"
    )
    notes = Namespace("notes", revision(tmp_path / "notes", CREATE + sql(trigger)))
    source, target = somewhere("sqlite"), somewhere("sqlite")
    upgrade(source, [notes])
    put(source, "INSERT INTO notes_pages VALUES ('1', 'one')", "DELETE FROM notes_pages WHERE id = '2'")
    with pytest.raises(MoveRefused, match="of the 1 rows of 'notes_pages', 2 arrived"):
        move(source, target, [notes])
    assert rows(target)["notes_pages"] == []


@asynccontextmanager
async def writing(location: Location) -> AsyncIterator[None]:
    """Be in the middle of a transaction that has written something."""
    statements = ("BEGIN", "INSERT INTO throttles VALUES ('', 1)")
    if isinstance(location, PostgreSQL):
        connection = await asyncpg.connect(location.uri)
        try:
            for statement in statements:
                await connection.execute(statement)
            yield
        finally:
            await connection.close()
        return
    with closing(sqlite3.connect(location.path, isolation_level=None)) as file:
        for statement in statements:
            file.execute(statement)
        yield


@pytest.mark.parametrize("engine_name", ["sqlite", "postgresql"])
async def test_a_database_that_somebody_writes_to_for_too_long_is_unavailable(
    somewhere: Where, engine_name: str
) -> None:
    source, target = somewhere(engine_name, migrated=True), somewhere("sqlite")
    async with writing(source):
        with pytest.raises(StoreUnavailable):
            move(source, target, patience=timedelta(milliseconds=200))
    assert not any(of for name, of in rows(target).items() if name != "alembic_version")
    assert move(source, target)
