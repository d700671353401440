"""Which addresses this server may connect to: public ones, and what its operator has allowed.

`ipaddress.is_global` alone has holes (multicast, site-local, addresses that carry another address
within them), so IPv6 is judged the other way round: only global unicast, less the tunnels.
"""

from collections.abc import Iterable, Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

NAT64 = IPv6Network("64:ff9b::/96")
GLOBAL_UNICAST = IPv6Network("2000::/3")
# Public by their number, and yet not a partner.
NOT_PARTNERS: Sequence[Network] = (
    IPv4Network("168.63.129.16/32"),  # Azure's host, as seen from its virtual machines
    IPv4Network("192.0.0.0/24"),  # protocol assignments, a cloud's metadata among them
    IPv4Network("192.88.99.0/24"),  # 6to4 relays
    IPv6Network("2001::/23"),  # Teredo and other protocol assignments
    IPv6Network("2002::/16"),  # 6to4: carries an IPv4 address
    IPv6Network("3fff::/20"),  # documentation
)


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Return the networks that `OUTBOUND_ALLOW_NETS` lists; ValueError names the one that is none."""
    return tuple(ip_network(text.strip()) for text in texts if text.strip())


def parse_address(text: str) -> Address:
    """Return the address that a socket connects to: without a scope, and IPv4 when mapped into IPv6."""
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address


def is_allowed(text: str, allow: Sequence[Network]) -> bool:
    """Say whether a connection to this numeric address (from getaddrinfo) may be opened."""
    address = parse_address(text)
    return any(address in network for network in allow) or is_public(address)


def is_public(address: Address) -> bool:
    """Say whether the address is a public unicast address, through a NAT64 gateway or not."""
    if any(address in network for network in NOT_PARTNERS):
        return False
    if isinstance(address, IPv4Address):
        return address.is_global and not address.is_multicast
    if address in NAT64:
        return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
    return address in GLOBAL_UNICAST and address.is_global
