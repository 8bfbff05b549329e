"""The pages and the code say the same, both ways: every list is complete, every link leads somewhere, snippets run."""

import ast
import base64
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from html import unescape
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import pytest
from graphql import GraphQLEnumType, get_named_type, is_union_type, parse, validate
from starlette.routing import Mount, Route

import schema as public
from auth.audit import Act
from auth.faults import Fault
from auth.gate import Credential
from auth.identity import Identity
from auth.key_states import KeyState
from auth.keys import ALGORITHMS
from auth.oauth_refusals import OAuthFault
from auth.refusals import Reason
from auth.scopes import ROLES, rights
from auth.secret import Secret
from cli import main as watchword
from schema import Context, Domain, Guard, build_schema
from schema.errors import Code
from server import create_app
from settings import CONFIG_FILE, PREFIX, SECRETS_DIR, Settings, load_settings
from tests.house import LOG_IN, PASSWORD, House, Person
from tests.running import ROOT, Server, serving
from web.socket_messages import Close

PAGES = {str(path.relative_to(ROOT)): path.read_text() for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]}

# A block is run, or checked, unless it says `no-run`: those are few, and need what no test has. What is JavaScript is a
# part of a script that `test_graphql_clients.py` runs.
RUN = {"bash", "graphql", "js", "json", "python", "text", "toml"}
NOT_RUN_AT_MOST = 45

READ_AS_ANOTHER_TYPE = {"secret_key", "session_idle_timeout", "trusted_proxies"}

_BLOCK = re.compile(r"^```(\w+)( no-run)?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_SHOWN_ADDRESS = "127.0.0.1:8000"


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; `line` is where it begins."""

    language: str
    runs: bool
    text: str
    line: int


def blocks(page: str, *languages: str) -> list[Block]:
    found = [
        Block(match[1], not match[2], match[3], PAGES[page].count("\n", 0, match.start()) + 1)
        for match in _BLOCK.finditer(PAGES[page])
    ]
    return [block for block in found if not languages or (block.runs and block.language in languages)]


def section(page: str, heading: str) -> str:
    """Return what stands under a heading, up to the next one of its level."""
    level = heading.partition(" ")[0]
    _, found, rest = f"\n{PAGES[page]}".partition(f"\n{heading}\n")
    assert found, f"{page} has no heading {heading!r}"
    return re.split(rf"^#{{1,{len(level)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def table(page: str, heading: str) -> dict[str, list[str]]:
    """Return the first table under a heading: its rows' other cells, by the name that stands in the first one."""
    lines = section(page, heading).partition("\n|")[2].split("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in unescape(line).strip("|").split("|")] for line in lines]
    entries = {row[0].partition("`, `")[0].strip("`"): row[1:] for row in cells}
    assert len(entries) == len(cells), f"{page}, {heading}: an entry stands there twice"
    return entries


def names_in(cell: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", cell))


# The lists


def test_every_code_has_an_entry_with_its_sentence() -> None:
    assert {name: cells[0] for name, cells in table("docs/errors.md", "## Codes").items()} == {
        code.name: code.value for code in Code
    }


def test_every_reason_has_an_entry_with_its_sentence_and_its_code() -> None:
    entries = table("docs/errors.md", "## Reasons")
    assert {name: cells[1] for name, cells in entries.items()} == {reason.name: reason.value for reason in Reason}
    assert {name for cells in entries.values() for name in names_in(cells[0])} <= set(Code.__members__)


def test_every_fault_has_an_entry_with_its_sentence_and_the_mutations_that_have_it() -> None:
    entries = table("docs/errors.md", "## Faults")
    assert {name: cells[0] for name, cells in entries.items()} == {fault.name: fault.value for fault in Fault}
    failures = _failure_codes()
    assert {name: names_in(cells[1]) for name, cells in entries.items() if "nowhere" not in cells[1]} == {
        fault.name: {mutation for mutation, codes in failures.items() if fault.name in codes}
        for fault in Fault
        if any(fault.name in codes for codes in failures.values())
    }
    others = {
        name: codes - set(Fault.__members__) for name, codes in failures.items() if codes - set(Fault.__members__)
    }
    assert others.keys() == {"login", "refresh"}
    assert others["login"] == {"INVALID_CREDENTIALS", "RATE_LIMITED"}
    assert others["refresh"] <= set(Reason.__members__)
    for name, codes in others.items():
        assert codes <= names_in(_BLOCK.sub("", PAGES[f"docs/{name}.md"])), name


def _failure_codes() -> dict[str, set[str]]:
    """Return the codes that each mutation's failure can have: those of the member of its union that has a code."""
    mutation = build_schema().schema._schema.mutation_type
    assert mutation is not None
    unions = {name: get_named_type(field.type) for name, field in mutation.fields.items()}
    members = [(name, kind) for name, union in unions.items() if is_union_type(union) for kind in union.types]
    codes = {name: get_named_type(kind.fields["code"].type) for name, kind in members if "code" in kind.fields}
    return {name: set(kind.values) for name, kind in codes.items() if isinstance(kind, GraphQLEnumType)}


def test_every_setting_has_an_entry_with_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = table("docs/settings.md", "## All of them")
    assert set(entries) == {PREFIX + name.upper() for name in Settings.model_fields} | {
        CONFIG_FILE,
        SECRETS_DIR,
    }
    usual = load_settings()
    for setting, (default, _) in entries.items():
        if default != "none":
            monkeypatch.setenv(setting, default.strip("`"))
            assert load_settings() == usual, f"{setting} has another default"
            monkeypatch.delenv(setting)
    without = {name for name, cells in entries.items() if cells[0] == "none"} - {CONFIG_FILE, SECRETS_DIR}
    assert all(not getattr(usual, name.removeprefix(PREFIX).lower()) for name in without)


def test_every_scope_and_every_role_has_an_entry_with_its_sentence() -> None:
    core = rights()
    entries = table("docs/scopes.md", "## Scopes")
    assert {name: cells[0] for name, cells in entries.items()} == dict(core.sentences)
    assert {name: names_in(cells[1]) for name, cells in entries.items()} == {
        scope: {role for role, granted in core.grants.items() if scope in granted} for scope in core.sentences
    }
    assert {name: cells[0] for name, cells in table("docs/scopes.md", "## Roles").items()} == dict(ROLES)


def test_every_guard_has_an_entry_with_its_directive() -> None:
    entries = {name.partition("(")[0]: cells for name, cells in table("docs/scopes.md", "## Guards").items()}
    exported = {name: getattr(public, name) for name in public.__all__}
    classes = {name for name, value in exported.items() if isinstance(value, type) and issubclass(value, Guard)}
    makers = {name for name, value in exported.items() if _returns(value) == type[Guard]}
    assert set(entries) == (classes | makers) - {"Guard"}
    directives = {directive.name for directive in build_schema().schema._schema.directives}
    shown = {name.removeprefix("@") for cells in entries.values() for name in names_in(cells[0])}
    assert shown <= directives
    assert shown == set(re.findall(r"directive @(\w+)", (ROOT / "schema/schema.graphql").read_text()))
    refusals = {name for cells in entries.values() for name in names_in(cells[2])}
    assert refusals <= {*Code.__members__, *Reason.__members__}


def _returns(value: object) -> object:
    return getattr(value, "__annotations__", {}).get("return")


def test_every_command_and_every_option_has_an_entry() -> None:
    commands = dict(_commands(watchword, "watchword"))
    leaves = {name for name, command in commands.items() if not isinstance(command, click.Group)}
    assert set(table("docs/commands.md", "## watchword")) == leaves
    params = [param for command in commands.values() for param in command.params if isinstance(param, click.Option)]
    options = {option for param in params for option in param.opts}
    shown = section("docs/commands.md", "## watchword").partition("Options:")[2]
    assert {name for line in shown.splitlines() for name in names_in(line) if name.startswith("-")} == {
        *options,
        "--help",
        "-h",
    }


def test_every_command_that_a_page_shows_is_one_with_the_options_that_it_has() -> None:
    commands = dict(_commands(watchword, "watchword"))
    for page, text in PAGES.items():
        shells = [block.text for block in blocks(page) if block.language == "bash"]
        quoted = re.findall(r"`([^`\n]+)`", _BLOCK.sub("", text))
        for words in [words for said in (*shells, *quoted) for words in _shown(said)]:
            name, options = _longest(words, commands), {word for word in words if word.startswith("-")}
            known = {option for param in commands[name].params for option in param.opts} | {"--help", "-h"}
            assert name != "watchword", f"{page} shows {' '.join(words)}"
            assert options <= known, f"{page} shows {' '.join(words)}"


def _shown(text: str) -> Iterator[list[str]]:
    """Return each call of a command of ours in a shell's text, in words: up to what the shell reads as its end."""
    for call in re.findall(r"(?:^|[ /])watchword +[a-z][\w @./\"'-]+", text.replace("\\\n", " "), re.MULTILINE):
        yield call.strip(" /").split()


def _longest(words: list[str], commands: dict[str, click.Command]) -> str:
    return max((name for name in commands if words[: name.count(" ") + 1] == name.split()), key=len)


def test_every_mutation_that_the_page_of_incidents_names_is_one() -> None:
    mutation = build_schema().schema._schema.mutation_type
    assert mutation is not None
    said = names_in(_BLOCK.sub("", PAGES["docs/incident.md"]))
    named = {name for name in said if re.match(r"(change|create|disable|enable|revoke|set)[A-Z]", name)}
    assert {"disableUser", "revokeSession"} <= named <= set(mutation.fields)


def _commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        for inner, found in command.commands.items():
            yield from _commands(found, f"{name} {inner}")


def test_every_make_target_has_an_entry() -> None:
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(table("docs/commands.md", "## make")) == {f"make {target}" for target in targets}


def test_every_dependency_has_a_line() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = project["dependency-groups"]
    front_end = json.loads((ROOT / "dashboard/package.json").read_text())
    assert set(table("docs/dependencies.md", "## Running")) == _packages(project["project"]["dependencies"])
    assert set(table("docs/dependencies.md", "## Building")) == _packages(
        [*project["build-system"]["requires"], *groups["build"], *groups["node"]]
    )
    assert set(table("docs/dependencies.md", "## Developing")) == _packages(
        [entry for entry in groups["dev"] if isinstance(entry, str)]
    )
    assert set(table("docs/dependencies.md", "## The front end")) == {
        *front_end["dependencies"],
        *front_end["devDependencies"],
    }
    example = json.loads((ROOT / "examples/resource_server/node/package.json").read_text())
    assert set(table("docs/dependencies.md", "## The resource server in Node")) == set(example["dependencies"])
    clients = json.loads((ROOT / "tests/clients/package.json").read_text())
    assert set(table("docs/dependencies.md", "## The clients")) == set(clients["dependencies"])


def _packages(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w.-]", requirement)[0] for requirement in requirements}


async def test_every_claim_and_every_header_member_of_an_access_token_has_an_entry(house: House, ada: Person) -> None:
    answer = await house.client().ask(LOG_IN, {"input": {"email": ada.email, "password": PASSWORD, "delivery": "BODY"}})
    header, claims = _read(answer.data["login"]["accessToken"])
    assert set(table("docs/access-tokens.md", "## Header")) == set(header)
    assert set(table("docs/access-tokens.md", "## Claims")) == set(claims)


async def test_every_claim_of_a_service_accounts_token_has_an_entry(house: House, ada: Person) -> None:
    auth, identity = house.auth, await _identity_of(house, ada)
    account = await auth.service_accounts.create(identity, name="robot", scopes=["profile:read"])
    made = await auth.service_accounts.create_secret(identity, account.id)
    form = {"grant_type": "client_credentials", "client_id": account.id}
    assert made.shown_once is not None
    answer = await house.client().post("/oauth/token", data={**form, "client_secret": made.shown_once.reveal()})
    header, claims = _read(answer.json()["access_token"])
    others = set(table("docs/access-tokens.md", "## Of a service account"))
    assert others <= set(claims) <= others | set(table("docs/access-tokens.md", "## Claims"))
    assert set(table("docs/access-tokens.md", "## Header")) == set(header)


async def _identity_of(house: House, person: Person) -> Identity:
    answer = await person.client.ask(
        LOG_IN, {"input": {"email": person.email, "password": PASSWORD, "delivery": "BODY"}}
    )
    return (await house.auth.gate.authenticate(Credential(Secret(answer.data["login"]["accessToken"])))).identity


def _read(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    header, claims = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in token.split(".")[:2])
    return header, claims


def test_every_state_of_a_key_and_every_algorithm_has_an_entry() -> None:
    states = table("docs/keys.md", "# Keys")
    assert {name: cells[0] for name, cells in states.items()} == {s.name.lower(): s.value for s in KeyState}
    assert list(table("docs/keys.md", "## Algorithms")) == list(ALGORITHMS)


def test_every_error_of_the_oauth_endpoints_has_an_entry() -> None:
    shown = names_in(section("docs/oauth.md", "## Errors").partition("\n|")[2].split("\n\n")[0])
    assert shown >= {fault.name.lower() for fault in OAuthFault}


def test_every_act_that_is_recorded_has_an_entry_with_its_sentence() -> None:
    entries = table("docs/audit.md", "## Acts")
    assert {name: cells[0] for name, cells in entries.items()} == {act.name: act.sentence for act in Act}


def test_every_close_code_of_a_socket_has_an_entry_with_its_sentence() -> None:
    entries = table("docs/streams.md", "### Close codes")
    assert {code: cells[0] for code, cells in entries.items()} == {str(each.code): each.value[1] for each in Close}


def test_every_path_has_an_entry() -> None:
    routes = create_app(load_settings(metrics_token="x" * 32)).routes
    routed = {route.path for route in routes if isinstance(route, Route | Mount)}
    assert set(table("docs/index.md", "## Paths")) == {
        "/graphql",
        *routed,
    }  # it is taken before the routes are looked at


def test_every_field_of_a_domain_and_of_an_identity_has_an_entry() -> None:
    assert list(table("docs/domains.md", "## What it has")) == [field.name for field in fields(Domain)]
    assert list(table("docs/identity.md", "# Identity")) == list(Identity._fields)
    context = section("docs/identity.md", "# Identity").partition("`info.context` has:")[2]
    there = {*dir(Context), *Context.__init__.__annotations__}
    assert set(re.findall(r"^\| `(\w+)`", context, re.MULTILINE)) <= there


# Security


def test_each_of_the_twenty_points_names_a_test_or_says_not_yet() -> None:
    page = PAGES["docs/security.md"]
    headings = re.findall(r"^## (\d+)\. ", page, re.MULTILINE)
    assert headings == [str(number) for number in range(1, 21)]
    for part in re.split(r"^## \d+\. ", page, flags=re.MULTILINE)[1:]:
        assert "tests/" in part or "Not yet" in part, part.splitlines()[0]


def test_every_test_that_a_page_names_is_there() -> None:
    for page, text in PAGES.items():
        for file, name in re.findall(r"`((?:tests|examples)/[\w/]+\.py)::(\w+)`", text):
            assert (ROOT / file).is_file(), f"{page} names {file}"
            assert name in _functions(ROOT / file), f"{page} names {file}::{name}"


def _functions(path: Path) -> set[str]:
    nodes = ast.walk(ast.parse(path.read_text()))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


# Links and names


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    for link in _LINK.findall(_BLOCK.sub("", PAGES[page])):
        target = urlsplit(link)
        if target.scheme:
            assert target.scheme == "https", link
            continue
        path = (ROOT / page).parent / target.path if target.path else ROOT / page
        assert path.exists(), f"{page} links to {link}"
        if target.fragment:
            assert target.fragment in _anchors(path.read_text()), f"{page} links to {link}"


def _anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", _BLOCK.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_names_is_there(page: str) -> None:
    ours = r"`((?:auth|schema|store|web|doctor|deploy|tests|examples|dashboard|docs|requirements|scripts)/[\w./-]*)[`:]"
    for name in re.findall(ours, PAGES[page]):
        assert (ROOT / name).exists(), f"{page} names {name}"


def test_the_index_leads_to_every_page() -> None:
    folder = ROOT / "docs"
    linked = {str((folder / link.partition("#")[0]).resolve()) for link in _LINK.findall(PAGES["docs/index.md"])}
    assert {str(ROOT / page) for page in PAGES if page.startswith("docs/")} - linked == {str(folder / "index.md")}


# Snippets


def test_every_block_is_run_or_says_that_it_is_not() -> None:
    everything = [(page, block) for page in PAGES for block in blocks(page)]
    fences = sum(len(re.findall(r"^```", text, re.MULTILINE)) for text in PAGES.values())
    assert fences == 2 * len(everything), "a block has no language, or another form"
    for page, block in everything:
        assert not block.runs or block.language in RUN, f"{page}:{block.line}: nothing runs {block.language}"
        assert not block.runs or block.language != "python" or _file_of(block), f"{page}:{block.line}: has no file name"
    assert sum(not block.runs for _, block in everything) <= NOT_RUN_AT_MOST


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "graphql")])
def test_every_operation_fits_the_schema(page: str) -> None:
    built = build_schema().schema._schema
    for block in blocks(page, "graphql"):
        assert validate(built, parse(block.text)) == [], f"{page}:{block.line}"


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "toml")])
def test_every_configuration_file_is_read(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for block in blocks(page, "toml"):
        file = tmp_path / "watchword.toml"
        file.write_text(block.text)
        monkeypatch.setenv(CONFIG_FILE, str(file))
        if "secret_key" not in block.text:
            monkeypatch.setenv("WATCHWORD_SECRET_KEY", "k" * 40)
        settings = load_settings()
        for name, value in tomllib.loads(block.text).items():
            assert str(value) == str(getattr(settings, name)) or name in READ_AS_ANOTHER_TYPE


def _file_of(block: Block) -> str | None:
    first = re.match(r"# ([\w/]+\.py)\n", block.text)
    return first[1] if first else None


@dataclass(frozen=True)
class Reader:
    """Somebody who follows the pages: a folder with every file that they show, and a server with every domain."""

    server: Server
    files: Path
    folder: Path

    def follow(self, page: str) -> None:
        """Run the commands of a page in one shell, in order, and hold what they say against what the page shows."""
        parts = blocks(page, "bash", "json", "text")
        commands = [block for block in parts if block.language == "bash"]
        here = self.folder / page.replace("/", "-")
        shutil.copytree(self.files, here)
        (here / "var").symlink_to(self.server.data_dir)
        (here / ".venv").symlink_to(sys.prefix)
        said = self._shell(here, [block.text for block in commands])
        outputs = {block.line: output for block, output in zip(commands, said, strict=True)}
        for before, block in pairwise(parts):
            if before.language == "bash" and block.language != "bash":
                _require_alike(block, outputs[before.line], f"{page}:{block.line}")

    def _shell(self, here: Path, commands: list[str]) -> list[str]:
        separator = "\x1e"
        script = "".join(f"{command}\nprintf '{separator}'\n" for command in commands)
        script = script.replace(_SHOWN_ADDRESS, urlsplit(self.server.url).netloc)
        if "PASTE THE TOKEN HERE" in script:
            script = script.replace("PASTE THE TOKEN HERE", self.server.setup_token)
        ours = (PREFIX, "PYTEST", "PYTHON")
        clean = {name: value for name, value in os.environ.items() if not name.upper().startswith(ours)}
        cheap = {f"{PREFIX}PASSWORD_MEMORY_KIB": "8", f"{PREFIX}PASSWORD_ITERATIONS": "1"}
        path = os.pathsep.join((str(Path(sys.prefix) / "bin"), clean["PATH"]))
        done = subprocess.run(
            [shutil.which("bash") or "bash", "-euo", "pipefail", "-c", script],
            cwd=here,
            env={**clean, **cheap, "PATH": path},
            capture_output=True,
            check=False,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout.split(separator)[:-1]


def _require_alike(expected: Block, output: str, where: str) -> None:
    if expected.language == "json":
        assert _fits(json.loads(expected.text), json.loads(output)), f"{where}: it says {output}"
    else:
        assert _fits(expected.text.strip(), output.strip()), f"{where}: it says {output}"


def _fits(shown: object, said: object) -> bool:
    """Say whether an answer is the one that is shown, where `…` stands for anything."""
    if shown == "…":
        return True
    if isinstance(shown, str) and isinstance(said, str):
        return re.fullmatch(".*".join(map(re.escape, shown.split("…"))), said, re.DOTALL) is not None
    if isinstance(shown, dict) and isinstance(said, dict):
        return shown.keys() == said.keys() and all(_fits(shown[name], said[name]) for name in shown)
    if isinstance(shown, list) and isinstance(said, list) and "…" in shown:
        return all(item == "…" or item in said for item in shown)
    if isinstance(shown, list) and isinstance(said, list):
        return len(shown) == len(said) and all(map(_fits, shown, said))
    return shown == said


def test_the_commands_of_every_page_run_and_answer_as_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("curl") is None or shutil.which("bash") is None:
        pytest.skip("the snippets are run with bash and curl")
    files, domains = tmp_path / "files", set[str]()
    for page in PAGES:
        for block in blocks(page):
            domains |= set(re.findall(r"WATCHWORD_DOMAINS=(\S+)", block.text) if block.language == "bash" else [])
            name = _file_of(block) if block.language == "python" else None
            if name is not None:
                assert not (files / name).exists(), f"{page}:{block.line}: two pages show a file of this name"
                (files / name).parent.mkdir(parents=True, exist_ok=True)
                (files / name).write_text(block.text)
    monkeypatch.setenv("PYTHONPATH", str(files))
    with serving(tmp_path / "data", domains=",".join(sorted(domains))) as server:
        for path in files.rglob("*.py"):
            path.write_text(path.read_text().replace(_SHOWN_ADDRESS, urlsplit(server.url).netloc))
        reader = Reader(server, files, tmp_path)
        reader.follow("README.md")  # the other pages go on from there, in any order
        others = [page for page in PAGES if page != "README.md" and blocks(page, "bash")]
        with ThreadPoolExecutor(4) as readers:
            for followed in [readers.submit(reader.follow, page) for page in others]:
                followed.result()
