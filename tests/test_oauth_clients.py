"""OAuth clients that people really use, unmodified, on a real server: google-auth with a key file, and authlib."""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from authlib.integrations.base_client.errors import OAuthError  # type: ignore[import-untyped]
from authlib.integrations.requests_client import OAuth2Session  # type: ignore[import-untyped]
from authlib.oauth2.rfc7523 import PrivateKeyJWT  # type: ignore[import-untyped]
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from google.auth.exceptions import RefreshError
from google.auth.transport.requests import AuthorizedSession, Request
from google.oauth2 import service_account
from joserfc.jwk import ECKey, OKPKey, RSAKey

from tests.documents import CREATE, CREATE_KEY, CREATE_SECRET, REVOKE, SERVICE
from tests.house import LOG_IN, PASSWORD, SIGN_UP
from tests.running import Server, serving


@dataclass(frozen=True)
class Account:
    """A service account of somebody who stays logged in."""

    server: Server
    owner: requests.Session
    id: str
    client_id: str

    @property
    def token_endpoint(self) -> str:
        return f"{self.server.url}/oauth/token"

    def give(self, mutation: str, **more: str) -> dict[str, Any]:
        """Give it one more secret or key."""
        (given,) = ask(self.owner, self.server, mutation, {"id": self.id, **more}).values()
        return dict(given)

    def revoke(self, given: Mapping[str, Any]) -> None:
        ask(self.owner, self.server, REVOKE, {"id": given["credential"]["id"]})


def ask(session: Any, server: Server, document: str, details: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Ask the API through whatever session a client library gives."""
    body = {"query": document, "variables": {"input": details} if details else {}}
    answer = session.post(f"{server.url}/graphql", json=body, timeout=30).json()
    assert "errors" not in answer, answer
    data: dict[str, Any] = answer["data"]
    return data


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run the server that these tests share."""
    with serving(tmp_path_factory.mktemp("served") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def account(server: Server) -> Iterator[Account]:
    with requests.Session() as owner:
        ada = {"email": "ada@example.org", "password": PASSWORD}
        ask(owner, server, SIGN_UP, {**ada, "displayName": "Ada"})
        ask(owner, server, LOG_IN, ada)
        details = {"name": "robot", "scopes": ["profile:read", "sessions:read"]}
        made = ask(owner, server, CREATE, details)["createServiceAccount"]["serviceAccount"]
        yield Account(server, owner, made["id"], made["clientId"])


@pytest.fixture
def plain_http(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let authlib talk to a server without TLS, which it refuses to elsewhere, and so should everybody."""
    monkeypatch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")


# google-auth


def from_info(file: Mapping[str, Any], *scopes: str) -> Any:
    return service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
        file, scopes=[*scopes]
    )


def authorized(credentials: Any) -> AuthorizedSession:
    return AuthorizedSession(credentials)  # type: ignore[no-untyped-call]


def test_google_auth_calls_the_api_with_a_key_file(account: Account) -> None:
    file = json.loads(account.give(CREATE_KEY)["keyFile"])
    credentials = from_info(file, "profile:read")
    credentials.refresh(Request())
    assert credentials.valid
    with authorized(credentials) as session:
        viewer = ask(session, account.server, SERVICE)["viewer"]
    assert viewer == {"kind": "SERVICE", "scopes": ["profile:read"]}


def test_google_auth_reads_the_key_file_from_disk(account: Account, tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    path.write_text(account.give(CREATE_KEY)["keyFile"])
    credentials = service_account.Credentials.from_service_account_file(str(path))  # type: ignore[no-untyped-call]
    with authorized(credentials) as session:  # which asks for a token by itself
        assert ask(session, account.server, SERVICE)["viewer"]["scopes"] == ["profile:read", "sessions:read"]
        first = credentials.token
        credentials.refresh(Request())
        assert credentials.token != first
        assert ask(session, account.server, SERVICE)["viewer"]["kind"] == "SERVICE"


def test_google_auth_says_what_it_was_refused(account: Account) -> None:
    given = account.give(CREATE_KEY)
    file = json.loads(given["keyFile"])
    greedy = from_info(file, "users:read")
    with pytest.raises(RefreshError, match="invalid_scope"):
        greedy.refresh(Request())
    account.revoke(given)
    revoked = from_info(file, "profile:read")
    with pytest.raises(RefreshError, match="invalid_grant"):
        revoked.refresh(Request())


# authlib


@pytest.mark.usefixtures("plain_http")
@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_authlib_calls_the_api_with_a_secret(account: Account, method: str) -> None:
    secret = account.give(CREATE_SECRET)["secret"]
    with OAuth2Session(account.client_id, secret, scope="profile:read", token_endpoint_auth_method=method) as session:
        token = session.fetch_token(account.token_endpoint, grant_type="client_credentials")
        assert (token["token_type"], token["expires_in"], token["scope"]) == ("Bearer", 300, "profile:read")
        assert ask(session, account.server, SERVICE)["viewer"] == {"kind": "SERVICE", "scopes": ["profile:read"]}


# Its JOSE library advises to write Ed25519 for the algorithm (RFC 9864), which few verifiers know yet.
EDDSA_IS_FINE = pytest.mark.filterwarnings("ignore:EdDSA is deprecated")


def a_private_key(algorithm: str) -> tuple[Any, str]:
    """Return a private key as authlib takes it, and its public half in PEM."""
    kind: Any
    key: Any
    match algorithm:
        case "EdDSA":
            kind, key = OKPKey, ed25519.Ed25519PrivateKey.generate()
        case "ES256":
            kind, key = ECKey, ec.generate_private_key(ec.SECP256R1())
        case _:
            kind, key = RSAKey, rsa.generate_private_key(65537, 2048)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    # authlib takes RSA as PEM; of other keys it wants to be told the kind.
    return (private if algorithm == "RS256" else kind.import_key(private)), public


@pytest.mark.usefixtures("plain_http")
@pytest.mark.parametrize("algorithm", ["RS256", "ES256", pytest.param("EdDSA", marks=EDDSA_IS_FINE)])
def test_authlib_calls_the_api_with_a_private_key(account: Account, algorithm: str) -> None:
    private, public = a_private_key(algorithm)
    given = account.give(CREATE_KEY, publicKey=public)
    with OAuth2Session(account.client_id, private, token_endpoint_auth_method="private_key_jwt") as session:
        for _ in range(2):
            # A new one for each token: it keeps the `jti`, which is taken once, in the claims that it is given.
            claims = {"exp": int(time.time()) + 60}
            session.register_client_auth_method(PrivateKeyJWT(account.server.url, claims=claims, alg=algorithm))
            session.fetch_token(account.token_endpoint, grant_type="client_credentials")
            assert ask(session, account.server, SERVICE)["viewer"]["kind"] == "SERVICE"
    account.revoke(given)


@pytest.mark.usefixtures("plain_http")
def test_authlibs_defaults_of_an_hour_and_of_the_token_endpoint_are_refused(account: Account) -> None:
    private, public = a_private_key("RS256")
    account.give(CREATE_KEY, publicKey=public)
    soon = {"exp": int(time.time()) + 60}
    with OAuth2Session(account.client_id, private, token_endpoint_auth_method="private_key_jwt") as session:
        for method in (PrivateKeyJWT(account.server.url), PrivateKeyJWT(claims=dict(soon))):
            session.register_client_auth_method(method)
            with pytest.raises(OAuthError, match="invalid_client"):
                session.fetch_token(account.token_endpoint, grant_type="client_credentials")
        kept = PrivateKeyJWT(account.server.url, claims=dict(soon))
        session.register_client_auth_method(kept)
        session.fetch_token(account.token_endpoint, grant_type="client_credentials")
        with pytest.raises(OAuthError, match="invalid_client"):
            session.fetch_token(account.token_endpoint, grant_type="client_credentials")


@pytest.mark.usefixtures("plain_http")
def test_authlib_introspects_and_revokes(account: Account) -> None:
    secret = account.give(CREATE_SECRET)["secret"]
    with OAuth2Session(account.client_id, secret) as session:
        token = session.fetch_token(account.token_endpoint, grant_type="client_credentials")["access_token"]
        introspection, revocation = f"{account.server.url}/oauth/introspect", f"{account.server.url}/oauth/revoke"
        assert session.introspect_token(introspection, token=token).json()["active"] is True
        assert session.revoke_token(revocation, token=token).status_code == 200
        assert session.introspect_token(introspection, token=token).json() == {"active": False}
        refused = session.post(f"{account.server.url}/graphql", json={"query": SERVICE}).json()
    assert refused["errors"][0]["extensions"]["reason"] == "TOKEN_REVOKED"


@pytest.mark.usefixtures("plain_http")
def test_authlib_says_what_it_was_refused(account: Account) -> None:
    given = account.give(CREATE_SECRET)
    with OAuth2Session(account.client_id, given["secret"], scope="users:read") as session:
        with pytest.raises(OAuthError, match="invalid_scope"):
            session.fetch_token(account.token_endpoint, grant_type="client_credentials")
        account.revoke(given)
        with pytest.raises(OAuthError, match="invalid_client"):
            session.fetch_token(account.token_endpoint, grant_type="client_credentials")
