"""The HTTP edge besides GraphQL: pages, files, headers that every answer carries, and the log of requests."""

from typing import Any

import pytest
from structlog.testing import capture_logs

import web.health
from tests.house import PRODUCTION_HASHING, Client, House, OpenHouse

GOOD = {"query": "{ __typename }"}


async def test_a_browser_gets_graphiql(nobody: Client) -> None:
    page = await nobody.get("/graphql", headers={"accept": "text/html,application/xhtml+xml"})
    assert page.status_code == 200
    assert "Watchword" in page.text
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    scripts = next(part for part in policy.split("; ") if part.startswith("script-src"))
    assert scripts == "script-src 'self'"
    assert "http" not in policy


async def test_the_root_leads_to_graphiql(nobody: Client) -> None:
    answer = await nobody.get("/")
    assert (answer.status_code, answer.headers["location"]) == (307, "/graphql")


@pytest.mark.parametrize("path", ["/graphql/", "/healthz/", "/static"])
async def test_no_answer_leads_to_where_the_host_header_says(nobody: Client, path: str) -> None:
    answer = await nobody.post(path, json=GOOD, headers={"host": "evil.example"})
    assert answer.status_code in {404, 405}
    assert "location" not in answer.headers


async def test_a_name_of_a_hundred_thousand_letters_is_not_repeated(nobody: Client) -> None:
    assert len((await nobody.post("/graphql", json={"query": "{" + "x" * 100_000 + "}"})).content) < 1_000


async def test_the_files_of_the_bundle_are_kept_for_ever_and_there_are_no_others(nobody: Client) -> None:
    page = await nobody.get("/graphql", headers={"accept": "text/html"})
    script = page.text.partition('src="')[2].partition('"')[0]
    answer = await nobody.get(script)
    assert answer.status_code == 200
    assert "immutable" in answer.headers["cache-control"]
    for path in ("/static/../routes.py", "/static/%2e%2e/routes.py", "/static/nothing.js", "/static/"):
        assert (await nobody.get(path)).status_code in {404, 405}


@pytest.mark.parametrize("asked", ["bytes=x", "bytes=5-1", "bytes=99999999-", "bytes=0-0,2-2", "lines=1-2"])
async def test_files_are_given_whole_and_no_range_is_answered_in_plain_text(nobody: Client, asked: str) -> None:
    page = await nobody.get("/graphql", headers={"accept": "text/html"})
    script = page.text.partition('src="')[2].partition('"')[0]
    answer = await nobody.get(script, headers={"range": asked})
    assert answer.status_code == 200
    assert answer.content == (await nobody.get(script)).content


@pytest.mark.parametrize("path", ["/graphql", "/healthz", "/readyz", "/", "/nothing", "/graphql/"])
async def test_every_answer_carries_the_security_headers(nobody: Client, path: str) -> None:
    headers = (await nobody.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "strict-transport-security" not in headers
    assert "server" not in headers


async def test_on_https_browsers_are_kept_on_https(open_house: OpenHouse) -> None:
    house = await open_house(public_url="https://id.example.org", secret_key="k" * 40, **PRODUCTION_HASHING)
    assert "max-age=63072000" in (await house.client().get("/healthz")).headers["strict-transport-security"]


async def test_no_cache_keeps_an_answer(house: House) -> None:
    ada = await house.person("ada")
    for answer in (await house.client().log_in(ada.email), await ada.ask("{ viewer { id } }"), await ada.ask("{")):
        assert answer.response.headers["cache-control"] == "no-store"


async def test_a_request_cannot_choose_its_own_id(nobody: Client) -> None:
    answer = await nobody.post("/graphql", json=GOOD, headers={"x-request-id": "forged\nline"})
    assert "forged" not in answer.headers["x-request-id"]


async def test_what_nobody_caught_is_a_coded_answer_too(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_scope: Any) -> None:
        raise ZeroDivisionError("the text of the defect")

    monkeypatch.setattr(web.health, "runtime_of", broken)
    answer = await house.client().get("/readyz")
    assert answer.status_code == 500
    assert answer.json()["errors"][0]["extensions"]["code"] == "INTERNAL"
    assert "defect" not in answer.text


async def test_a_path_is_logged_as_a_terminal_may_show_it(nobody: Client) -> None:
    with capture_logs() as logged:
        await nobody.get("/x%1b%5b31mred%1b%5d0;t%07%0d%0a" + "y" * 1_000)
    (path,) = [line["path"] for line in logged if line["event"] == "request"]
    assert path.startswith(r"/x\x1b[31mred\x1b]0;t\x07\x0d\x0ay")
    assert len(path) < 600
