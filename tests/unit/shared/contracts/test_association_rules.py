"""What the configuration means for associations; what the rules then do is tested with them."""

import ssl
from dataclasses import fields
from ipaddress import ip_network

import pytest

from draw_shared.contracts.association_rules import acceptor_limits, access_rules, tls_files
from draw_shared.contracts.config_snapshot import AllowedPeer
from draw_shared.contracts.server_config import (
    REFERENCE,
    ClientCertificates,
    NetworkConfig,
    SecurityConfig,
    ServerConfig,
    StorageConfig,
    TlsConfig,
)
from draw_shared.dicom.network.limits import DEFAULT_LIMITS, AcceptorLimits, AssociationLimits
from draw_shared.dicom.network.rights import Right
from draw_shared.dicom.network.shares import Limits


def test_both_have_the_same_defaults():
    assert acceptor_limits(REFERENCE) == DEFAULT_LIMITS


def test_each_limit_of_the_configuration_is_the_acceptor_s():
    config = ServerConfig(
        network=NetworkConfig(
            max_associations=11,
            reserved_associations=7,
            max_associations_per_address=3,
            max_associations_per_ae_title=2,
            max_connections=200,
            max_connections_per_address=100,
            max_pdu_bytes=65536,
            acse_timeout_seconds=21,
            dimse_timeout_seconds=22,
            network_timeout_seconds=23,
            trusted_proxies=("192.0.2.1", "2001:db8::/32"),
        ),
        storage=StorageConfig(max_object_bytes=2 * 1024**2),
    )
    found = acceptor_limits(config)
    assert found == AcceptorLimits(
        Limits(11, 7, 3, 2),
        200,
        100,
        AssociationLimits(21, 22, 23, 65536, 2 * 1024**2),
        (ip_network("192.0.2.1"), ip_network("2001:db8::/32")),
    )
    for limits in (found, found.association):
        default = type(limits)()
        for field in fields(limits):
            assert getattr(limits, field.name) != getattr(default, field.name)


@pytest.mark.parametrize(
    ("chosen", "mode"),
    [
        (ClientCertificates.NONE, ssl.CERT_NONE),
        (ClientCertificates.OPTIONAL, ssl.CERT_OPTIONAL),
        (ClientCertificates.REQUIRED, ssl.CERT_REQUIRED),
    ],
)
def test_tls_is_spoken_with_the_files_and_the_mode_of_the_configuration(chosen, mode):
    found = tls_files(
        TlsConfig(
            certificate_file="/c", key_file="/k", client_ca_file="/ca", client_certificates=chosen
        )
    )
    assert (found.certificate_file, found.key_file, found.client_ca_file) == ("/c", "/k", "/ca")
    assert found.client_certificates is mode


def test_the_list_has_the_rights_that_this_release_knows():
    allowed = AllowedPeer("CT1", "192.0.2.9", ("echo", "worklist"), ("STORE_1",), ("ct.example",))
    security = SecurityConfig(allowed_ips=("192.0.2.0/24",), unknown_may_store=False)
    rules = access_rules(ServerConfig(security=security), [allowed], loopback_reads=True)
    listed = rules.listed["CT1"]
    assert listed.rights == {Right.ECHO}
    assert listed.expected_address == "192.0.2.9"
    assert (listed.move_destinations, listed.certificates) == ({"STORE_1"}, ("ct.example",))
    assert rules.allowed_networks == (ip_network("192.0.2.0/24"),)
    assert rules.unknown_rights == {Right.ECHO}
    assert rules.loopback_reads
