"""Alembic's revisions of a scratch domain, called `notes`, written into a folder by the tests that apply them."""

from pathlib import Path
from textwrap import indent

CREATE = 'op.execute("CREATE TABLE notes_pages (id TEXT PRIMARY KEY, text TEXT)")\n'

REVISION = """
import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = {below!r}
branch_labels = None
depends_on = None


def upgrade():
{body}
"""


def revision(folder: Path, body: str, number: int = 1) -> Path:
    """Write a revision into a folder of migrations, and return the folder."""
    folder.mkdir(exist_ok=True)
    below = f"{number - 1:04}" if number > 1 else None
    text = REVISION.format(revision=f"{number:04}", below=below, body=indent(body, "    "))
    (folder / f"{number:04}_notes.py").write_text(text)
    return folder


def sql(*statements: str) -> str:
    return "".join(f"op.execute({statement!r})\n" for statement in statements)
