"""What other services read about us: the keys to verify with (RFC 7517), and where to ask for what (RFC 8414)."""

import orjson
from starlette.requests import Request
from starlette.responses import Response

from auth.key_files import TOKEN_PATH
from auth.keys import EDDSA, ES256, RS256
from schema.errors import Code
from store import StoreUnavailable
from web.responses import refusal_response
from web.state import runtime_of

JWKS_PATH = "/.well-known/jwks.json"
METADATA_PATH = "/.well-known/oauth-authorization-server"
INTROSPECTION_PATH = "/oauth/introspect"
REVOCATION_PATH = "/oauth/revoke"

_GRANT_TYPES = ["client_credentials", "urn:ietf:params:oauth:grant-type:jwt-bearer"]
_CLIENT_AUTHENTICATION = ["client_secret_basic", "client_secret_post", "private_key_jwt"]
_ASSERTION_ALGORITHMS = [EDDSA, ES256, RS256]


async def jwks(request: Request) -> Response:
    """Return the public keys, which may be kept for as long as no new one can begin to sign."""
    auth = runtime_of(request.scope).auth
    try:
        keys = [orjson.loads(jwk) for jwk in await auth.key_ring.published()]
    except StoreUnavailable:
        message = "The database does not answer; try again."
        return refusal_response(request.scope, 503, Code.UNAVAILABLE, message)
    max_age = int(auth.policy.publication_time.total_seconds())
    return _public({"keys": keys}, max_age, media_type="application/jwk-set+json")


async def metadata(request: Request) -> Response:
    """Return the authorization server's metadata."""
    auth = runtime_of(request.scope).auth
    issuer = auth.policy.issuer
    described = {
        "issuer": issuer,
        "token_endpoint": issuer + TOKEN_PATH,
        "jwks_uri": issuer + JWKS_PATH,
        "scopes_supported": sorted(auth.rights.sentences),
        "response_types_supported": ["none"],  # must be there and must not be empty; nobody is sent here to authorize
        "grant_types_supported": _GRANT_TYPES,
        "token_endpoint_auth_methods_supported": _CLIENT_AUTHENTICATION,
        "token_endpoint_auth_signing_alg_values_supported": _ASSERTION_ALGORITHMS,
        "introspection_endpoint": issuer + INTROSPECTION_PATH,
        "introspection_endpoint_auth_methods_supported": _CLIENT_AUTHENTICATION,
        "introspection_endpoint_auth_signing_alg_values_supported": _ASSERTION_ALGORITHMS,
        "revocation_endpoint": issuer + REVOCATION_PATH,
        "revocation_endpoint_auth_methods_supported": [*_CLIENT_AUTHENTICATION, "none"],
        "revocation_endpoint_auth_signing_alg_values_supported": _ASSERTION_ALGORITHMS,
    }
    return _public(described, int(auth.policy.publication_time.total_seconds()))


def _public(content: object, max_age: int, media_type: str = "application/json") -> Response:
    # Meant for everybody, and made without looking at who asks: pages of any origin may read it.
    headers = {"cache-control": f"public, max-age={max_age}", "access-control-allow-origin": "*"}
    return Response(orjson.dumps(content), media_type=media_type, headers=headers)
