"""Which addresses are one caller's: an IPv4 address stands for itself, an IPv6 address for its /64.

Whoever is given one IPv6 address is given all 2^64 of its network, and their machine changes among them daily.
"""

from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address

_LONGEST = 100


@lru_cache(maxsize=8192)
def network_of(address: str | None) -> str | None:
    """Return the network by which an address counts: the same text for all of its addresses; None if unknown."""
    if not address:
        return None
    try:
        read = ip_address(address)
    except ValueError:
        return address[:_LONGEST]
    if not isinstance(read, IPv6Address):
        return str(read)
    if read.ipv4_mapped is not None:
        return str(read.ipv4_mapped)
    return str(IPv6Network((int(read) >> 64 << 64, 64)))
