"""Checks that settings fit each other; the contract checks single settings."""

from collections.abc import Iterator

from draw_api.models.hosts import check_host
from draw_shared.contracts.failures import FieldProblem
from draw_shared.contracts.server_config import (
    ClientCertificates,
    NetworkConfig,
    ServerConfig,
)
from draw_shared.wording import message


def disagreements(config: ServerConfig) -> list[FieldProblem]:
    """Return the contradictions, by the field to correct."""
    return [*_network(config.network), *_tls(config.network)]


def _network(network: NetworkConfig) -> Iterator[FieldProblem]:
    yield from _host(network.host)
    if network.max_connections < network.max_associations:
        yield FieldProblem(
            "network.max_connections", message("must not be less than the number of associations")
        )


def _host(host: str) -> Iterator[FieldProblem]:
    try:
        looked_up = check_host(host)
    except ValueError as error:
        yield FieldProblem("network.host", str(error))
        return
    if looked_up != host:
        yield FieldProblem(
            "network.host", message("must be written as %(looked_up)s", looked_up=looked_up)
        )


def _tls(network: NetworkConfig) -> Iterator[FieldProblem]:
    tls = network.tls
    if tls.enabled and tls.keep_plain_port and tls.port == network.port:
        yield FieldProblem(
            "network.tls.port",
            message(
                "must be another port than the DICOM port, which stays open without TLS; "
                "0 turns TLS on there instead"
            ),
        )
    if tls.enabled:
        for name in ("certificate_file", "key_file"):
            if not getattr(tls, name).strip():
                yield FieldProblem(f"network.tls.{name}", message("TLS needs this file"))
    if tls.client_certificates is not ClientCertificates.NONE and not tls.client_ca_file.strip():
        yield FieldProblem(
            "network.tls.client_ca_file", message("checking client certificates needs this file")
        )
