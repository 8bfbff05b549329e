"""The bookshop's warehouse: a service of its own that takes the access tokens of a Watchword.

To look at the stock it asks nobody: the public keys say whether a token is good. That is up to five minutes behind the
truth, which is too much for a transfer: there it asks Watchword as well.
"""

import logging
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

import anyio
import httpx2
import jwt
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

# What Watchword signs with and publishes keys of. HS256 stays out: whoever can verify it can sign.
ALGORITHMS = ("EdDSA", "ES256", "RS256")
ACCESS_TOKEN = "at+jwt"  # noqa: S105 - RFC 9068 §2.1; an API token says `api+jwt`
CLAIMS = ["iss", "sub", "aud", "exp", "iat", "jti", "client_id", "scope"]  # RFC 9068 §2.2
LONGEST_LIFE = 3600.0  # of any access token of a Watchword, in seconds
CLOCK_SKEW = 5.0

# For how long keys are believed unasked: what their Cache-Control says, by default. A revoked key lives on as long.
KEYS_LIFE = 300.0
# An unknown `kid` may be a new key or a stranger's whim, and a stranger has many: so at most one request in this time.
# It has to be clearly shorter than Cache-Control's max-age, which is how long a new key is published before it signs:
# whoever asked a moment ago then has it already.
COOLDOWN = 2.0
TIMEOUT = 3.0

log = logging.getLogger("warehouse")


@dataclass(frozen=True)
class Config:
    """All that is known of the Watchword. Without a client it cannot be asked about a token."""

    issuer: str
    jwks_url: str
    client_id: str = ""
    client_secret: str = ""


class Keys:
    """The public keys of the Watchword, by `kid`; asked for when one is missing, and never by many at a time."""

    def __init__(self, address: str) -> None:
        self._client = jwt.PyJWKClient(address, cache_jwk_set=False, timeout=TIMEOUT)
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._asked_at = self._known_at = -math.inf
        self._is_in_doubt = True
        self._one_at_a_time = anyio.Lock()

    async def find(self, kid: str) -> jwt.PyJWK | None:
        """Return the key, or None if there is none of this name. Who holds a token of a known key never waits."""
        if not self._has(kid):
            async with self._one_at_a_time:
                if not self._has(kid) and monotonic() - self._asked_at >= COOLDOWN:
                    await self._ask()
        if self._has(kid):
            return self._keys[kid]
        if self._is_in_doubt:
            raise HTTPException(503, "The keys cannot be had.", {"Retry-After": str(math.ceil(COOLDOWN))})
        return None

    def _has(self, kid: str) -> bool:
        return kid in self._keys and monotonic() - self._known_at < KEYS_LIFE

    async def _ask(self) -> None:
        began, self._is_in_doubt = monotonic(), True
        try:
            # It blocks: on the event loop, one slow answer would stop every request.
            found = await anyio.to_thread.run_sync(self._client.get_signing_keys)
        except (jwt.PyJWTError, OSError, ValueError) as error:
            log.warning("the keys cannot be had: %s", error)
        else:
            self._keys = {str(key.key_id): key for key in found if key.algorithm_name in ALGORITHMS}
            self._known_at, self._is_in_doubt = began, False
        finally:
            # From the end on, or those who waited for an answer in vain would all try it again, one after another.
            self._asked_at = monotonic()


class Door:
    """Lets requests in by their access token, for the scope that a route wants."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._keys = Keys(config.jwks_url)

    async def admit(self, request: Request, scope: str, *, ask: bool = False) -> Mapping[str, Any]:
        """Return the claims of a token that is good for this scope; `ask` Watchword whether it is at this moment.

        Raises `HTTPException` as RFC 6750 §3 says, or with 503 when that cannot be found out.
        """
        scheme, _, rest = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise refusal(401)
        try:
            claims = await self._verified(token := rest.strip(" "))
        except jwt.InvalidTokenError:
            # Which check failed is told to nobody (RFC 8725).
            raise refusal(401, error="invalid_token") from None
        allowed = await self._allowed_now(token) if ask else claims["scope"]
        if scope not in str(allowed).split():
            raise refusal(403, error="insufficient_scope", scope=scope)
        return claims

    async def _verified(self, token: str) -> Mapping[str, Any]:
        """Return a token's claims, once everything about it holds. Raises `jwt.InvalidTokenError`."""
        header = jwt.get_unverified_header(token)
        if header.get("typ") != ACCESS_TOKEN or header.get("alg") not in ALGORITHMS:
            raise jwt.InvalidTokenError("not an access token")
        key = await self._keys.find(str(header.get("kid")))
        if key is None:
            raise jwt.InvalidTokenError("no such key")
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[key.algorithm_name],  # a key has one, and the token does not choose
            issuer=self._config.issuer,
            audience=self._config.issuer,
            leeway=CLOCK_SKEW,
            options={"require": CLAIMS, "strict_aud": True},
        )
        if int(claims["exp"]) - int(claims["iat"]) > LONGEST_LIFE:
            raise jwt.InvalidTokenError("lives too long")
        return claims

    async def _allowed_now(self, token: str) -> str:
        """Ask Watchword about a token (RFC 7662): it knows of logouts, and what its holder may at this moment."""
        # A new client each time is simple. One that is kept keeps its connection, and is faster.
        client = (self._config.client_id, self._config.client_secret)
        try:
            async with httpx2.AsyncClient(timeout=TIMEOUT, auth=client) as http:
                answer = await http.post(f"{self._config.issuer}/oauth/introspect", data={"token": token})
            told = answer.raise_for_status().json()
        except (httpx2.HTTPError, ValueError) as error:
            # Not to know is no reason to let somebody in.
            log.warning("introspection failed: %s", error)
            raise HTTPException(503, "Whether the token is still good cannot be found out.") from error
        if told.get("active") is not True:
            raise refusal(401, error="invalid_token")
        return str(told["scope"])


def refusal(status: int, **says: str) -> HTTPException:
    """Return the refusal of RFC 6750 §3. Where no token was sent it says no error, only how to come in."""
    details = ", ".join(f'{name}="{value}"' for name, value in {"realm": "warehouse", **says}.items())
    return HTTPException(status, says.get("error", "A token is wanted."), {"WWW-Authenticate": f"Bearer {details}"})


def create_app(config: Config) -> Starlette:
    """Return the warehouse. `/transfer` is there only if Watchword can be asked about tokens."""
    door = Door(config)

    async def stock(request: Request) -> JSONResponse:
        claims = await door.admit(request, "books:read")
        return JSONResponse({"for": claims["sub"], "stock": {"To the Lighthouse": 3, "The Waves": 1}})

    async def transfer(request: Request) -> JSONResponse:
        claims = await door.admit(request, "books:write", ask=True)
        return JSONResponse({"for": claims["sub"], "transferred": True})

    routes = [Route("/stock", stock)]
    if config.client_id and config.client_secret:
        routes.append(Route("/transfer", transfer, methods=["POST"]))
    return Starlette(routes=routes)


def main() -> None:
    """Serve on the loopback address, with what stands in the environment."""
    config = Config(
        issuer=os.environ["ISSUER"],
        jwks_url=os.environ["JWKS_URL"],
        client_id=os.environ.get("CLIENT_ID", ""),
        client_secret=os.environ.get("CLIENT_SECRET", ""),
    )
    uvicorn.run(create_app(config), host="127.0.0.1", port=int(os.environ.get("PORT", "8001")))


if __name__ == "__main__":
    main()
