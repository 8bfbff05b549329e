"""Work that one process does for all, and indexes by which it finds what has had its time."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "chores",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("due_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_chores"),
    )
    op.create_index("ix_sessions_expires_at", "sessions", ["expires_at"])
    is_revoked = sa.text("revoked_at IS NOT NULL")
    op.create_index(
        "ix_sessions_revoked_at", "sessions", ["revoked_at"], sqlite_where=is_revoked, postgresql_where=is_revoked
    )
    op.create_index("ix_api_tokens_expires_at", "api_tokens", ["expires_at"])
