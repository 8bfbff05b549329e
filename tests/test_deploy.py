"""What it is deployed with: the image's build steps, the compose file and the unit, as far as they go without Docker.

The wheel is built and started as the image does it, in a folder where nothing else of this project is.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import tomllib
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import httpx2
import pytest

from deploy.ready import is_ready
from settings import CONFIG_FILE, PREFIX, SECRETS_DIR, Settings, load_settings
from tests.certificates import Authority
from tests.house import PRODUCTION_HASHING
from tests.running import END_SECONDS, ROOT, START_SECONDS, free_port, serving, wait_until

KNOWN = {PREFIX + name.upper() for name in Settings.model_fields} | {CONFIG_FILE, SECRETS_DIR}
SECRET = "a secret of the tests that is long enough"


@dataclass(frozen=True)
class Stage:
    """A stage of the Dockerfile: what it begins with, and its instructions in order."""

    name: str
    base: str
    steps: list[tuple[str, str]]

    def of(self, instruction: str) -> list[str]:
        return [rest for name, rest in self.steps if name == instruction]

    @property
    def environment(self) -> dict[str, str]:
        return dict(pair.split("=", 1) for rest in self.of("ENV") for pair in shlex.split(rest))


def stages() -> dict[str, Stage]:
    """Read the Dockerfile."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    found: dict[str, Stage] = {}
    for line in re.sub(r"\s*\\\n\s*", " ", text).splitlines():
        name, _, rest = line.partition(" ")
        if name == "FROM":
            base, _, alias = rest.partition(" AS ")
            stage = found.setdefault(alias or "run", Stage(alias or "run", base, []))
        elif name:
            stage.steps.append((name, rest))
    return found


STAGES = stages()


def sent() -> list[str]:
    """Return the files that are handed to a build: what is in the repository and .dockerignore does not keep back."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("what is in the repository is git's to say")
    listed = subprocess.run([git, "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True)
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    return [file for file in listed.stdout.decode().splitlines() if not is_kept_back(file, rules)]


def is_kept_back(file: str, rules: list[str]) -> bool:
    """Say what the last rule says that fits a file, or a folder above it."""
    parts = file.split("/")
    above = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    kept_back = False
    for rule in rules:
        pattern = rule.removeprefix("!")
        fits = (pattern.removeprefix("**/") in parts) if pattern.startswith("**/") else False
        if fits or any(fnmatch(each, pattern) and each.count("/") == pattern.count("/") for each in above):
            kept_back = not rule.startswith("!")
    return kept_back


# The image


def test_everything_that_is_copied_is_there_and_handed_to_the_build() -> None:
    files = sent()
    for stage in STAGES.values():
        for rest in stage.of("COPY"):
            if rest.startswith("--from="):
                assert rest.split()[0].removeprefix("--from=") in STAGES
                continue
            for source in rest.split()[:-1]:
                assert any(file == source or file.startswith(f"{source}/") for file in files), source


def test_nothing_is_handed_to_a_build_but_what_it_copies() -> None:
    copied = [source for stage in STAGES.values() for rest in stage.of("COPY") for source in rest.split()[:-1]]
    for file in sent():
        assert any(file == source or file.startswith(f"{source}/") for source in copied), file
    rules = (ROOT / ".dockerignore").read_text().splitlines()
    for secret in ("var/secret_key", "secrets/watchword_secret_key", ".git/config", ".env", "web/static/x.js"):
        assert is_kept_back(secret, rules), secret


def test_every_base_is_of_one_version_and_nothing_runs_as_root() -> None:
    assert all(re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", stage.base) for stage in STAGES.values())
    assert len({stage.base for stage in STAGES.values()}) == 1
    last = STAGES["run"]
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", last.of("USER")[0])
    assert last.of("STOPSIGNAL") == ["SIGTERM"]
    assert (last.of("ENTRYPOINT"), last.of("CMD")) == (['["watchword"]'], ['["serve"]'])


def test_the_image_installs_what_is_locked_by_the_commands_that_every_checkout_is_set_up_with() -> None:
    makefile = (ROOT / "Makefile").read_text()
    locked = [rest for stage in STAGES.values() for rest in stage.of("RUN") if "-r requirements/" in rest]
    assert len(locked) == 2
    assert all("--require-hashes" in rest for rest in locked)
    for rest in STAGES["front-end"].of("RUN")[1:]:
        assert rest.replace("cd dashboard && ", "") in makefile
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    brought = set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"])
    copied = {source for rest in STAGES["application"].of("COPY") for source in rest.split()[:-1]}
    assert brought <= copied


def test_every_setting_of_the_image_is_one() -> None:
    given = {name: value for name, value in STAGES["run"].environment.items() if name.startswith(PREFIX)}
    assert set(given) <= KNOWN
    fields = {name.removeprefix(PREFIX).lower(): value for name, value in given.items()}
    settings = load_settings(**fields, public_url="https://id.example.org", secret_key=SECRET)
    assert (settings.host, str(settings.data_dir)) == ("0.0.0.0", "/var/lib/watchword")  # noqa: S104
    assert not settings.is_behind_a_proxy  # by its address alone: compose.yaml says which proxy there is


@dataclass(frozen=True)
class Installed:
    """The wheel, installed in an environment of its own by the image's own commands."""

    binaries: Path
    folder: Path


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    if not (ROOT / "web/static/graphiql.html").is_file():
        pytest.skip("the front end is not built")
    place = tmp_path_factory.mktemp("image")
    build, watchword = place / "build", place / "watchword"
    venv.create(watchword, symlinks=True)
    # The locked dependencies are those of the environment that the tests run in.
    (site,) = (watchword / "lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    for rest in STAGES["application"].of("COPY"):
        *sources, target = rest.split()
        if sources[0].startswith("--from="):
            sources = ["web/static"]
        for source in sources:
            shutil_copy(ROOT / source, build / (source if target.endswith("/") else target))
    for rest in STAGES["application"].of("RUN")[3:]:
        command = rest.replace("/opt/build/bin/python", sys.executable).replace(
            "/opt/watchword/bin/python -m pip", f"{sys.executable} -m pip --python {watchword / 'bin' / 'python'}"
        )
        done = subprocess.run(["/bin/sh", "-euc", command], cwd=build, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    empty = place / "empty"
    empty.mkdir()
    return Installed(watchword / "bin", empty)


def shutil_copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "static"), dirs_exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


@pytest.fixture
def started(installed: Installed, tmp_path: Path) -> Iterator[tuple["subprocess.Popen[bytes]", dict[str, str]]]:
    """Start what was installed, by the image's settings, with its secret in a file, and all else read-only to it."""
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "watchword_secret_key").write_text(SECRET)
    outside = {
        name: value for name, value in os.environ.items() if not name.startswith((PREFIX, "PYTHON", "VIRTUAL_ENV"))
    }
    environment = {
        **outside,
        **STAGES["run"].environment,
        "PATH": f"{installed.binaries}:{os.environ['PATH']}",
        "WATCHWORD_HOST": "127.0.0.1",
        "WATCHWORD_PORT": free_port(),
        "WATCHWORD_DATA_DIR": str(tmp_path / "data"),
        "WATCHWORD_SECRETS_DIR": str(secrets),
        "WATCHWORD_PUBLIC_URL": "https://id.example.org",
    }
    command = [str(installed.binaries / "watchword"), *json_of(STAGES["run"].of("CMD")[0])]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=installed.folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        wait_until(
            lambda: process.poll() is not None or is_ready(environment),
            (tmp_path / "log").read_text,
            START_SECONDS,
        )
        assert process.poll() is None, (tmp_path / "log").read_text()
        yield process, environment
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(END_SECONDS)


def json_of(text: str) -> list[str]:
    return [str(each) for each in tomllib.loads(f"words = {text}")["words"]]


def test_what_the_image_builds_serves_everything_in_a_folder_of_its_own(
    started: tuple["subprocess.Popen[bytes]", dict[str, str]], installed: Installed
) -> None:
    process, environment = started
    url = f"http://127.0.0.1:{environment['WATCHWORD_PORT']}"
    page = httpx2.get(f"{url}/graphql", headers={"accept": "text/html"})
    (script,) = re.findall(r'src="(/static/[^"]+\.js)"', page.text)
    assert httpx2.get(f"{url}{script}").status_code == 200
    asked = httpx2.post(f"{url}/graphql", json={"query": "{ __typename }"})
    assert asked.json() == {"data": {"__typename": "Query"}}
    assert list(installed.folder.iterdir()) == []
    health = json_of(STAGES["run"].of("HEALTHCHECK")[0].partition("CMD ")[2])
    assert health == ["python", "/opt/watchword/ready.py"]
    assert "deploy/ready.py /opt/watchword/ready.py" in STAGES["run"].of("COPY")
    command = [sys.executable, str(ROOT / "deploy/ready.py")]
    assert subprocess.run(command, env=environment, check=False).returncode == 0
    process.send_signal(getattr(signal, STAGES["run"].of("STOPSIGNAL")[0]))
    assert process.wait(END_SECONDS) == 0
    assert subprocess.run(command, env=environment, check=False).returncode == 1


def test_the_health_of_a_server_that_speaks_tls_is_asked_by_tls(tmp_path: Path) -> None:
    authority, port = Authority(tmp_path / "authority"), free_port()
    files = authority.write()
    given = {"tls_certificate": str(files.certificate), "tls_key": str(files.key), "secret_key": SECRET}
    given |= {name: str(value) for name, value in PRODUCTION_HASHING.items()}
    environment = {"WATCHWORD_PORT": port, "WATCHWORD_HOST": "0.0.0.0"}  # noqa: S104
    public = f"https://localhost:{port}"
    with serving(tmp_path / "data", authority.trusted(), port=port, public_url=public, **given):
        assert is_ready({**environment, "WATCHWORD_TLS_CERTIFICATE": str(files.certificate)})
        assert not is_ready(environment)
    assert not is_ready(environment)


# The compose file


def read_yaml(text: str) -> Any:
    """Read what the compose file uses of YAML: mappings and lists by their indentation, and words."""
    lines = [
        (len(line) - len(line.lstrip()), line.strip())
        for line in text.splitlines()
        if line.strip() and not line.lstrip().startswith("#")
    ]

    def block(depth: int) -> Any:
        if not lines or lines[0][0] < depth:
            return None
        depth = lines[0][0]
        items: list[Any] = []
        entries: dict[str, Any] = {}
        while lines and lines[0][0] == depth:
            _, content = lines.pop(0)
            if content.startswith("- ") and (not re.match(r"- \w+: ", content) or content.startswith('- "')):
                items.append(word(content[2:]))
            elif content.startswith("- "):
                lines.insert(0, (depth + 2, content[2:]))
                items.append(block(depth + 2))
            else:
                name, separator, value = content.partition(":")
                assert separator, content
                entries[name] = word(value.strip()) if value.strip() else block(depth + 1)
        assert not (items and entries)
        return items or entries

    def word(text: str) -> Any:
        if text.startswith("["):
            return json_of(text)
        return text[1:-1] if text.startswith('"') else text

    read = block(0)
    assert not lines, lines
    return read


COMPOSE = read_yaml((ROOT / "compose.yaml").read_text())


def test_every_setting_of_the_compose_file_is_one_and_so_is_every_secret() -> None:
    application = COMPOSE["services"]["application"]
    given = {name for name in application["environment"] if name.startswith(PREFIX)}
    assert given == set(application["environment"]) <= KNOWN
    assert {name.upper() for name in application["secrets"]} <= KNOWN
    usual = {name: re.sub(r"\$\{\w+:[-?]([^,}]*).*", r"\1", each) for name, each in application["environment"].items()}
    settings = load_settings(
        public_url=usual["WATCHWORD_PUBLIC_URL"],
        trusted_proxies=usual["WATCHWORD_TRUSTED_PROXIES"],
        host=STAGES["run"].environment["WATCHWORD_HOST"],
        secret_key=SECRET,
        database_url="postgresql://watchword:a-password@database/watchword",
    )
    (network,) = COMPOSE["networks"]["watchword"]["ipam"]["config"]
    assert [str(proxy.network_address) for proxy in settings.trusted_proxies] == [network["gateway"]]


def test_what_the_services_of_the_compose_file_name_is_there() -> None:
    services = COMPOSE["services"]
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)
        assert set(service["secrets"]) <= set(COMPOSE["secrets"])
        assert set(service["networks"]) <= set(COMPOSE["networks"])
        assert {volume.partition(":")[0] for volume in service.get("volumes", [])} <= set(COMPOSE["volumes"])
        assert "no-new-privileges:true" in service["security_opt"]
    assert services["application"]["build"] == "."
    assert re.fullmatch(r"postgres:\d+\.\d+-\w+", services["database"]["image"])
    for name, secret in COMPOSE["secrets"].items():
        assert secret == {"file": f"./secrets/{name}"}
    assert "/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def test_the_application_of_the_compose_file_can_write_nothing_but_what_is_gone_with_it() -> None:
    application = COMPOSE["services"]["application"]
    assert application["read_only"] == "true"
    assert application["cap_drop"] == ["ALL"]
    assert [mount.partition(":")[0] for mount in application["tmpfs"]] == ["/tmp", "/var/lib/watchword"]  # noqa: S108
    assert "volumes" not in application
    user, _, group = STAGES["run"].of("USER")[0].partition(":")
    assert f"uid={user},gid={group},mode=0700" in application["tmpfs"][1]
    assert application["ports"] == ["127.0.0.1:8000:8000"]


# The unit

UNIT = ROOT / "deploy/watchword.service"


def directives(section: str) -> list[tuple[str, str]]:
    inside = re.split(r"^\[(\w+)\]$", UNIT.read_text(), flags=re.MULTILINE)
    text = dict(zip(inside[1::2], inside[2::2], strict=True))[section]
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(name, value) for name, _, value in (line.partition("=") for line in lines)]


def test_every_directive_of_the_unit_is_one() -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        assert all(re.fullmatch(r"[A-Z]\w+", name) for name, _ in directives("Service"))
        return
    program = "/srv/watchword/app/.venv/bin/watchword"
    checked = subprocess.run([analyze, "verify", UNIT], capture_output=True, text=True, check=False, timeout=60)
    said = [line for line in checked.stderr.splitlines() if "watchword.service" in line]
    # It is not installed where the unit says: that is all there is to say.
    assert [line for line in said if f"Command {program} is not executable" not in line] == []


def test_the_unit_starts_a_command_that_there_is_and_lets_it_end_in_good_order() -> None:
    service = dict(directives("Service"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    program, command = service["ExecStart"].split()
    assert Path(program).name in project["project"]["scripts"]
    assert command == "serve"
    assert int(service["TimeoutStopSec"]) >= 30  # what is under way is given ten, and then the database is closed
    assert service["Restart"] == "on-failure"
    assert int(service["LimitNOFILE"]) > load_settings().connections


def test_every_setting_of_the_unit_is_one_and_so_is_every_credential() -> None:
    given = [value.partition("=") for name, value in directives("Service") if name == "Environment"]
    assert {name for name, _, _ in given} <= KNOWN
    assert ("WATCHWORD_SECRETS_DIR", "=", "%d") in given
    credentials = [value.partition(":")[0] for name, value in directives("Service") if name == "LoadCredential"]
    assert {name.upper() for name in credentials} <= KNOWN


@pytest.mark.parametrize(
    "directive",
    ["DynamicUser", "NoNewPrivileges", "PrivateTmp", "MemoryDenyWriteExecute", "RestrictSUIDSGID", "LockPersonality"],
)
def test_the_unit_takes_away_what_the_server_does_not_need(directive: str) -> None:
    service = dict(directives("Service"))
    assert service[directive] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["CapabilityBoundingSet"] == ""


_REFUSING = """
import ctypes, os, sys
refused = ctypes.CDLL(None, use_errno=True).prctl(65, 1, 0, 0, 0)  # PR_SET_MDWE, inherited by what is executed
sys.exit(77) if refused else os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def test_the_server_runs_where_no_memory_may_be_written_and_executed(tmp_path: Path) -> None:
    """As `MemoryDenyWriteExecute` has it: everything is imported, and a password is hashed."""
    script = "from tests.house import House; import asyncio, sys; from pathlib import Path\n"
    script += "async def main():\n async with House(Path(sys.argv[1])) as house: await house.person('ada')\n"
    script += "asyncio.run(main())\n"
    command = [sys.executable, "-c", _REFUSING, "-c", script, str(tmp_path / "data")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=START_SECONDS)
    if done.returncode == 77:
        pytest.skip("this kernel cannot refuse it")
    assert done.returncode == 0, done.stderr
