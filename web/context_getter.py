"""The context getter: what a request presents becomes the context of one operation, for every transport."""

from starlette.types import Scope

from auth.gate import Credential
from auth.origin import Origin
from schema.context import Context, SessionCookies
from web.cookies import CookieNames
from web.credentials import read_credential
from web.request_headers import RequestHeaders
from web.state import address_of, request_id_of, runtime_of


class ContextGetter:
    """Makes contexts: what was presented, not yet what it is worth. Nothing here can fail."""

    def __init__(self, cookies: CookieNames) -> None:
        self.cookies = cookies

    def __call__(
        self,
        scope: Scope,
        headers: RequestHeaders,
        cookies: SessionCookies,
        *,
        credential: Credential | None = None,
        request_id: str | None = None,
    ) -> Context:
        """Return a context of its own for an operation.

        A socket carries many operations, and may have presented its credential in a message: it says which credential
        counts, and gives each operation an id of its own.
        """
        runtime = runtime_of(scope)
        origin = read_origin(scope, headers)
        return Context(
            auth=runtime.auth,
            credential=credential if credential is not None else read_credential(headers, self.cookies),
            origin=origin if request_id is None else origin._replace(request_id=request_id),
            cookies=cookies,
            request_id=request_id or request_id_of(scope),
            services=runtime.services,
        )


def read_origin(scope: Scope, headers: RequestHeaders) -> Origin:
    """Return what is known of where a request comes from."""
    agents = headers.all(b"user-agent")
    return Origin(address=address_of(scope), user_agent=agents[0] if agents else None, request_id=request_id_of(scope))
