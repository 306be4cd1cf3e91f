"""Translates the configuration into the limits and rules of the association engine.

`draw_shared.dicom.network` knows nothing of the configuration. Only this module knows both.
A caller on a hot path translates each version of the configuration once, and keeps the result.
"""

import ssl
from collections.abc import Iterable, Mapping
from typing import Final

from draw_shared.addresses import network_of
from draw_shared.contracts.config_snapshot import AllowedPeer
from draw_shared.contracts.server_config import (
    ClientCertificates,
    SecurityConfig,
    ServerConfig,
    SopClassConfig,
    TlsConfig,
    TransferSyntaxConfig,
)
from draw_shared.dicom.encoding import uids
from draw_shared.dicom.network.admission import AccessRules, ListedPeer
from draw_shared.dicom.network.limits import AcceptorLimits, AssociationLimits
from draw_shared.dicom.network.negotiation import Capabilities
from draw_shared.dicom.network.rights import Right, known_rights
from draw_shared.dicom.network.shares import Limits
from draw_shared.dicom.network.tls import TlsFiles

_MODES: Final[Mapping[ClientCertificates, ssl.VerifyMode]] = {
    ClientCertificates.NONE: ssl.CERT_NONE,
    ClientCertificates.OPTIONAL: ssl.CERT_OPTIONAL,
    ClientCertificates.REQUIRED: ssl.CERT_REQUIRED,
}

_CLASSES: Final = {
    "ct_image": ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1"),
    "mr_image": ("1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"),
    "rt_structure_set": ("1.2.840.10008.5.1.4.1.1.481.3",),
    "rt_plan": ("1.2.840.10008.5.1.4.1.1.481.5",),
    "rt_dose": ("1.2.840.10008.5.1.4.1.1.481.2",),
    "secondary_capture": ("1.2.840.10008.5.1.4.1.1.7",),
}
_SYNTAXES: Final = {
    "implicit_vr_little_endian": uids.IMPLICIT_LITTLE,
    "explicit_vr_little_endian": uids.EXPLICIT_LITTLE,
    "explicit_vr_big_endian": uids.EXPLICIT_BIG,
    "jpeg_baseline": "1.2.840.10008.1.2.4.50",
    "jpeg_lossless": "1.2.840.10008.1.2.4.70",
    "jpeg_2000_lossless": "1.2.840.10008.1.2.4.90",
    "rle_lossless": "1.2.840.10008.1.2.5",
}


def acceptor_limits(config: ServerConfig) -> AcceptorLimits:
    """Return the limits on associations and the timeouts of this configuration."""
    network = config.network
    return AcceptorLimits(
        places=Limits(
            network.max_associations,
            network.reserved_associations,
            network.max_associations_per_address,
            network.max_associations_per_ae_title,
        ),
        max_connections=network.max_connections,
        max_connections_per_address=network.max_connections_per_address,
        association=AssociationLimits(
            acse_timeout_seconds=network.acse_timeout_seconds,
            dimse_timeout_seconds=network.dimse_timeout_seconds,
            network_timeout_seconds=network.network_timeout_seconds,
            max_pdu_bytes=network.max_pdu_bytes,
            max_object_bytes=config.storage.max_object_bytes,
        ),
        trusted_proxies=tuple(map(network_of, network.trusted_proxies)),
    )


def tls_files(tls: TlsConfig) -> TlsFiles:
    """Return the certificate and key files for TLS."""
    return TlsFiles(
        tls.certificate_file,
        tls.key_file,
        tls.client_ca_file,
        _MODES[tls.client_certificates],
    )


def access_rules(
    config: ServerConfig, allowed: Iterable[AllowedPeer], *, loopback_reads: bool = False
) -> AccessRules:
    """Return the rules of a configuration and its list of AE titles."""
    security = config.security
    return AccessRules(
        config.network.ae_title,
        security.check_called_ae,
        security.validate_calling_ae,
        security.accept_user_identity,
        tuple(map(network_of, security.allowed_ips)),
        {peer.ae_title: _listed(peer) for peer in allowed},
        _unknown_rights(security),
        loopback_reads,
    )


def capabilities(config: ServerConfig) -> Capabilities:
    """Return the services, SOP classes and transfer syntaxes that a configuration offers."""
    services = config.services
    models: list[str] = []
    for wanted, found in (
        (services.c_find, uids.FIND_MODELS),
        (services.c_move, uids.MOVE_MODELS),
        (services.c_get, uids.GET_MODELS),
    ):
        if wanted:
            models += found
    return Capabilities(
        storage=storage_classes(config.sop_classes),
        promiscuous=config.sop_classes.promiscuous,
        storage_syntaxes=storage_syntaxes(config.transfer_syntaxes),
        receives=services.c_store,
        sends_back=services.c_get,
        models=frozenset(models),
        verification=services.c_echo,
    )


def storage_classes(config: SopClassConfig) -> frozenset[str]:
    """Return the storage SOP classes enabled by name; `promiscuous` accepts others as well."""
    chosen = {uid for name, uids in _CLASSES.items() if getattr(config, name) for uid in uids}
    chosen.update(config.further)
    if config.all_storage_classes or config.promiscuous:
        chosen |= uids.ALL_STORAGE
    return frozenset(chosen)


def storage_syntaxes(config: TransferSyntaxConfig) -> frozenset[str]:
    """Return the transfer syntaxes in which objects are accepted."""
    chosen = {uid for name, uid in _SYNTAXES.items() if getattr(config, name)}
    chosen.update(config.further)
    if config.all_transfer_syntaxes:
        chosen |= uids.ALL_TRANSFER_SYNTAXES
    return frozenset(chosen)


def _listed(peer: AllowedPeer) -> ListedPeer:
    return ListedPeer(
        peer.expected_ip,
        known_rights(peer.rights),
        frozenset(peer.move_destinations),
        peer.certificates,
    )


def _unknown_rights(security: SecurityConfig) -> frozenset[Right]:
    given = {Right.ECHO: security.unknown_may_echo, Right.STORE: security.unknown_may_store}
    return frozenset(right for right, may in given.items() if may)
