"""Domains: what a developer may add, and what the build and the migrations refuse."""

import base64
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
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
from tests.house import House, OpenHouse
from tests.revisions import CREATE, revision, sql

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


# --- Running ---------------------------------------------------------------------------------------------------------


async def test_a_domain_whose_migration_is_refused_is_not_served(tmp_path: Path) -> None:
    folder = revision(tmp_path / "notes", CREATE + sql("DELETE FROM users"))
    house = House(tmp_path / "house", domains=[Domain(name="notes", migrations=folder)])
    with pytest.raises(MigrationRefused, match="'users'"):
        await house.__aenter__()
    async with House(tmp_path / "house") as without:
        assert (await without.person("ada")).user_id


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
