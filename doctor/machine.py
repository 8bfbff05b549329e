"""What the machine gives: files and their modes, room on the disk, open files, and the front end that was built."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from doctor.findings import Finding
from settings import Settings
from web.listening import possible_connections
from web.routes import STATIC

_MIB = 1024 * 1024
_LEAST_FREE = 512 * _MIB


def given_by_the_machine(settings: Settings) -> Iterator[Finding]:
    """Look at the machine."""
    yield from _modes(settings)
    file = settings.database_file
    yield free_space((settings.data_dir if file is None else file.parent).absolute())
    yield _open_files(settings)
    built = (STATIC / "graphiql.html").is_file()
    yield Finding("front end", "built" if built else "not built", None if built else "make front-end")


def free_space(folder: Path, least: int = _LEAST_FREE) -> Finding:
    """Look at how much room there is in a folder, or where it will be made; `least` is in bytes."""
    there = next(each for each in (folder, *folder.parents) if each.exists())
    free = shutil.disk_usage(there).free
    remedy = None if free >= least else "make room: with none left, every write is answered UNAVAILABLE"
    return Finding("disk", f"{free // _MIB} MiB free for {folder}", remedy)


def _modes(settings: Settings) -> Iterator[Finding]:
    for path in (settings.data_dir / "secret_key", settings.database_file):
        if path is not None and path.exists():
            mode = path.stat().st_mode & 0o777
            remedy = f"chmod 600 {path}" if mode & 0o077 else None
            yield Finding(f"mode of {path}", f"{mode:04o}", remedy)


def _open_files(settings: Settings) -> Finding:
    wanted = settings.connections
    possible = possible_connections(wanted)
    if possible >= wanted:
        return Finding("open files", f"enough for {wanted} connections")
    remedy = "raise the limit (LimitNOFILE= with systemd, ulimits with Docker), or lower WATCHWORD_CONNECTIONS"
    return Finding("open files", f"enough for {possible} connections, not for {wanted}", remedy)
