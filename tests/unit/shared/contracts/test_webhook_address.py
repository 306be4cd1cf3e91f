"""Which addresses no webhook leads to, however they are written."""

import pytest

from draw_shared.contracts.webhook_address import is_refused, numeric_address


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.0.1",
        "::ffff:169.254.169.254",
        "::169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::",
        "fe80::1",
        "fe80::1%eth0",
        "febf::1",
        "fd00:ec2::254",
        "100.100.100.200",
        "168.63.129.16",
        "0.0.0.0",
        "0.1.2.3",
        "::",
        "224.0.0.1",
        "ff02::1",
        "255.255.255.255",
    ],
)
def test_addresses_of_machines_themselves_are_refused(address):
    assert is_refused(address)


@pytest.mark.parametrize(
    "address",
    [
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "127.0.0.1",
        "::1",
        "::ffff:10.1.2.3",
        "fd12:3456::1",
        "2001:db8::1",
        "8.8.8.8",
    ],
)
def test_addresses_of_the_network_and_of_this_machine_are_allowed(address):
    assert not is_refused(address)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("::1", "::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("2852039166", "169.254.169.254"),
        ("0xa9fea9fe", "169.254.169.254"),
        ("169.254.43518", "169.254.169.254"),
        ("0251.0376.0251.0376", "169.254.169.254"),
        ("handler.example", None),
        ("a.1", None),
        ("", None),
    ],
)
def test_a_number_is_an_address_in_whichever_way_it_is_written(host, address):
    assert numeric_address(host) == address
