"""What the row of a service account amounts to: whether it may act at all, and what for."""

from auth.identity import Identity, IdentityKind
from auth.origin import Origin
from auth.scopes import Rights
from store.service_accounts import ServiceStanding


def scopes_of(standing: ServiceStanding, rights: Rights) -> frozenset[str]:
    """Return what an account may at this moment: one that a person owns, never more than they."""
    if standing.owner_id is None:
        return standing.scopes & frozenset(rights.sentences)
    return standing.scopes & rights.of_roles(standing.owner_roles)


def is_disabled(standing: ServiceStanding) -> bool:
    """Say whether an account, or the person who owns it, is disabled."""
    return standing.disabled_at is not None or standing.owner_disabled_at is not None


def service_identity(
    account_id: str, scopes: frozenset[str], origin: Origin, *, token_id: str | None = None
) -> Identity:
    """Return who an account is when it calls."""
    return Identity(
        kind=IdentityKind.SERVICE,
        subject=account_id,
        token_id=token_id,
        scopes=scopes,
        client_id=account_id,
        origin=origin,
    )
