"""From a request's headers to the credential that it presents."""

from starlette.requests import HTTPConnection

from auth.gate import NO_CREDENTIAL, Credential
from auth.refusals import Reason
from auth.secret import Secret
from auth.sessions import Device
from web.cookies import CookieNames, CookieRepeated


def read_credential(connection: HTTPConnection, cookies: CookieNames) -> Credential:
    """Return what was presented. Where there are both a header and cookies, the header counts."""
    authorization = connection.headers.getlist("authorization")
    if authorization:
        return _read_bearer(authorization)
    try:
        access, session = cookies.read(connection.headers.getlist("cookie"))
    except CookieRepeated:
        return Credential(fault=Reason.COOKIE_REPEATED)
    return NO_CREDENTIAL if access is None and session is None else Credential(access, session)


def read_device(connection: HTTPConnection) -> Device:
    """Return what is known of where the request comes from."""
    return Device(
        user_agent=connection.headers.get("user-agent"),
        address=connection.client.host if connection.client else None,
    )


def _read_bearer(headers: list[str]) -> Credential:
    # RFC 6750 §2.1. Two headers are as good as none: a proxy may have looked at the other one.
    scheme, _, token = headers[0].partition(" ")
    if len(headers) > 1 or scheme.lower() != "bearer" or not token.strip():
        return Credential(fault=Reason.CREDENTIAL_MALFORMED)
    return Credential(access_token=Secret(token.strip()))
