"""How people reach the server, as the settings say: https and its certificate, proxies, cookies, and other origins."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from doctor.findings import Finding
from settings import Settings
from web.certificates import CertificateFiles, CertificateRefused
from web.cookies import CookieNames

_RENEW_BEFORE = timedelta(days=20)
_LAST_CALL = timedelta(days=7)


def reached(settings: Settings, now: datetime) -> Iterator[Finding]:
    """Look at how the server is reached."""
    yield from _plain_http(settings)
    yield from _certificate(settings, now)
    yield from _proxies(settings)
    yield Finding("cookies", f"{CookieNames(secure=settings.is_production).session}, for {settings.public_url} alone")
    if settings.is_production:
        yield from _origins(settings)


def _plain_http(settings: Settings) -> Iterator[Finding]:
    if not settings.allow_insecure_http:
        return
    if settings.is_production:
        state = "pages of http:// may be allowed origins: anybody on the way can write them"
        yield Finding("plain http", state, "unset WATCHWORD_ALLOW_INSECURE_HTTP", may_be_meant=True)
    else:
        state = "anybody on the way reads passwords and cookies"
        remedy = "give it a certificate or a proxy that has one, and a WATCHWORD_PUBLIC_URL of https"
        yield Finding("plain http", state, remedy, may_be_meant=True)


def _certificate(settings: Settings, now: datetime) -> Iterator[Finding]:
    if settings.tls_certificate is None or settings.tls_key is None:
        return
    files = CertificateFiles(settings.tls_certificate, settings.tls_key)
    try:
        files.context()
        served = files.served()
    except CertificateRefused as refused:
        remedy = "put the certificate, with those that vouch for it, and its unencrypted key there, both in PEM"
        yield Finding("TLS certificate", str(refused), remedy)
        return
    host = urlsplit(settings.public_url).hostname or ""
    if not served.is_for(host):
        state = f"is for {', '.join(served.hosts) or 'no host'}, and not for {host}"
        yield Finding("TLS certificate", state, f"have one made for {host}")
    if now < served.since:
        yield Finding("TLS certificate", f"holds from {served.since:%Y-%m-%d %H:%M} UTC on", "look at the clock")
    left = served.until - now
    state = f"{'expired' if left < timedelta(0) else 'holds until'} {served.until:%Y-%m-%d %H:%M} UTC"
    renew = None if left > _RENEW_BEFORE else "renew it: the server takes the new files by itself"
    yield Finding("TLS certificate's end", state, renew, may_be_meant=left > _LAST_CALL)
    mode = settings.tls_key.stat().st_mode & 0o777
    yield Finding(f"mode of {settings.tls_key}", f"{mode:04o}", f"chmod o= {settings.tls_key}" if mode & 0o7 else None)


def _proxies(settings: Settings) -> Iterator[Finding]:
    trusted = settings.trusted_proxies
    if trusted:
        yield Finding("trusted proxies", ", ".join(map(str, trusted)))
    elif settings.is_behind_a_proxy:
        state = "none, so all who come by the proxy count as one address"
        remedy = "set WATCHWORD_TRUSTED_PROXIES to the proxy's address: 127.0.0.1, if it is on this machine"
        yield Finding("trusted proxies", state, remedy)


def _origins(settings: Settings) -> Iterator[Finding]:
    public = urlsplit(settings.public_url)
    for origin in settings.allowed_origins:
        if is_same_site(urlsplit(origin), public):
            yield Finding(f"origin {origin}", "allowed, of the same site: with cookies")
        else:
            state = "allowed, of another site: its pages have no cookies, which are SameSite=Lax"
            remedy = f"serve it from the site of {public.hostname}, or let its pages log in with `delivery: BODY`"
            yield Finding(f"origin {origin}", state, remedy, may_be_meant=True)


def is_same_site(one: SplitResult, other: SplitResult) -> bool:
    """Say whether a browser takes two origins for one site: scheme and registrable domain, in as far as one can tell.

    Which domains people register under is a list that browsers have. Here it is the last two labels: of two strangers
    under `co.uk` this says that they are one site.
    """
    hosts = one.hostname or "", other.hostname or ""
    if one.scheme != other.scheme:
        return False
    if hosts[0] == hosts[1]:
        return True
    labels = [host.split(".") for host in hosts]
    if any(_is_address(host) for host in hosts) or any(len(parts) < 2 for parts in labels):  # noqa: PLR2004
        return False
    return labels[0][-2:] == labels[1][-2:]


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
