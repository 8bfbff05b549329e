"""The bookshop's tables. The migrations make them; a test compares what they made with what stands here."""

from sqlalchemy import Column, ForeignKey, Index, MetaData, Table, Text, UniqueConstraint

from store.tables import Id, Instant, users

metadata = MetaData()

books = Table(
    "books_catalogue",
    metadata,
    Column("id", Id, primary_key=True),
    Column("title", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("title_key", Text, nullable=False),  # case-folded: what makes two entries the same book
    Column("author_key", Text, nullable=False),
    Column("added_at", Instant, nullable=False),
    UniqueConstraint("title_key", "author_key"),
)

shelves = Table(
    "books_shelves",
    metadata,
    Column("id", Id, primary_key=True),
    # A domain may point at the core's tables. When an account goes, the shelf goes with it.
    Column("owner_id", Id, ForeignKey(users.c.id, ondelete="CASCADE"), nullable=False),
    Column("book_id", Id, ForeignKey(books.c.id, ondelete="CASCADE"), nullable=False, index=True),
    Column("note", Text, nullable=True),
    Column("shelved_at", Instant, nullable=False),
    UniqueConstraint("owner_id", "book_id"),
    Index("ix_books_shelves_owner_id_id", "owner_id", "id"),
)
