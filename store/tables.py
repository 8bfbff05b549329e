"""The core's tables. Alembic makes them (store/migrations); a test compares what it made with what stands here.

Ids are UUIDv7 in their canonical text: their order is the order of creation, and a keyset over them needs no further
column. Instants are whole seconds. Secrets are kept as digests only. A domain's tables are its own: store/migrate.py.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects import postgresql

Id = String(36).with_variant(postgresql.UUID(as_uuid=False), "postgresql")
Instant = BigInteger()

# What is searched by what it begins with: compared byte by byte, as SQLite does, so that a range of an index finds it.
Key = Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")

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
    Column("email_key", Key, nullable=False, unique=True),  # case-folded: what makes two addresses the same
    Column("display_name", Text, nullable=False),
    Column("display_name_key", Key, nullable=False, index=True),
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
    Column("network", Text, nullable=True),  # of that address: store/networks.py
    Column("refresh_counter", BigInteger, nullable=False, server_default="0"),  # which refresh token is the current one
    Index("ix_sessions_user_id_id", "user_id", "id"),
    Index("ix_sessions_user_id_network_last_seen_at", "user_id", "network", "last_seen_at"),
    Index("ix_sessions_expires_at", "expires_at"),
    Index(
        "ix_sessions_revoked_at",
        "revoked_at",
        sqlite_where=text("revoked_at IS NOT NULL"),
        postgresql_where=text("revoked_at IS NOT NULL"),
    ),
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("kid", Text, primary_key=True),  # RFC 7638 thumbprint of the public key
    Column("algorithm", Text, nullable=False),
    Column("public_jwk", Text, nullable=False),  # empty for HS256, which has no public half
    Column("sealed_private_jwk", LargeBinary, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("signs_from", Instant, nullable=True),  # null: published, and not yet asked to sign
    Column("verifies_until", Instant, nullable=True),  # null: no other key has taken its place
    Column("tokens_until", Instant, nullable=False, server_default="0"),  # when the last API token it signed expires
    Column("revoked_at", Instant, nullable=True),
)

setup_tokens = Table(
    "setup_tokens",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("expires_at", Instant, nullable=False),
)

api_tokens = Table(
    "api_tokens",
    metadata,
    Column("id", Id, primary_key=True),  # the token's `jti`
    Column("user_id", Id, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("scopes", Text, nullable=False),  # separated by spaces
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("revoked_at", Instant, nullable=True),
    Column("last_used_at", Instant, nullable=True),
    Column("last_used_address", Text, nullable=True),
    Index("ix_api_tokens_user_id_id", "user_id", "id"),
    Index("ix_api_tokens_expires_at", "expires_at"),
)

service_accounts = Table(
    "service_accounts",
    metadata,
    Column("id", Id, primary_key=True),  # the OAuth `client_id`
    Column("owner_id", Id, ForeignKey("users.id", ondelete="CASCADE"), nullable=True),  # null: the installation's
    Column("name", Text, nullable=False),
    Column("scopes", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("disabled_at", Instant, nullable=True),
    Index("ix_service_accounts_owner_id_id", "owner_id", "id"),
)

service_credentials = Table(
    "service_credentials",
    metadata,
    Column("id", Id, primary_key=True),
    Column("account_id", Id, ForeignKey("service_accounts.id", ondelete="CASCADE"), nullable=False),
    Column("kind", Text, nullable=False),  # secret, key_file or public_key
    Column("secret_digest", LargeBinary, nullable=True, unique=True),
    Column("kid", Text, nullable=True),
    Column("algorithm", Text, nullable=True),
    Column("public_jwk", Text, nullable=True),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=True),
    Column("revoked_at", Instant, nullable=True),
    Column("last_used_at", Instant, nullable=True),
    Column("last_used_address", Text, nullable=True),
    UniqueConstraint("account_id", "kid"),
)

# Assertions that were taken once, until they expire and would be refused for that.
service_assertions = Table(
    "service_assertions",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("expires_at", Instant, nullable=False, index=True),
)

# Access tokens of service accounts that were revoked, until they expire; no other token needs it, for a row of its own
# says whether it is good.
token_revocations = Table(
    "token_revocations",
    metadata,
    Column("token_id", Id, primary_key=True),
    Column("expires_at", Instant, nullable=False, index=True),
)

# How often something was tried, for each key: the millisecond at which its bucket is full again (auth/rates.py). A key
# is a digest under a secret key, for what somebody typed as an address may be a password.
throttles = Table(
    "throttles",
    metadata,
    Column("key", LargeBinary, primary_key=True),
    Column("full_at", BigInteger, nullable=False, index=True),
)

# What was done, by whom, to whom. No foreign keys: what happened stays, also when those whom it concerned are gone.
audit_events = Table(
    "audit_events",
    metadata,
    Column("id", Id, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("action", Text, nullable=False),
    Column("actor_id", Id, nullable=True),
    Column("via_id", Id, nullable=True),  # the session, token or credential by which the actor came in
    Column("subject_id", Id, nullable=True),
    Column("object_id", Text, nullable=True),
    Column("detail", Text, nullable=True),
    Column("address", Text, nullable=True),
    Column("user_agent", Text, nullable=True),
    Column("request_id", Text, nullable=True),
    Index("ix_audit_events_subject_id_id", "subject_id", "id"),
)

# What domains tell those who follow them, for as long as every process needs to have read it (auth/publications.py).
publications = Table(
    "publications",
    metadata,
    Column("id", Id, primary_key=True),
    Column("topic", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("at", Instant, nullable=False, index=True),
)

# Work that one process does for all (auth/housekeeping.py), and from when on it is due again.
chores = Table(
    "chores",
    metadata,
    Column("name", Text, primary_key=True),
    Column("due_at", Instant, nullable=False),
)
