"""The core's tables. Alembic makes them (store/migrations); a test compares what it made with what stands here.

Ids are UUIDv7 in their canonical text: their order is the order of creation, and a keyset over them needs no further
column. Instants are whole seconds. Secrets are kept as digests only. A domain's tables are its own: store/migrate.py.
"""

from sqlalchemy import BigInteger, Column, ForeignKey, Index, LargeBinary, MetaData, String, Table, Text
from sqlalchemy.dialects import postgresql

Id = String(36).with_variant(postgresql.UUID(as_uuid=False), "postgresql")
Instant = BigInteger()

NO_ID = "00000000-0000-0000-0000-000000000000"  # no row has it, and both engines take it for an id

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

users = Table(
    "users",
    metadata,
    Column("id", Id, primary_key=True),
    Column("email", Text, nullable=False),
    Column("email_key", Text, nullable=False, unique=True),  # case-folded: what makes two addresses the same
    Column("display_name", Text, nullable=False),
    Column("display_name_key", Text, nullable=False, index=True),
    Column("password_hash", Text, nullable=False),
    Column("password_changed_at", Instant, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("disabled_at", Instant, nullable=True),
)

user_roles = Table(
    "user_roles",
    metadata,
    Column("user_id", Id, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("role", Text, primary_key=True, index=True),
    Column("granted_at", Instant, nullable=False),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("user_id", Id, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("secret_digest", LargeBinary, nullable=False, unique=True),
    Column("authentication_methods", Text, nullable=False),  # RFC 8176 values, separated by spaces
    Column("authenticated_at", Instant, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("last_seen_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("revoked_at", Instant, nullable=True),
    Column("device_name", Text, nullable=True),
    Column("user_agent", Text, nullable=True),
    Column("address", Text, nullable=True),
    Index("ix_sessions_user_id_id", "user_id", "id"),
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("kid", Text, primary_key=True),  # RFC 7638 thumbprint of the public key
    Column("algorithm", Text, nullable=False),
    Column("public_jwk", Text, nullable=False),
    Column("sealed_private_jwk", LargeBinary, nullable=False),
    Column("created_at", Instant, nullable=False),
)

setup_tokens = Table(
    "setup_tokens",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("expires_at", Instant, nullable=False),
)
