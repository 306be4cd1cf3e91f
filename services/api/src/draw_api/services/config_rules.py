"""What settings must agree on with each other; single settings are checked by the contract."""

import re
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import PurePosixPath
from typing import Final

from draw_api.models.failures import FieldProblem
from draw_shared.contracts.server_config import (
    ClientCertificates,
    HandlerConfig,
    NetworkConfig,
    ServerConfig,
    TlsConfig,
)

HOST_NAME: Final = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9-]{0,62})(\.[A-Za-z0-9-]{1,63})*\.?$")


def disagreements(config: ServerConfig) -> list[FieldProblem]:
    """Return what does not fit together, by the field to mend."""
    return [*_network(config.network), *_tls(config.network.tls), *_handler(config.handler)]


def _network(network: NetworkConfig) -> Iterator[FieldProblem]:
    if not _can_be_bound(network.host):
        yield FieldProblem("network.host", "must be an address or the name of this host")
    if network.max_connections < network.max_associations:
        yield FieldProblem(
            "network.max_connections", "must not be less than the number of associations"
        )


def _can_be_bound(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return bool(HOST_NAME.match(host)) and not host.replace(".", "").isdigit()
    return True


def _tls(tls: TlsConfig) -> Iterator[FieldProblem]:
    if tls.enabled:
        for name in ("certificate_file", "key_file"):
            if not getattr(tls, name):
                yield FieldProblem(f"network.tls.{name}", "TLS needs this file")
    if tls.client_certificates is not ClientCertificates.NONE and not tls.client_ca_file:
        yield FieldProblem(
            "network.tls.client_ca_file", "checking client certificates needs this file"
        )


def _handler(handler: HandlerConfig) -> Iterator[FieldProblem]:
    if (handler.auto_import or handler.copy_to_folder) and not handler.folder:
        yield FieldProblem("handler.folder", "handing over series needs the handler's folder")
    if handler.folder and not PurePosixPath(handler.folder).is_absolute():
        yield FieldProblem("handler.folder", "must be an absolute path")
    if handler.trigger_processing and not handler.celery_task:
        yield FieldProblem("handler.celery_task", "the processing chain needs the task's name")
    if not handler.celery_queue:
        yield FieldProblem("handler.celery_queue", "must not be empty")
