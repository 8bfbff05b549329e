"""What is decided alone: names, for `Database.transaction`, of what nobody else may decide about meanwhile.

Whoever reads how something stands, and writes because of it, names it; and so does whoever changes how it stands. Where
that will do, a name is of one person, one account or one network: what has no name in common goes on side by side.
What a single statement decides, such as an UPDATE of what still is as it was, or an INSERT of what may be there only
once, needs no name.
"""

# Which keys there are, which of them signs, and until when each is kept.
THE_KEYS = "keys"

# Whether anybody administers the installation: there is a first administrator once, and a last one stays.
ADMINISTRATORS = "administrators"


def account(account_id: str | None) -> str:
    """Name all that decides what a person or service account may, as roles, passwords, tokens and sessions do."""
    return f"account {account_id}"


def throttle(digest: bytes) -> str:
    """Name what is counted under a digest."""
    return f"throttle {digest.hex()}"
