"""The catalogue, with three books to begin with, and everybody's shelf."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

Id = sa.String(36).with_variant(postgresql.UUID(as_uuid=False), "postgresql")

_FIRST_BOOKS = (
    ("019b76da-a800-7000-8000-000000000001", "The Keeper's Almanac", "Edda Marsh", 1767225600),
    ("019b76da-a800-7000-8000-000000000002", "Rooms Without Doors", "Tomas Wren", 1767225600),
    ("019b76da-a800-7000-8000-000000000003", "A Short History of Fog", "Ilse Ahlgren", 1767225600),
)


def upgrade() -> None:
    catalogue = op.create_table(
        "books_catalogue",
        sa.Column("id", Id, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("title_key", sa.Text, nullable=False),
        sa.Column("author_key", sa.Text, nullable=False),
        sa.Column("added_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_books_catalogue"),
        sa.UniqueConstraint("title_key", "author_key", name="uq_books_catalogue_title_key_author_key"),
    )
    op.create_table(
        "books_shelves",
        sa.Column("id", Id, nullable=False),
        sa.Column("owner_id", Id, nullable=False),
        sa.Column("book_id", Id, nullable=False),
        sa.Column("note", sa.Text, nullable=True),
        sa.Column("shelved_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_books_shelves"),
        sa.UniqueConstraint("owner_id", "book_id", name="uq_books_shelves_owner_id_book_id"),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], name="fk_books_shelves_owner_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["book_id"], ["books_catalogue.id"], name="fk_books_shelves_book_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_books_shelves_owner_id_id", "books_shelves", ["owner_id", "id"])
    op.create_index("ix_books_shelves_book_id", "books_shelves", ["book_id"])
    op.bulk_insert(
        catalogue,
        [
            {
                "id": book_id,
                "title": title,
                "author": author,
                "title_key": title.casefold(),
                "author_key": author.casefold(),
                "added_at": added_at,
            }
            for book_id, title, author, added_at in _FIRST_BOOKS
        ],
    )
