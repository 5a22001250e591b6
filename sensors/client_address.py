"""Whose request it is, where proxies stand between: `X-Forwarded-For`, believed of trusted proxies alone."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

_IPV6_SUBSCRIBER_BITS = 64
"""What one subscriber is given: each address within it is as good as the next."""


def client_of(peer: str, forwarded_for: Sequence[str], trusted: Sequence[IPv4Network | IPv6Network]) -> str:
    """The client that a request is counted for: an IPv4 address, or an IPv6 network of 64 bits.

    It is the last address on the way that no trusted proxy has. What stands before it in the header may be anybody's
    invention; so may all of it, where the peer itself is no trusted proxy.

    Args:
        peer: Who is connected.
        forwarded_for: The request's headers `X-Forwarded-For`, in their order.
        trusted: Where trusted proxies are.
    """
    client = _address(peer)
    if client is None:
        return peer
    hops = ",".join(forwarded_for).split(",") if forwarded_for else []
    while hops and _is_trusted(client, trusted):
        before = _address(hops.pop())
        if before is None:
            break
        client = before
    if isinstance(client, IPv6Address):
        return str(ip_network((client, _IPV6_SUBSCRIBER_BITS), strict=False))
    return str(client)


def _is_trusted(address: IPv4Address | IPv6Address, trusted: Sequence[IPv4Network | IPv6Network]) -> bool:
    return any(address in network for network in trusted)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """An address as proxies write it, with a port or without; None for anything else."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
