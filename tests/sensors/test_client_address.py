"""Whom a request is counted for: the last address on the way that no trusted proxy has."""

from ipaddress import ip_network

import pytest

from sensors.client_address import client_of

TRUSTED = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "client"),
    [
        ("192.0.2.9", [], "192.0.2.9"),
        ("192.0.2.9", ["198.51.100.1"], "192.0.2.9"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["203.0.113.5, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["203.0.113.5, 198.51.100.1, 10.0.0.7"], "198.51.100.1"),
        ("10.0.0.1", ["203.0.113.5", "198.51.100.1", "10.0.0.7"], "198.51.100.1"),
        ("10.0.0.1", ["10.0.0.9, 10.0.0.7"], "10.0.0.9"),
        ("10.0.0.1", ["198.51.100.1:4711"], "198.51.100.1"),
        ("10.0.0.1", ["[2001:db8:1:2:3::4]:4711"], "2001:db8:1:2::/64"),
        ("fd00::1", ["2001:db8:1:2:ffff::9"], "2001:db8:1:2::/64"),
        ("::ffff:10.0.0.1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1, _hidden, 10.0.0.7"], "10.0.0.7"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["," * 50_000], "10.0.0.1"),
        ("", ["198.51.100.1"], ""),
        ("testclient", ["198.51.100.1"], "testclient"),
    ],
)
def test_whom_a_request_is_counted_for(peer, forwarded_for, client):
    """Proxies are believed as far as they are trusted; a subscriber of IPv6 is one client; nonsense ends the search."""
    assert client_of(peer, forwarded_for, TRUSTED) == client


def test_without_trusted_proxies_the_header_tells_nothing():
    """Whoever is connected is the client."""
    assert client_of("127.0.0.1", ["198.51.100.1"], []) == "127.0.0.1"
