"""Throttles: how often a password was guessed; and from which networks a person's sessions were seen."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "throttles",
        sa.Column("key", sa.LargeBinary, nullable=False),
        sa.Column("full_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_throttles"),
    )
    op.create_index("ix_throttles_full_at", "throttles", ["full_at"])
    op.add_column("sessions", sa.Column("network", sa.Text, nullable=True))
    # Those of IPv6 are filled in when each session is next renewed.
    op.execute("UPDATE sessions SET network = address WHERE address NOT LIKE '%:%'")
    op.create_index("ix_sessions_user_id_network_last_seen_at", "sessions", ["user_id", "network", "last_seen_at"])
