"""The audits of npm's `graphql-http`, all of them, on a real server: GraphQL over HTTP to the letter."""

from pathlib import Path

import pytest

from tests.running import serving
from tests.test_graphql_clients import run

# These ask `__type`. A fifth does as well, BF61, and looks at nothing but the status, which is 200 either way.
OF_INTROSPECTION = {
    "2EA1": "SHOULD allow map {variables} parameter when accepting application/graphql-response+json",
    "28B9": "MUST allow map {variables} parameter when accepting application/json",
    "D6D5": "MAY allow URL-encoded JSON string {variables} parameter in GETs "
    "when accepting application/graphql-response+json",
    "6A70": "MAY allow URL-encoded JSON string {variables} parameter in GETs when accepting application/json",
}


@pytest.mark.parametrize(("introspection", "failing"), [("everybody", {}), ("nobody", OF_INTROSPECTION)])
def test_all_61_audits_pass_but_for_the_four_that_introspect_where_nobody_may(
    introspection: str, failing: dict[str, str], tmp_path: Path
) -> None:
    with serving(tmp_path / "data", get_queries="true", introspection=introspection) as server:
        results = run("audits", server)
    assert len({result["id"] for result in results}) == 61
    refused = [result for result in results if result["status"] != "ok"]
    assert {result["id"]: result["name"] for result in refused} == failing, refused
