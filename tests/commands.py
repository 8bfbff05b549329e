"""The operator's commands, run in this process, and what came of them."""

from collections.abc import Callable
from pathlib import Path

from click.testing import CliRunner, Result

from cli import main

Run = Callable[..., Result]


def runner(data: Path) -> Run:
    """Return what runs a command on the installation in this folder, with cheap hashes and the settings given."""
    cheap = {"WATCHWORD_PASSWORD_MEMORY_KIB": "8", "WATCHWORD_PASSWORD_ITERATIONS": "1"}

    def run(*arguments: str, stdin: str | bytes = "", **settings: str) -> Result:
        given = {f"WATCHWORD_{name.upper()}": value for name, value in settings.items()}
        environment = {"WATCHWORD_DATA_DIR": str(data), **cheap, **given}
        return CliRunner().invoke(main, list(arguments), input=stdin, env=environment)

    return run


def succeeded(result: Result) -> str:
    """Return what a command printed that ended well."""
    assert (result.exit_code, result.stderr, result.exception) == (0, "", None)
    return result.stdout


def refused(result: Result) -> str:
    """Return the sentence with which a command ended: on standard error, with status 1, and no traceback."""
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.stderr.startswith("Error: ")
    assert result.stdout == ""
    return result.stderr
