"""The key file of a service account, in the layout that Google's auth libraries read: made once, shown once."""

import json
from urllib.parse import urlsplit

from auth.keys import SigningKey

TOKEN_PATH = "/oauth/token"  # noqa: S105 - where a token is asked for


def service_address(account_id: str, issuer: str) -> str:
    """Return what those libraries call the client's e-mail address: the account, at our host. No mail goes there."""
    return f"{account_id}@{urlsplit(issuer).hostname}"


def key_file(account_id: str, key: SigningKey, *, issuer: str) -> str:
    """Return the file as JSON text; it holds the private half (PKCS #8, PEM), which is kept nowhere else."""
    private: bytes = key.key.as_pem(private=True)  # type: ignore[union-attr]
    members = {
        "type": "service_account",
        "project_id": "watchword",
        "private_key_id": key.kid,
        "private_key": private.decode(),
        "client_email": service_address(account_id, issuer),
        "client_id": account_id,
        "token_uri": issuer + TOKEN_PATH,
    }
    return json.dumps(members, indent=2) + "\n"
