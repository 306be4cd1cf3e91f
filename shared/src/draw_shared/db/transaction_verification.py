"""Verifies the whole transaction log: every line must match its hash and its seal.

Without the keys only the chain is verified, which a writer of the database could recompute.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, text

from draw_shared.contracts.transaction import CUT, FINDINGS, LINES_LOST, NOT_SEALED
from draw_shared.db.seals import Keyring, NotSealed
from draw_shared.db.transaction_chain import MAX_LINES_AT_ONCE, Head
from draw_shared.db.transaction_lines import COLUMNS, GENESIS, digest, link
from draw_shared.db.transaction_statements import Gap, LogAccount
from draw_shared.wording import message

MAX_BREAKS: Final = 100

_LISTED: Final = ", ".join(COLUMNS)
_CHAINED: Final = text(
    f"""
    SELECT chain_position, chain_hash, seal, {_LISTED} FROM transactions
    WHERE chain_position >= greatest(1, :after)
        AND (chain_position, id, occurred_at) > (:after, :after_id, :after_time)
    ORDER BY chain_position, id, occurred_at LIMIT :most
    """  # noqa: S608 - names of columns
)
_STRAY: Final = text(
    "SELECT count(*) FROM transactions WHERE (chain_hash IS NULL) <> (chain_position IS NULL)"
    " OR (seal IS NOT NULL AND chain_hash IS NULL) OR chain_position < 1"
)
_TWICE: Final = text(
    "SELECT max(chain_position) FROM transactions GROUP BY record_id, occurred_at"
    " HAVING count(*) > 1 ORDER BY 1 LIMIT :most"
)
_WAITING: Final = text("SELECT count(*) FROM transactions WHERE chain_hash IS NULL")


@dataclass(frozen=True, slots=True)
class Break:
    """A place where the log does not match its hashes or seals."""

    position: int
    reason: str


@dataclass(frozen=True, slots=True)
class Finding:
    """A mismatch that an indexer found in the log and recorded there before it continued."""

    position: int
    occurred_at: datetime
    action: str
    detail: str
    accepted: bool
    """Whether an operator has accepted it since."""


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of a verification; without breaks the log is intact."""

    first_position: int
    """1, unless older lines were dropped with their partition."""
    head: Head | None
    lines: int
    breaks: tuple[Break, ...]
    """The first breaks, at most `MAX_BREAKS`."""
    lines_lost: int
    """Lines that could not be written for lack of space, as the log itself states."""
    sealed: bool
    """Whether the seals were verified too."""
    as_found: int
    """The last position from before sealing began; 0: the log is sealed from its first line."""
    findings: tuple[Finding, ...]
    waiting: int
    """The number of lines not chained yet."""

    @property
    def intact(self) -> bool:
        """Whether there are no breaks and no unaccepted findings."""
        return not self.breaks and all(found.accepted for found in self.findings)


def verify(
    connection: Connection, known: Sequence[Head] = (), keyring: Keyring | None = None
) -> Verification:
    """Verify every chained line in bounded memory.

    `known` are heads that were kept outside the database; the chain must contain them.
    """
    account = LogAccount(connection, keyring)
    walk = _ChainWalk(account, keyring, known)
    for row in _read_chain(connection):
        walk.follow(row)
    stray = connection.execute(_STRAY).scalar()
    walk.end(stray or 0, connection.execute(_TWICE, {"most": MAX_BREAKS}).scalars())
    accepted = account.accepted
    findings = tuple(
        Finding(one.position, one.occurred_at, one.action, one.detail, one.position <= accepted)
        for one in account.of(*FINDINGS)
    )
    return Verification(
        first_position=walk.first,
        head=walk.head,
        lines=walk.lines,
        breaks=tuple(walk.breaks[:MAX_BREAKS]),
        lines_lost=walk.lost,
        sealed=keyring is not None,
        as_found=account.begun,
        findings=findings,
        waiting=connection.execute(_WAITING).scalar() or 0,
    )


class _ChainWalk:
    """A walk along the chain, line by line."""

    def __init__(self, account: LogAccount, keyring: Keyring | None, known: Sequence[Head]) -> None:
        self._gaps = account.gaps()
        self._old_limit = account.old_limit()
        self._begun = account.begun
        self._doubted = {one.position for one in account.of(CUT, NOT_SEALED)}
        self._keyring = keyring
        self._known = known
        self._sealed_to = 0
        self.breaks: list[Break] = []
        self.first = self.lines = self.lost = 0
        self.head: Head | None = None

    def follow(self, row: Mapping[str, Any]) -> None:
        """Verify the next line."""
        position, stored = row["chain_position"], bytes(row["chain_hash"] or b"")
        before = self.head or Head(0, GENESIS)
        self.first = self.first or position
        if position == before.position + 1:
            if link(before.chain_hash, position, row) != stored:
                self._broken(position, message("the line or its predecessor was changed"))
        elif position <= before.position:
            self._broken(position, message("two lines have this position"))
        else:
            self._over_gap(before, position, row, stored)
        if any(position == one.position and stored != one.chain_hash for one in self._known):
            self._broken(position, message("the chain was computed anew"))
        if self._keyring is not None:
            self._under_seal(self._keyring, row["seal"], position, stored)
        self.head = Head(position, stored, seal=row["seal"])
        self.lines += 1
        self.lost += (row["objects"] or 0) if row["action"] == LINES_LOST else 0

    def end(self, stray: int, twice: Iterable[int | None]) -> None:
        """Verify the chain as a whole, given the number of stray lines and the copied positions."""
        last = self.head.position if self.head else 0
        if self._keyring is not None and last > max(self._sealed_to, self._begun):
            self._unsealed(last)
        if stray:
            self._broken(0, message("%(stray)s lines pretend to be in the chain", stray=stray))
        for position in twice:
            # A copy carries the attestation of its original.
            self._broken(position or 0, message("the line is a copy of another one"))
        newest = max((one.position for one in self._known), default=0)
        if last < newest:
            self._broken(
                newest,
                message(
                    "the log ends at line %(last)s, before the head that was kept: a backup "
                    "was restored, or its end was cut off",
                    last=last,
                ),
            )

    def _over_gap(self, before: Head, position: int, row: Mapping[str, Any], stored: bytes) -> None:
        missing = position - before.position - 1
        gap = self._gaps.get((before.position + 1, position - 1))
        if gap is None:
            # Late lines of a dropped month were chained between younger ones.
            if position > self._old_limit + 1:
                self._broken(position, message("%(missing)s lines are missing", missing=missing))
            return
        self._sealed_to = max(self._sealed_to, gap.last)
        if not _bridges(gap, before, position, row, stored):
            self._broken(
                position, message("the lines on either side of what was dropped were changed")
            )

    def _under_seal(
        self, keyring: Keyring, seal: bytes | None, position: int, stored: bytes
    ) -> None:
        if seal is None:
            return
        try:
            lines = keyring.lines_sealed(seal, position, stored)
        except NotSealed as error:
            self._broken(position, str(error))
            return
        first = position - lines + 1
        # A statement has already reported the state of the lines before it.
        said = first in self._doubted
        if first > max(self._sealed_to, self._begun) + 1 and not said:
            self._unsealed(first - 1)
        self._sealed_to = position

    def _unsealed(self, last: int) -> None:
        first = max(self._sealed_to, self._begun) + 1
        self._broken(
            last,
            message(
                "lines %(first)s to %(last)s have no seal: a service without the key of "
                "the log, or a release before, wrote them, or somebody else did",
                first=first,
                last=last,
            ),
        )

    def _broken(self, position: int, reason: str) -> None:
        self.breaks.append(Break(position, reason))


def _bridges(gap: Gap, before: Head, position: int, row: Mapping[str, Any], stored: bytes) -> bool:
    """Return whether the lines on both sides of a gap match its statement."""
    if gap.after != before.chain_hash:
        return False
    if gap.last_hash is not None:
        return link(gap.last_hash, position, row) == stored
    return digest(position, row) == gap.next_digest


def _read_chain(connection: Connection) -> Iterator[Mapping[str, Any]]:
    after = {"after": 0, "after_id": 0, "after_time": datetime.min.replace(tzinfo=UTC)}
    while True:
        rows = connection.execute(_CHAINED, after | {"most": MAX_LINES_AT_ONCE})
        found = [row._asdict() for row in rows]
        yield from found
        if len(found) < MAX_LINES_AT_ONCE:
            return
        last = found[-1]
        after = {
            "after": last["chain_position"],
            "after_id": last["id"],
            "after_time": last["occurred_at"],
        }
