"""The operator's commands: `watchword serve | migrate | doctor | users create | schema print`."""

import asyncio
import sys
from collections.abc import Callable
from functools import wraps

import click

import doctor as doctors
from auth import scopes
from auth.faults import InputRefused
from auth.sealing import SealBroken
from installation import Installation, assemble
from schema import DomainRefused, UnguardedField
from server import serve as serve_until_stopped
from settings import WrongSettings
from store import StoreUnavailable
from store.fence import MigrationRefused
from store.migrate import MigrationFailed
from store.users import UserRow

_MENDABLE = (
    DomainRefused,
    UnguardedField,
    MigrationRefused,
    MigrationFailed,
    StoreUnavailable,
    SealBroken,
    InputRefused,
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
@_on_the_installation
def serve(installation: Installation) -> None:
    """Serve the API until told to stop."""
    serve_until_stopped(installation)


@main.command("migrate")
@_on_the_installation
def migrate_command(installation: Installation) -> None:
    """Bring the database up to date: the core's tables, then each domain's."""
    applied = installation.migrate()
    for behind in applied:
        click.echo(f"{behind.namespace}: {behind.at or 'nothing'} -> {behind.head}")
    if not applied:
        click.echo("The database is up to date.")


@main.command()
@_on_the_installation
def doctor(installation: Installation) -> None:
    """Look for what is wrong with this installation, and say how to mend it."""
    findings = doctors.examine(installation)
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
    password = _piped() if password_stdin else click.prompt("Password", hide_input=True, confirmation_prompt=True)
    installation.prepare_database()
    user = asyncio.run(
        _create(installation, email, password, display_name, frozenset(roles) or frozenset({scopes.USER}))
    )
    click.echo(f"{user.email} has an account with the roles: {', '.join(sorted(user.roles))}")


@main.group()
def schema() -> None:
    """Look at the GraphQL schema."""


@schema.command("print")
@_on_the_installation
def schema_print(installation: Installation) -> None:
    """Print the SDL, with a directive on every guarded field; it is the access matrix."""
    click.echo(installation.built.schema.as_str())


def _piped() -> str:
    try:
        return sys.stdin.buffer.readline().decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise click.ClickException("the password is not text in UTF-8") from error


async def _create(
    installation: Installation, email: str, password: str, display_name: str, roles: frozenset[str]
) -> UserRow:
    async with installation.open_auth() as auth:
        return await auth.users.create(
            email=email, password=password, display_name=display_name, roles=roles | {scopes.USER}
        )


if __name__ == "__main__":
    main()
