"""The hash chain over the transaction log: it reveals changed, removed and inserted lines.

Each line in the chain has a position, counted from 1 without gaps, and the hash
`SHA-256(hash of the previous line || canonical form of this line)`; the first line follows 32
zero bytes.

Concurrency: one transaction at a time extends the chain, under the advisory lock `CHAIN_LOCK`.
Lines that services report are written and chained together (`append`), so each row is
written once; a second writer waits for the commit of the first. Lines that belong to another
transaction, such as an operator's action, must not wait for the lock. They are written without a
position, and a later step (`extend`) chains them after some seconds; until then their attestation
protects them. A crash loses only the uncommitted batch, which its sender delivers again.

An attacker who can write every row can compute a new chain but cannot seal it: the last line of
each batch has a seal made with a key that is not in the database (`draw_shared.db.seals`). Before
a batch continues the chain, this module checks the seal of the head and that the chain contains
the newest sealed head known to this process. A mismatch is never sealed over silently: a line
reports it first (`draw_shared.db.transaction_statements`).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import Connection, text

from draw_shared.contracts.transaction import CUT, NOT_ATTESTED, NOT_SEALED
from draw_shared.db import transaction_statements as statements
from draw_shared.db.seals import Keyring, NotSealed
from draw_shared.db.transaction_lines import COLUMNS, GENESIS, link
from draw_shared.db.transaction_statements import LogAccount
from draw_shared.wording import message

CHAIN_LOCK: Final = 0x44524148
"""Key of the advisory lock under which the chain grows, by one process at a time."""

MAX_LINES_AT_ONCE: Final = 2000
MAX_NAMED: Final = 20
NOBODY_ATTESTS: Final = message(
    "written by a service without the key of the log, by a release before, or by somebody else"
)
FAR_BACK: Final = 10_000
"""How many lines are searched for the newest seal when the head has none."""

_LISTED: Final = ", ".join(COLUMNS)
_GIVEN: Final = ", ".join(COLUMNS[1:])
_GIVEN_QUALIFIED: Final = ", ".join(f"given.{name}" for name in COLUMNS[1:])
_TAKE_TURN: Final = text("SELECT pg_advisory_xact_lock(:key)")
_TRY_TURN: Final = text("SELECT pg_try_advisory_xact_lock(:key)")
_HEAD: Final = text(
    "SELECT chain_position, chain_hash, seal FROM transactions WHERE chain_position IS NOT NULL"
    " ORDER BY chain_position DESC LIMIT 1"
)
_HASH_AT: Final = text("SELECT chain_hash FROM transactions WHERE chain_position = :position")
_LAST_SEALED: Final = text(
    "SELECT chain_position FROM transactions WHERE chain_position > :after"
    " AND seal IS NOT NULL ORDER BY chain_position DESC LIMIT 1"
)
_UNCHAINED: Final = text(
    f"SELECT {_LISTED}, attestation FROM transactions"  # noqa: S608
    " WHERE chain_hash IS NULL ORDER BY id LIMIT :most"
)
_LINK: Final = text(
    "SELECT link_transactions(CAST(:ids AS bigint[]), CAST(:times AS timestamptz[]),"
    " CAST(:positions AS bigint[]), CAST(:hashes AS text[]), :sealed, :seal)"
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
    INSERT INTO transactions (id, {_GIVEN}, attestation, chain_position, chain_hash, seal)
    SELECT link.id, {_GIVEN_QUALIFIED}, given.attestation, link.position,
        decode(link.hash, 'hex'), CASE WHEN link.position = :sealed THEN decode(:seal, 'hex') END
    FROM unnest(CAST(:places AS bigint[]), CAST(:ids AS bigint[]), CAST(:positions AS bigint[]),
            CAST(:hashes AS text[])) AS link (place, id, position, hash)
        JOIN jsonb_populate_recordset(NULL::transactions, CAST(:rows AS jsonb))
            WITH ORDINALITY AS given ON given.ordinality = link.place
    ORDER BY link.position
    """  # noqa: S608 - names of columns
)


@dataclass(frozen=True, slots=True)
class Head:
    """The last line of a chain."""

    position: int
    chain_hash: bytes
    added: int = 0
    """How many lines this step added to the chain."""
    seal: bytes | None = None
    said: tuple[str, ...] = ()
    """Actions of the statements that this step had to write about the log itself."""


@dataclass(frozen=True, slots=True)
class Sealing:
    """The keys of a process and the newest sealed head that it knows."""

    keyring: Keyring
    replica: str
    known: Head | None = None


def append(connection: Connection, rows: str, sealing: Sealing | None = None) -> Head | None:
    """Append lines to the chain and return the new head; None if the log has all of them already.

    `rows` is a JSON list of lines by columns, without `id`. The caller commits; other writers
    wait until then.
    """
    connection.execute(_TAKE_TURN, {"key": CHAIN_LOCK})
    fresh = _fresh(connection, rows)
    if not fresh:
        return None
    return _write_chained(connection, _check_head(connection, sealing), rows, fresh, sealing)


def say(
    connection: Connection, lines: Sequence[Mapping[str, Any]], sealing: Sealing | None
) -> Head:
    """Append statements of the log about itself and return the new head."""
    connection.execute(_TAKE_TURN, {"key": CHAIN_LOCK})
    return _state(connection, _check_head(connection, sealing), lines, sealing)


def extend(
    connection: Connection, sealing: Sealing | None = None, most: int = MAX_LINES_AT_ONCE
) -> Head | None:
    """Chain at most `most` unchained lines; return the new head if the chain grew.

    The caller commits. Does nothing while another process holds the lock.
    """
    if not connection.execute(_TRY_TURN, {"key": CHAIN_LOCK}).scalar():
        return None
    head = _check_head(connection, sealing)
    longer = _extend(connection, head, sealing, most)
    return longer if longer.added or longer.said else None


def extend_whole(connection: Connection, sealing: Sealing | None) -> Head:
    """Chain every line and return the head; other writers wait until the commit."""
    connection.execute(_TAKE_TURN, {"key": CHAIN_LOCK})
    head = _check_head(connection, sealing)
    while (longer := _extend(connection, head, sealing, MAX_LINES_AT_ONCE)) is not head:
        head = longer
    return head


def hash_at(connection: Connection, position: int) -> bytes | None:
    """Return the hash of a line; None when the line is missing."""
    found = connection.execute(_HASH_AT, {"position": position}).scalar()
    return None if found is None else bytes(found)


def _extend(connection: Connection, head: Head, sealing: Sealing | None, most: int) -> Head:
    rows = [row._asdict() for row in connection.execute(_UNCHAINED, {"most": most})]
    if not rows:
        return head
    longer, links = _link_rows(head, rows, sealing)
    connection.execute(_LINK, links | {"times": [row["occurred_at"] for row in rows]})
    if sealing is None:
        return longer
    doubtful = [
        position
        for position, row in enumerate(rows, head.position + 1)
        if not sealing.keyring.attests(row)
    ]
    if not doubtful:
        return longer
    named = ", ".join(map(str, doubtful[:MAX_NAMED]))
    more = len(doubtful) - MAX_NAMED
    words = (
        message(
            "lines %(named)s and %(more)s more: written by a service without the key of the log,"
            " by a release before, or by somebody else",
            named=named,
            more=more,
        )
        if more > 0
        else message(
            "lines %(named)s: written by a service without the key of the log, by a release before,"
            " or by somebody else",
            named=named,
        )
    )
    made = statements.line(
        NOT_ATTESTED,
        words,
        sealing.replica,
        sealing.keyring,
        objects=len(doubtful),
    )
    return _state(connection, longer, [made], sealing)


def _check_head(connection: Connection, sealing: Sealing | None) -> Head:
    """Return the head; if its seal does not match, first write a statement that says so."""
    found = connection.execute(_HEAD).first()
    head = Head(found[0], bytes(found[1]), seal=found[2]) if found else Head(0, GENESIS)
    if sealing is None:
        return head
    finding = _finding(connection, head, sealing)
    if finding is None:
        return head
    made = statements.line(*finding, sealing.replica, sealing.keyring)
    return _state(connection, head, [made], sealing)


def _finding(connection: Connection, head: Head, sealing: Sealing) -> tuple[str, str] | None:
    """Return action and text of the statement about a mismatch at the head; None without one."""
    known, keyring = sealing.known, sealing.keyring
    if known is not None and not _contains(connection, head, known, keyring):
        values = {
            "line": known.position,
            "hash": known.chain_hash.hex(),
            "last": head.position,
        }
        if head.position < known.position:
            return CUT, message(
                "line %(line)s with the hash %(hash)s was sealed and is not here (it ends at line"
                " %(last)s): a backup was restored, or the log was rewritten; up to line %(last)s"
                " it is as it was found",
                **values,
            )
        return CUT, message(
            "line %(line)s with the hash %(hash)s was sealed and is not here (changed): a backup"
            " was restored, or the log was rewritten; up to line %(last)s it is as it was found",
            **values,
        )
    try:
        if head.position:
            keyring.lines_sealed(head.seal, head.position, head.chain_hash)
    except NotSealed as error:
        if known is None and not LogAccount(connection, keyring).sealing:
            return None  # The statement that begins sealing covers all earlier lines.
        after = max(0, head.position - FAR_BACK)
        last = connection.execute(_LAST_SEALED, {"after": after}).scalar()
        if last in {None, head.position}:
            return NOT_SEALED, message(
                "lines to %(last)s were not sealed (%(why)s): %(writers)s; they are as they were"
                " found",
                last=head.position,
                why=error,
                writers=NOBODY_ATTESTS,
            )
        return NOT_SEALED, message(
            "lines from %(first)s to %(last)s were not sealed (%(why)s): %(writers)s; they are as"
            " they were found",
            first=last + 1,
            last=head.position,
            why=error,
            writers=NOBODY_ATTESTS,
        )
    return None


def _contains(connection: Connection, head: Head, known: Head, keyring: Keyring) -> bool:
    """Return whether the chain has a sealed head, or a statement that it was dropped."""
    if head.position < known.position:
        return False
    if head.position == known.position:
        return head.chain_hash == known.chain_hash
    found = hash_at(connection, known.position)
    if found is not None:
        return found == known.chain_hash
    gaps = LogAccount(connection, keyring).gaps()
    return any(first <= known.position <= last for first, last in gaps)


def _state(
    connection: Connection,
    head: Head,
    lines: Sequence[Mapping[str, Any]],
    sealing: Sealing | None,
) -> Head:
    rows = json.dumps(list(lines), separators=(",", ":"))
    longer = _write_chained(connection, head, rows, _fresh(connection, rows), sealing)
    actions = tuple(str(line["action"]) for line in lines)
    return replace(longer, said=head.said + actions, added=head.added)


def _fresh(connection: Connection, rows: str) -> list[dict[str, Any]]:
    return [row._asdict() for row in connection.execute(_FRESH, {"rows": rows})]


def _write_chained(
    connection: Connection,
    head: Head,
    rows: str,
    fresh: Sequence[Mapping[str, Any]],
    sealing: Sealing | None,
) -> Head:
    longer, links = _link_rows(head, fresh, sealing)
    places = {"rows": rows, "places": [row["place"] for row in fresh]}
    connection.execute(_APPEND, links | places)
    return longer


def _link_rows(
    head: Head, rows: Sequence[Mapping[str, Any]], sealing: Sealing | None
) -> tuple[Head, dict[str, Any]]:
    """Return the head of the chain with these rows, and the chain columns for them."""
    chain_hash = head.chain_hash
    hashes = []
    for position, row in enumerate(rows, head.position + 1):
        chain_hash = link(chain_hash, position, row)
        hashes.append(chain_hash.hex())
    last = head.position + len(rows)
    seal = sealing.keyring.seal(last, len(rows), chain_hash) if sealing else None
    links = {
        "ids": [row["id"] for row in rows],
        "positions": list(range(head.position + 1, last + 1)),
        "hashes": hashes,
        "sealed": last if seal else 0,
        "seal": seal.hex() if seal else "",
    }
    return Head(last, chain_hash, head.added + len(rows), seal, head.said), links
