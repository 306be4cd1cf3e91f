"""The canonical form of a transaction log line, over which hashes are computed.

It is a JSON array, UTF-8, without spaces, of the columns in the order of `COLUMNS`: text and whole
numbers as they are, the UUID as text, the time as UTC text with microseconds, `duration_seconds`
as Python's shortest text, absent values as null. A chained line begins with its position.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any, Final

COLUMNS: Final = (
    "id", "occurred_at", "record_id", "kind", "outcome", "replica", "association_id",
    "calling_ae", "called_ae", "peer_address", "status", "duration_seconds", "size_bytes",
    "objects", "sop_class_uid", "sop_instance_uid", "study_instance_uid", "actor", "action",
    "detail",
)  # fmt: skip
"""The columns of a line, in hashing order."""

GENESIS: Final = bytes(32)
"""The hash that the first line of a chain follows."""

_encoded: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def canonical(position: int, row: Mapping[str, Any]) -> bytes:
    """Return the bytes over which a line's hash is computed."""
    return _encoded([position, *_values(row, COLUMNS)]).encode()


def link(previous: bytes, position: int, row: Mapping[str, Any]) -> bytes:
    """Return the hash of the line at `position`."""
    return hashlib.sha256(previous + canonical(position, row)).digest()


def digest(position: int, row: Mapping[str, Any]) -> bytes:
    """Return the hash of a line alone, for a line whose predecessor is unknown."""
    return hashlib.sha256(canonical(position, row)).digest()


def content(row: Mapping[str, Any]) -> bytes:
    """Return the bytes of a line without the values that PostgreSQL and the chain add later."""
    return _encoded(_values(row, COLUMNS[1:])).encode()


def _values(row: Mapping[str, Any], columns: Sequence[str]) -> list[Any]:
    found: list[Any] = []
    for name in columns:
        value: Any = row.get(name)
        if name == "occurred_at":
            value = value.astimezone(UTC).isoformat(timespec="microseconds")
        elif name == "record_id":
            value = str(value)
        elif name == "duration_seconds" and value is not None:
            value = repr(float(value))
        found.append(value)
    return found
