"""Requests that a foreign page has a browser send, and pages of other origins that the operator allows."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from settings import WrongSettings, load_settings
from tests.house import LOG_IN, ORIGIN, PASSWORD, PRODUCTION_HASHING, Answer, Client, House, OpenHouse, Person
from tests.raw import call

PUBLIC_URL = "https://id.example.org"
APP = "https://app.example.org"
PRODUCTION: dict[str, Any] = {"public_url": PUBLIC_URL, "secret_key": "k" * 40, **PRODUCTION_HASHING}
GOOD = {"query": "{ __typename }"}
LOG_OUT = "mutation { logout { sessionEnded } }"


@pytest.fixture
async def production(open_house: OpenHouse) -> House:
    """Open a house behind https that allows one other origin."""
    return await open_house("production", allowed_origins=[APP], **PRODUCTION)


async def ask(client: Client, query: str = "{ __typename }", **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.ask(query, None, **named)


def require_refused(answer: Answer) -> None:
    assert answer.response.status_code == 403
    assert answer.code == "CSRF_REFUSED"
    assert "data" not in answer.body
    assert not answer.response.headers.get_list("set-cookie")
    assert not any(name.startswith("access-control-") for name in answer.response.headers)


# What a foreign page has a browser send


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"origin": "https://evil.example", "sec_fetch_site": "same-origin"},
    ],
)
async def test_login_csrf_nobody_is_logged_in_by_a_foreign_page_with_cookies_or_without(
    house: House, ada: Person, headers: dict[str, str]
) -> None:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = {"query": LOG_IN, "variables": {"input": {"email": ada.email, "password": PASSWORD}}}
    for client in (house.client(), ada.client):
        require_refused(Answer(await client.post("/graphql", json=body, headers=named)))
    assert len((await ada.ask("{ viewer { sessions { nodes { id } } } }")).data["viewer"]["sessions"]["nodes"]) == 1


async def test_a_refused_origin_is_in_the_log_and_the_answer_says_which_setting_would_allow_it(house: House) -> None:
    for sent, logged in ((APP, APP), ("https://\x1b[2J" + "x" * 1_000, "https://\\x1b[2J" + "x" * 188)):
        with capture_logs() as logs:
            answer = await call(house, b"{}", headers=[(b"origin", sent.encode())])
        assert answer.code == "CSRF_REFUSED"
        assert b"WATCHWORD_ALLOWED_ORIGINS" in answer.content
        (line,) = [line for line in logs if line["event"] == "request"]
        assert (line["code"], line["origin"]) == ("CSRF_REFUSED", logged)


async def test_a_foreign_page_can_neither_read_with_somebodys_cookies_nor_log_them_out(ada: Person) -> None:
    for query in ("{ viewer { id } }", LOG_OUT):
        require_refused(await ask(ada.client, query, origin="https://evil.example"))
        require_refused(await ask(ada.client, query, sec_fetch_site="cross-site"))
    assert (await ada.ask("{ viewer { id } }")).data["viewer"]["id"] == ada.id


@pytest.mark.parametrize(
    "origin",
    [
        "http://id.example.org",
        "https://id.example.org:443",
        "https://id.example.org:8443",
        "https://evil.id.example.org",
        "https://example.org",
        "https://id.example.org.evil.example",
        "https://evil-id.example.org",
        "https://id.example.orgevil.example",
        "https://idxexample.org",
        "https://ID.EXAMPLE.ORG",
        "HTTPS://id.example.org",
        "https://id.example.org.",
        "https://id.example.org/",
        "https://id.example.org@evil.example",
        "https://evil.example@id.example.org",
        "https://evil.example/https://id.example.org",
        "https://evil.example#https://id.example.org",
        "https://id.example.org, https://evil.example",
        "https://id.example.org https://evil.example",
        "id.example.org",
        "//id.example.org",
        "null",
        "*",
        "",
        "file://",
        "http://127.0.0.1:8000",
        "https://localhost",
        "http://localhost:8000",
        "https://app.example.org:444",
        "http://app.example.org",
        "https://xapp.example.org",
        "https://app.example.org.evil.example",
        "https://[::1]",
    ],
)
async def test_an_origin_is_compared_whole_and_no_other_spelling_of_it_passes(production: House, origin: str) -> None:
    nobody = production.client()
    require_refused(await ask(nobody, origin=origin))
    require_refused(await ask(nobody, origin=origin, sec_fetch_site="same-origin"))
    preflight = Answer(
        await nobody.options("/graphql", headers={"origin": origin, "access-control-request-method": "POST"})
    )
    require_refused(preflight)


@pytest.mark.parametrize(
    "origins", [(PUBLIC_URL, PUBLIC_URL), (PUBLIC_URL, "https://evil.example"), ("null", PUBLIC_URL)]
)
async def test_two_origins_are_as_good_as_a_foreign_one(production: House, origins: tuple[str, str]) -> None:
    headers = [("origin", origin) for origin in origins]
    require_refused(Answer(await production.client().post("/graphql", json=GOOD, headers=headers)))


@pytest.mark.parametrize(
    "site", ["cross-site", "same-site", "", "Same-Origin", "same-origin, cross-site", "unheard-of"]
)
async def test_without_an_origin_the_browser_says_whether_it_was_our_own_page(production: House, site: str) -> None:
    require_refused(await ask(production.client(), sec_fetch_site=site))


async def test_two_words_on_the_site_are_as_good_as_a_foreign_one(production: House) -> None:
    headers = [("sec-fetch-site", "same-origin"), ("sec-fetch-site", "same-origin")]
    require_refused(Answer(await production.client().post("/graphql", json=GOOD, headers=headers)))


async def test_our_own_page_passes(production: House) -> None:
    nobody = production.client()
    for headers in ({"origin": PUBLIC_URL}, {"sec_fetch_site": "same-origin"}, {"sec_fetch_site": "none"}, {}):
        answer = await ask(nobody, **headers)
        assert answer.data == {"__typename": "Query"}
        assert "access-control-allow-origin" not in answer.response.headers


async def test_a_program_that_is_no_browser_passes_without_an_origin(house: House, ada: Person) -> None:
    login = await ada.client.log_in(ada.email, delivery="BODY")
    bearer = {"authorization": f"Bearer {login.data['login']['accessToken']}"}
    program = house.client()
    assert (await ask(program, "{ viewer { id } }", **bearer, sec_fetch_mode="cors")).data["viewer"]["id"]
    require_refused(await ask(program, "{ viewer { id } }", **bearer, origin="https://evil.example"))


async def test_a_page_cannot_post_a_form_or_plain_text(ada: Person) -> None:
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        content = b'{"query": "mutation { logout { sessionEnded } }", "x": "="}'
        answer = await ada.client.post("/graphql", content=content, headers={"content-type": content_type})
        assert answer.status_code == 415
    assert (await ada.ask("{ viewer { id } }")).data["viewer"]["id"] == ada.id


async def test_a_query_by_get_is_held_to_the_same_rules(open_house: OpenHouse) -> None:
    house = await open_house(get_queries=True)
    ada = await house.person("ada")
    params, header = {"query": "{ viewer { id } }"}, {"graphql-require-preflight": "1"}
    for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
        require_refused(Answer(await ada.client.get("/graphql", params=params, headers={**header, **headers})))
    answer = Answer(await ada.client.get("/graphql", params=params, headers={**header, "origin": ORIGIN}))
    assert answer.data["viewer"]["id"] == ada.id


# On this machine


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "[::1]"])
async def test_in_development_this_machine_has_three_names(nobody: Client, name: str) -> None:
    assert (await ask(nobody, origin=f"http://{name}:8000")).data == {"__typename": "Query"}
    for foreign in (
        f"http://{name}",
        f"http://{name}:5173",
        f"https://{name}:8000",
        f"http://{name}.evil.example:8000",
    ):
        require_refused(await ask(nobody, origin=foreign))


async def test_a_development_server_of_another_port_is_allowed_by_name(open_house: OpenHouse) -> None:
    house = await open_house(allowed_origins=["http://localhost:5173"])
    assert (await ask(house.client(), origin="http://localhost:5173")).data == {"__typename": "Query"}
    require_refused(await ask(house.client(), origin="http://127.0.0.1:5173"))


# Origins that are allowed


async def test_a_page_of_an_allowed_origin_reads_answers_and_has_cookies(production: House) -> None:
    email = production.address("ada")
    await production.auth.users.create(email=email, password=PASSWORD, display_name="Ada", roles=frozenset({"user"}))
    browser = production.client(origin=APP)
    login = await browser.log_in(email)
    assert login.data["login"]["__typename"] == "LoginSucceeded"
    cookies = [cookie.partition(";")[0] for cookie in login.response.headers.get_list("set-cookie")]
    assert len(cookies) == 2
    viewer = await browser.ask("{ viewer { user { email } } }", cookie="; ".join(cookies))
    assert viewer.data["viewer"]["user"]["email"] == email
    for answer in (login, viewer, await browser.ask("{"), await browser.ask("{ viewer { id } }")):
        headers = answer.response.headers
        assert headers["access-control-allow-origin"] == APP
        assert headers["access-control-allow-credentials"] == "true"
        assert "retry-after" in headers["access-control-expose-headers"]
        assert headers["vary"] == "Origin"
        assert headers["cache-control"] == "no-store"


async def test_a_page_of_an_allowed_origin_reads_refusals_too(production: House) -> None:
    browser = production.client(origin=APP)
    for answer in (
        await browser.post("/graphql", json=[]),
        await browser.post("/graphql", content=b"x" * 200_000, headers={"content-type": "application/json"}),
        await browser.post("/graphql", content=b"x"),
        await browser.put("/graphql"),
    ):
        assert answer.status_code >= 400
        assert answer.headers["access-control-allow-origin"] == APP


async def test_a_preflight_of_an_allowed_origin_is_answered(production: House) -> None:
    asked = {
        "origin": APP,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }
    answer = await production.client().options("/graphql", headers=asked)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == APP
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["access-control-allow-methods"] == "GET, POST"
    taken = {name.strip() for name in answer.headers["access-control-allow-headers"].split(",")}
    assert {"content-type", "authorization", "apollo-require-preflight", "graphql-require-preflight"} <= taken
    assert "*" not in str(answer.headers)
    assert answer.headers["vary"] == "Origin"


async def test_what_only_looks_like_a_preflight_is_another_method(production: House) -> None:
    for headers in ({"origin": APP}, {"access-control-request-method": "POST"}):
        assert (await production.client().options("/graphql", headers=headers)).status_code == 405


@pytest.mark.parametrize("origin", [None, PUBLIC_URL, APP, "https://evil.example", "null"])
async def test_no_cache_gives_one_origins_answer_to_another_and_no_origin_is_reflected(
    production: House, origin: str | None
) -> None:
    headers = {} if origin is None else {"origin": origin}
    nobody = production.client(**headers)
    asked = {"access-control-request-method": "POST"}
    for answer in (
        await nobody.post("/graphql", json=GOOD),
        await nobody.post("/graphql", json={"query": "{"}),
        await nobody.post("/graphql", json=[]),
        await nobody.post("/graphql", content=b"", headers={"accept": "text/html"}),
        await nobody.get("/graphql"),
        await nobody.delete("/graphql"),
        await nobody.options("/graphql", headers=asked),
    ):
        assert "Origin" in answer.headers["vary"]
        assert answer.headers.get("access-control-allow-origin") == (APP if origin == APP else None)


async def test_only_what_is_the_same_for_everybody_may_be_read_by_any_page(production: House) -> None:
    nobody = production.client(origin="https://evil.example")
    everybodys = {"/.well-known/jwks.json", "/.well-known/oauth-authorization-server"}
    for path in (*everybodys, "/graphql", "/healthz", "/readyz", "/oauth/token", "/nothing", "/"):
        answer = await nobody.get(path)
        assert answer.headers.get("access-control-allow-origin") == ("*" if path in everybodys else None)
        assert "access-control-allow-credentials" not in answer.headers
        assert not answer.headers.get_list("set-cookie")


# The OAuth endpoints


async def test_a_form_that_a_foreign_page_posts_to_the_oauth_endpoints_carries_nobodys_rights(ada: Person) -> None:
    cookies = dict(ada.client.cookies)
    for path in ("/oauth/token", "/oauth/introspect", "/oauth/revoke"):
        for form in ({}, {"grant_type": "client_credentials"}, {"token": "x"}, {"token": ada.id}):
            answer = await ada.client.post(path, data=form, headers={"origin": "https://evil.example"})
            assert answer.status_code in {200, 400, 401}
            assert answer.json() == {} or "error" in answer.json()
            assert "access_token" not in answer.text
            assert not answer.headers.get_list("set-cookie")
            assert "access-control-allow-origin" not in answer.headers
            # A browser asks a person for a password where it reads this, and sends it along from then on, unasked.
            assert "www-authenticate" not in answer.headers
    assert dict(ada.client.cookies) == cookies
    assert (await ada.ask("{ viewer { id } }")).data["viewer"]["id"] == ada.id


async def test_a_page_cannot_send_the_oauth_endpoints_anything_that_takes_a_preflight(house: House) -> None:
    headers = [(b"origin", b"https://evil.example"), (b"access-control-request-method", b"POST")]
    for path in ("/oauth/token", "/oauth/introspect", "/oauth/revoke"):
        answer = await call(house, method="OPTIONS", path=path, headers=headers)
        assert answer.status == 405
        assert b"access-control-allow-origin" not in answer.headers


# Settings


@pytest.mark.parametrize(
    ("origin", "fault"),
    [
        ("*", "must name each origin whole"),
        ("https://*.example.org", "must name each origin whole"),
        ("null", "must be a list of origins"),
        ("app.example.org", "must be a list of origins"),
        ("https://", "must be a list of origins"),
        ("https://app.example.org/app", "must be a list of origins"),
        ("https://app.example.org?x", "must be a list of origins"),
        ("https://app.example.org#x", "must be a list of origins"),
        ("https://ada@app.example.org", "must be a list of origins"),
        ("https://app.example.org:70000", "must be a list of origins"),
        ("https://app.example.org:x", "must be a list of origins"),
        ("https://bücher.example", "must be a list of origins"),
        ("https://app.example.org https://other.example.org", "must be a list of origins"),
        ("http://app.example.org", "must begin with https://"),
    ],
)
def test_an_origin_that_is_none_or_stands_for_many_is_a_fault_at_the_start(origin: str, fault: str) -> None:
    with pytest.raises(WrongSettings, match=f"WATCHWORD_ALLOWED_ORIGINS: {fault}") as wrong:
        load_settings(**PRODUCTION, allowed_origins=[APP, origin])
    assert len(wrong.value.faults) == 1


@pytest.mark.parametrize(
    ("origin", "read"),
    [
        ("https://app.example.org/", APP),
        ("https://APP.example.org", APP),
        ("https://app.example.org:443", APP),
        ("https://app.example.org:8443", "https://app.example.org:8443"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("chrome-extension://abcdefghijklmnop", "chrome-extension://abcdefghijklmnop"),
    ],
)
def test_an_origin_is_read_as_browsers_write_it(origin: str, read: str) -> None:
    assert load_settings(**PRODUCTION, allowed_origins=origin).allowed_origins == [read]


def test_in_development_pages_over_plain_http_are_allowed() -> None:
    assert load_settings(allowed_origins="http://app.test").allowed_origins == ["http://app.test"]
