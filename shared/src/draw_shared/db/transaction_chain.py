"""The hash chain over the transaction log: a changed, removed or inserted line is noticed.

Each line in the chain has a position, counted from 1 without gaps, and the hash
`SHA-256(hash of the line before || canonical form of this line)`; the first follows 32 zero
bytes. What services report is chained in the same breath in which it is written (`append`),
so that each row is written once; who appends waits for the one before. Lines that are part
of somebody else's transaction, such as an operator's actions, do not wait: they are chained
by a step of its own (`extend`), some seconds later, and are not protected until then.

The canonical form is a JSON array, UTF-8, no spaces, of the position and then the columns in
the order of `COLUMNS`: text and whole numbers as they are, the UUID as text, the time as UTC
text with microseconds, `duration_seconds` as Python's shortest text, absent values as null.

Whoever may write every row can also compute a new chain. Against him the heads that the
indexer writes to its log are kept elsewhere; `verify` takes one.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
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
_GIVEN: Final = ", ".join(COLUMNS[1:])
_GIVEN_QUALIFIED: Final = ", ".join(f"given.{name}" for name in COLUMNS[1:])
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
_FRESH: Final = text(
    f"""
    SELECT nextval(pg_get_serial_sequence('transactions', 'id')) AS id, found.*
    FROM (SELECT DISTINCT ON (occurred_at, record_id) ordinality AS place, {_GIVEN}
        FROM jsonb_populate_recordset(NULL::transactions, CAST(:rows AS jsonb))
            WITH ORDINALITY AS given
        WHERE NOT EXISTS (SELECT FROM transactions t
            WHERE t.record_id = given.record_id AND t.occurred_at = given.occurred_at)
        ORDER BY occurred_at, record_id) found
    """  # noqa: S608 - names of columns
)
_APPEND: Final = text(
    f"""
    INSERT INTO transactions (id, {_GIVEN}, chain_position, chain_hash)
    SELECT link.id, {_GIVEN_QUALIFIED}, link.position, decode(link.hash, 'hex')
    FROM unnest(CAST(:places AS bigint[]), CAST(:ids AS bigint[]), CAST(:positions AS bigint[]),
            CAST(:hashes AS text[])) AS link (place, id, position, hash)
        JOIN jsonb_populate_recordset(NULL::transactions, CAST(:rows AS jsonb))
            WITH ORDINALITY AS given ON given.ordinality = link.place
    ORDER BY link.position
    """  # noqa: S608 - names of columns
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


def append(connection: Connection, rows: str) -> Head | None:
    """Write lines that are not there yet, as the next of the chain; return the new head.

    `rows` is a JSON list of lines by columns, without `id`. None: all were there. The caller
    commits; others who append wait until then.
    """
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": CHAIN_LOCK})
    fresh = [row._asdict() for row in connection.execute(_FRESH, {"rows": rows})]
    if not fresh:
        return None
    head, links = _linked(connection, fresh)
    places = {"rows": rows, "places": [row["place"] for row in fresh]}
    connection.execute(_APPEND, links | places)
    return head


def extend(connection: Connection, most: int = MOST_AT_ONCE) -> Head | None:
    """Chain at most `most` lines that were written unchained; return the new head if there were.

    The caller commits. Another process that is at it already leaves nothing to do.
    """
    free = connection.execute(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": CHAIN_LOCK})
    if not free.scalar():
        return None
    rows = [row._asdict() for row in connection.execute(_UNCHAINED, {"most": most})]
    if not rows:
        return None
    head, links = _linked(connection, rows)
    connection.execute(_LINK, links | {"times": [row["occurred_at"] for row in rows]})
    return head


def _linked(
    connection: Connection, rows: Sequence[Mapping[str, Any]]
) -> tuple[Head, dict[str, Any]]:
    """Return the head that the chain has with these rows, and their ids, positions and hashes."""
    found = connection.execute(_HEAD).first()
    position, digest = (found[0], bytes(found[1])) if found else (0, GENESIS)
    hashes = []
    for number, row in enumerate(rows, position + 1):
        digest = link(digest, number, row)
        hashes.append(digest.hex())
    last = position + len(rows)
    positions = list(range(position + 1, last + 1))
    links = {"ids": [row["id"] for row in rows], "positions": positions, "hashes": hashes}
    return Head(last, digest, len(rows)), links


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
