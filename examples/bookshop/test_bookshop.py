"""The bookshop: a catalogue that everybody reads, and a shelf that is each reader's own."""

import base64
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect

import store.users
from auth.identity import Identity, IdentityKind
from auth.refusals import Forbidden
from examples.bookshop import bookshop
from examples.bookshop.service import ADDED, WRITE, Bookshop
from examples.bookshop.tables import metadata
from store.migration_connections import looking
from tests.house import Client, House, Person
from tests.streams import following

ON_BOTH_ENGINES = True

BOOKS = """
query Books($first: Int! = 20, $after: String) {
  books(first: $first, after: $after) {
    nodes { id title author shelvedAt }
    pageInfo { hasNextPage hasPreviousPage endCursor }
  }
}
"""
SHELF = """
query Shelf($first: Int! = 20, $after: String) {
  shelf(first: $first, after: $after) {
    nodes { id note shelvedAt book { id title shelvedAt } }
    pageInfo { hasNextPage endCursor }
  }
}
"""
NODE = """
query Node($id: ID!) {
  node(id: $id) { __typename ... on Book { title shelvedAt } ... on ShelvedBook { note book { title } } }
}
"""
ADD = """
mutation Add($input: AddBookInput!) {
  addBook(input: $input) {
    __typename
    ... on BookAdded { book { id title author addedAt } }
    ... on BookAlreadyListed { message book { id title } }
  }
}
"""
SHELVE = """
mutation Shelve($input: ShelveBookInput!) {
  shelveBook(input: $input) { shelvedBook { id note shelvedAt book { id title shelvedAt } } }
}
"""
UNSHELVE = """
mutation Unshelve($input: UnshelveBookInput!) { unshelveBook(input: $input) { book { title shelvedAt } } }
"""

FOLLOW = "subscription { bookAdded { id title author shelvedAt } }"


@pytest.fixture(scope="module")
async def house(
    engine_name: str, tmp_path_factory: pytest.TempPathFactory, database_for: Callable[[str], dict[str, Any]]
) -> AsyncIterator[House]:
    """Open a Watchword with the bookshop in it, handed over in code."""
    with pytest.MonkeyPatch.context() as environment:
        # Whoever has the example running has it named here too, and it would come twice.
        environment.delenv("WATCHWORD_DOMAINS", raising=False)
        settings = database_for(engine_name)
        opened = House(tmp_path_factory.mktemp("bookshop"), domains=[bookshop], **settings)
    async with opened:
        yield opened


@pytest.fixture
def nobody(house: House) -> Client:
    return house.client()


@pytest.fixture
async def ada(house: House) -> Person:
    return await house.person("ada")


@pytest.fixture
async def somebody_else(house: House) -> Person:
    return await house.person("somebody")


@pytest.fixture
async def ledger(ada: Person) -> str:
    """Return the id of a book that is in the catalogue, whatever the tests before have added."""
    answer = await ada.ask(ADD, {"input": {"title": "The Ledger of Small Debts", "author": "Piet Holloway"}})
    return str(answer.data["addBook"]["book"]["id"])


async def shelve(person: Person, book_id: str, note: str | None = None) -> dict[str, Any]:
    answer = await person.ask(SHELVE, {"input": {"bookId": book_id, "note": note}})
    shelved: dict[str, Any] = answer.data["shelveBook"]["shelvedBook"]
    return shelved


def key_in(node_id: str) -> str:
    """Return the row's id in a node id."""
    return base64.b64decode(node_id).decode().partition(":")[2]


def node_id(type_name: str, key: str) -> str:
    return base64.b64encode(f"{type_name}:{key}".encode()).decode()


async def test_the_setting_alone_adds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHWORD_DOMAINS", "examples.bookshop:bookshop")
    async with House(tmp_path / "house") as house:
        ada = await house.person("ada")
        books = (await ada.ask(BOOKS)).data["books"]["nodes"]
    assert [book["title"] for book in books] == [
        "A Short History of Fog",
        "Rooms Without Doors",
        "The Keeper's Almanac",
    ]


async def test_the_catalogue_is_read_by_whoever_may_read(ada: Person) -> None:
    books = (await ada.ask(BOOKS, {"first": 100})).data["books"]["nodes"]
    (rooms,) = (book for book in books if book["title"] == "Rooms Without Doors")
    assert (rooms["author"], rooms["shelvedAt"]) == ("Tomas Wren", None)


@pytest.mark.parametrize("query", [BOOKS, SHELF])
async def test_nobody_reads_anything(nobody: Client, query: str) -> None:
    answer = await nobody.ask(query)
    assert (answer.code, answer.reason) == ("UNAUTHENTICATED", "NOT_AUTHENTICATED")
    assert list(answer.body["data"].values()) == [None]


async def test_nobody_writes_anything(nobody: Client, ada: Person, ledger: str) -> None:
    place = await shelve(ada, ledger)
    acts = [
        (ADD, {"title": "Never", "author": "Nobody"}),
        (SHELVE, {"bookId": ledger}),
        (UNSHELVE, {"id": place["id"]}),
    ]
    for act, given in acts:
        assert (await nobody.ask(act, {"input": given})).code == "UNAUTHENTICATED"
    assert "Never" not in [book["title"] for book in (await ada.ask(BOOKS)).data["books"]["nodes"]]
    assert [shelved["id"] for shelved in (await ada.ask(SHELF)).data["shelf"]["nodes"]] == [place["id"]]


async def test_without_the_scopes_a_login_opens_nothing(tmp_path: Path) -> None:
    async with House(tmp_path / "house", domains=[replace(bookshop, grants={})]) as house:
        ada, grace = await house.person("ada"), await house.person("grace", administrator=True)
        book_id = (await grace.ask(BOOKS)).data["books"]["nodes"][0]["id"]
        reading = await ada.ask(BOOKS)
        assert (reading.code, reading.reason) == ("FORBIDDEN", "INSUFFICIENT_SCOPE")
        assert reading.refusal["required"] == ["books:read"]
        writing = await ada.ask(SHELVE, {"input": {"bookId": book_id}})
        assert writing.refusal["required"] == ["books:write"]
        # node(id) asks for a login only; the service asks for the scope again.
        assert (await ada.ask(NODE, {"id": book_id})).data == {"node": None}
        assert (await grace.ask(NODE, {"id": book_id})).data["node"]["__typename"] == "Book"


async def test_a_book_is_added_at_the_time_that_the_clock_shows(house: House, ada: Person) -> None:
    house.clock.move(timedelta(days=2))
    before = house.clock.now().replace(microsecond=0)
    added = (await ada.ask(ADD, {"input": {"title": "  Tide Tables ", "author": "Nora Quill"}})).data["addBook"]
    assert (added["__typename"], added["book"]["title"]) == ("BookAdded", "Tide Tables")
    assert before <= datetime.fromisoformat(added["book"]["addedAt"]) <= house.clock.now()
    assert (await ada.ask(NODE, {"id": added["book"]["id"]})).data["node"]["title"] == "Tide Tables"


async def test_a_book_that_is_listed_in_whatever_case_is_shown_instead(ada: Person, somebody_else: Person) -> None:
    await ada.ask(ADD, {"input": {"title": "Pepper", "author": "Maren Oake"}})
    await ada.ask(ADD, {"input": {"title": "Salt", "author": "Another Oake"}})
    first = await ada.ask(ADD, {"input": {"title": "Salt", "author": "Maren Oake"}})
    assert first.data["addBook"]["book"]["author"] == "Maren Oake"
    second = await somebody_else.ask(ADD, {"input": {"title": "SALT", "author": "maren oake"}})
    assert second.data["addBook"]["__typename"] == "BookAlreadyListed"
    assert second.data["addBook"]["book"] == {"id": first.data["addBook"]["book"]["id"], "title": "Salt"}


async def test_a_book_that_is_added_is_told_to_whoever_follows_the_catalogue(
    house: House, ada: Person, somebody_else: Person
) -> None:
    async with following(house, somebody_else.client, FOLLOW) as stream:
        for _ in range(2):  # the second time it is listed already, and nothing is new
            await ada.ask(ADD, {"input": {"title": "Weights of Water", "author": "Ines Calder"}})
        added = (await ada.ask(ADD, {"input": {"title": "Salt Roads", "author": "Ines Calder"}})).data["addBook"]
        told = [await stream.event() for _ in range(2)]
    assert [book["title"] for book in told] == ["Weights of Water", "Salt Roads"]
    assert told[1]["id"] == added["book"]["id"]


async def test_a_book_that_is_gone_by_the_time_it_is_told_of_is_passed_over(house: House, ada: Person) -> None:
    async with following(house, ada.client, FOLLOW) as stream:
        async with house.auth.database.transaction() as tx:
            await house.auth.publications.publish(tx, ADDED, "019b76da-a800-7000-8000-00000000ffff")
        await ada.ask(ADD, {"input": {"title": "The Quiet Ferry", "author": "Ines Calder"}})
        assert (await stream.event())["title"] == "The Quiet Ferry"


async def test_nobody_follows_the_catalogue(house: House, nobody: Client) -> None:
    async with following(house, nobody, FOLLOW) as stream:
        (error,) = (await stream.answer())["errors"]
    assert error["extensions"]["code"] == "UNAUTHENTICATED"


@pytest.mark.parametrize("title", ["", "   ", "x" * 201, "a\u202eb", "a\nb", "\x00"])
async def test_a_title_that_cannot_be_shown_is_refused_without_being_repeated(ada: Person, title: str) -> None:
    answer = await ada.ask(ADD, {"input": {"title": title, "author": "Nora Quill"}})
    assert answer.code == "BAD_USER_INPUT"
    assert answer.body["errors"][0]["message"] == "`title` has 1 to 200 characters, all of them visible."


async def test_pages_follow_each_other_by_cursor_while_books_come(house: House) -> None:
    ada = await house.person("ada")
    whole = [book["id"] for book in (await ada.ask(BOOKS, {"first": 100})).data["books"]["nodes"]]
    seen: list[str] = []
    after: str | None = None
    while True:
        page = (await ada.ask(BOOKS, {"first": 2, "after": after})).data["books"]
        assert page["pageInfo"]["hasPreviousPage"] is (after is not None)
        seen += [book["id"] for book in page["nodes"]]
        # It comes in before the first page, and shifts none of those that follow.
        await ada.ask(ADD, {"input": {"title": f"Come meanwhile {len(seen)}", "author": "Nora Quill"}})
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert seen == whole


@pytest.mark.parametrize(
    "arguments",
    [
        {"first": 0},
        {"first": 101},
        {"after": "not a cursor"},
        {"after": base64.b64encode(b"after:' OR 1=1").decode()},
    ],
)
@pytest.mark.parametrize("query", [BOOKS, SHELF])
async def test_a_page_that_cannot_be_is_refused(ada: Person, query: str, arguments: dict[str, Any]) -> None:
    assert (await ada.ask(query, arguments)).code == "BAD_USER_INPUT"


async def test_a_shelved_book_says_so_to_its_owner_alone(ada: Person, somebody_else: Person, ledger: str) -> None:
    place = await shelve(ada, ledger, note="lend it to nobody")
    assert place["note"] == "lend it to nobody"
    assert place["book"]["shelvedAt"] == place["shelvedAt"]
    assert (await ada.ask(NODE, {"id": ledger})).data["node"]["shelvedAt"] == place["shelvedAt"]
    assert (await somebody_else.ask(NODE, {"id": ledger})).data["node"]["shelvedAt"] is None
    of_others = (await somebody_else.ask(BOOKS, {"first": 100})).data["books"]["nodes"]
    assert {book["shelvedAt"] for book in of_others} == {None}


async def test_the_shelf_shows_the_last_book_first_and_pages_by_cursor(ada: Person) -> None:
    books = (await ada.ask(BOOKS, {"first": 3})).data["books"]["nodes"]
    placed = [(await shelve(ada, book["id"]))["id"] for book in books]
    first = (await ada.ask(SHELF, {"first": 2})).data["shelf"]
    assert first["pageInfo"]["hasNextPage"]
    second = (await ada.ask(SHELF, {"after": first["pageInfo"]["endCursor"]})).data["shelf"]
    assert [place["id"] for place in first["nodes"] + second["nodes"]] == placed[::-1]
    assert not second["pageInfo"]["hasNextPage"]


async def test_a_book_that_is_shelved_again_stays_as_it_was(ada: Person, ledger: str) -> None:
    place = await shelve(ada, ledger, note="first")
    assert await shelve(ada, ledger, note="second") == place
    assert (await ada.ask(SHELF)).data["shelf"]["nodes"] == [place]


async def test_what_stands_on_a_shelf_is_invisible_to_somebody_else(
    ada: Person, somebody_else: Person, ledger: str
) -> None:
    place = await shelve(ada, ledger, note="lend it to nobody")
    assert (await ada.ask(NODE, {"id": place["id"]})).data["node"]["note"] == "lend it to nobody"
    assert (await somebody_else.ask(NODE, {"id": place["id"]})).data == {"node": None}
    assert (await somebody_else.ask(SHELF)).data["shelf"]["nodes"] == []


async def test_what_stands_on_a_shelf_is_invisible_to_an_administrator_too(
    house: House, ada: Person, ledger: str
) -> None:
    grace = await house.person("grace", administrator=True)
    place = await shelve(ada, ledger)
    assert (await grace.ask(NODE, {"id": place["id"]})).data == {"node": None}


async def test_somebody_else_cannot_take_it_off(ada: Person, somebody_else: Person, ledger: str) -> None:
    place = await shelve(ada, ledger)
    refused = await somebody_else.ask(UNSHELVE, {"input": {"id": place["id"]}})
    absent = await somebody_else.ask(UNSHELVE, {"input": {"id": node_id("ShelvedBook", key_in(ledger))}})
    assert refused.code == absent.code == "NOT_FOUND"
    assert refused.body["errors"][0]["message"] == absent.body["errors"][0]["message"]
    assert (await ada.ask(SHELF)).data["shelf"]["nodes"] == [place]


async def test_the_owner_takes_it_off_and_the_catalogue_keeps_it(ada: Person, ledger: str) -> None:
    place = await shelve(ada, ledger)
    answer = await ada.ask(UNSHELVE, {"input": {"id": place["id"]}})
    assert answer.data["unshelveBook"]["book"] == {"title": place["book"]["title"], "shelvedAt": None}
    assert (await ada.ask(SHELF)).data["shelf"]["nodes"] == []
    assert (await ada.ask(UNSHELVE, {"input": {"id": place["id"]}})).code == "NOT_FOUND"
    assert (await ada.ask(NODE, {"id": ledger})).data["node"]["title"] == place["book"]["title"]


async def test_each_reader_has_a_place_of_their_own_for_the_same_book(
    ada: Person, somebody_else: Person, ledger: str
) -> None:
    mine, theirs = await shelve(ada, ledger, note="mine"), await shelve(somebody_else, ledger, note="theirs")
    assert mine["id"] != theirs["id"]
    assert [place["note"] for place in (await ada.ask(SHELF)).data["shelf"]["nodes"]] == ["mine"]


@pytest.mark.parametrize("key", ["019b76da-a800-7000-8000-00000000ffff", "no id at all", "", "' OR '1'='1"])
async def test_a_book_that_is_not_there_is_not_found(ada: Person, key: str) -> None:
    assert (await ada.ask(NODE, {"id": node_id("Book", key)})).data == {"node": None}
    assert (await ada.ask(NODE, {"id": node_id("ShelvedBook", key)})).data == {"node": None}
    assert (await ada.ask(SHELVE, {"input": {"bookId": node_id("Book", key)}})).code == "NOT_FOUND"
    assert (await ada.ask(UNSHELVE, {"input": {"id": node_id("ShelvedBook", key)}})).code == "NOT_FOUND"


async def test_an_id_of_another_type_is_refused(ada: Person, ledger: str) -> None:
    assert (await ada.ask(SHELVE, {"input": {"bookId": ada.user_id}})).code == "BAD_USER_INPUT"
    assert (await ada.ask(UNSHELVE, {"input": {"id": ledger}})).code == "BAD_USER_INPUT"


async def test_a_service_has_no_shelf(house: House, ledger: str) -> None:
    shop = Bookshop(house.auth)
    robot = Identity(IdentityKind.SERVICE, subject=key_in(ledger), scopes=frozenset({WRITE}))
    with pytest.raises(Forbidden):
        await shop.shelve(robot, key_in(ledger), note=None)


async def test_the_service_refuses_whoever_came_past_the_guards(house: House, ada: Person, ledger: str) -> None:
    shop, place = Bookshop(house.auth), await shelve(ada, ledger)
    without_scopes = Identity(IdentityKind.USER, subject=key_in(ada.user_id))
    assert await shop.find(without_scopes, key_in(ledger)) is None
    assert await shop.page(without_scopes, limit=5, after=None) == []
    assert await shop.find_shelved(without_scopes, key_in(place["id"])) is None
    assert await shop.shelf(without_scopes, limit=5, after=None) == []
    for act in (
        shop.added(without_scopes),
        shop.add(without_scopes, title="Never", author="Nobody"),
        shop.shelve(without_scopes, key_in(ledger), note=None),
        shop.unshelve(without_scopes, key_in(place["id"])),
    ):
        with pytest.raises(Forbidden):
            await act


async def test_with_an_account_its_shelf_is_gone(house: House, ada: Person, ledger: str) -> None:
    place = await shelve(ada, ledger)
    async with house.auth.database.transaction() as tx:
        await store.users.delete_user(tx, key_in(ada.user_id))
    shop = Bookshop(house.auth)
    ghost = Identity(IdentityKind.USER, subject=key_in(ada.user_id), scopes=frozenset({"books:read"}))
    assert await shop.find_shelved(ghost, key_in(place["id"])) is None


async def test_the_tables_are_as_the_migrations_make_them_with_a_version_table_of_their_own(house: House) -> None:
    def compared(connection: Connection) -> tuple[set[str], list[Any]]:
        own = MigrationContext.configure(connection, opts={"include_name": _is_of_the_bookshop})
        return set(inspect(connection).get_table_names()), compare_metadata(own, metadata)

    tables, differences = looking(house.settings.database, compared)
    assert {"books_catalogue", "books_shelves", "alembic_version_books"} <= tables
    assert differences == []


def _is_of_the_bookshop(name: str | None, kind: str, _parents: object) -> bool:
    return kind != "table" or str(name).startswith("books_")
