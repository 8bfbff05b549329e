"""Which addresses are proxies of ours: what they say of their callers is believed, and none is a caller."""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network


class TrustedProxies:
    """The operator's list."""

    def __init__(self, networks: Iterable[Network] = ()) -> None:
        self._networks = tuple(networks)

    def __contains__(self, address: str) -> bool:
        """Whether an address is a proxy's; a socket for both families spells one of IPv4 as one of IPv6."""
        if not self._networks:
            return False
        try:
            read = ip_address(address)
        except ValueError:
            return False
        if isinstance(read, IPv6Address):
            read = read.ipv4_mapped or read
        return any(read in network for network in self._networks)
