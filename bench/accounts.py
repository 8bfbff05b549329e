"""What all servers have in common: where they listen, who has an account, and what hashing a password costs."""

from settings import Settings

HOST = "127.0.0.1"
PASSWORD = "a lighthouse keeps no secrets"  # noqa: S105 - of accounts that live as long as a measure
EMAILS = tuple(f"ada.{number}@example.org" for number in range(16))

# Argon2id as Watchword has it by default: the other stacks hash alike, or a login would not be comparable.
MEMORY_KIB: int = Settings.model_fields["password_memory_kib"].default
ITERATIONS: int = Settings.model_fields["password_iterations"].default
