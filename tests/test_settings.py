"""Settings: their defaults, their rules, where they come from, and that every fault is told at once."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from settings import CONFIG_FILE, SECRETS_DIR, Settings, WrongSettings, load_settings
from store.locations import PostgreSQL

SECRET = "a secret key that is long enough to be one"
PRODUCTION = {"public_url": "https://id.example.org", "secret_key": SECRET}


def faults_of(**given: Any) -> list[str]:
    with pytest.raises(WrongSettings) as wrong:
        load_settings(**given)
    assert str(wrong.value) == "\n".join(wrong.value.faults)
    return wrong.value.faults


def fault_of(**given: Any) -> str:
    (fault,) = faults_of(**given)
    return fault


@pytest.fixture
def toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a settings file that the environment names, still empty."""
    file = tmp_path / "watchword.toml"
    file.touch()
    monkeypatch.setenv(CONFIG_FILE, str(file))
    return file


def test_in_development_nothing_needs_setting() -> None:
    settings = load_settings()
    assert settings.model_dump() == {
        "host": "127.0.0.1",
        "port": 8000,
        "request_timeout": timedelta(seconds=10),
        "workers": 1,
        "shutdown_timeout": timedelta(seconds=10),
        "shutdown_delay": timedelta(0),
        "connections": 10_000,
        "connections_per_address": 200,
        "allow_insecure_http": False,
        "public_url": "http://127.0.0.1:8000",
        "tls_certificate": None,
        "tls_key": None,
        "allowed_origins": [],
        "trusted_proxies": [],
        "get_queries": False,
        "data_dir": Path("var"),
        "database_url": SecretStr("sqlite:///var/watchword.sqlite"),
        "database_connections": 10,
        "database_timeout": timedelta(seconds=2),
        "migrate_on_start": True,
        "secret_key": [],
        "domains": [],
        "introspection": "auto",
        "trusted_documents": None,
        "limit_tokens": 2_000,
        "limit_depth": 20,
        "limit_fields": 1_000,
        "limit_aliases": 50,
        "limit_root_fields": 20,
        "limit_directives": 50,
        "limit_definitions": 100,
        "limit_cost": 10_000,
        "signing_algorithm": "EdDSA",
        "signing_key_lifetime": timedelta(days=90),
        "jwks_max_age": timedelta(minutes=5),
        "access_token_lifetime": timedelta(minutes=5),
        "session_idle_timeout": timedelta(days=30),
        "session_lifetime": timedelta(days=90),
        "session_retention": timedelta(days=30),
        "audit_retention": timedelta(days=400),
        "password_memory_kib": 19456,
        "password_iterations": 2,
        "password_threads": 2,
        "guesses_per_address": 60,
        "budget": 100_000,
        "anonymous_budget": 20_000,
        "metrics_host": "127.0.0.1",
        "metrics_port": None,
        "metrics_token": None,
        "traces": "off",
        "log_format": "auto",
        "log_audit": True,
        "log_level": "info",
    }
    assert not settings.is_production
    assert settings.database_file == Path("var/watchword.sqlite")


def test_the_environment_sets_what_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHWORD_PORT", "9000")
    monkeypatch.setenv("watchword_log_level", "debug")
    monkeypatch.setenv("WATCHWORD_DATA_DIR", "/srv/watchword")
    monkeypatch.setenv("WATCHWORD_MIGRATE_ON_START", "false")
    settings = load_settings()
    assert (settings.port, settings.log_level, settings.migrate_on_start) == (9000, "debug", False)
    assert settings.public_url == "http://127.0.0.1:9000"
    assert settings.database_file == Path("/srv/watchword/watchword.sqlite")


def test_a_file_sets_what_it_names_the_environment_counts_more_and_arguments_most(
    toml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toml.write_text('port = 9001\nlog_level = "debug"\npassword_threads = 4\ndatabase_timeout = 3\n')
    monkeypatch.setenv("WATCHWORD_PORT", "9002")
    monkeypatch.setenv("WATCHWORD_LOG_LEVEL", "error")
    settings = load_settings(log_level="warning")
    assert (settings.password_threads, settings.port, settings.log_level) == (4, 9002, "warning")
    assert settings.database_timeout == timedelta(seconds=3)


def test_a_list_is_separated_by_commas_in_the_environment_and_a_list_in_a_file(
    toml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toml.write_text(f'domains = ["acme.books:bookshop", "acme.cars:garage"]\nsecret_key = ["{SECRET}", "{SECRET}2"]\n')
    settings = load_settings()
    assert settings.domains == ["acme.books:bookshop", "acme.cars:garage"]
    assert [key.get_secret_value() for key in settings.secret_key] == [SECRET, f"{SECRET}2"]
    monkeypatch.setenv("WATCHWORD_DOMAINS", " acme.books:bookshop ,, acme.cars:garage,")
    monkeypatch.setenv("WATCHWORD_SECRET_KEY", f"{SECRET}3 , {SECRET}")
    settings = load_settings()
    assert settings.domains == ["acme.books:bookshop", "acme.cars:garage"]
    assert [key.get_secret_value() for key in settings.secret_key] == [f"{SECRET}3", SECRET]
    monkeypatch.setenv("WATCHWORD_DOMAINS", "")
    monkeypatch.setenv("WATCHWORD_SECRET_KEY", "")
    settings = load_settings()
    assert (settings.domains, settings.secret_key) == ([], [])


@pytest.mark.parametrize("written", ["90", "PT1M30S", "00:01:30", "0:01:30"])
def test_a_duration_is_seconds_or_written_out(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    monkeypatch.setenv("WATCHWORD_ACCESS_TOKEN_LIFETIME", written)
    assert load_settings().access_token_lifetime == timedelta(seconds=90)


def test_a_file_that_is_not_there_is_a_fault_and_not_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for missing in (tmp_path / "none.toml", tmp_path):
        monkeypatch.setenv(CONFIG_FILE, str(missing))
        assert fault_of().startswith(f"{CONFIG_FILE}: ")


def test_the_file_is_read_in_whatever_letters_its_setting_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "watchword.toml").write_text("port = 9001\n")
    monkeypatch.setenv(CONFIG_FILE.lower(), str(tmp_path / "watchword.toml"))
    assert load_settings().port == 9001


@pytest.mark.parametrize("content", [b"port = [", b"port 9000", b'host = "\xff"', b"port = 1\nport = 2\n", b"\x00"])
def test_a_file_that_cannot_be_read_is_a_fault(toml: Path, content: bytes) -> None:
    toml.write_bytes(content)
    assert fault_of().startswith(f"{CONFIG_FILE}: ")


def test_a_broken_file_does_not_hide_a_setting_that_does_not_exist(toml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toml.write_text("port = [")
    monkeypatch.setenv("WATCHWORD_PROT", "9000")
    assert [fault.partition(":")[0] for fault in faults_of()] == [CONFIG_FILE, "WATCHWORD_PROT"]


def test_a_setting_that_does_not_exist_is_a_fault_wherever_it_is_written(
    toml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toml.write_text("prot = 9000\n[section]\nport = 1\n")
    monkeypatch.setenv("WATCHWORD_HOTS", "localhost")
    assert faults_of(sercet_key="x") == [
        f"WATCHWORD_{name}: there is no such setting" for name in ("HOTS", "PROT", "SECTION", "SERCET_KEY")
    ]


def test_the_environment_of_other_programs_and_of_tests_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WATCHWORDS_PORT", "PORT", "X_WATCHWORD_PORT", "WATCHWORD_TEST_BROWSER"):
        monkeypatch.setenv(name, "9000")
    assert load_settings().port == 8000


def test_every_fault_is_told_at_once_by_the_settings_full_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {
        "PORT": "0",
        "PUBLIC_URL": "id.example.org",
        "DATABASE_URL": "mysql://watchword@db/watchword",
        "SECRET_KEY": "short",
        "DOMAINS": "books",
        "SESSION_LIFETIME": "PT20M",
        "PASSWORD_THREADS": "0",
        "PASSWORD_ITERATIONS": "many",
        "LOG_LEVEL": "loud",
        "LOG_FORMAT": "xml",
        "MIGRATE_ON_START": "perhaps",
        "NONSENSE": "1",
    }.items():
        monkeypatch.setenv(f"WATCHWORD_{name}", value)
    assert [fault.partition(":")[0].removeprefix("WATCHWORD_") for fault in faults_of()] == [
        "DATABASE_URL",
        "DOMAINS",
        "LOG_FORMAT",
        "LOG_LEVEL",
        "MIGRATE_ON_START",
        "NONSENSE",
        "PASSWORD_ITERATIONS",
        "PASSWORD_THREADS",
        "PORT",
        "PUBLIC_URL",
        "SECRET_KEY",
        "SESSION_LIFETIME",
    ]


@pytest.mark.parametrize(
    ("given", "name", "says"),
    [
        ({"port": 0}, "PORT", "greater than or equal to 1"),
        ({"port": 65_536}, "PORT", "less than or equal to 65535"),
        ({"port": "http"}, "PORT", "integer"),
        ({"request_timeout": 0.5}, "REQUEST_TIMEOUT", "greater than"),
        ({"request_timeout": 301}, "REQUEST_TIMEOUT", "less than"),
        ({"connections": 0}, "CONNECTIONS", "greater than"),
        ({"connections_per_address": 0}, "CONNECTIONS_PER_ADDRESS", "greater than"),
        ({"database_timeout": 0}, "DATABASE_TIMEOUT", "greater than"),
        ({"database_timeout": -1}, "DATABASE_TIMEOUT", "greater than"),
        ({"database_timeout": 61}, "DATABASE_TIMEOUT", "less than"),
        ({"database_timeout": "soon"}, "DATABASE_TIMEOUT", "timedelta"),
        ({"introspection": "admins"}, "INTROSPECTION", "'auto', 'everybody', 'authenticated' or 'nobody'"),
        ({"limit_tokens": 99}, "LIMIT_TOKENS", "greater than"),
        ({"limit_tokens": 20_001}, "LIMIT_TOKENS", "less than"),
        ({"limit_depth": 101}, "LIMIT_DEPTH", "less than"),
        ({"limit_root_fields": 0}, "LIMIT_ROOT_FIELDS", "greater than"),
        ({"limit_aliases": -1}, "LIMIT_ALIASES", "greater than"),
        ({"limit_cost": 99}, "LIMIT_COST", "greater than"),
        ({"signing_algorithm": "none"}, "SIGNING_ALGORITHM", "'EdDSA', 'ES256', 'RS256' or 'HS256'"),
        ({"signing_algorithm": "HS512"}, "SIGNING_ALGORITHM", "'EdDSA', 'ES256', 'RS256' or 'HS256'"),
        ({"signing_key_lifetime": 3_599}, "SIGNING_KEY_LIFETIME", "greater than"),
        ({"signing_key_lifetime": timedelta(days=367)}, "SIGNING_KEY_LIFETIME", "less than"),
        ({"jwks_max_age": 0}, "JWKS_MAX_AGE", "greater than"),
        ({"jwks_max_age": 86_401}, "JWKS_MAX_AGE", "less than"),
        ({"access_token_lifetime": 59}, "ACCESS_TOKEN_LIFETIME", "greater than"),
        ({"access_token_lifetime": 3_601}, "ACCESS_TOKEN_LIFETIME", "less than"),
        ({"session_idle_timeout": 599}, "SESSION_IDLE_TIMEOUT", "greater than"),
        ({"session_lifetime": timedelta(days=367)}, "SESSION_LIFETIME", "less than"),
        ({"session_lifetime": timedelta(days=29)}, "SESSION_LIFETIME", "WATCHWORD_SESSION_IDLE_TIMEOUT"),
        ({"password_memory_kib": 7}, "PASSWORD_MEMORY_KIB", "greater than"),
        ({"password_memory_kib": 2_000_000}, "PASSWORD_MEMORY_KIB", "less than"),
        ({"password_iterations": 0}, "PASSWORD_ITERATIONS", "greater than"),
        ({"password_threads": 65}, "PASSWORD_THREADS", "less than"),
        ({"guesses_per_address": 0}, "GUESSES_PER_ADDRESS", "greater than"),
        ({"guesses_per_address": 1_000_001}, "GUESSES_PER_ADDRESS", "less than"),
        ({"budget": -1}, "BUDGET", "greater than"),
        ({"anonymous_budget": -1}, "ANONYMOUS_BUDGET", "greater than"),
        ({"domains": "acme.books"}, "DOMAINS", "acme.books:bookshop"),
        ({"domains": "acme.books:"}, "DOMAINS", "acme.books:bookshop"),
        ({"domains": "a:b:c"}, "DOMAINS", "acme.books:bookshop"),
        ({"database_url": "mysql://db/watchword"}, "DATABASE_URL", "postgresql://user:password@host/database"),
        ({"database_url": "postgresql://db:port[/watchword"}, "DATABASE_URL", "%xx"),
        ({"database_connections": 1}, "DATABASE_CONNECTIONS", "greater than"),
        ({"database_url": "sqlite://"}, "DATABASE_URL", "sqlite:///path/to/file"),
        ({"database_url": "sqlite:///"}, "DATABASE_URL", "sqlite:///path/to/file"),
        ({"database_url": "sqlite:///:memory:"}, "DATABASE_URL", "sqlite:///path/to/file"),
        ({"secret_key": "x" * 31}, "SECRET_KEY", "at least 32 characters"),
        ({"secret_key": f"{SECRET},short"}, "SECRET_KEY", "at least 32 characters"),
    ],
)
def test_a_value_beyond_its_rule_is_refused_and_the_rule_is_told(given: dict[str, Any], name: str, says: str) -> None:
    fault = fault_of(**given)
    assert fault.startswith(f"WATCHWORD_{name}: ")
    assert says in fault


@pytest.mark.parametrize(
    "given",
    [
        {"port": 1},
        {"port": 65_535},
        {"signing_algorithm": "HS256"},
        {"signing_key_lifetime": 3_600},
        {"signing_key_lifetime": timedelta(days=366)},
        {"jwks_max_age": 1},
        {"jwks_max_age": 86_400},
        {"access_token_lifetime": 60},
        {"access_token_lifetime": 3_600},
        {"session_idle_timeout": 600, "session_lifetime": 600},
        {"session_lifetime": timedelta(days=366)},
        {"password_memory_kib": 8, "password_iterations": 1},
        {"secret_key": "x" * 32},
        {"database_url": "sqlite:////srv/watchword.sqlite"},
    ],
)
def test_a_value_at_the_edge_of_its_rule_is_accepted(given: dict[str, Any]) -> None:
    assert load_settings(**given)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("https://id.example.org", "https://id.example.org"),
        ("https://id.example.org/", "https://id.example.org"),
        ("HTTPS://ID.Example.org", "https://id.example.org"),
        ("https://id.example.org:8443/", "https://id.example.org:8443"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://app.localhost:3000", "http://app.localhost:3000"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_the_public_url_is_an_origin_in_one_spelling(written: str, read: str) -> None:
    assert load_settings(public_url=written, secret_key=SECRET).public_url == read


@pytest.mark.parametrize(
    "written",
    [
        "id.example.org",
        "//id.example.org",
        "https://",
        "ftp://id.example.org",
        "https://id.example.org/graphql",
        "https://id.example.org?x=y",
        "https://id.example.org#top",
        "https://ada:secret@id.example.org",
        "http://[::1",
        "javascript:alert(1)",
    ],
)
def test_a_public_url_that_is_no_origin_is_refused(written: str) -> None:
    assert fault_of(public_url=written, secret_key=SECRET).startswith("WATCHWORD_PUBLIC_URL: ")


@pytest.mark.parametrize(
    "written",
    [
        "https://id.example.org\n",
        "https://id.exa\tmple.org",
        "https://id.example.org ",
        "https://id .example.org",
        "https://id.example.org:99999",
        "https://id.example.org:http",
        "https://id.example.org:",
        "https://id.example.org/?",
        "https://id.example.org/#",
        "https://id.example.org;x",
        "https://id.example.org\\x",
        "https://b\u00fccher.example",
    ],
)
def test_a_public_url_that_no_browser_would_write_so_is_put_right_or_refused(written: str) -> None:
    try:
        read = load_settings(public_url=written, secret_key=SECRET).public_url
    except WrongSettings:
        return
    assert read == "https://id.example.org"


@pytest.mark.parametrize(
    "given",
    [
        {"host": "0.0.0.0"},  # noqa: S104
        {"host": "::"},
        {"host": "192.0.2.1"},
        {"host": ""},
        {"host": "0.0.0.0", "public_url": "http://localhost:8000"},  # noqa: S104
        {"public_url": "http://id.example.org"},
        {"public_url": "http://192.0.2.1"},
        {"public_url": "http://127.0.0.1.example.org"},
        {"public_url": "http://localhost.example.org"},
        {"public_url": "http://notlocalhost"},
    ],
)
def test_plain_http_beyond_this_machine_is_refused_unless_it_is_asked_for(given: dict[str, Any]) -> None:
    assert fault_of(**given).startswith("WATCHWORD_PUBLIC_URL: must")
    if given.get("host") != "":
        assert not load_settings(**given, allow_insecure_http=True).is_production


def test_behind_a_proxy_that_speaks_https_it_may_listen_everywhere() -> None:
    settings = load_settings(host="0.0.0.0", **PRODUCTION)  # noqa: S104
    assert settings.is_production


def test_production_leaves_no_secret_to_a_default() -> None:
    fault = fault_of(public_url="https://id.example.org")
    assert fault.startswith("WATCHWORD_SECRET_KEY: must be set in production")
    assert "openssl rand" in fault
    assert load_settings(**PRODUCTION).is_production


def test_production_hashes_passwords_at_a_real_cost() -> None:
    assert fault_of(**PRODUCTION, password_memory_kib=7_167).startswith(
        "WATCHWORD_PASSWORD_ITERATIONS: is too few for WATCHWORD_PASSWORD_MEMORY_KIB=7167"
    )
    assert load_settings(**PRODUCTION, password_memory_kib=7_168, password_iterations=5)


@pytest.mark.parametrize(("memory", "iterations"), [(7_168, 1), (7_168, 4), (12_288, 2), (19_456, 1)])
def test_production_hashes_at_no_less_than_one_of_owasps_pairs(memory: int, iterations: int) -> None:
    assert faults_of(**PRODUCTION, password_memory_kib=memory, password_iterations=iterations)


def test_settings_are_frozen_once_read() -> None:
    settings = load_settings()
    with pytest.raises(ValidationError):
        settings.port = 1


def test_no_secret_shows_in_what_settings_print_or_in_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"postgresql://watchword:{SECRET}@db/watchword"
    settings = load_settings(secret_key=[SECRET, f"{SECRET}2"], database_url=url)
    assert SECRET not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    assert settings.database == PostgreSQL(url)
    assert SECRET not in f"{settings.database!r} {settings.database}"
    assert str(settings.database) == "PostgreSQL at db/watchword"
    monkeypatch.setenv("WATCHWORD_SECRET_KEY", "hunter2,hunter3")
    monkeypatch.setenv("WATCHWORD_DATABASE_URL", "mysql://watchword:hunter4@db/watchword")
    monkeypatch.setenv("WATCHWORD_PUBLIC_URL", "https://watchword:hunter5@id.example.org")
    assert "hunter" not in str(faults_of())


def test_reading_settings_touches_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    load_settings()
    assert list(tmp_path.iterdir()) == []


def test_no_file_called_dotenv_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("WATCHWORD_PORT=9009\nPORT=9009\n")
    monkeypatch.chdir(tmp_path)
    assert load_settings().port == 8000
    assert Settings().port == 8000


# The folder of secrets


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of secrets that the environment names, still empty."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    monkeypatch.setenv(SECRETS_DIR, str(folder))
    return folder


def test_a_file_in_the_folder_of_secrets_is_a_setting(
    folder: Path, toml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "watchword_secret_key").write_text(f" {SECRET},{SECRET}2\n")
    (folder / "watchword_database_url").write_text("postgresql://watchword:secret@db/watchword\n")
    (folder / "watchword_port").write_text("9001")
    (folder / "somebody_elses").write_text("nothing of ours")
    toml.write_text("port = 9002\nlog_level = 'debug'\n")
    settings = load_settings()
    assert [key.get_secret_value() for key in settings.secret_key] == [SECRET, f"{SECRET}2"]
    assert str(settings.database) == "PostgreSQL at db/watchword"
    assert (settings.port, settings.log_level) == (9001, "debug")
    monkeypatch.setenv("WATCHWORD_PORT", "9003")
    assert load_settings().port == 9003


def test_a_file_in_the_folder_of_secrets_that_names_no_setting_is_a_fault(folder: Path) -> None:
    (folder / "watchword_secret_kye").write_text(SECRET)
    assert fault_of() == f"{SECRETS_DIR}: {folder} has a file watchword_secret_kye, and there is no such setting"


def test_a_folder_of_secrets_that_cannot_be_read_is_a_fault_and_no_default(folder: Path) -> None:
    (folder / "watchword_database_url").mkdir()
    assert fault_of() == f"{SECRETS_DIR}: {folder / 'watchword_database_url'} cannot be read"
    (folder / "watchword_database_url").rmdir()
    outside = folder.parent / "outside"
    outside.write_text("postgresql://db/watchword")
    (folder / "watchword_database_url").symlink_to(outside)
    assert fault_of() == f"{SECRETS_DIR}: {folder / 'watchword_database_url'} leads out of the folder"
    (folder / "watchword_database_url").unlink()
    folder.rmdir()
    assert any("cannot be read: No such file" in fault for fault in faults_of())
