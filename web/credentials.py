"""From a request's headers to the credential that it presents."""

from auth.gate import Credential
from auth.refusals import Reason
from auth.secret import Secret
from web.cookies import CookieNames
from web.request_headers import RequestHeaders

# More sessions than these one browser never has; whoever shows more wants work done.
_MOST_SHOWN = 4


def read_credential(headers: RequestHeaders, cookies: CookieNames) -> Credential:
    """Return what was presented. Where there are both a header and cookies, the header counts."""
    accesses, sessions = cookies.read(headers.all(b"cookie"))
    shown = tuple(secret for secret in sessions[:_MOST_SHOWN] if secret)
    authorization = headers.all(b"authorization")
    if authorization:
        return read_bearer(authorization)._replace(shown_secrets=shown)
    if len(accesses) > 1 or len(sessions) > 1:
        # A sibling domain can plant a cookie beside ours, and which of the two counts is a guess.
        return Credential(fault=Reason.COOKIE_REPEATED, shown_secrets=shown)
    access, session = next(filter(None, accesses), None), next(filter(None, sessions), None)
    return Credential(access, session, shown_secrets=shown, by_cookie=True)


def read_bearer(headers: list[str]) -> Credential:
    """Return what an Authorization header presents (RFC 6750 §2.1)."""
    # Two headers are as good as none: a proxy may have looked at the other one.
    scheme, _, token = headers[0].partition(" ")
    if len(headers) > 1 or scheme.lower() != "bearer" or not token.strip():
        return Credential(fault=Reason.CREDENTIAL_MALFORMED)
    return Credential(token=Secret(token.strip(" ")))
