"""All sorts of acts that decide by what they have read, to be done at the same time by many."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial

from auth.gate import Credential
from auth.identity import Identity
from auth.origin import Origin
from auth.secret import Secret
from auth.sessions import Outgoing
from tests.house import PASSWORD, SIGN_UP, House, Person

Act = Callable[[], Awaitable[object]]

ADD_BOOK = "mutation($input: AddBookInput!) { addBook(input: $input) { ... on BookAdded { book { id } } } }"
SOMEWHERE = Origin(address="198.51.100.7")


async def identity_of(house: House, person: Person) -> Identity:
    """Return who a person's browser is when it calls at a house."""
    session = Secret(str(person.client.cookies["watchword-session"]))
    return await house.auth.sessions.identify_holder(session, SOMEWHERE, house.clock.now())


@dataclass(frozen=True)
class Acts:
    """What is done at one house, with an administrator of its own."""

    house: House
    administrator: Person

    def of(self, people: Iterable[Person]) -> list[Act]:
        """Return every act, of each of these people."""
        keys, setup = self.house.auth.key_ring, self.house.auth.setup
        each = (
            self.make_service,
            self.make_token,
            self.refresh,
            self.log_in_anew,
            self.change_password,
            self.administer,
            self.add_book,
        )
        address = self.house.address("new")
        return [
            *(partial(act, person) for person in people for act in each),
            *(partial(self.sign_up, address) for _ in range(2)),
            keys.rotate,
            partial(keys.rotate, at_once=True),
            setup.issue,
            self.house.auth.housekeeping.sweep_if_due,
        ]

    async def make_service(self, person: Person) -> None:
        auth, by = self.house.auth, await identity_of(self.house, person)
        made = await auth.service_accounts.create(by, name="robot", scopes=["profile:read"])
        given = await auth.service_accounts.create_secret(by, made.id)
        assert given.shown_once is not None
        service = await auth.service_login.by_secret(made.id, given.shown_once, SOMEWHERE)
        token = await auth.service_tokens.token_for(service)
        await auth.service_tokens.revoke_presented(await auth.gate.verify(token.access_token), service.identity)
        await auth.service_accounts.revoke_credential(by, given.credential.id)
        await auth.service_accounts.disable(by, made.id)

    async def make_token(self, person: Person) -> None:
        auth, by = self.house.auth, await identity_of(self.house, person)
        made = await auth.api_tokens.create(by, name="script", scopes=["profile:read"])
        await auth.gate.authenticate(Credential(token=made.token), SOMEWHERE)
        await auth.api_tokens.revoke(by, made.row.id)

    async def refresh(self, person: Person) -> None:
        auth = self.house.auth
        logged_in = await auth.login.log_in(person.email, PASSWORD, SOMEWHERE)
        if logged_in is not None:
            await auth.renewal.refresh(logged_in.refresh_token, SOMEWHERE)
            await auth.sessions.end_shown(logged_in.grant.identity.session_id or "", SOMEWHERE)

    async def log_in_anew(self, person: Person) -> None:
        auth = self.house.auth
        first = await auth.login.log_in(person.email, PASSWORD, SOMEWHERE)
        await auth.login.log_in(person.email, "not the password at all", SOMEWHERE)
        if first is not None:
            outgoing = Outgoing(first.grant.identity, (first.secret,))
            await auth.login.log_in(self.administrator.email, PASSWORD, SOMEWHERE, outgoing=outgoing)

    async def change_password(self, person: Person) -> None:
        users, by = self.house.auth.users, await identity_of(self.house, person)
        await users.change_password(by, current=PASSWORD, new=PASSWORD + ".")
        await users.change_password(by, current=PASSWORD + ".", new=PASSWORD)

    async def administer(self, person: Person) -> None:
        users, by = self.house.auth.users, await identity_of(self.house, self.administrator)
        user_id = (await identity_of(self.house, person)).subject or ""
        await users.set_roles(by, user_id, frozenset({"user", "admin"}))
        await users.set_roles(by, user_id, frozenset({"user"}))

    async def add_book(self, person: Person) -> None:
        title = f"Emma, {self.house.clock.now():%A}"
        await person.ask(ADD_BOOK, {"input": {"title": title, "author": "Jane Austen"}})

    async def sign_up(self, email: str) -> None:
        details = {"email": email, "password": PASSWORD, "displayName": "New"}
        await self.house.client().ask(SIGN_UP, {"input": details})
