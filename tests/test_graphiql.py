"""GraphiQL in a real browser, on a real server, with no network but the loopback address."""

import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest
from graphql import parse, validate
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    Request,
    Response,
    WebError,
    async_playwright,
)

from schema import build_schema
from tests.house import PASSWORD
from tests.running import ROOT, Server, serving

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)

# The last one makes any name but the loopback address unknown, so that a page which needs the internet fails here.
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)

# GraphiQL works on a text, and stores it, up to half a second after the last change to it.
EDITOR_REST = 1000  # milliseconds

# What the browser's console says of a refusal before anything is executed.
REFUSED = "Failed to load resource: the server responded with a status of 400 (Bad Request)"

STARTER_TABS = ["SignUp", "LogIn", "WhoAmI", "MySessions", "MyEvents"]
OPERATIONS = sorted((ROOT / "dashboard/src/graphiql/operations").glob("*.graphql"))


@dataclass
class GraphiQL:
    """The page, as somebody with a mouse has it, and everything that the browser has to complain about."""

    context: BrowserContext
    page: Page
    url: str
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    attacked: bool = False

    async def open(self, fragment: str = "", first_tab: str = "SignUp") -> None:
        await self.page.goto(f"{self.url}/graphql{fragment}")
        await self._tab(first_tab).wait_for()
        await self.page.wait_for_function("() => globalThis.__MONACO?.editor.getModels().length >= 4")
        await self.page.wait_for_selector('section[aria-label="Operation Editor"] .view-line')

    async def tabs(self) -> list[str]:
        return [(await tab.inner_text()).strip() for tab in await self.page.get_by_role("tab").all()]

    async def choose(self, tab: str) -> None:
        await self._tab(tab).click()
        await self.page.wait_for_function(f"name => {_TEXT}('operation.graphql').includes(` ${{name}}`)", arg=tab)
        await self.page.clock.run_for(EDITOR_REST)

    async def run(self, **given: str) -> dict[str, Any]:
        """Fill these in among the variables, press the button, and return what the response pane then shows."""
        if given:
            variables = orjson.loads(await self._text("variables.json"))
            assert set(given) <= set(variables["input"])
            variables["input"] |= given
            await self.write("variables.json", orjson.dumps(variables).decode())
        await self.write("response.json", "")
        await self.page.get_by_role("button", name="Execute query").click()
        await self.page.wait_for_function(f"() => {_TEXT}('response.json').endsWith('}}')")
        answer: dict[str, Any] = orjson.loads(await self._text("response.json"))
        return answer

    async def follow(self) -> Request:
        """Press the button for a subscription, and return the request once the server has begun to answer it."""
        async with self.page.expect_response(f"{self.url}/graphql") as answered:
            await self.page.get_by_role("button", name="Execute query").click()
        response = await answered.value
        assert response.headers["content-type"].startswith("text/event-stream")
        return response.request

    async def shown(self, part: str) -> str:
        """Return what the response pane shows, once this is in it."""
        await self.page.wait_for_function(f"part => {_TEXT}('response.json').includes(part)", arg=part)
        return await self._text("response.json")

    async def stop(self) -> None:
        await self.page.get_by_role("button", name="Stop query").click()

    async def stopped(self) -> None:
        await self.page.get_by_role("button", name="Execute query").wait_for()

    async def write(self, name: str, text: str) -> None:
        await self.page.evaluate(f"([name, text]) => {_FIND}(name).setValue(text)", [name, text])

    async def stored(self) -> str:
        """Return everything that scripts of this origin, and whoever sits here next, can read afterwards."""
        await self.page.clock.run_for(EDITOR_REST)
        script = "() => JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])"
        return str(await self.page.evaluate(script))

    def _tab(self, name: str) -> Locator:
        return self.page.get_by_role("tab").get_by_role("button", name=name, exact=True)

    async def _text(self, name: str) -> str:
        return str(await self.page.evaluate(f"name => {_TEXT}(name)", name))


_FIND = "(name => __MONACO.editor.getModels().find(model => model.uri.path.endsWith(name)))"
_TEXT = f"(name => {_FIND}(name).getValue())"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run the server that these tests share."""
    with serving(tmp_path_factory.mktemp("served") / "data") as running:
        yield running


@pytest.fixture(scope="module")
async def chromium() -> AsyncIterator[Browser]:
    """Launch the browser that these tests share; each has a profile of its own in it."""
    if CHROMIUM is None:
        pytest.skip("THERE IS NO CHROMIUM ON THIS MACHINE: nothing of GraphiQL was tried in a browser")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest.fixture
async def graphiql(chromium: Browser, server: Server) -> AsyncIterator[GraphiQL]:
    """Open a browser that has never been here; after every test it must have had nothing to complain about."""
    context = await chromium.new_context()
    page = await context.new_page()
    graphiql = GraphiQL(context, page, server.url)

    def hear(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            graphiql.complaints.append(message.text)

    def crash(error: WebError) -> None:
        graphiql.complaints.append(str(error.error))

    def see(request: Request) -> None:
        graphiql.requests.append(request.url)

    await context.clock.install()
    context.on("console", hear)
    context.on("weberror", crash)
    context.on("request", see)
    await context.add_init_script(
        "addEventListener('securitypolicyviolation', event =>"
        " console.error(`${event.effectiveDirective} refused ${event.blockedURI}`))"
    )
    yield graphiql
    await context.close()
    if not graphiql.attacked:
        assert graphiql.complaints == []
        assert [url for url in graphiql.requests if not url.startswith((f"{graphiql.url}/", "data:", "blob:"))] == []


async def test_somebody_signs_up_logs_in_and_sees_who_they_are(graphiql: GraphiQL) -> None:
    await graphiql.open()
    assert await graphiql.tabs() == STARTER_TABS

    signed_up = await graphiql.run(email="ada@example.org", password=PASSWORD)
    assert signed_up["data"]["signUp"]["__typename"] == "SignUpSucceeded"

    await graphiql.choose("WhoAmI")
    assert (await graphiql.run())["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"

    await graphiql.choose("LogIn")
    logged_in = await graphiql.run(password=PASSWORD)
    assert logged_in["data"]["login"]["viewer"]["user"]["email"] == "ada@example.org"

    await graphiql.choose("WhoAmI")
    viewer = (await graphiql.run())["data"]["viewer"]
    assert viewer["user"]["displayName"] == "Ada Lovelace"

    await graphiql.choose("MySessions")
    (session,) = (await graphiql.run())["data"]["viewer"]["sessions"]["nodes"]
    assert session["isCurrent"]
    assert session["id"] == viewer["session"]["id"]
    assert "Chrom" in session["userAgent"]


async def test_no_script_can_read_a_cookie_and_nothing_secret_outlives_the_page(graphiql: GraphiQL) -> None:
    await graphiql.open()
    await graphiql.run(email="kept@example.com", password=PASSWORD)
    await graphiql.choose("LogIn")
    assert "data" in await graphiql.run(email="kept@example.com", password=PASSWORD)

    cookies = {cookie["name"]: cookie for cookie in await graphiql.context.cookies()}
    assert set(cookies) == {"watchword-access", "watchword-session"}
    for cookie in cookies.values():
        assert cookie["httpOnly"]
        assert cookie["sameSite"] == "Lax"
        assert cookie["path"] == "/"

    await graphiql.write("request-headers.json", '{"authorization": "Bearer in-the-headers-editor"}')
    stored = await graphiql.stored()
    for secret in (
        PASSWORD,
        "kept@example.com",
        "in-the-headers-editor",
        *(cookie["value"] for cookie in cookies.values()),
    ):
        assert secret not in stored

    await graphiql.open()
    assert await graphiql.tabs() == STARTER_TABS
    await graphiql.choose("WhoAmI")
    assert (await graphiql.run())["data"]["viewer"]["user"]["email"] == "kept@example.com"


async def test_the_setup_link_opens_the_tab_that_makes_the_first_administrator(
    graphiql: GraphiQL, server: Server
) -> None:
    link = next(word for word in server.said().split() if word.startswith("http"))
    assert link == f"{server.url}/graphql#setup"
    await graphiql.open()
    await graphiql.open(f"#{urlsplit(link).fragment}", first_tab="CreateFirstAdministrator")
    assert await graphiql.tabs() == ["CreateFirstAdministrator", *STARTER_TABS]

    grace = {"email": "grace@example.com", "password": PASSWORD, "displayName": "Grace Hopper"}
    wrong = await graphiql.run(setupToken="guessed", **grace)
    assert wrong["data"]["createFirstAdministrator"]["code"] == "SETUP_TOKEN_INVALID"

    made = await graphiql.run(setupToken=server.setup_token, **grace)
    user = made["data"]["createFirstAdministrator"]["user"]
    assert (user["email"], sorted(user["roles"])) == ("grace@example.com", ["ADMIN", "USER"])
    assert server.setup_token not in await graphiql.stored()
    assert server.setup_token not in server.logged()

    await graphiql.choose("LogIn")
    await graphiql.run(email="grace@example.com", password=PASSWORD)
    await graphiql.choose("WhoAmI")
    assert "users:write" in (await graphiql.run())["data"]["viewer"]["scopes"]


async def test_a_script_that_got_into_the_page_is_not_run_and_can_call_nobody(graphiql: GraphiQL) -> None:
    await graphiql.open()
    graphiql.attacked = True
    inline = "() => document.body.append(Object.assign(document.createElement('script'), {text: 'gotIn = true'}))"
    async with graphiql.page.expect_console_message(lambda message: message.text == "script-src-elem refused inline"):
        await graphiql.page.evaluate(inline)
    assert await graphiql.page.evaluate("() => globalThis.gotIn") is None

    elsewhere = graphiql.url.replace("127.0.0.1", "127.0.0.2") + "/"
    async with graphiql.page.expect_console_message(lambda message: message.text == f"connect-src refused {elsewhere}"):
        sent = await graphiql.page.evaluate("url => fetch(url).then(() => true, () => false)", elsewhere)
    assert not sent


async def test_somebody_follows_what_happens_with_their_account_until_they_press_stop(
    graphiql: GraphiQL, server: Server
) -> None:
    account = await logged_in(graphiql, "follows@example.org")
    await graphiql.choose("MyEvents")
    request = await graphiql.follow()
    async with server.client() as elsewhere:
        await elsewhere.log_in(account)
        event = orjson.loads(await graphiql.shown("SESSION_START"))["data"]["viewerEvents"]
        assert set(event) == {"action", "message"}

        async with graphiql.page.expect_event("requestfailed", lambda failed: failed == request):
            await graphiql.stop()
        assert request.failure == "net::ERR_ABORTED"
        await graphiql.stopped()
    await graphiql.choose("WhoAmI")
    assert (await graphiql.run())["data"]["viewer"]["user"]["email"] == account


async def test_a_subscription_ends_with_its_session_and_the_page_says_why(graphiql: GraphiQL, server: Server) -> None:
    account = await logged_in(graphiql, "revoked@example.org")
    await graphiql.choose("MyEvents")
    await graphiql.follow()
    async with server.client() as elsewhere:
        await elsewhere.log_in(account)
        await elsewhere.ask("mutation { revokeOtherSessions { __typename } }")
        (error,) = orjson.loads(await graphiql.shown('"errors"'))["errors"]
    assert (error["extensions"]["code"], error["extensions"]["reason"]) == ("UNAUTHENTICATED", "SESSION_REVOKED")
    await graphiql.stopped()


async def test_a_subscription_that_the_server_broke_off_says_so(graphiql: GraphiQL, tmp_path: Path) -> None:
    with serving(tmp_path / "data") as ending:
        graphiql.url = ending.url
        await logged_in(graphiql, "ada@example.org")
        await graphiql.choose("MyEvents")
        await graphiql.follow()
        ending.end()
        assert "before it was complete" in await graphiql.shown("message")
        await graphiql.stopped()


async def test_the_schema_comes_with_the_login_where_only_the_authenticated_may_see_it(
    graphiql: GraphiQL, tmp_path: Path
) -> None:
    with serving(tmp_path / "data", introspection="authenticated") as closed:
        graphiql.url = closed.url
        await graphiql.open()
        assert orjson.loads(await graphiql.shown("errors"))["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
        signed_up = await graphiql.run(email="ada@example.org", password=PASSWORD)
        assert signed_up["data"]["signUp"]["__typename"] == "SignUpSucceeded"

        await graphiql.choose("LogIn")
        async with graphiql.page.expect_response(_brought_the_schema):
            answer = await graphiql.run(email="ada@example.org", password=PASSWORD)
        assert answer["data"]["login"]["__typename"] == "LoginSucceeded"
        await graphiql.page.get_by_role("button", name="Show Documentation Explorer").click()
        await graphiql.page.get_by_text("Root Types").wait_for()
        # GraphiQL asks twice, and once it was asked quietly whether the sign-up had changed anything.
        assert graphiql.complaints == [REFUSED] * 3
        graphiql.complaints.clear()


async def _brought_the_schema(response: Response) -> bool:
    return "IntrospectionQuery" in (response.request.post_data or "") and "data" in await response.json()


async def logged_in(graphiql: GraphiQL, email: str) -> str:
    """Open the page, sign up and log in; return the address."""
    await graphiql.open()
    await graphiql.run(email=email, password=PASSWORD)
    await graphiql.choose("LogIn")
    assert "data" in await graphiql.run(email=email, password=PASSWORD)
    return email


@pytest.mark.parametrize("path", OPERATIONS, ids=lambda path: path.stem)
def test_a_starter_operation_fits_the_schema(path: Path) -> None:
    document = parse(path.read_text())
    schema = build_schema([]).schema._schema
    assert validate(schema, document) == []
