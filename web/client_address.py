"""Where a request comes from: the other end of the connection or, behind a proxy that is trusted, who it says it was.

`X-Forwarded-For` is what anybody may write. It is read from its end, for as long as what stands there is a proxy of
ours: the first address that is none was seen by one that is (ASVS 4.1.3).
"""

from collections.abc import Iterable
from ipaddress import ip_address

from starlette.types import Scope

from web.request_headers import RequestHeaders
from web.trusted_proxies import Network, TrustedProxies

_MOST_HOPS = 20

# How a socket that listens for both families spells an IPv4 address.
_MAPPED = "::ffff:"


class ClientAddress:
    """Says from which address a request comes."""

    def __init__(self, trusted_proxies: Iterable[Network] = ()) -> None:
        self._proxies = TrustedProxies(trusted_proxies)

    def of(self, scope: Scope) -> str | None:
        """Return the address, None if it is not known."""
        client = scope.get("client")
        peer: str | None = client[0] if client else None
        if peer is not None and peer.startswith(_MAPPED):
            peer = _address_in(peer)
        if peer is None or peer not in self._proxies:
            return peer
        forwarded = RequestHeaders(scope["headers"]).joined(b"x-forwarded-for") or ""
        address = peer
        for hop in reversed(forwarded.split(",")[-_MOST_HOPS:]):
            named = _address_in(hop.strip())
            if named is None:
                return address
            address = named
            if named not in self._proxies:
                break
        return address


def _address_in(text: str) -> str | None:
    """Return an address as proxies write it: alone, or with a port."""
    if "%" in text:
        return None  # a zone means something on the machine that wrote it alone, and may be any text
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        read = ip_address(text)
    except ValueError:
        return None
    mapped = getattr(read, "ipv4_mapped", None)
    return str(mapped or read)
