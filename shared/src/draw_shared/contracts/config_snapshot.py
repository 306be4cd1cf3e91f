"""The configuration as it was in force once: one row of the database, or one file of the volume.

In a file it is JSON with a SHA-256 of everything else in it, so that half a file, or one that
a disk has damaged, is never taken for a configuration. The document is as the database has it,
with fields that this release may not know: who reads it decides what it means. A later form
that this one cannot be extended to gets a file name of its own, so that two releases side by
side leave each other's alone.
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
    """This is no snapshot, or not all of one."""


@dataclass(frozen=True, slots=True)
class AllowedPeer:
    """A calling AE title on the list; an empty address allows any."""

    ae_title: str
    expected_ip: str = ""
    rights: tuple[str, ...] = EVERY_RIGHT
    """By their names; those of a later release are kept, and grant nothing here."""
    move_destinations: tuple[str, ...] = ()
    """AE titles to which it may have objects sent by C-MOVE; none named: every remote node."""
    certificates: tuple[str, ...] = ()
    """Names and fingerprints, one of which its certificate has; none named: not bound."""


def allowed_peer(row: Mapping[str, Any]) -> AllowedPeer:
    """Return the peer of a row, whose columns may be fewer or more than this release knows."""
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
    """Which release wrote the file; empty for a row."""

    def encoded(self) -> bytes:
        """Return the content of a file that keeps it."""
        content = {
            "format": FORMAT,
            "version": self.version,
            "release": self.release,
            "allowed": [asdict(peer) for peer in self.allowed],
            "document": self.document,
        }
        return json.dumps({**content, HASH: _hash(content)}, indent=1).encode() + b"\n"


class _Content(BaseModel):
    """What a file has to hold; what else it holds is a later release's."""

    model_config = ConfigDict(extra="ignore")

    format: Literal[1]
    version: Annotated[StrictInt, Field(ge=1)]
    release: str
    allowed: tuple[AllowedPeer, ...]
    document: dict[str, Any]


def decoded(content: bytes) -> ConfigSnapshot:
    """Return the snapshot that a file keeps.

    Raises:
        SnapshotDamaged: it keeps none.
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
