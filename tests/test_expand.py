"""The core's migrations expand: whatever an older version does, it can do after each of them (decision 23)."""

import ast
from pathlib import Path

import pytest

from store.namespaces import CORE

# What contracts, by its revision, and since which release nothing uses what it takes away.
CONTRACTS: dict[str, str] = {}

_WRITES_OF_BACKFILLS = ("UPDATE ", "INSERT ")


def faults(source: str) -> list[str]:
    """Return what in a revision an older version, which still runs, might stumble over."""
    (body,) = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name == "upgrade"]
    calls = [node for node in ast.walk(body) if isinstance(node, ast.Call)]
    acts = [(call, ast.unparse(call.func).removeprefix("op.")) for call in calls if _is_of_op(call)]
    found = [] if acts else ["nothing that can be read here"]
    fresh = {_text(call.args[0]) for call, act in acts if act == "create_table"}
    for call, act in acts:
        match act:
            case "create_table" | "bulk_insert":
                pass
            case "create_index" if not _is_true(call, "unique") or _text(call.args[1]) in fresh:
                pass
            case "add_column":
                found += _of_column(call.args[1])
            case "execute" if _text(call.args[0]).startswith(_WRITES_OF_BACKFILLS):
                pass
            case _:
                found.append(f"{act}({ast.unparse(call.args[0]) if call.args else ''})")
    return found


def _of_column(column: ast.expr) -> list[str]:
    assert isinstance(column, ast.Call)
    name, options = _text(column.args[0]), {option.arg: option.value for option in column.keywords}
    has_default = "server_default" in options and ast.unparse(options["server_default"]) != "None"
    is_nullable = "nullable" not in options or ast.unparse(options["nullable"]) == "True"
    if any(isinstance(node, ast.Call) and "ForeignKey" in ast.unparse(node.func) for node in ast.walk(column)):
        return [f"{name} refers to another table"]
    return [] if has_default or is_nullable else [f"{name} wants a value that an older version does not give"]


def _is_of_op(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) == "op"


def _is_true(call: ast.Call, option: str) -> bool:
    return any(keyword.arg == option and ast.unparse(keyword.value) != "False" for keyword in call.keywords)


def _text(node: ast.expr) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


@pytest.mark.parametrize("path", sorted(CORE.folder.glob("*.py")), ids=lambda path: path.stem)
def test_every_migration_of_the_core_expands_or_says_why_it_may_contract(path: Path) -> None:
    expected = path.stem in CONTRACTS
    assert bool(faults(path.read_text())) == expected, faults(path.read_text())


@pytest.mark.parametrize(
    "line",
    [
        'op.drop_table("users")',
        'op.drop_column("users", "email")',
        'op.drop_index("ix_users_display_name_key")',
        'op.drop_constraint("uq_users_email_key", "users")',
        'op.alter_column("users", "email", nullable=False)',
        'op.alter_column("users", "email", new_column_name="address")',
        'op.rename_table("users", "people")',
        'op.create_unique_constraint("uq", "users", ["display_name"])',
        'op.create_check_constraint("ck", "users", "true")',
        'op.create_foreign_key("fk", "users", "sessions", ["id"], ["id"])',
        'op.create_index("ix", "users", ["display_name"], unique=True)',
        'op.add_column("users", sa.Column("nickname", sa.Text, nullable=False))',
        'op.add_column("users", sa.Column("nickname", sa.Text, nullable=False, server_default=None))',
        'op.add_column("users", sa.Column("owner", sa.Text, sa.ForeignKey("users.id"), nullable=True))',
        'op.execute("ALTER TABLE users DROP COLUMN email")',
        'op.execute("DELETE FROM sessions")',
        "op.execute(statement)",
        'with op.batch_alter_table("users") as batch:\n        batch.drop_column("email")',
        "pass",
    ],
)
def test_what_an_older_version_would_stumble_over_is_seen(line: str) -> None:
    assert faults(f"def upgrade() -> None:\n    {line}\n")


def test_what_adds_alone_is_no_fault() -> None:
    lines = (
        'op.create_table("t", sa.Column("id", sa.Text, sa.ForeignKey("users.id"), nullable=False))',
        'op.create_index("ix_t_id", "t", ["id"], unique=True)',
        'op.create_index("ix_users_created_at", "users", ["created_at"])',
        'op.add_column("users", sa.Column("nickname", sa.Text, nullable=True))',
        'op.add_column("users", sa.Column("visits", sa.BigInteger, nullable=False, server_default="0"))',
        "op.execute(\"UPDATE users SET nickname = 'x'\")",
    )
    assert faults("def upgrade() -> None:\n    " + "\n    ".join(lines)) == []
