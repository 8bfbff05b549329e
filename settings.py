"""Every setting, with its default: the one module that reads the environment.

Settings are read once, from `WATCHWORD_*`, from the files of the folder that `WATCHWORD_SECRETS_DIR` names, and from
the TOML file that `WATCHWORD_CONFIG_FILE` names (the first of these counts), and all faults are reported at once.
docs/settings.md has an entry for each; a test holds the two together.
"""

import os
import re
import warnings
from collections.abc import Mapping
from datetime import timedelta
from importlib.util import find_spec
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import BeforeValidator, Field, IPvAnyNetwork, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from store.locations import Location, SQLiteFile, read_location

PREFIX = "WATCHWORD_"
CONFIG_FILE = "WATCHWORD_CONFIG_FILE"
SECRETS_DIR = "WATCHWORD_SECRETS_DIR"
_FOR_TESTS = "WATCHWORD_TEST_"
# What `serve` tells each of several processes that it starts. It is no setting, and named like none.
_WORKER = "_WATCHWORD_WORKER"

SHORTEST_SECRET_KEY = 32

# OWASP's pairs for argon2id with one thread, each as costly to crack as the others: memory in KiB, and iterations.
_LEAST_COSTS = ((47104, 1), (19456, 2), (12288, 3), (9216, 4), (7168, 5))

# Those that only the extra `otel` brings.
_TRACING = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")

_USUAL_PORT = {"http": ":80", "https": ":443"}
_ORIGIN = re.compile(
    r"https?://(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?/?", re.ASCII | re.IGNORECASE
)

# Apps and extensions have pages, too, at schemes of their own. Browsers write other letters than these as xn--….
_ANY_ORIGIN = re.compile(
    r"[a-z][a-z0-9+.-]*://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?/?", re.ASCII | re.IGNORECASE
)


class WrongSettings(Exception):
    """The settings are wrong; `faults` has a line for each, by the setting's full name."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


def _seconds(value: object) -> object:
    return int(value) if isinstance(value, str) and value.strip().isdecimal() else value


Duration = Annotated[timedelta, BeforeValidator(_seconds)]


def _listed(value: object) -> object:
    return [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value


def _networks(value: object) -> object:
    value = _listed(value)
    for item in value if isinstance(value, list) else []:
        try:
            ip_network(item)
        except ValueError as error:
            raise ValueError(
                f"must be a list of addresses and networks like 127.0.0.1,10.0.0.0/24; {item!r} is not one"
            ) from error
    return value


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _none_if_empty(value: object) -> object:
    return value or None


class Settings(BaseSettings):
    """The settings of one installation; frozen once read, and no secret shows in its repr."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True
    )

    # The order matters to the rules below: each may look at the settings above it.
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=1, le=65535)
    request_timeout: Duration = Field(default=timedelta(seconds=10), ge=timedelta(seconds=1), le=timedelta(minutes=5))
    workers: int = Field(default=1, ge=1, le=64)
    shutdown_timeout: Duration = Field(default=timedelta(seconds=10), ge=timedelta(0), le=timedelta(hours=1))
    shutdown_delay: Duration = Field(default=timedelta(0), ge=timedelta(0), le=timedelta(minutes=10))
    connections: int = Field(default=10_000, ge=1, le=1_000_000)
    connections_per_address: int = Field(default=200, ge=1)
    allow_insecure_http: bool = False
    public_url: str = ""
    tls_certificate: Annotated[Path | None, BeforeValidator(_none_if_empty)] = None
    tls_key: Annotated[Path | None, BeforeValidator(_none_if_empty)] = None
    allowed_origins: Annotated[list[str], NoDecode, BeforeValidator(_listed)] = []
    trusted_proxies: Annotated[list[IPvAnyNetwork], NoDecode, BeforeValidator(_networks)] = []
    get_queries: bool = False
    data_dir: Path = Path("var")
    database_url: SecretStr = SecretStr("")
    database_connections: int = Field(default=10, ge=2, le=1_000)
    database_timeout: Duration = Field(default=timedelta(seconds=2), gt=timedelta(0), le=timedelta(minutes=1))
    migrate_on_start: bool = True
    secret_key: Annotated[list[SecretStr], NoDecode, BeforeValidator(_listed)] = []
    domains: Annotated[list[str], NoDecode, BeforeValidator(_listed)] = []
    introspection: Literal["auto", "everybody", "authenticated", "nobody"] = "auto"
    trusted_documents: Annotated[Path | None, BeforeValidator(_none_if_empty)] = None
    limit_tokens: int = Field(default=2_000, ge=100, le=20_000)
    limit_depth: int = Field(default=20, ge=2, le=100)
    limit_fields: int = Field(default=1_000, ge=10, le=100_000)
    limit_aliases: int = Field(default=50, ge=0, le=10_000)
    limit_root_fields: int = Field(default=20, ge=1, le=1_000)
    limit_directives: int = Field(default=50, ge=0, le=10_000)
    limit_definitions: int = Field(default=100, ge=1, le=1_000)
    limit_cost: int = Field(default=10_000, ge=100, le=10_000_000)
    signing_algorithm: Literal["EdDSA", "ES256", "RS256", "HS256"] = "EdDSA"
    signing_key_lifetime: Duration = Field(default=timedelta(days=90), ge=timedelta(hours=1), le=timedelta(days=366))
    jwks_max_age: Duration = Field(default=timedelta(minutes=5), ge=timedelta(seconds=1), le=timedelta(days=1))
    access_token_lifetime: Duration = Field(
        default=timedelta(minutes=5), ge=timedelta(minutes=1), le=timedelta(hours=1)
    )
    session_idle_timeout: Duration = Field(default=timedelta(days=30), ge=timedelta(minutes=10))
    session_lifetime: Duration = Field(default=timedelta(days=90), ge=timedelta(minutes=10), le=timedelta(days=366))
    session_retention: Duration = Field(default=timedelta(days=30), ge=timedelta(days=1))
    audit_retention: Duration = Field(default=timedelta(days=400), ge=timedelta(0))
    password_memory_kib: int = Field(default=19456, ge=8, le=1_048_576)
    password_iterations: int = Field(default=2, ge=1, le=100)
    password_threads: int = Field(default=2, ge=1, le=64)
    guesses_per_address: int = Field(default=60, ge=1, le=1_000_000)
    budget: int = Field(default=100_000, ge=0)
    anonymous_budget: int = Field(default=20_000, ge=0)
    metrics_host: str = "127.0.0.1"
    metrics_port: Annotated[int | None, BeforeValidator(_none_if_empty)] = Field(default=None, ge=1, le=65535)
    metrics_token: Annotated[SecretStr | None, BeforeValidator(_none_if_empty)] = None
    traces: Literal["off", "otlp"] = "off"
    log_format: Literal["auto", "json", "text"] = "auto"
    log_audit: bool = True
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read arguments before the environment, that before the folder of secrets, and all of them before the file."""
        del dotenv_settings, file_secret_settings
        folder, file = _named(SECRETS_DIR), _named(CONFIG_FILE)
        return (
            init_settings,
            env_settings,
            *([SecretsSettingsSource(settings_cls, Path(folder))] if folder else []),
            *([TomlConfigSettingsSource(settings_cls, Path(file))] if file else []),
        )

    @property
    def is_production(self) -> bool:
        """Whether people reach it over https: then nothing that protects it is left to a default."""
        return self.public_url.startswith("https:")

    @property
    def is_behind_a_proxy(self) -> bool:
        """Whether people reach it over https, which it does not speak, and it listens to this machine alone."""
        return self.is_production and self.tls_certificate is None and _is_loopback(self.host)

    @property
    def database(self) -> Location:
        """Where the database is that `database_url` names."""
        return read_location(self.database_url.get_secret_value())

    @property
    def database_file(self) -> Path | None:
        """The database's file, where it is one."""
        return self.database.path if isinstance(self.database, SQLiteFile) else None

    @field_validator("public_url")
    @classmethod
    def _origin_only(cls, value: str, info: ValidationInfo) -> str:
        host, port = info.data.get("host", "127.0.0.1"), info.data.get("port", 8000)
        value = (value or f"http://{'localhost' if host in {'0.0.0.0', '::'} else _in_url(host)}:{port}").strip()  # noqa: S104
        # It stands in every token as `iss`, which verifiers compare letter by letter: so there is one spelling.
        if _ORIGIN.fullmatch(value) is None:
            raise ValueError("must be a scheme and a host, like https://id.example.org")
        read = urlsplit(value.rstrip("/").lower())
        value = f"{read.scheme}://{read.netloc.removesuffix(_USUAL_PORT[read.scheme])}"
        _ = read.port  # raises for a port that there cannot be
        insecure = read.scheme == "http" and not (_is_loopback(read.hostname or "") and _is_loopback(host))
        if insecure and not info.data.get("allow_insecure_http"):
            raise ValueError(
                "must begin with https:// beyond this machine, because cookies and passwords travel in it; "
                "WATCHWORD_ALLOW_INSECURE_HTTP=true overrides this"
            )
        return value

    @field_validator("tls_certificate")
    @classmethod
    def _public_by_https(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is not None and not str(info.data.get("public_url", "https:")).startswith("https:"):
            raise ValueError("needs a WATCHWORD_PUBLIC_URL that begins with https://")
        return value

    @field_validator("tls_key")
    @classmethod
    def _both_or_neither(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if "tls_certificate" in info.data and (value is None) != (info.data["tls_certificate"] is None):
            raise ValueError("is set together with WATCHWORD_TLS_CERTIFICATE, or not at all")
        return value

    @field_validator("allowed_origins")
    @classmethod
    def _whole_origins(cls, value: list[str], info: ValidationInfo) -> list[str]:
        insecure_allowed = info.data.get("allow_insecure_http") or str(info.data.get("public_url")).startswith("http:")
        return [_read_origin(origin, insecure_allowed=bool(insecure_allowed)) for origin in value]

    @field_validator("trusted_proxies")
    @classmethod
    def _some_and_not_all(cls, value: list[IPvAnyNetwork]) -> list[IPvAnyNetwork]:
        if everybody := [network for network in value if network.prefixlen == 0]:
            raise ValueError(f"must name the proxies: with {everybody[0]}, anybody could say where they come from")
        return value

    @field_validator("database_url")
    @classmethod
    def _where_it_is(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        url = value.get_secret_value() or f"sqlite:///{info.data.get('data_dir', Path('var')) / 'watchword.sqlite'}"
        read_location(url)
        return SecretStr(url)

    @field_validator("secret_key")
    @classmethod
    def _long_secrets(cls, value: list[SecretStr], info: ValidationInfo) -> list[SecretStr]:
        if not value and str(info.data.get("public_url", "")).startswith("https:"):
            raise ValueError("must be set in production (https); `openssl rand -base64 48` makes one")
        if any(len(secret.get_secret_value()) < SHORTEST_SECRET_KEY for secret in value):
            raise ValueError(
                f"must have at least {SHORTEST_SECRET_KEY} characters; `openssl rand -base64 48` makes one"
            )
        return value

    @field_validator("metrics_token")
    @classmethod
    def _long_token(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < SHORTEST_SECRET_KEY:
            raise ValueError(
                f"must have at least {SHORTEST_SECRET_KEY} characters; `openssl rand -base64 48` makes one"
            )
        return value

    @field_validator("traces")
    @classmethod
    def _installed(cls, value: str) -> str:
        if value != "off" and not all(_is_there(module) for module in _TRACING):
            raise ValueError("must be off without its packages; `pip install 'watchword[otel]'` brings them")
        return value

    @field_validator("domains")
    @classmethod
    def _module_and_name(cls, value: list[str]) -> list[str]:
        if wrong := [name for name in value if name.count(":") != 1 or not all(name.split(":"))]:
            raise ValueError(f"must be a list like acme.books:bookshop,acme.cars:garage; {wrong[0]!r} is not one")
        return value

    @field_validator("session_lifetime")
    @classmethod
    def _no_shorter_than_idle(cls, value: timedelta, info: ValidationInfo) -> timedelta:
        if value < info.data.get("session_idle_timeout", timedelta(0)):
            raise ValueError("must not be shorter than WATCHWORD_SESSION_IDLE_TIMEOUT")
        return value

    @field_validator("password_iterations")
    @classmethod
    def _costly_in_production(cls, value: int, info: ValidationInfo) -> int:
        memory = info.data.get("password_memory_kib", 0)
        enough = any(memory >= least and value >= iterations for least, iterations in _LEAST_COSTS)
        if not enough and str(info.data.get("public_url", "")).startswith("https:"):
            pairs = ", ".join(f"{iterations} with {least}" for least, iterations in _LEAST_COSTS)
            raise ValueError(
                f"is too few for WATCHWORD_PASSWORD_MEMORY_KIB={memory} in production, where what is cheap to hash is "
                f"cheap to crack; the least are {pairs}"
            )
        return value


def load_settings(**overrides: Any) -> Settings:
    """Read the settings, arguments counting before the environment. Raises `WrongSettings` with every fault."""
    faults = [f"{name}: there is no such setting" for name in _unknown(os.environ)]
    if (file := _named(CONFIG_FILE)) and not Path(file).is_file():
        # Read as if it were empty, a production server would start as one in development.
        faults.append(f"{CONFIG_FILE}: there is no file {file}")
    if folder := _named(SECRETS_DIR):
        # What is passed over there, with a warning, would be left to its default.
        faults += [f"{SECRETS_DIR}: {fault}" for fault in _faults_of_folder(Path(folder))]
    try:
        with warnings.catch_warnings(action="ignore"):
            settings = Settings(**overrides)
    except ValidationError as error:
        faults += [_fault(dict(fault)) for fault in error.errors(include_url=False, include_input=False)]
    except (OSError, ValueError) as error:
        faults.append(f"{CONFIG_FILE}: {error}")
    else:
        if not faults:
            return settings
    raise WrongSettings(sorted(faults))


def take_worker_handle() -> str | None:
    """Return what this process was told as one of several, once; nobody whom it starts is to take it for theirs."""
    return os.environ.pop(_WORKER, None)


def worker_environment(handle: str) -> dict[str, str]:
    """Return the environment of one of several processes, with what it is told."""
    return {**os.environ, _WORKER: handle}


def _named(where: str) -> str | None:
    # In any case of letters, as the other settings are.
    return next((value for name, value in os.environ.items() if name.upper() == where), None)


def _faults_of_folder(folder: Path) -> list[str]:
    try:
        files = [file for file in folder.iterdir() if file.name.upper().startswith(PREFIX)]
    except OSError as error:
        raise WrongSettings([f"{SECRETS_DIR}: {folder} cannot be read: {error.strerror}"]) from error
    unknown = _unknown({file.name: "" for file in files})
    return [
        *(f"{folder} has a file {name.lower()}, and there is no such setting" for name in unknown),
        *(f"{file} cannot be read" for file in files if not (file.is_file() and os.access(file, os.R_OK))),
        *(f"{file} leads out of the folder" for file in files if folder.resolve() not in file.resolve().parents),
    ]


def _unknown(environment: Mapping[str, str]) -> list[str]:
    known = {PREFIX + name.upper() for name in Settings.model_fields} | {CONFIG_FILE, SECRETS_DIR}
    given = {name.upper() for name in environment if name.upper().startswith(PREFIX)}
    return sorted(name for name in given - known if not name.startswith(_FOR_TESTS))


def _fault(fault: Mapping[str, Any]) -> str:
    name, message = str(fault["loc"][0]), str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        message = "there is no such setting"
    return f"{PREFIX}{name.upper()}: {message}"


def _read_origin(origin: str, *, insecure_allowed: bool) -> str:
    """Return an origin as browsers write it. Raises ValueError."""
    if "*" in origin:
        # With cookies this would hand every account to every page of the web; browsers do not take it either.
        raise ValueError(f"must name each origin whole; {origin!r} stands for pages that nobody has looked at")
    read = urlsplit(origin.rstrip("/"))
    if _ANY_ORIGIN.fullmatch(origin) is None or not (read.hostname and _is_port(read)):
        raise ValueError(f"must be a list of origins like https://app.example.org; {origin!r} is not one")
    if read.scheme == "http" and not insecure_allowed and not _is_loopback(read.hostname):
        raise ValueError(f"must begin with https://, because anybody on the way can write a page of {origin}")
    return f"{read.scheme}://{read.netloc}".lower().removesuffix(_USUAL_PORT.get(read.scheme, " "))


def _is_port(read: SplitResult) -> bool:
    try:
        return read.port is None or read.port > 0
    except ValueError:
        return False


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
