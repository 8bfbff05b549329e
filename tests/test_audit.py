"""The record of what was done: each act once, with who, whom, what and whence, and never a secret or what was typed."""

import base64
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
import strawberry
from httpx2 import Response
from structlog.testing import capture_logs

from auth.audit import Act
from auth.refusals import Conflict, Reason
from schema import Domain, Info, Public, build_schema
from tests.elsewhere import elsewhere, everything, is_on_postgresql
from tests.faults import Fault, full
from tests.house import LOG_IN, LOG_OUT, PASSWORD, SIGN_UP, WHO_AM_I, Answer, Client, House, OpenHouse, Person
from tests.test_docs import table

ON_BOTH_ENGINES = True

AGENT = "Storyteller/1.0"
ADDRESS = "127.0.0.1"

EVENT = "id at action message actorId subjectId objectId detail address userAgent requestId"
OWN = f"""
query Own($first: Int! = 100, $after: String) {{
  viewer {{ auditEvents(first: $first, after: $after) {{ nodes {{ {EVENT} }} pageInfo {{ hasNextPage endCursor }} }} }}
}}
"""
ALL = f"""
query All($first: Int! = 100, $after: String) {{
  auditEvents(first: $first, after: $after) {{ nodes {{ {EVENT} }} pageInfo {{ hasNextPage endCursor }} }}
}}
"""
NODE = "query($id: ID!) { node(id: $id) { __typename id } }"
BODY = """
mutation LogIn($input: LoginInput!) {
  login(input: $input) { ... on LoginSucceeded { accessToken refreshToken viewer { session { id } } } }
}
"""
REFRESH = """
mutation($input: RefreshInput!) {
  refresh(input: $input) { ... on RefreshSucceeded { refreshToken accessToken } }
}
"""
REVOKE_SESSION = "mutation($input: RevokeSessionInput!) { revokeSession(input: $input) { session { id } } }"
REVOKE_OTHERS = "mutation { revokeOtherSessions { endedSessions } }"
CHANGE_PASSWORD = "mutation($input: ChangePasswordInput!) { changePassword(input: $input) { __typename } }"
CREATE_TOKEN = """
mutation($input: CreateApiTokenInput!) {
  createApiToken(input: $input) { ... on CreateApiTokenSucceeded { token apiToken { id } } }
}
"""
REVOKE_TOKEN = "mutation($input: RevokeApiTokenInput!) { revokeApiToken(input: $input) { apiToken { id } } }"
CREATE_SERVICE = """
mutation($input: CreateServiceAccountInput!) {
  createServiceAccount(input: $input) { ... on CreateServiceAccountSucceeded { serviceAccount { id } } }
}
"""
CREATE_SECRET = """
mutation($input: CreateServiceAccountSecretInput!) {
  createServiceAccountSecret(input: $input) { ... on CreateServiceAccountSecretSucceeded { secret credential { id } } }
}
"""
REVOKE_SECRET = """
mutation($input: RevokeServiceAccountCredentialInput!) {
  revokeServiceAccountCredential(input: $input) { serviceAccount { id } }
}
"""
DISABLE_SERVICE = """
mutation($input: DisableServiceAccountInput!) { disableServiceAccount(input: $input) { serviceAccount { id } } }
"""
SET_ROLES = "mutation($input: SetUserRolesInput!) { setUserRoles(input: $input) { user { id roles } } }"
DISABLE = "mutation($input: DisableUserInput!) { disableUser(input: $input) { user { id } } }"
ENABLE = "mutation($input: EnableUserInput!) { enableUser(input: $input) { user { id } } }"

Event = dict[str, Any]


def row_id(global_id: str) -> str:
    return base64.b64decode(global_id).decode().partition(":")[2]


def claims(token: str) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    return said


def request_id(answer: Answer | Response) -> str:
    response = answer.response if isinstance(answer, Answer) else answer
    return response.headers["x-request-id"]


async def all_events(administrator: Person) -> list[Event]:
    """Return every event there is, the newest first."""
    events: list[Event] = []
    after = None
    while True:
        page = (await administrator.ask(ALL, {"after": after})).data["auditEvents"]
        events += page["nodes"]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            return events


async def own_events(person: Person) -> list[Event]:
    events: list[Event] = (await person.ask(OWN)).data["viewer"]["auditEvents"]["nodes"]
    return events


async def events_of(administrator: Person, answer: Answer | Response) -> list[Event]:
    """Return what was recorded of one request, in the order in which it was done."""
    return [event for event in await all_events(administrator) if event["requestId"] == request_id(answer)][::-1]


# --- Each act --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Told:
    """What an act's row has to say."""

    actor: str | None
    subject: str | None
    what: str | None = None
    detail: str | None = None
    request: str | None = None


@dataclass
class Story:
    """A house in which each act was done once, and what its row has to say."""

    house: House
    grace: Person
    ada: Person
    told: dict[Act, Told] = field(default_factory=dict)
    secrets: list[str] = field(default_factory=list)

    async def tell(self, act: Act, client: Client, query: str, made: Callable[[Any], Told], **given: Any) -> Any:
        """Do an act, and note what its row has to say, told from the answer's data."""
        answer = await client.ask(query, {"input": given} if given else None)
        return self.note(act, answer, made(answer.data), answer.data)

    def note(self, act: Act, answer: Answer | Response, told: Told, data: Any = None) -> Any:
        assert act not in self.told
        self.told[act] = Told(told.actor, told.subject, told.what, told.detail, request_id(answer))
        return data


@pytest.fixture(scope="module")
async def story(
    engine_name: str, tmp_path_factory: pytest.TempPathFactory, database_for: Callable[[str], dict[str, Any]]
) -> AsyncIterator[Story]:
    """Do each act once, in a house of its own."""
    async with House(tmp_path_factory.mktemp("audit") / "own", **database_for(engine_name)) as house:
        grace = await house.person("grace", administrator=True)
        grace.client.headers["user-agent"] = AGENT
        ada = await house.person("ada")
        ada.client.headers["user-agent"] = AGENT
        story = Story(
            house, grace, ada, secrets=[PASSWORD, *ada.client.cookies.values(), *grace.client.cookies.values()]
        )
        await _accounts(story)
        await _sessions(story)
        await _tokens_and_services(story)
        await _administration(story)
        await _keys(story)
        yield story


async def _accounts(story: Story) -> None:
    client = story.house.client(**{"user-agent": AGENT})
    account = {"email": story.house.address("mary"), "password": PASSWORD, "displayName": "Mary"}
    answer = await client.ask(SIGN_UP, {"input": account})
    (mary,) = (await story.grace.ask("query($q: String) { users(search: $q) { nodes { id } } }", {"q": "mary"})).data[
        "users"
    ]["nodes"]
    story.note(Act.USER_CREATE, answer, Told(None, row_id(mary["id"])))
    story.note(Act.USER_REPEAT, await client.ask(SIGN_UP, {"input": account}), Told(None, row_id(mary["id"])))
    story.secrets.append("a guess that is wrong")
    failed = await client.ask(LOG_IN, {"input": {"email": account["email"], "password": "a guess that is wrong"}})
    story.note(Act.LOGIN_FAIL, failed, Told(None, row_id(mary["id"])))


async def _sessions(story: Story) -> None:
    ada, client = row_id(story.ada.id), story.house.client(**{"user-agent": AGENT})
    by_body = {"email": story.ada.email, "password": PASSWORD, "delivery": "BODY"}
    begun = await story.tell(
        Act.SESSION_START,
        client,
        BODY,
        lambda data: Told(ada, ada, row_id(data["login"]["viewer"]["session"]["id"])),
        **by_body,
    )
    session = row_id(begun["login"]["viewer"]["session"]["id"])
    token = begun["login"]["refreshToken"]
    story.secrets += [token, begun["login"]["accessToken"]]
    refreshed = await story.tell(
        Act.SESSION_REFRESH, client, REFRESH, lambda _: Told(ada, ada, session), refreshToken=token
    )
    again = (await client.ask(REFRESH, {"input": {"refreshToken": refreshed["refresh"]["refreshToken"]}})).data
    story.secrets += [*refreshed["refresh"].values(), *again["refresh"].values()]
    await story.tell(Act.SESSION_REUSE, client, REFRESH, lambda _: Told(None, ada, session), refreshToken=token)

    other = (await client.ask(BODY, {"input": by_body})).data["login"]["viewer"]["session"]["id"]
    await story.tell(
        Act.SESSION_REVOKE, story.ada.client, REVOKE_SESSION, lambda _: Told(ada, ada, row_id(other)), id=other
    )

    browser = story.house.client(**{"user-agent": AGENT})
    await browser.log_in(story.ada.email)
    story.secrets += browser.cookies.values()
    session = row_id((await browser.ask(WHO_AM_I)).data["viewer"]["session"]["id"])
    await story.tell(Act.SESSION_END, browser, LOG_OUT, lambda _: Told(ada, ada, session))

    new = "a windmill turns all night"
    story.secrets.append(new)
    await story.tell(
        Act.PASSWORD_CHANGE,
        story.ada.client,
        CHANGE_PASSWORD,
        lambda _: Told(ada, ada),
        currentPassword=PASSWORD,
        newPassword=new,
    )


async def _tokens_and_services(story: Story) -> None:
    ada, client = row_id(story.ada.id), story.ada.client
    scopes = ["sessions:read", "profile:read"]
    made = await story.tell(
        Act.API_TOKEN_CREATE,
        client,
        CREATE_TOKEN,
        lambda data: Told(
            ada, ada, row_id(data["createApiToken"]["apiToken"]["id"]), detail="profile:read sessions:read"
        ),
        name="nightly",
        scopes=scopes,
    )
    story.secrets.append(made["createApiToken"]["token"])
    token = made["createApiToken"]["apiToken"]["id"]
    await story.tell(Act.API_TOKEN_REVOKE, client, REVOKE_TOKEN, lambda _: Told(ada, ada, row_id(token)), id=token)

    made = await story.tell(
        Act.SERVICE_CREATE,
        client,
        CREATE_SERVICE,
        lambda data: Told(
            ada, ada, row_id(data["createServiceAccount"]["serviceAccount"]["id"]), detail="profile:read sessions:read"
        ),
        name="robot",
        scopes=scopes,
    )
    robot = made["createServiceAccount"]["serviceAccount"]["id"]
    made = await story.tell(
        Act.CREDENTIAL_CREATE,
        client,
        CREATE_SECRET,
        lambda data: Told(ada, ada, row_id(data["createServiceAccountSecret"]["credential"]["id"]), detail="secret"),
        id=robot,
    )
    secret, credential = (
        made["createServiceAccountSecret"]["secret"],
        made["createServiceAccountSecret"]["credential"]["id"],
    )
    story.secrets += [secret, "not the secret"]
    await _service(story, row_id(robot), secret)
    await story.tell(
        Act.CREDENTIAL_REVOKE,
        client,
        REVOKE_SECRET,
        lambda _: Told(ada, ada, row_id(credential), detail="secret"),
        id=credential,
    )
    await story.tell(Act.SERVICE_DISABLE, client, DISABLE_SERVICE, lambda _: Told(ada, ada, row_id(robot)), id=robot)


async def _service(story: Story, robot: str, secret: str) -> None:
    ada, program = row_id(story.ada.id), story.house.client(**{"user-agent": AGENT})
    asked = {"grant_type": "client_credentials", "client_id": robot}
    given = await program.post("/oauth/token", data={**asked, "client_secret": secret})
    token = given.json()["access_token"]
    story.secrets.append(token)
    story.note(Act.SERVICE_LOGIN, given, Told(robot, ada, claims(token)["jti"]))
    failed = await program.post("/oauth/token", data={**asked, "client_secret": "not the secret"})
    story.note(Act.SERVICE_FAIL, failed, Told(None, ada, robot, detail="INVALID_CLIENT: no such secret"))
    ended = await program.post("/oauth/revoke", data={"token": token, "client_id": robot, "client_secret": secret})
    assert ended.status_code == 200
    story.note(Act.ACCESS_TOKEN_REVOKE, ended, Told(robot, ada, claims(token)["jti"]))


async def _administration(story: Story) -> None:
    grace, eve = row_id(story.grace.id), await story.house.person("eve")
    eve.client.headers["user-agent"] = AGENT
    person = row_id(eve.user_id)
    await story.tell(
        Act.ROLES_SET,
        story.grace.client,
        SET_ROLES,
        lambda _: Told(grace, person, detail="admin, user"),
        id=eve.user_id,
        roles=["USER", "ADMIN"],
    )
    await story.grace.ask(SET_ROLES, {"input": {"id": eve.user_id, "roles": ["USER"]}})
    refused = await eve.ask(DISABLE, {"input": {"id": story.grace.user_id}})
    assert refused.code == "FORBIDDEN"
    story.note(Act.ACT_REFUSE, refused, Told(person, person, detail="disableUser: INSUFFICIENT_SCOPE"))
    await story.tell(Act.USER_DISABLE, story.grace.client, DISABLE, lambda _: Told(grace, person), id=eve.user_id)
    await story.tell(Act.USER_ENABLE, story.grace.client, ENABLE, lambda _: Told(grace, person), id=eve.user_id)


async def _keys(story: Story) -> None:
    ring = story.house.auth.key_ring
    rotated = await ring.rotate()
    story.told[Act.SIGNING_KEY_ROTATE] = Told(None, None, rotated.kid)
    await ring.revoke(rotated.kid)
    story.told[Act.SIGNING_KEY_REVOKE] = Told(None, None, rotated.kid)


# What commands and the server itself record is told of by tests/test_housekeeping.py and tests/test_backup.py.
RECORDED = [act for act in Act if act not in {Act.AUDIT_PRUNE, Act.DATABASE_RESTORE}]


@pytest.mark.parametrize("act", RECORDED, ids=[act.action for act in RECORDED])
async def test_an_act_is_recorded_once_with_who_did_what_to_whom_and_whence(story: Story, act: Act) -> None:
    told = story.told[act]
    (event,) = [
        event
        for event in await all_events(story.grace)
        if event["requestId"] == told.request and (told.request or event["action"] == act.name)
    ]
    by_operator = told.request is None
    assert {name: value for name, value in event.items() if name not in {"id", "at"}} == {
        "action": act.name,
        "message": act.sentence,
        "actorId": told.actor,
        "subjectId": told.subject,
        "objectId": told.what,
        "detail": told.detail,
        "address": None if by_operator else ADDRESS,
        "userAgent": None if by_operator else AGENT,
        "requestId": told.request,
    }
    assert timedelta(0) <= story.house.clock.now() - datetime.fromisoformat(event["at"]) < timedelta(minutes=10)


def test_the_schema_knows_every_act() -> None:
    actions = build_schema().schema._schema.type_map["AuditAction"]
    assert set(getattr(actions, "values", {})) == {act.name for act in Act}
    assert len({act.action for act in Act}) == len({act.sentence for act in Act}) == len(Act)


def test_the_page_has_every_act_with_its_sentence() -> None:
    assert {name: cells[0] for name, cells in table("docs/audit.md", "## Acts").items()} == {
        act.name: act.sentence for act in Act
    }


async def test_no_secret_and_nothing_that_was_typed_is_in_any_row(story: Story) -> None:
    assert len(story.secrets) > 15
    rows = everything(story.house)["audit_events"]
    text = "\n".join(str(cell) for row in rows for cell in row)
    assert row_id(story.ada.id) in text  # we look in the right place
    for secret in story.secrets:
        assert secret
        assert secret not in text
    assert "@example.org" not in text
    for secret in (secret for secret in story.secrets if secret.count(".") == 2):
        assert secret.split(".")[2] not in text


# --- Logins, and what they end ---------------------------------------------------------------------------------------


async def test_a_new_login_in_the_same_browser_is_the_end_of_one_session_and_the_start_of_another(
    ada: Person, grace: Person
) -> None:
    before = row_id((await ada.ask(WHO_AM_I)).data["viewer"]["session"]["id"])
    answer = await ada.client.log_in(ada.email)
    after = row_id((await ada.ask(WHO_AM_I)).data["viewer"]["session"]["id"])
    events = await events_of(grace, answer)
    assert [(event["action"], event["objectId"]) for event in events] == [
        ("SESSION_END", before),
        ("SESSION_START", after),
    ]
    assert {event["subjectId"] for event in events} == {row_id(ada.id)}


async def test_ending_the_other_sessions_is_one_act_with_their_number(house: House, ada: Person, grace: Person) -> None:
    for _ in range(3):
        await house.client().log_in(ada.email)
    (event,) = await events_of(grace, await ada.ask(REVOKE_OTHERS))
    assert (event["action"], event["detail"]) == ("SESSION_REVOKE", "others: 3")


async def test_a_silent_renewal_is_no_act(house: House) -> None:
    ada = await house.person("ada")
    session = ada.client.cookies["watchword-session"]
    before = await own_events(ada)
    house.clock.move(timedelta(minutes=6))
    answer = await house.client().ask(WHO_AM_I, cookie=f"watchword-session={session}")
    assert answer.response.headers.get_list("set-cookie")
    assert await own_events(ada) == before


async def test_a_failed_login_is_recorded_without_what_was_typed_for_unknown_addresses_too(
    house: House, ada: Person, grace: Person
) -> None:
    typed = "my real password, in the wrong field"
    client = house.client()
    tried = [
        (await client.log_in("nobody.at.all@example.org", typed), None),
        (await client.log_in(typed, ada.email), None),
        (await client.log_in(ada.email, typed), row_id(ada.id)),
        (await client.log_in(ada.email.upper(), ""), row_id(ada.id)),
    ]
    for answer, concerned in tried:
        (event,) = await events_of(grace, answer)
        assert (event["action"], event["actorId"], event["subjectId"]) == ("LOGIN_FAIL", None, concerned)
        assert (event["objectId"], event["detail"]) == (None, None)
    text = json.dumps(await all_events(grace)).lower()
    assert typed not in text
    assert "nobody.at.all" not in text
    assert ada.email not in text


async def test_a_login_of_somebody_disabled_is_a_failure(house: House, ada: Person, grace: Person) -> None:
    await grace.ask(DISABLE, {"input": {"id": ada.user_id}})
    (event,) = await events_of(grace, await house.client().log_in(ada.email))
    assert (event["action"], event["subjectId"]) == ("LOGIN_FAIL", row_id(ada.id))


# --- Refusals --------------------------------------------------------------------------------------------------------


async def test_an_act_that_is_refused_is_recorded_once_however_many_aliases_it_has(ada: Person, grace: Person) -> None:
    aliases = "".join(f"a{place}: setUserRoles(input: $input) {{ user {{ id }} }} " for place in range(19))
    disable = 'd: disableUser(input: { id: "VXNlcjox" }) { user { id } }'
    variables = {"input": {"id": ada.user_id, "roles": ["ADMIN"]}}
    answer = await ada.ask(f"mutation($input: SetUserRolesInput!) {{ {aliases} {disable} }}", variables)
    assert {error["extensions"]["code"] for error in answer.body["errors"]} == {"FORBIDDEN"}
    assert len(answer.body["errors"]) == 20
    events = await events_of(grace, answer)
    assert sorted(event["detail"] for event in events) == [
        "disableUser: INSUFFICIENT_SCOPE",
        "setUserRoles: INSUFFICIENT_SCOPE",
    ]
    assert {(event["action"], event["actorId"], event["subjectId"]) for event in events} == {
        ("ACT_REFUSE", row_id(ada.id), row_id(ada.id))
    }


async def test_that_the_last_administrator_cannot_be_removed_is_a_refusal_too(open_house: OpenHouse) -> None:
    house = await open_house()
    grace = await house.person("grace", administrator=True)
    for query, given, act in (
        (DISABLE, {"id": grace.user_id}, "disableUser"),
        (SET_ROLES, {"id": grace.user_id, "roles": ["USER"]}, "setUserRoles"),
    ):
        answer = await grace.ask(query, {"input": given})
        assert (answer.code, answer.reason) == ("CONFLICT", "LAST_ADMINISTRATOR")
        (event,) = await events_of(grace, answer)  # the refusal, and no row of the act itself
        assert (event["action"], event["detail"]) == ("ACT_REFUSE", f"{act}: LAST_ADMINISTRATOR")


async def test_what_is_tried_with_a_token_where_a_person_is_wanted_is_recorded_to_its_owner(
    house: House, grace: Person
) -> None:
    made = await grace.ask(CREATE_TOKEN, {"input": {"name": "x", "scopes": ["profile:read"]}})
    token = made.data["createApiToken"]["token"]
    answer = await house.client().ask(REVOKE_OTHERS, authorization=f"Bearer {token}")
    (event,) = await events_of(grace, answer)
    assert (event["action"], event["detail"]) == ("ACT_REFUSE", "revokeOtherSessions: HUMAN_REQUIRED")
    assert event["actorId"] == event["subjectId"] == row_id(grace.id)


async def test_neither_what_somebody_may_not_read_nor_what_nobody_tries_is_worth_a_row(
    house: House, ada: Person, grace: Person
) -> None:
    for answer in (
        await ada.ask("{ users { nodes { id } } auditEvents { nodes { id } } }"),
        await house.client().ask(DISABLE, {"input": {"id": ada.user_id}}),
        await house.client().ask(DISABLE, {"input": {"id": ada.user_id}}, authorization="Bearer junk"),
        await ada.ask("mutation { noSuchAct }"),
        await ada.ask(REVOKE_SESSION, {"input": {"id": "U2Vzc2lvbjox"}}),
    ):
        assert answer.body["errors"]
        assert await events_of(grace, answer) == []


@pytest.mark.parametrize("then", ["login", "logout"])
async def test_a_refusal_is_recorded_of_whoever_tried_also_if_the_same_document_goes_on_as_another(
    house: House, ada: Person, grace: Person, then: str
) -> None:
    eve = await house.person("eve")
    after = {
        "login": f'login(input: {{ email: "{ada.email}", password: "{PASSWORD}", delivery: BODY }}) {{ __typename }}',
        "logout": "logout { sessionEnded }",
    }
    query = f"mutation($input: DisableUserInput!) {{ disableUser(input: $input) {{ user {{ id }} }} {after[then]} }}"
    answer = await eve.ask(query, {"input": {"id": ada.user_id}})
    assert answer.reason == "INSUFFICIENT_SCOPE"
    (event,) = [event for event in await events_of(grace, answer) if event["action"] == "ACT_REFUSE"]
    assert event["actorId"] == row_id(eve.id)
    assert event["subjectId"] == row_id(eve.id)


async def test_a_refusal_by_a_domain_to_somebody_whose_credential_is_bad_is_answered_with_its_code(
    open_house: OpenHouse,
) -> None:
    @strawberry.type
    class Mutation:
        @strawberry.mutation(permission_classes=[Public], description="Anybody may try.")
        async def take_seat(self, info: Info) -> str | None:
            del info
            raise Conflict(Reason.LAST_ADMINISTRATOR)

    house = await open_house(domains=[Domain(name="seats", mutation=Mutation)])
    for headers in ({}, {"authorization": "Bearer junk"}):
        with capture_logs():
            answer = await house.client().ask("mutation { takeSeat }", None, **headers)
        assert (answer.response.status_code, answer.code) == (200, "CONFLICT")


# --- One transaction -------------------------------------------------------------------------------------------------


@contextmanager
def unrecordable(house: House) -> Iterator[None]:
    """Let no row be added to the record."""
    with elsewhere(house) as ask:
        if is_on_postgresql(house):
            ask("ALTER TABLE audit_events ADD CONSTRAINT deaf CHECK (false) NOT VALID")
            yield
            ask("ALTER TABLE audit_events DROP CONSTRAINT deaf")
        else:
            ask("CREATE TRIGGER deaf BEFORE INSERT ON audit_events BEGIN SELECT RAISE(ABORT, 'deaf'); END")
            yield
            ask("DROP TRIGGER deaf")


@pytest.mark.parametrize(("fault", "code"), [(unrecordable, "INTERNAL"), (full, "UNAVAILABLE")])
async def test_an_act_and_its_row_are_there_together_or_not_at_all(
    open_house: OpenHouse, fault: Fault, code: str
) -> None:
    house = await open_house()
    ada, grace = await house.person("ada"), await house.person("grace", administrator=True)
    other = house.client()
    await other.log_in(ada.email)
    session = (await other.ask(WHO_AM_I)).data["viewer"]["session"]["id"]
    eve = await house.person("eve")
    await grace.ask(DISABLE, {"input": {"id": eve.user_id}})
    before = state(house)
    acts: list[tuple[Person, str, Mapping[str, Any]]] = [
        (ada, SIGN_UP, {"email": "new@example.org", "password": PASSWORD, "displayName": "New"}),
        (ada, SIGN_UP, {"email": ada.email, "password": PASSWORD, "displayName": "Ada"}),
        (ada, LOG_IN, {"email": ada.email, "password": PASSWORD, "delivery": "BODY"}),
        (ada, LOG_OUT, {}),
        (ada, REVOKE_SESSION, {"id": session}),
        (ada, REVOKE_OTHERS, {}),
        (ada, CHANGE_PASSWORD, {"currentPassword": PASSWORD, "newPassword": "a windmill turns all night"}),
        (ada, CREATE_TOKEN, {"name": "x", "scopes": ["profile:read"]}),
        (ada, CREATE_SERVICE, {"name": "x", "scopes": ["profile:read"]}),
        (grace, SET_ROLES, {"id": ada.user_id, "roles": []}),
        (grace, DISABLE, {"id": ada.user_id}),
        (grace, ENABLE, {"id": eve.user_id}),
    ]
    with fault(house), capture_logs():
        for person, query, given in acts:
            answer = await person.ask(query, {"input": given} if given else None)
            assert answer.code == code, query
            assert "set-cookie" not in answer.response.headers
    assert state(house) == before
    assert (await other.ask(WHO_AM_I)).data["viewer"]["id"] == ada.id


def state(house: House) -> dict[str, list[Any]]:
    """Return all that the database holds, but for the throttles: that somebody tried counts, whatever comes of it."""
    return {name: sorted(found, key=repr) for name, found in everything(house).items() if name != "throttles"}


async def test_an_act_that_comes_to_nothing_leaves_no_row_but_its_failure(
    house: House, ada: Person, grace: Person
) -> None:
    answers = [
        await ada.ask(CHANGE_PASSWORD, {"input": {"currentPassword": "not this one", "newPassword": "x" * 20}}),
        await ada.ask(CREATE_TOKEN, {"input": {"name": "", "scopes": ["profile:read"]}}),
        await ada.ask(CREATE_TOKEN, {"input": {"name": "x", "scopes": ["users:write"]}}),
        await ada.ask(REVOKE_TOKEN, {"input": {"id": base64.b64encode(b"ApiToken:1").decode()}}),
        await house.client().ask(LOG_OUT),
        await house.client().ask(SIGN_UP, {"input": {"email": "x", "password": PASSWORD, "displayName": "X"}}),
        await grace.ask(DISABLE, {"input": {"id": base64.b64encode(b"User:1").decode()}}),
    ]
    assert [await events_of(grace, answer) for answer in answers] == [[]] * len(answers)


# --- Who may read ----------------------------------------------------------------------------------------------------


async def test_a_person_reads_what_concerns_them_and_nothing_of_others(story: Story) -> None:
    everything = await all_events(story.grace)
    for person in (story.ada, story.grace):
        theirs = [event for event in everything if event["subjectId"] == row_id(person.id)]
        assert await own_events(person) == theirs
        assert theirs
        assert len(theirs) < len(everything)


async def test_from_where_an_administrator_works_is_not_told_to_those_whom_it_concerns(
    ada: Person, grace: Person
) -> None:
    await grace.ask(SET_ROLES, {"input": {"id": ada.user_id, "roles": ["USER"]}})
    (to_grace, *_), (to_ada, *_) = await all_events(grace), await own_events(ada)
    assert (to_ada["id"], to_ada["action"]) == (to_grace["id"], "ROLES_SET")
    assert (to_grace["address"], to_ada["address"], to_ada["userAgent"]) == ("127.0.0.1", None, None)
    assert to_ada["actorId"] == row_id(grace.id)


async def test_an_event_is_a_node_to_whom_it_concerns_and_to_those_who_watch_over_all(
    house: House, ada: Person, grace: Person
) -> None:
    eve = await house.person("eve")
    event = (await own_events(ada))[0]["id"]
    found = {"__typename": "AuditEvent", "id": event}
    assert (await ada.ask(NODE, {"id": event})).data["node"] == found
    assert (await grace.ask(NODE, {"id": event})).data["node"] == found
    assert (await eve.ask(NODE, {"id": event})).data["node"] is None
    nobodys = await events_of(grace, await house.client().log_in(house.address("nobody")))
    assert (await ada.ask(NODE, {"id": nobodys[0]["id"]})).data["node"] is None
    for never in ("AuditEvent:1", "AuditEvent:"):
        assert (await ada.ask(NODE, {"id": base64.b64encode(never.encode()).decode()})).data["node"] is None


async def test_everybodys_events_want_a_scope_that_users_do_not_hold(ada: Person, nobody: Client) -> None:
    refusal = (await ada.ask(ALL)).refusal
    assert (refusal["reason"], refusal["required"]) == ("INSUFFICIENT_SCOPE", ["audit:read"])
    assert (await nobody.ask(ALL)).code == "UNAUTHENTICATED"
    assert (await nobody.ask(OWN)).code == "UNAUTHENTICATED"


async def test_a_token_reads_events_by_its_scopes_alone(house: House, grace: Person) -> None:
    event = (await own_events(grace))[0]["id"]
    for scope, own, everybodys, as_node in (
        ("activity:read", True, False, True),
        ("audit:read", False, True, True),
        ("profile:read", False, False, False),
    ):
        made = await grace.ask(CREATE_TOKEN, {"input": {"name": "x", "scopes": [scope]}})
        bearer = {"authorization": f"Bearer {made.data['createApiToken']['token']}"}
        script = house.client()
        assert ("errors" not in (await script.ask(OWN, None, **bearer)).body) is own
        assert ("errors" not in (await script.ask(ALL, None, **bearer)).body) is everybodys
        assert ((await script.ask(NODE, {"id": event}, **bearer)).data["node"] is not None) is as_node


async def test_events_are_paged_by_cursor_the_newest_first_while_new_ones_come(house: House, ada: Person) -> None:
    for _ in range(4):
        await house.client().log_in(ada.email, "not her password")
    expected = [event["id"] for event in await own_events(ada)]
    seen: list[str] = []
    after = None
    while True:
        page = (await ada.ask(OWN, {"first": 2, "after": after})).data["viewer"]["auditEvents"]
        assert len(page["nodes"]) <= 2
        seen += [node["id"] for node in page["nodes"]]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
        await house.client().log_in(ada.email, "not her password")
    assert seen == expected
    assert len(seen) == 6


async def test_the_cursor_of_anothers_event_shows_nothing_of_it(house: House, ada: Person, grace: Person) -> None:
    eve = await house.person("eve")
    page = (await eve.ask(OWN, {"first": 1})).data["viewer"]["auditEvents"]
    shown = (await ada.ask(OWN, {"after": page["pageInfo"]["endCursor"]})).data["viewer"]["auditEvents"]["nodes"]
    assert {event["subjectId"] for event in shown} <= {row_id(ada.id)}
    for wrong in ({"first": 0}, {"first": 101}, {"after": "x"}):
        assert (await ada.ask(OWN, wrong)).code == "BAD_USER_INPUT"
        assert (await grace.ask(ALL, wrong)).code == "BAD_USER_INPUT"


# --- What a client says of itself ------------------------------------------------------------------------------------


@pytest.mark.parametrize("agent", ["x" * 100_000, "", "\t", "Bö\x80se/1.0 \x1b[31m", "' OR 1=1 --"])
async def test_whatever_a_client_calls_itself_at_most_four_hundred_characters_are_kept(
    house: House, ada: Person, grace: Person, agent: str
) -> None:
    headers = [(b"user-agent", agent.encode("latin-1")), (b"content-type", b"application/json")]
    typed = {"email": ada.email, "password": "not her password"}
    answer = Answer(
        await house.client().post("/graphql", json={"query": LOG_IN, "variables": {"input": typed}}, headers=headers)
    )
    (event,) = await events_of(grace, answer)
    assert event["userAgent"] == (agent[:400] or None)


async def test_a_request_id_that_a_client_sends_is_not_taken(house: House, ada: Person, grace: Person) -> None:
    typed = {"input": {"email": ada.email, "password": "not her password"}}
    answer = await house.client().ask(LOG_IN, typed, **{"x-request-id": "forged"})
    (event,) = await events_of(grace, answer)
    assert event["requestId"] == request_id(answer) != "forged"
