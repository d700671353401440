import pytest

from destinations.addresses import is_allowed, parse_networks

PUBLIC = ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "64:ff9b::8.8.8.8", "::ffff:8.8.8.8"]
REFUSED = {
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "0.0.0.0": "unspecified",
    "0.1.2.3": "this network",
    "10.1.2.3": "private",
    "172.16.0.1": "private",
    "192.168.1.1": "private",
    "100.64.0.1": "carrier-grade NAT",
    "100.100.100.200": "a cloud's metadata",
    "169.254.169.254": "a cloud's metadata, link-local",
    "168.63.129.16": "Azure's host",
    "192.0.0.192": "protocol assignments",
    "192.88.99.1": "6to4 relay",
    "192.0.2.1": "documentation",
    "198.18.0.1": "benchmarks",
    "224.0.0.1": "multicast",
    "232.1.1.1": "multicast",
    "239.1.1.1": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "broadcast",
    "::": "unspecified",
    "::1": "loopback",
    "::ffff:127.0.0.1": "mapped loopback",
    "::ffff:169.254.169.254": "mapped link-local",
    "::127.0.0.1": "compatible loopback",
    "64:ff9b::127.0.0.1": "NAT64 of loopback",
    "64:ff9b::10.0.0.1": "NAT64 of a private address",
    "64:ff9b:1::8.8.8.8": "local NAT64",
    "2001:0:808:808::1": "Teredo",
    "2002:7f00:1::": "6to4 of loopback",
    "2002:808:808::": "6to4",
    "2001:db8::1": "documentation",
    "3fff::1": "documentation",
    "fe80::1": "link-local",
    "fe80::1%eth0": "link-local with a scope",
    "fec0::1": "site-local",
    "fc00::1": "unique local",
    "fd00:ec2::254": "a cloud's metadata",
    "ff02::1": "multicast",
    "ff0e::1": "global multicast",
    "100::1": "discard",
}


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed(address):
    assert is_allowed(address, ())


@pytest.mark.parametrize("address", REFUSED, ids=REFUSED.get)
def test_everything_else_is_refused(address):
    assert not is_allowed(address, ())


def test_what_the_operator_allows_is_allowed_and_nothing_alongside_it():
    allow = parse_networks([" 10.1.0.0/16", "fd00::/8", "127.0.0.1", ""])
    assert is_allowed("10.1.2.3", allow)
    assert is_allowed("fd00::1", allow)
    assert is_allowed("::ffff:127.0.0.1", allow)
    assert not is_allowed("10.2.0.1", allow)
    assert not is_allowed("64:ff9b::10.1.2.3", allow)


def test_a_network_that_is_none_is_named():
    with pytest.raises(ValueError, match=r"10\.0\.0\.0/99"):
        parse_networks(["10.0.0.0/99"])
