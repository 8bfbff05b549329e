"""Every kind of token: the ring of keys, refresh, API tokens, service accounts; and the record of what was done."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

Id = sa.String(36).with_variant(postgresql.UUID(as_uuid=False), "postgresql")


def upgrade() -> None:
    op.add_column("sessions", sa.Column("refresh_counter", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("signing_keys", sa.Column("signs_from", sa.BigInteger, nullable=True))
    op.add_column("signing_keys", sa.Column("verifies_until", sa.BigInteger, nullable=True))
    op.add_column("signing_keys", sa.Column("tokens_until", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("signing_keys", sa.Column("revoked_at", sa.BigInteger, nullable=True))
    op.execute("UPDATE signing_keys SET signs_from = created_at")
    op.create_table(
        "api_tokens",
        sa.Column("id", Id, nullable=False),
        sa.Column("user_id", Id, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("revoked_at", sa.BigInteger, nullable=True),
        sa.Column("last_used_at", sa.BigInteger, nullable=True),
        sa.Column("last_used_address", sa.Text, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_api_tokens"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_api_tokens_user_id", ondelete="CASCADE"),
    )
    op.create_index("ix_api_tokens_user_id_id", "api_tokens", ["user_id", "id"])
    op.create_table(
        "service_accounts",
        sa.Column("id", Id, nullable=False),
        sa.Column("owner_id", Id, nullable=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("disabled_at", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_service_accounts"),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], name="fk_service_accounts_owner_id", ondelete="CASCADE"),
    )
    op.create_index("ix_service_accounts_owner_id_id", "service_accounts", ["owner_id", "id"])
    op.create_table(
        "service_credentials",
        sa.Column("id", Id, nullable=False),
        sa.Column("account_id", Id, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("secret_digest", sa.LargeBinary, nullable=True),
        sa.Column("kid", sa.Text, nullable=True),
        sa.Column("algorithm", sa.Text, nullable=True),
        sa.Column("public_jwk", sa.Text, nullable=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=True),
        sa.Column("revoked_at", sa.BigInteger, nullable=True),
        sa.Column("last_used_at", sa.BigInteger, nullable=True),
        sa.Column("last_used_address", sa.Text, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_service_credentials"),
        sa.ForeignKeyConstraint(
            ["account_id"], ["service_accounts.id"], name="fk_service_credentials_account_id", ondelete="CASCADE"
        ),
        sa.UniqueConstraint("secret_digest", name="uq_service_credentials_secret_digest"),
        sa.UniqueConstraint("account_id", "kid", name="uq_service_credentials_account_id_kid"),
    )
    op.create_table(
        "service_assertions",
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_service_assertions"),
    )
    op.create_index("ix_service_assertions_expires_at", "service_assertions", ["expires_at"])
    op.create_table(
        "token_revocations",
        sa.Column("token_id", Id, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("token_id", name="pk_token_revocations"),
    )
    op.create_index("ix_token_revocations_expires_at", "token_revocations", ["expires_at"])
    op.create_table(
        "audit_events",
        sa.Column("id", Id, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("actor_id", Id, nullable=True),
        sa.Column("via_id", Id, nullable=True),
        sa.Column("subject_id", Id, nullable=True),
        sa.Column("object_id", sa.Text, nullable=True),
        sa.Column("detail", sa.Text, nullable=True),
        sa.Column("address", sa.Text, nullable=True),
        sa.Column("user_agent", sa.Text, nullable=True),
        sa.Column("request_id", sa.Text, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_audit_events"),
    )
    op.create_index("ix_audit_events_subject_id_id", "audit_events", ["subject_id", "id"])
