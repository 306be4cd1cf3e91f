"""One version of the configuration, as a row of the database or a file on the volume.

The file is JSON with a SHA-256 of its other content, so a truncated or damaged file is never
mistaken for a configuration. The document is that of the database and may have fields that this
release does not know; its reader interprets it. An incompatible later format must use another file
name, so that two releases side by side do not touch each other's files.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, ValidationError

from draw_shared.dicom.network.rights import EVERY_RIGHT
from draw_shared.errors import Permanent

FORMAT: Final = 1
HASH: Final = "sha256"


class SnapshotDamaged(Permanent):
    """The content is not a snapshot, or not a complete one."""


@dataclass(frozen=True, slots=True)
class AllowedPeer:
    """A calling AE title on the list; an empty address allows any."""

    ae_title: str
    expected_ip: str = ""
    rights: tuple[str, ...] = EVERY_RIGHT
    """Rights by name; those of a later release are kept but grant nothing here."""
    move_destinations: tuple[str, ...] = ()
    """Permitted C-MOVE destinations by AE title; empty permits every remote node."""
    certificates: tuple[str, ...] = ()
    """Names and fingerprints, one of which its certificate must match; empty accepts any."""


def allowed_peer(row: Mapping[str, Any]) -> AllowedPeer:
    """Return the peer of a row, which may lack columns or have unknown ones."""
    return AllowedPeer(
        row["ae_title"],
        row["expected_ip"],
        tuple(row.get("rights", EVERY_RIGHT)),
        tuple(row.get("move_destinations", ())),
        tuple(row.get("certificates", ())),
    )


@dataclass(frozen=True, slots=True)
class ConfigSnapshot:
    """One version of the configuration with the AE titles that it allows."""

    version: int
    document: Mapping[str, Any]
    allowed: tuple[AllowedPeer, ...] = ()
    release: str = field(default="", compare=False)
    """The release that wrote the file; empty for a row."""

    def encode(self) -> bytes:
        """Return the content of a snapshot file."""
        content = {
            "format": FORMAT,
            "version": self.version,
            "release": self.release,
            "allowed": [asdict(peer) for peer in self.allowed],
            "document": self.document,
        }
        return json.dumps({**content, HASH: _hash(content)}, indent=1).encode() + b"\n"


class _Content(BaseModel):
    """The required content of a file; further fields come from a later release."""

    model_config = ConfigDict(extra="ignore")

    format: Literal[1]
    version: Annotated[StrictInt, Field(ge=1)]
    release: str
    allowed: tuple[AllowedPeer, ...]
    document: dict[str, Any]


def decode_snapshot(content: bytes) -> ConfigSnapshot:
    """Return the snapshot in the content of a file.

    Raises:
        SnapshotDamaged: the content is not a complete snapshot.
    """
    try:
        held = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise SnapshotDamaged("it is no JSON, or not all of it") from error
    if not isinstance(held, dict):
        raise SnapshotDamaged("it is no object")
    if held.pop(HASH, None) != _hash(held):
        raise SnapshotDamaged("its hash is another")
    try:
        known = _Content.model_validate(held)
    except ValidationError as error:
        raise SnapshotDamaged("it is of a form that this release does not know") from error
    return ConfigSnapshot(known.version, known.document, known.allowed, known.release)


def _hash(content: Mapping[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
