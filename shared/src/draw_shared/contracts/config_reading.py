"""Reads a configuration document that another release of the suite may have written.

Who changes the configuration is held to every field, name and range (`ServerConfig`). Who
works by it is not: after a roll-back the document has fields that this release does not know,
and in a rolling upgrade each release reads what the other wrote.

- A field that is not known is left out, and named.
- A value that is not known, of a choice that is, becomes the strictest choice, and is named.
- With TLS on and no port for it, an earlier release wrote the document: TLS was on the DICOM
  port alone then, and stays there.
- Anything else that is not allowed makes the document unreadable as a whole: what a wrong
  number or address was to mean cannot be told.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from pydantic import ValidationError

from draw_shared.contracts.server_config import (
    ClientCertificates,
    DuplicatePolicy,
    FileNaming,
    LogLevel,
    Section,
    ServerConfig,
    StorageStructure,
)
from draw_shared.errors import Permanent

STRICTEST: Final[Mapping[type[StrEnum], StrEnum]] = {
    ClientCertificates: ClientCertificates.REQUIRED,
    DuplicatePolicy: DuplicatePolicy.KEEP_EXISTING,
    FileNaming: FileNaming.SOP_UID,
    LogLevel: LogLevel.INFO,
    StorageStructure: StorageStructure.SERIES,
}
"""What a choice means that this release does not know: never the more open one."""


ON_THE_DICOM_PORT: Final = 0
"""`network.tls.port` of TLS that takes the place of the plain port."""


class ConfigUnreadable(Permanent):
    """This release cannot tell what the document means; the text names the fields."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a document means to this release."""

    config: ServerConfig
    unknown: tuple[str, ...] = ()
    """Fields that were left out."""
    tightened: tuple[str, ...] = ()
    """Fields whose value became the strictest choice."""


def read_config(document: object) -> Reading:
    """Return what a document means to this release.

    Raises:
        ConfigUnreadable: a field that is known has a value that is not allowed.
    """
    if not isinstance(document, Mapping):
        raise ConfigUnreadable("the document is no object")
    unknown: list[str] = []
    tightened: list[str] = []
    known = _known(ServerConfig, document, "", unknown, tightened)
    _keep_tls_on_its_port(known)
    try:
        config = ServerConfig.model_validate(known)
    except ValidationError as error:
        raise ConfigUnreadable(_fields(error)) from error
    return Reading(config, tuple(unknown), tuple(tightened))


def _known(
    section: type[Section],
    document: Mapping[str, Any],
    prefix: str,
    unknown: list[str],
    tightened: list[str],
) -> dict[str, Any]:
    known: dict[str, Any] = {}
    for name, value in document.items():
        path = f"{prefix}{name}"
        field = section.model_fields.get(name)
        kind = field.annotation if field is not None else None
        if field is None:
            unknown.append(path)
        elif not isinstance(kind, type):
            known[name] = value
        elif issubclass(kind, Section) and isinstance(value, Mapping):
            known[name] = _known(kind, value, f"{path}.", unknown, tightened)
        elif issubclass(kind, StrEnum) and isinstance(value, str) and value not in set(kind):
            known[name] = STRICTEST[kind]
            tightened.append(path)
        else:
            known[name] = value
    return known


def _keep_tls_on_its_port(document: Mapping[str, Any]) -> None:
    network = document.get("network")
    tls = network.get("tls") if isinstance(network, dict) else None
    if isinstance(tls, dict) and tls.get("enabled") is True:
        tls.setdefault("port", ON_THE_DICOM_PORT)


def _fields(error: ValidationError) -> str:
    return ", ".join(
        sorted({".".join(str(part) for part in problem["loc"]) for problem in error.errors()})
    )
