"""Reads a configuration document that another release of the suite may have written.

A change of the configuration is checked strictly, by every field, name and range
(`ServerConfig`). Reading is tolerant: after a roll-back the document has fields that this release
does not know, and in a rolling upgrade each release reads documents of the other.

- An unknown field is left out and reported.
- An unknown value of a known choice becomes the strictest choice and is reported.
- TLS without a port means that an earlier release wrote the document. It served TLS on the DICOM
  port alone, so TLS stays there.
- Any other invalid value makes the whole document unreadable, because the intended number or
  address cannot be guessed.
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
from draw_shared.wording import message

STRICTEST: Final[Mapping[type[StrEnum], StrEnum]] = {
    ClientCertificates: ClientCertificates.REQUIRED,
    DuplicatePolicy: DuplicatePolicy.KEEP_EXISTING,
    FileNaming: FileNaming.SOP_UID,
    LogLevel: LogLevel.INFO,
    StorageStructure: StorageStructure.SERIES,
}
"""The value used for an unknown choice: never a more permissive one."""


ON_THE_DICOM_PORT: Final = 0
"""Value of `network.tls.port` if TLS replaces the plain port."""


class ConfigUnreadable(Permanent):
    """This release cannot interpret the document; the text names the fields."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A document as this release interprets it."""

    config: ServerConfig
    unknown: tuple[str, ...] = ()
    """Fields that were left out."""
    tightened: tuple[str, ...] = ()
    """Fields whose value was replaced by the strictest choice."""


def read_config(document: object) -> Reading:
    """Return a document as this release interprets it.

    Raises:
        ConfigUnreadable: a known field has an invalid value.
    """
    if not isinstance(document, Mapping):
        raise ConfigUnreadable(message("the document is no object"))
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
