"""The house tests itself: the SDL is committed, described and guarded, and every dependency points down."""

import subprocess
import sys
from pathlib import Path

from graphql import GraphQLEnumType, GraphQLField, GraphQLInputObjectType, GraphQLInterfaceType, GraphQLObjectType

from schema import build_schema

ROOT = Path(__file__).parent.parent


def test_the_committed_sdl_is_the_one_that_is_built() -> None:
    built = build_schema().schema.as_str()
    assert (ROOT / "schema" / "schema.graphql").read_text() == built + "\n", "run `make sdl` and look at the difference"


def test_everything_in_the_schema_has_a_description() -> None:
    bare = []
    for kind in build_schema().schema._schema.type_map.values():
        if kind.name.startswith("__") or kind.name in {"String", "Int", "Boolean", "ID", "Float"}:
            continue
        if not kind.description:
            bare.append(kind.name)
        if isinstance(kind, GraphQLObjectType | GraphQLInterfaceType | GraphQLInputObjectType):
            bare += [f"{kind.name}.{name}" for name, field in kind.fields.items() if not field.description]
        if isinstance(kind, GraphQLEnumType):
            bare += [f"{kind.name}.{name}" for name, value in kind.values.items() if not value.description]
    assert bare == []


def test_every_root_field_prints_a_guard() -> None:
    schema = build_schema().schema._schema
    for root in (schema.query_type, schema.mutation_type, schema.subscription_type):
        assert root is not None
        for name, field in root.fields.items():
            printed = print_field(field)
            assert any(f"@{guard}" in printed for guard in ("public", "isAuthenticated", "isHuman", "hasScope")), name


def print_field(field: GraphQLField) -> str:
    """Return the directives of a field as the SDL has them."""
    definition = field.extensions["strawberry-definition"]
    return " ".join(f"@{directive.__strawberry_directive__.graphql_name}" for directive in definition.directives)


def test_imports_go_down_only() -> None:
    checked = subprocess.run(
        [Path(sys.executable).parent / "lint-imports"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout


def test_only_one_module_reads_the_environment_and_one_the_clock() -> None:
    environment, clock = [], []
    for path in [
        *(file for file in ROOT.glob("*.py") if file.name != "conftest.py"),
        *(file for room in ("auth", "schema", "store", "web", "doctor") for file in (ROOT / room).rglob("*.py")),
    ]:
        text = path.read_text()
        if "os.environ" in text or "getenv" in text:
            environment.append(path.name)
        if "datetime.now(" in text or "time.time(" in text or "utcnow" in text:
            clock.append(path.name)
    assert environment == ["settings.py"]
    assert clock == ["clock.py"]


def test_the_lock_files_name_no_place_to_download_from() -> None:
    npm = [ROOT / folder / "package-lock.json" for folder in ("dashboard", "examples/resource_server/node")]
    for lock in [*(ROOT / "requirements").glob("*.txt"), *npm]:
        text = lock.read_text()
        assert "index-url" not in text
        assert "resolved" not in text
        assert "registry" not in text
