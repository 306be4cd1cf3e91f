"""Gaps in the transaction log, which the log states before they arise.

Before a month is dropped, statements in the chain name the lines to drop, the hash they follow
and the hash of their last line, so that verification can continue behind the gap. Late lines lie
between younger ones, so one month may leave several gaps. Adjacent gaps are stated as one. All
gaps are stated again each time, because earlier statements may be dropped as well.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Connection, text

from draw_shared.contracts.transaction import DROPPED, SEALING_BEGUN
from draw_shared.db import transaction_chain as chain
from draw_shared.db import transaction_statements as statements
from draw_shared.db.seals import NotSealed
from draw_shared.db.transaction_chain import Head, Sealing, hash_at
from draw_shared.db.transaction_lines import COLUMNS, GENESIS, digest, link
from draw_shared.db.transaction_statements import Gap, LogAccount
from draw_shared.errors import Permanent
from draw_shared.wording import message

MAX_OBJECTS: Final = 2**31 - 1
"""The largest value that the column holds."""

_LISTED: Final = ", ".join(COLUMNS)
_HOLES: Final = text(
    """
    SELECT before, position FROM (
        SELECT chain_position AS position, lag(chain_position, 1, CAST(0 AS bigint))
            OVER (ORDER BY chain_position) AS before
        FROM transactions WHERE chain_position IS NOT NULL) lines
    WHERE position > before + 1 ORDER BY position
    """
)
_FROM: Final = text(
    f"SELECT chain_position, chain_hash, seal, {_LISTED} FROM transactions"  # noqa: S608
    " WHERE chain_position > :after ORDER BY chain_position LIMIT :most"
)
_LINE_AT: Final = text(
    f"SELECT {_LISTED} FROM transactions WHERE chain_position = :position LIMIT 1"  # noqa: S608
)
_NEIGHBOURS: Final = text(
    """
    SELECT (SELECT chain_position FROM transactions WHERE chain_position < :position
            ORDER BY chain_position DESC LIMIT 1) AS before,
        (SELECT chain_position FROM transactions WHERE chain_position > :position
            ORDER BY chain_position LIMIT 1) AS behind
    """
)


class NotAsSealed(Permanent):
    """The lines to drop, or lines around them, do not match their seals; find out why."""

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(
            message("%(reason)s: no month of the transaction log is dropped", reason=reason)
        )
        self.position = position


def is_to_begin(connection: Connection, sealing: Sealing) -> bool:
    """Return whether the log shows no sign of earlier sealing."""
    return sealing.known is None and not LogAccount(connection, sealing.keyring).sealing


def begin(connection: Connection, sealing: Sealing) -> Head | None:
    """State once that sealing begins, and with which gaps; return the head of that statement.

    The gaps are those that the log itself explains. The caller holds the partitions' lock, so
    no month is dropped meanwhile. Reads the positions of the whole log.
    """
    head = chain.extend_whole(connection, None)
    if not is_to_begin(connection, sealing) or _is_sealed(head, sealing):
        return None
    words = message("up to line %(head)s everything is sealed as it was found", head=head.position)
    lines = [
        *(
            _line(gap, message("as found"), sealing.replica, sealing)
            for gap in _as_found(connection)
        ),
        statements.line(SEALING_BEGUN, words, sealing.replica, sealing.keyring),
    ]
    return chain.say(connection, lines, sealing)


def _is_sealed(head: Head, sealing: Sealing) -> bool:
    try:
        sealing.keyring.lines_sealed(head.seal, head.position, head.chain_hash)
    except NotSealed:
        return False
    return True


def say_missing(
    connection: Connection,
    runs: Sequence[tuple[int, int]],
    why: str,
    replica: str,
    sealing: Sealing | None,
) -> None:
    """State which lines will go, by the first and last of each run, before they are dropped."""
    account = LogAccount(connection, sealing.keyring if sealing else None)
    said = account.gaps()
    joined: list[Gap] = []
    for first, last in sorted(runs):
        gap = _reaching(connection, account, first, last)
        if joined and joined[-1].last >= gap.first - 1:
            before = joined.pop()
            gap = replace(gap, first=before.first, after=before.after)
        joined.append(gap)
    gaps = said | {(gap.first, gap.last): gap for gap in joined}
    largest = [one for one in gaps.values() if not any(_within(one, g) for g in gaps.values())]
    lines = [_line(gap, why, replica, sealing) for gap in largest]
    chain.say(connection, lines, sealing)


def require_genuine(
    connection: Connection, runs: Sequence[tuple[int, int]], sealing: Sealing
) -> None:
    """Refuse to drop lines if they or their neighbours do not match their hashes and seals.

    Otherwise retention would destroy the proof of a forgery, or lines backdated for that purpose.
    Findings that an operator has accepted do not prevent the drop. Reads all lines to drop.

    Raises:
        NotAsSealed: the text says where.
    """
    account = LogAccount(connection, sealing.keyring)
    for first, last in runs:
        try:
            _follow(connection, account, sealing, first, last)
        except NotAsSealed as error:
            if error.position > account.accepted:
                raise


def _follow(
    connection: Connection, account: LogAccount, sealing: Sealing, first: int, last: int
) -> None:
    """Verify a run of lines and continue to the next seal."""
    before = _before(connection, account, first)
    at = first - 1
    while rows := connection.execute(_FROM, {"after": at, "most": chain.MAX_LINES_AT_ONCE}).all():
        for row in rows:
            line, stored = row._asdict(), bytes(row.chain_hash)
            if row.chain_position != at + 1:
                return
            at = row.chain_position
            if before is not None and link(before, at, line) != stored:
                raise NotAsSealed(at, message("line %(at)s or its predecessor was changed", at=at))
            before = stored
            if line["seal"] is not None:
                try:
                    sealing.keyring.lines_sealed(line["seal"], at, stored)
                except NotSealed as error:
                    raise NotAsSealed(at, f"line {at}: {error}") from error
            if at >= last and (line["seal"] is not None or at <= account.begun):
                return
    raise NotAsSealed(at, message("lines up to %(at)s have no seal", at=at))


def _before(connection: Connection, account: LogAccount, first: int) -> bytes | None:
    """Return the hash that a line follows, if it is known."""
    if first == 1:
        return GENESIS
    gaps = account.gaps().values()
    dropped = max((gap for gap in gaps if gap.last == first - 1), key=_size, default=None)
    return hash_at(connection, first - 1) or (dropped.last_hash if dropped else None)


def _reaching(connection: Connection, account: LogAccount, first: int, last: int) -> Gap:
    """Return the gap that a run of lines leaves, merged with the explained gaps beside it.

    An unexplained gap is not merged, so the result does not explain it.
    """
    gap = Gap(first, last, GENESIS, hash_at(connection, last))
    said, old_limit = account.gaps().values(), account.old_limit()
    if first > 1:
        after = hash_at(connection, first - 1)
        explained = max((g for g in said if g.last == first - 1), key=_size, default=None)
        if after is not None:
            gap = replace(gap, after=after)
        elif explained is not None:
            gap = replace(gap, first=explained.first, after=explained.after)
        elif first - 1 <= old_limit:
            before = _neighbours(connection, first)[0] or 0
            after = hash_at(connection, before) if before else GENESIS
            gap = replace(gap, first=before + 1, after=after or GENESIS)
    if hash_at(connection, last + 1) is None:
        explained = max((g for g in said if g.first == last + 1), key=_size, default=None)
        behind = _neighbours(connection, last)[1]
        if explained is not None:
            far = explained.last_hash, explained.next_digest
            gap = replace(gap, last=explained.last, last_hash=far[0], next_digest=far[1])
        elif behind is not None and behind - 1 <= old_limit:
            found = _digest_at(connection, behind)
            gap = replace(gap, last=behind - 1, last_hash=None, next_digest=found)
    return gap


def _as_found(connection: Connection) -> Iterator[Gap]:
    """Yield the gaps that an unsealed log explains."""
    account = LogAccount(connection, None)
    said, old_limit = account.gaps(), account.old_limit()
    for before, position in connection.execute(_HOLES).all():
        after = hash_at(connection, before) if before else GENESIS
        explained = said.get((before + 1, position - 1))
        if explained is not None:
            yield explained
        elif position - 1 <= old_limit:
            found = _digest_at(connection, position)
            yield Gap(before + 1, position - 1, after or GENESIS, None, found)


def _digest_at(connection: Connection, position: int) -> bytes:
    row = connection.execute(_LINE_AT, {"position": position}).one()._asdict()
    return digest(position, row)


def _neighbours(connection: Connection, position: int) -> tuple[int | None, int | None]:
    found = connection.execute(_NEIGHBOURS, {"position": position}).one()
    return found.before, found.behind


def _line(gap: Gap, why: str, replica: str, sealing: Sealing | None) -> dict[str, Any]:
    return statements.line(
        DROPPED,
        gap.words(why),
        replica,
        sealing.keyring if sealing else None,
        objects=min(_size(gap), MAX_OBJECTS),
    )


def _within(gap: Gap, other: Gap) -> bool:
    return gap is not other and other.first <= gap.first and gap.last <= other.last


def _size(gap: Gap) -> int:
    return gap.last - gap.first + 1
