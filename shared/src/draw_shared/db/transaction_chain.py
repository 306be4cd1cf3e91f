"""The hash chain over the transaction log: a changed, removed or inserted line is noticed.

Each line in the chain has a position, counted from 1 without gaps, and the hash
`SHA-256(hash of the line before || canonical form of this line)`; the first follows 32 zero
bytes. Lines are chained by a step of their own, in the order of their ids as far as they
were committed by then, so that writers never wait for each other. What is not chained yet,
some seconds' worth, is not protected.

The canonical form is a JSON array, UTF-8, no spaces, of the position and then the columns in
the order of `COLUMNS`: text and whole numbers as they are, the UUID as text, the time as UTC
text with microseconds, `duration_seconds` as Python's shortest text, absent values as null.

Whoever may write every row can also compute a new chain. Against him the heads that the
indexer writes to its log are kept elsewhere; `verify` takes one.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Any, Final

from sqlalchemy import Connection, text

from draw_shared.contracts.transaction import LINES_LOST

CHAIN_LOCK: Final = 0x44524148
"""Key of the advisory lock under which the chain grows, by one process at a time."""

GENESIS: Final = bytes(32)
MOST_AT_ONCE: Final = 2000

COLUMNS: Final = (
    "id", "occurred_at", "record_id", "kind", "outcome", "replica", "association_id",
    "calling_ae", "called_ae", "peer_address", "status", "duration_seconds", "size_bytes",
    "objects", "sop_class_uid", "sop_instance_uid", "study_instance_uid", "actor", "action",
    "detail",
)  # fmt: skip

_LISTED: Final = ", ".join(COLUMNS)
_HEAD: Final = text(
    "SELECT chain_position, chain_hash FROM transactions WHERE chain_position IS NOT NULL"
    " ORDER BY chain_position DESC LIMIT 1"
)
_UNCHAINED: Final = text(
    f"SELECT {_LISTED} FROM transactions WHERE chain_hash IS NULL ORDER BY id LIMIT :most"  # noqa: S608
)
_LINK: Final = text(
    """
    UPDATE transactions t SET chain_position = k.position, chain_hash = decode(k.hash, 'hex')
    FROM unnest(CAST(:ids AS bigint[]), CAST(:times AS timestamptz[]),
        CAST(:positions AS bigint[]), CAST(:hashes AS text[])) AS k (id, at, position, hash)
    WHERE t.id = k.id AND t.occurred_at = k.at
    """
)
_CHAINED: Final = text(
    f"SELECT chain_position, chain_hash, {_LISTED} FROM transactions"  # noqa: S608
    " WHERE chain_position > :after ORDER BY chain_position LIMIT :most"
)
_STRAY: Final = text(
    "SELECT count(*) FROM transactions WHERE (chain_hash IS NULL) <> (chain_position IS NULL)"
)


@dataclass(frozen=True, slots=True)
class Head:
    """The last line of a chain."""

    position: int
    chain_hash: bytes
    added: int = 0


@dataclass(frozen=True, slots=True)
class Break:
    """A place where the log is not what was chained."""

    position: int
    reason: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What a check of the whole chain has found; no breaks means that it holds."""

    first_position: int
    """1, unless older lines were removed with their partition."""
    head: Head | None
    lines: int
    breaks: tuple[Break, ...]
    """The first of them, at most `MOST_BREAKS`."""
    lines_lost: int
    """Lines that could not be written when there was no room, as the log itself says."""


MOST_BREAKS: Final = 100


_DROPPED: Final = text(
    "SELECT max(CAST(substring(detail FROM 'up to position ([0-9]{1,18})$') AS bigint))"
    " FROM transactions WHERE kind = 'management' AND action = 'transactions.drop'"
)


_canonically: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def canonical(position: int, row: Mapping[str, Any]) -> bytes:
    """Return the bytes of a line that its hash covers."""
    values: list[Any] = [position]
    for name in COLUMNS:
        value = row[name]
        if name == "occurred_at":
            value = value.astimezone(UTC).isoformat(timespec="microseconds")
        elif name == "record_id":
            value = str(value)
        elif name == "duration_seconds" and value is not None:
            value = repr(float(value))
        values.append(value)
    return _canonically(values).encode()


def link(previous: bytes, position: int, row: Mapping[str, Any]) -> bytes:
    """Return the hash of the line at `position`."""
    return hashlib.sha256(previous + canonical(position, row)).digest()


def extend(connection: Connection, most: int = MOST_AT_ONCE) -> Head | None:
    """Chain at most `most` more lines; return the new head, or None when there were none.

    The caller commits. Another process that is at it already leaves nothing to do.
    """
    free = connection.execute(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": CHAIN_LOCK})
    if not free.scalar():
        return None
    rows = [row._asdict() for row in connection.execute(_UNCHAINED, {"most": most})]
    if not rows:
        return None
    found = connection.execute(_HEAD).first()
    position, digest = (found[0], bytes(found[1])) if found else (0, GENESIS)
    positions, hashes = [], []
    for row in rows:
        position += 1
        digest = link(digest, position, row)
        positions.append(position)
        hashes.append(digest.hex())
    connection.execute(
        _LINK,
        {
            "ids": [row["id"] for row in rows],
            "times": [row["occurred_at"] for row in rows],
            "positions": positions,
            "hashes": hashes,
        },
    )
    return Head(position, digest, len(rows))


def verify(connection: Connection, known: Head | None = None) -> Verification:
    """Check every chained line, in memory for a few of them.

    `known` is a head that was kept elsewhere: the chain must contain it.
    """
    breaks: list[Break] = []
    before: tuple[int, bytes] | None = None
    first = lines = lost = 0
    dropped = connection.execute(_DROPPED).scalar() or 0
    for row in _chained(connection):
        position, stored = row["chain_position"], bytes(row["chain_hash"])
        if before is None:
            first = position
            # What the first line followed is gone when its predecessors were removed.
            previous = GENESIS if position == 1 else None
        else:
            previous = before[1]
            if position != before[0] + 1:
                breaks += _gap(before[0], position, dropped)
                previous = None
        if previous is not None and link(previous, position, row) != stored:
            breaks.append(Break(position, "the line or its predecessor was changed"))
        if known is not None and position == known.position and stored != known.chain_hash:
            breaks.append(Break(position, "the chain was computed anew"))
        before = (position, stored)
        lines += 1
        lost += (row["objects"] or 0) if row["action"] == LINES_LOST else 0
    stray = connection.execute(_STRAY).scalar()
    if stray:
        breaks.append(Break(0, f"{stray} lines pretend to be in the chain"))
    if known is not None and (before is None or before[0] < known.position):
        breaks.append(Break(known.position, "the end of the log was cut off"))
    head = Head(*before) if before else None
    return Verification(first, head, lines, tuple(breaks[:MOST_BREAKS]), lost)


def _gap(before: int, position: int, dropped: int) -> list[Break]:
    """Return the break between two lines, unless lines of dropped months lay between them."""
    missing = position - before - 1
    if not missing:
        return [Break(position, "two lines have this position")]
    # Late lines of a month that was dropped were chained between younger ones.
    return [] if position <= dropped + 1 else [Break(position, f"{missing} lines are missing")]


def _chained(connection: Connection) -> Iterator[Mapping[str, Any]]:
    after = 0
    while True:
        rows = connection.execute(_CHAINED, {"after": after, "most": MOST_AT_ONCE})
        found = [row._asdict() for row in rows]
        yield from found
        if len(found) < MOST_AT_ONCE:
            return
        after = found[-1]["chain_position"]
