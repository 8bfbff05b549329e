"""The operator's commands: `watchword serve | migrate | backup | restore | doctor | users | keys | token | schema`."""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import wraps
from pathlib import Path

import click
import orjson

import doctor as doctors
from auth import scopes
from auth.faults import InputRefused
from auth.key_states import KeyStanding, KeyState
from auth.refusals import NotFound
from auth.sealing import SealBroken
from installation import Installation, assemble
from schema import DomainRefused, UnguardedField
from server import serve as serve_until_stopped
from settings import WrongSettings
from store import StoreUnavailable
from store.backups import BackupRefused
from store.fence import MigrationRefused
from store.locations import Location, read_location
from store.migrate import MigrationFailed
from store.moving import MoveRefused
from store.users import UserRow
from token_explained import explain
from web.certificates import CertificateRefused

_MENDABLE = (
    BackupRefused,
    CertificateRefused,
    DomainRefused,
    UnguardedField,
    MigrationRefused,
    MigrationFailed,
    MoveRefused,
    StoreUnavailable,
    SealBroken,
    InputRefused,
    NotFound,
)


def _on_the_installation(command: Callable[..., None]) -> Callable[..., None]:
    """Hand a command its installation, and turn what an operator can mend into a sentence and exit status 1."""

    @wraps(command)
    def run(*arguments: object, **named: object) -> None:
        try:
            command(assemble(), *arguments, **named)
        except WrongSettings as wrong:
            lines = "\n".join(f"  {fault}" for fault in wrong.faults)
            raise click.ClickException(f"these settings are wrong:\n{lines}") from wrong
        except _MENDABLE as refused:
            raise click.ClickException(str(refused)) from refused

    return run


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="watchword", prog_name="watchword")
def main() -> None:
    """Watchword is a self-hosted GraphQL API whose resolvers are protected by JSON Web Tokens."""


@main.command()
@click.option("--workers", type=click.IntRange(1, 64), help="How many processes serve; WATCHWORD_WORKERS otherwise.")
@_on_the_installation
def serve(installation: Installation, workers: int | None) -> None:
    """Serve the API until told to stop."""
    if workers is not None:
        settings = installation.settings.model_copy(update={"workers": workers})
        installation = replace(installation, settings=settings)
    serve_until_stopped(installation)


@main.command("migrate")
@click.option("--from", "source", metavar="URL", help="Move everything from this database, which is left as it is.")
@click.option("--to", "target", metavar="URL", help="Move to this one instead of the one that the settings name.")
@_on_the_installation
def migrate_command(installation: Installation, source: str | None, target: str | None) -> None:
    """Bring the database up to date, the core's tables, then each domain's; or move it to another one."""
    if target is not None and source is None:
        raise click.UsageError("--to says where to move; --from has to say from where.")
    if source is not None:
        there = None if target is None else _location("--to", target)
        for moved in installation.move(_location("--from", source), there):
            click.echo(f"{moved.table}: {moved.rows} rows")
        return
    applied = installation.migrate()
    for behind in applied:
        click.echo(f"{behind.namespace}: {behind.at or 'nothing'} -> {behind.head}")
    if not applied:
        click.echo("The database is up to date.")


@main.command("backup")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", "replace", is_flag=True, help="Replace a file of this name.")
@_on_the_installation
def backup_command(installation: Installation, file: Path, replace: bool) -> None:
    """Write the database to a file, while servers go on. SQLite only."""
    size = installation.back_up(file, replace=replace)
    click.echo(f"{file}: {size} bytes, checked. It has personal data and password hashes: keep it from others.")
    click.echo(f"The secret key is not in it; it stands {installation.where_the_secret_key_is()}. Keep that elsewhere.")


@main.command("restore")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--end-sessions", is_flag=True, help="End every session that is in it.")
@click.option("--revoke-tokens", is_flag=True, help="Revoke every API token that is in it.")
@click.confirmation_option(prompt="The backup takes the database's place. What was done since is set aside. Go on?")
@_on_the_installation
def restore_command(installation: Installation, file: Path, end_sessions: bool, revoke_tokens: bool) -> None:
    """Put a backup in the database's place, while servers go on; the database is kept beside it. SQLite only."""
    done = installation.restore(file, end_sessions=end_sessions, revoke_tokens=revoke_tokens)
    click.echo(f"{installation.settings.database} is what {file} holds. Servers go on with it.")
    for behind in done.migrated:
        click.echo(f"{behind.namespace}: {behind.at or 'nothing'} -> {behind.head}")
    if done.kept is not None:
        click.echo(f"The database that was there is kept: {done.kept}")
    if end_sessions:
        click.echo(f"Sessions ended: {done.sessions_ended}.")
    else:
        click.echo("Sessions that were ended since the backup live again; --end-sessions ends all of them.")
    if revoke_tokens:
        click.echo(f"API tokens revoked: {done.tokens_revoked}.")
    else:
        click.echo("API tokens that were revoked since the backup are good again; --revoke-tokens revokes all of them.")
    where = installation.where_the_secret_key_is()
    click.echo(f"Its signing keys open with the secret key that stands {where}.")


@main.command()
@click.option("--online", is_flag=True, help="Ask the public URL too, as a client does.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings for a program.")
@_on_the_installation
def doctor(installation: Installation, online: bool, as_json: bool) -> None:
    """Look for what is wrong with this installation, and say how to mend it."""
    findings = doctors.examine(installation, online=online)
    if as_json:
        click.echo(orjson.dumps([finding.as_json() for finding in findings], option=orjson.OPT_INDENT_2))
    else:
        for finding in findings:
            click.echo(str(finding))
    if any(not finding.is_good for finding in findings):
        sys.exit(1)


@main.group()
def users() -> None:
    """Look after accounts."""


@users.command("create")
@click.option("--email", required=True, help="The address to log in with.")
@click.option("--name", "display_name", required=True, help="What to call them.")
@click.option("--role", "roles", multiple=True, type=click.Choice(list(scopes.ROLES)), help="May be given twice.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input instead of asking.")
@_on_the_installation
def users_create(
    installation: Installation, email: str, display_name: str, roles: tuple[str, ...], password_stdin: bool
) -> None:
    """Make an account, an administrator's too."""
    # Never an option: it would stand in the shell's history and in the list of processes.
    password = (
        _piped("the password")
        if password_stdin
        else click.prompt("Password", hide_input=True, confirmation_prompt=True)
    )
    installation.prepare_database()
    user = asyncio.run(
        _create(installation, email, password, display_name, frozenset(roles) or frozenset({scopes.USER}))
    )
    click.echo(f"{user.email} has an account with the roles: {', '.join(sorted(user.roles))}")


@main.group()
def sessions() -> None:
    """Look after sessions."""


@sessions.command("prune")
@_on_the_installation
def sessions_prune(installation: Installation) -> None:
    """Remove the sessions that ended longer ago than they are kept. Servers do it by themselves, every hour."""
    installation.require_database()
    click.echo(f"Sessions removed: {asyncio.run(_prune(installation))}.")


@main.group()
def keys() -> None:
    """Look after the keys that sign tokens."""


@keys.command("list")
@_on_the_installation
def keys_list(installation: Installation) -> None:
    """Show every key: which one is next, which signs, and until when the others verify."""
    installation.require_database()
    for key in asyncio.run(_standings(installation)):
        click.echo(f"{key.kid}  {key.algorithm:<5}  {key.state.name.lower():<7}  {_life_of(key)}")


@keys.command("rotate")
@click.option(
    "--now", "at_once", is_flag=True, help="Sign with it at once, though verifiers elsewhere may not have it."
)
@_on_the_installation
def keys_rotate(installation: Installation, at_once: bool) -> None:
    """Let the next key sign and publish another. Nobody is logged out, and no server needs a restart."""
    installation.require_database()
    before, key = asyncio.run(_rotate(installation, at_once=at_once))
    if key in before:
        click.echo(f"Already under way: {key.kid} signs from {_moment(key.signs_from)} on.")
        return
    click.echo(f"{key.kid} signs from {_moment(key.signs_from)} on.")
    if others := {other.algorithm for other in before if other.state is KeyState.CURRENT} - {key.algorithm}:
        click.echo(f"It signs with {key.algorithm}, and no longer with {', '.join(others)}: so the settings say here.")


# A thumbprint may begin with a hyphen, as options do: so nothing but --help and --yes is taken for one.
@keys.command("revoke", context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]})
@click.argument("kid")
@click.confirmation_option(prompt="Every token that this key signed is refused from now on, API tokens too. Go on?")
@_on_the_installation
def keys_revoke(installation: Installation, kid: str) -> None:
    """Refuse every token that a key signed, because it may have been stolen. Sessions live on, with new tokens."""
    installation.require_database()
    key = asyncio.run(_revoke(installation, kid))
    click.echo(f"{kid} is revoked; {key.kid} signs now.")


@main.group()
def token() -> None:
    """Look at tokens."""


@token.command("decode")
@click.argument("text", default="-", metavar="[TOKEN]")
@_on_the_installation
def token_decode(installation: Installation, text: str) -> None:
    """Show the three parts of a JWT, explained, and whether it verifies here and why not.

    Without an argument it is read from standard input, which leaves it in no shell's history.
    """
    click.echo(explain(installation, _piped("the token") if text == "-" else text))


@main.group()
def schema() -> None:
    """Look at the GraphQL schema."""


@schema.command("print")
@_on_the_installation
def schema_print(installation: Installation) -> None:
    """Print the SDL, with a directive on every guarded field; it is the access matrix."""
    click.echo(installation.built.schema.as_str())


def _location(option: str, url: str) -> Location:
    try:
        return read_location(url)
    except ValueError as wrong:
        raise click.ClickException(f"{option} {wrong}") from None


def _piped(what: str) -> str:
    try:
        return sys.stdin.buffer.readline().decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise click.ClickException(f"{what} is not text in UTF-8") from error


async def _prune(installation: Installation) -> int:
    async with installation.open_auth(to_look=True) as auth:
        return await auth.housekeeping.prune_sessions()


async def _standings(installation: Installation) -> list[KeyStanding]:
    async with installation.open_auth(to_look=True) as auth:
        return await auth.key_ring.standings()


async def _rotate(installation: Installation, *, at_once: bool) -> tuple[list[KeyStanding], KeyStanding]:
    async with installation.open_auth(to_look=True) as auth:
        before = await auth.key_ring.standings()
        return before, await auth.key_ring.rotate(at_once=at_once)


async def _revoke(installation: Installation, kid: str) -> KeyStanding:
    async with installation.open_auth(to_look=True) as auth:
        return await auth.key_ring.revoke(kid)


def _life_of(key: KeyStanding) -> str:
    match key.state:
        case KeyState.NEXT if key.signs_from is None:
            return f"published {_moment(key.created_at)}"
        case KeyState.NEXT:
            return f"signs from {_moment(key.signs_from)}"
        case KeyState.CURRENT:
            return f"signs since {_moment(key.signs_from)}"
        case KeyState.RETIRED:
            return f"verifies until {_moment(key.verifies_until)}"
        case KeyState.REVOKED:
            return f"refused since {_moment(key.verifies_until)}"


def _moment(instant: datetime | None) -> str:
    return "-" if instant is None else f"{instant:%Y-%m-%d %H:%M:%S} UTC"


async def _create(
    installation: Installation, email: str, password: str, display_name: str, roles: frozenset[str]
) -> UserRow:
    async with installation.open_auth() as auth:
        return await auth.users.create(
            email=email, password=password, display_name=display_name, roles=roles | {scopes.USER}
        )


if __name__ == "__main__":
    main()
