"""What a monitoring sees: how much of what, under a bounded number of names, for whoever may see it."""

import asyncio
import re
import socket
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from auth.audit import Act
from auth.origin import NOWHERE
from installation import assemble
from schema.errors import Code
from server import bound_for_metrics
from settings import WrongSettings, load_settings
from tests.house import WHO_AM_I, Client, House, OpenHouse
from tests.running import ROOT, free_port, serving
from tests.sockets import conversing
from tests.streams import following, until
from web.metrics import Metrics
from web.metrics_counts import PATHS
from web.metrics_families import METRICS, PREFIX, Snapshot
from web.metrics_names import MOST_NAMES, MOST_OF_STRANGERS
from web.metrics_siblings import STALE, Siblings

TOKEN = "a token that only the monitoring has"
BEARER = {"authorization": f"Bearer {TOKEN}"}

PATIENCE = timedelta(seconds=2)

Labels = frozenset[tuple[str, str]]


class Scrape(dict[tuple[str, Labels], float]):
    """Samples by their names and labels."""

    def of(self, name: str, **labels: str) -> float:
        """Return the sum over all samples of a name that have these labels."""
        return sum(
            value for (found, has), value in self.items() if found == PREFIX + name and frozenset(labels.items()) <= has
        )

    def values(self, name: str, label: str) -> set[str]:  # type: ignore[override]
        """Return the values that a label has in the samples of a name."""
        return {value for (found, has) in self for key, value in has if found == PREFIX + name and key == label}


def read(text: str) -> Scrape:
    return Scrape(
        {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
    )


async def scrape(house: House) -> Scrape:
    answer = await house.client().get("/metrics", headers=BEARER)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return read(answer.text)


@pytest.fixture
async def watched(open_house: OpenHouse) -> House:
    return await open_house(metrics_token=TOKEN)


# Who sees them


async def test_without_a_token_in_the_settings_there_is_nothing_at_the_path(nobody: Client) -> None:
    answer = await nobody.get("/metrics", headers=BEARER)
    assert answer.status_code == 404
    assert answer.json()["errors"][0]["extensions"]["code"] == "NOT_FOUND"


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("authorization", "Bearer another token of the same length!")],
        [("authorization", f"Basic {TOKEN}")],
        [("authorization", TOKEN)],
        [("authorization", f"Bearer {TOKEN}"), ("authorization", f"Bearer {TOKEN}")],
        [("cookie", f"watchword-access={TOKEN}")],
    ],
)
async def test_without_the_token_they_are_not_shown(watched: House, headers: list[tuple[str, str]]) -> None:
    answer = await watched.client().get("/metrics", headers=headers)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="metrics"')
    assert answer.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    assert PREFIX not in answer.text


async def test_the_token_is_no_credential_of_the_api_and_the_path_takes_nothing(watched: House) -> None:
    assert (await watched.client().ask(WHO_AM_I, authorization=BEARER["authorization"])).code == "UNAUTHENTICATED"
    assert (await watched.client().post("/metrics", headers=BEARER)).status_code == 405
    assert (await watched.client().get("/metrics?token=" + TOKEN)).status_code == 401


def test_a_short_token_is_a_fault_of_the_settings_and_does_not_show_itself() -> None:
    with pytest.raises(WrongSettings, match="WATCHWORD_METRICS_TOKEN: must have at least 32 characters") as wrong:
        load_settings(metrics_token="guess me")
    assert "guess me" not in str(wrong.value)
    assert TOKEN not in repr(load_settings(metrics_token=TOKEN))


# What is counted


async def test_operations_are_counted_by_name_type_and_outcome_and_timed(watched: House) -> None:
    ada = await watched.person("ada")
    await ada.ask("query Mine { viewer { id } }")
    await ada.ask("query Mine { viewer { id } }")
    await ada.ask("{ viewer { id } }")
    await watched.client().ask("query Mine { viewer { id } }")
    found = await scrape(watched)
    assert found.of("operations_total", operation="Mine", type="query", outcome="ok") == 2
    assert found.of("operations_total", operation="Mine", outcome="UNAUTHENTICATED") == 1
    assert found.of("operations_total", operation="anonymous", outcome="ok") == 1
    assert found.of("operations_total", operation="LogIn", type="mutation") == 1
    assert found.of("operation_seconds_count", operation="Mine") == 3
    assert found.of("operation_seconds_bucket", operation="Mine", le="+Inf") == 3
    assert 0 < found.of("operation_seconds_sum", operation="Mine") < 30
    assert found.of("refusals_total", code="UNAUTHENTICATED") == 1


async def test_what_is_refused_before_it_is_an_operation_is_counted_by_its_code_alone(watched: House) -> None:
    nobody = watched.client()
    await nobody.ask("query NotThere { nowhere }")
    await nobody.ask("query Broken {")
    await nobody.post("/graphql", content=b"no json", headers={"content-type": "application/json"})
    await nobody.post("/graphql", json={"query": "{ __typename }"}, headers={"origin": "https://evil.example"})
    await nobody.get("/no/such/path/of/a/stranger")
    found = await scrape(watched)
    assert found.values("operations_total", "operation") == set()
    for code in ("GRAPHQL_VALIDATION_FAILED", "GRAPHQL_PARSE_FAILED", "BAD_REQUEST", "CSRF_REFUSED", "NOT_FOUND"):
        assert found.of("refusals_total", code=code) == 1, code
    assert found.values("refusals_total", "code") <= {code.name for code in Code}
    assert found.of("http_requests_total", path="other", status="404") == 1
    assert found.values("http_requests_total", "path") <= PATHS | {"other"}


async def test_a_stranger_who_invents_names_takes_the_places_of_few(watched: House) -> None:
    nobody, ada = watched.client(), await watched.person("ada")
    for number in range(MOST_OF_STRANGERS + 20):
        await nobody.ask(f"query Invented{number} {{ __typename }}")
    await ada.ask("query InUse { viewer { id } }")
    for number in range(MOST_NAMES):
        await ada.ask(f"query OfAUser{number} {{ __typename }}")
    await ada.ask("query " + "x" * 500 + " { __typename }")
    found = await scrape(watched)
    names = found.values("operations_total", "operation")
    assert sum(name.startswith("Invented") for name in names) < MOST_OF_STRANGERS
    assert "InUse" in names
    assert len(names) == MOST_NAMES + 1  # and `other`
    assert found.of("operations_total", operation="other") > 20
    assert found.of("operations_total") == 2 + MOST_OF_STRANGERS + 20 + 1 + MOST_NAMES + 1


async def test_of_trusted_documents_the_names_are_those_that_were_listed(open_house: OpenHouse, tmp_path: Path) -> None:
    listed = tmp_path / "documents.json"
    texts = ", ".join(f'"{number}": "query Listed{number} {{ __typename }}"' for number in range(MOST_NAMES + 5))
    listed.write_text(f"{{{texts}}}")
    house = await open_house(metrics_token=TOKEN, trusted_documents=listed)
    for number in range(MOST_NAMES + 5):
        await house.client().post("/graphql", json={"documentId": str(number)})
    await house.client().ask("query Invented { __typename }")
    found = await scrape(house)
    expected = {f"Listed{number}" for number in range(MOST_NAMES + 5)}
    assert found.values("operations_total", "operation") == expected
    assert found.of("refusals_total", code="DOCUMENT_NOT_TRUSTED") == 1


async def test_logins_are_counted_by_what_came_of_them_and_acts_once_they_are_certain(watched: House) -> None:
    ada = await watched.person("ada")
    for _ in range(6):
        await watched.client().log_in(ada.email, "not her password")
    found = await scrape(watched)
    assert found.of("logins_total", outcome="succeeded") == 1
    assert found.of("logins_total", outcome="failed") == 5
    assert found.of("logins_total", outcome="throttled") == found.of("throttled_guesses_total", door="login") == 1
    assert found.of("audit_events_total", act="user:create") == 1
    assert found.values("audit_events_total", "act") == {act.action for act in Act}
    assert found.of("hashes_waiting") == found.of("hashes_running") == found.of("hashes_refused_total") == 0


async def test_hashes_are_seen_while_they_run_and_wait(open_house: OpenHouse) -> None:
    house = await open_house(metrics_token=TOKEN, password_threads=1, password_memory_kib=65_536)
    hashing = [asyncio.create_task(house.auth.passwords.verify(None, "whatever it is")) for _ in range(3)]
    await asyncio.sleep(0)
    found = await scrape(house)
    assert found.of("hashes_running") == 1
    assert found.of("hashes_waiting") >= 1
    await asyncio.gather(*hashing)


async def test_how_much_was_remembered_is_counted(watched: House) -> None:
    ada = await watched.person("ada")
    before = await scrape(watched)
    for _ in range(3):
        await ada.ask("query Again { viewer { id } }")
    found = await scrape(watched)

    def more(name: str, outcome: str) -> float:
        return found.of(name, outcome=outcome) - before.of(name, outcome=outcome)

    assert (more("document_memory_total", "miss"), more("document_memory_total", "hit")) == (1, 2)
    assert (more("token_memory_total", "miss"), more("token_memory_total", "hit")) == (1, 2)


async def test_streams_and_sockets_are_seen_while_they_are_open_and_have_no_latency(watched: House) -> None:
    ada = await watched.person("ada")
    async with (
        following(watched, ada.client, "subscription Mine { viewerEvents { id } }"),
        conversing(watched, ada.client) as on_socket,
    ):
        assert (await on_socket.ask("query Asked { viewer { id } }"))["data"]
        found = await scrape(watched)
        assert (found.of("streams_open"), found.of("sockets_open")) == (1, 1)
    found = await scrape(watched)
    assert (found.of("streams_open"), found.of("sockets_open")) == (0, 0)
    assert found.of("operations_total", operation="Mine", type="subscription", outcome="ok") == 1
    assert found.of("operation_seconds_count", operation="Mine") == 0
    assert found.of("operations_total", operation="Asked", type="query", outcome="ok") == 1


async def test_keys_are_seen_by_their_states_with_their_ages(watched: House) -> None:
    watched.clock.move(timedelta(days=2))
    await watched.auth.key_ring.rotate(at_once=True)
    watched.clock.move(timedelta(hours=1))
    found = await scrape(watched)
    day, hour = 86_400, 3_600
    assert {state: found.of("signing_keys", state=state) for state in ("next", "current", "retired", "revoked")} == {
        "next": 1,
        "current": 1,
        "retired": 1,
        "revoked": 0,
    }
    assert found.of("signing_key_age_seconds", state="next") == pytest.approx(hour, abs=60)
    assert found.of("signing_key_age_seconds", state="current") == pytest.approx(2 * day + hour, abs=60)
    assert found.of("signing_key_age_seconds", state="retired") == pytest.approx(2 * day + hour, abs=60)
    assert found.of("signing_key_in_use_seconds") == pytest.approx(hour, abs=60)


async def test_the_pool_is_seen_where_there_is_one(
    open_house: OpenHouse, database_for: Callable[[str], dict[str, str]]
) -> None:
    embedded = await scrape(await open_house(metrics_token=TOKEN))
    assert embedded.values("database_connections", "state") == set()
    served = await scrape(await open_house("served", metrics_token=TOKEN, **database_for("postgresql")))
    assert served.values("database_connections", "state") == {"open", "in_use", "waiting"}
    assert served.of("database_connections", state="open") >= 1
    assert served.of("database_up") == embedded.of("database_up") == 1


async def test_a_database_that_is_gone_is_seen_and_the_rest_is_still_shown(watched: House) -> None:
    ada = await watched.person("ada")
    await watched.auth.database.close()
    assert (await ada.ask(WHO_AM_I)).code == "UNAVAILABLE"
    found = await scrape(watched)
    assert found.of("database_up") == 0
    assert found.of("database_unavailable_total") >= 1
    assert found.of("signing_keys") == 0
    assert found.of("refusals_total", code="UNAVAILABLE") == 1


async def test_an_act_that_was_not_committed_is_not_counted(watched: House) -> None:
    async def recorded_and_undone() -> None:
        async with watched.auth.database.transaction() as tx:
            await watched.auth.audit.record(tx, Act.USER_CREATE, NOWHERE)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await recorded_and_undone()
    await watched.person("ada")
    assert (await scrape(watched)).of("audit_events_total", act="user:create") == 1


# An address of their own, and many processes


async def test_at_an_address_of_their_own_they_are_shown_without_a_token_and_nothing_else_is(tmp_path: Path) -> None:
    port = free_port()
    with serving(tmp_path / "data", metrics_port=port) as server:
        async with server.client() as client, Client(base_url=f"http://127.0.0.1:{port}") as monitoring:
            await client.ask("query Served { __typename }")
            assert (await client.get("/metrics")).status_code == 404
            answer = await monitoring.get("/metrics")
            for path in ("/", "/graphql", "/readyz", "/metrics/"):
                assert (await monitoring.get(path)).status_code == 404
            assert (await monitoring.post("/metrics")).status_code == 405
            assert server.end() == 0
        assert {line["level"] for line in server.log_lines()} == {"info"}
    found = read(answer.text)
    assert found.of("operations_total", operation="Served", outcome="ok", process="0") == 1
    assert found.of("connections_open") >= 1
    assert found.of("http_requests_total", path="/readyz", status="200") >= 1


def test_an_address_that_is_taken_is_a_fault_of_the_settings() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        settings = load_settings(metrics_port=taken.getsockname()[1])
        with pytest.raises(WrongSettings, match=r"WATCHWORD_METRICS_PORT: .* cannot be listened on"):
            bound_for_metrics(settings)
    assert bound_for_metrics(load_settings()) is None


async def test_whichever_process_is_asked_answers_for_all(house: House, tmp_path: Path) -> None:
    schema = assemble(house.settings).built.schema
    first, second = (Metrics(schema, Siblings(tmp_path, slot)) for slot in (0, 1))
    first.counts.request("/healthz", 200, None, None, 0.1)
    for _ in range(2):
        second.counts.request("/healthz", 200, None, None, 0.1)
    async with first.running(house.auth, patience=PATIENCE), second.running(house.auth, patience=PATIENCE):
        await until(lambda: len([*tmp_path.glob("*.json")]) == 2)
        for asked in (first, second):
            found = read((await asked.page()).decode())
            assert found.of("http_requests_total", path="/healthz", process="0") == 1
            assert found.of("http_requests_total", path="/healthz", process="1") == 2
            assert found.values("database_unavailable_total", "process") == {"0", "1"}
            assert found.of("signing_keys", state="current") == 1  # the installation's, and so there once
    first_told, second_told = (Siblings(tmp_path, slot).others() for slot in (0, 1))
    assert first_told == second_told == {}
    assert read((await first.page()).decode()).values("http_requests_total", "process") == {"0"}


def test_of_a_process_that_is_gone_or_speaks_nonsense_nothing_is_believed(tmp_path: Path) -> None:
    seconds = [0.0]
    asked, living, dead = (Siblings(tmp_path, slot, now=lambda: seconds[0]) for slot in (0, 1, 2))
    said: Snapshot = {"sockets_open": [([], 1.0)]}
    dead.tell(said)
    seconds[0] = STALE
    living.tell(said)
    asked.tell(said)
    (tmp_path / "3.json").write_bytes(b'{"at": 15')
    assert set(asked.others()) == {1}
    assert set(living.others()) == {0}
    living.forget()
    assert asked.others() == {}


async def test_a_folder_that_cannot_be_written_to_is_logged_once_and_harms_nobody(house: House, tmp_path: Path) -> None:
    metrics = Metrics(assemble(house.settings).built.schema, Siblings(tmp_path / "gone", 0))
    with capture_logs() as logged:
        async with metrics.running(house.auth, patience=PATIENCE):
            await until(lambda: bool(logged))
            assert (await house.client().get("/healthz")).status_code == 200
            assert b"watchword_sockets_open" in await metrics.page()
    assert [line["slot"] for line in logged if line["event"] == "metrics_not_told"] == [0]


# The page


def test_every_metric_has_an_entry_in_the_docs_with_its_labels() -> None:
    page = (ROOT / "docs/metrics.md").read_text().partition("## All of them")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(watchword_\w+)` \| (.*?) \|", page, re.MULTILINE)
    shown = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
    suffix = {"counter": "_total"}
    assert shown == {
        PREFIX + name + suffix.get(metric.kind, ""): {*metric.labels, *([] if metric.is_shared else ["process"])}
        for name, metric in METRICS.items()
    }
