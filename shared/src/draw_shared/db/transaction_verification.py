"""The check of the whole transaction log: is every line as it was chained and sealed?

Without the keys only the chain is checked, which whoever writes the database can compute anew.
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
    """A place where the log is not what was chained and sealed."""

    position: int
    reason: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What an indexer found in the log and wrote into it, before it went on."""

    position: int
    occurred_at: datetime
    action: str
    detail: str
    accepted: bool
    """Somebody has looked at it since."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What a check of the whole log has found; no breaks means that it holds."""

    first_position: int
    """1, unless older lines were removed with their partition."""
    head: Head | None
    lines: int
    breaks: tuple[Break, ...]
    """The first of them, at most `MAX_BREAKS`."""
    lines_lost: int
    """Lines that could not be written when there was no room, as the log itself says."""
    sealed: bool
    """Whether seals were checked too."""
    as_found: int
    """The position up to which the log was there before sealing began; 0: sealed from the first."""
    findings: tuple[Finding, ...]
    waiting: int
    """Lines that are not in the chain yet."""

    @property
    def intact(self) -> bool:
        """Whether nothing is wrong that nobody has looked at."""
        return not self.breaks and all(found.accepted for found in self.findings)


def verify(
    connection: Connection, known: Sequence[Head] = (), keyring: Keyring | None = None
) -> Verification:
    """Check every chained line, in memory for a few of them.

    `known` are heads that were kept elsewhere: the chain must contain them.
    """
    account = LogAccount(connection, keyring)
    walk = _ChainWalk(account, keyring, known)
    for row in _chained(connection):
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
    """One way along the chain, line by line."""

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
        """Go one line further."""
        position, stored = row["chain_position"], bytes(row["chain_hash"] or b"")
        before = self.head or Head(0, GENESIS)
        self.first = self.first or position
        if position == before.position + 1:
            if link(before.chain_hash, position, row) != stored:
                self._broken(position, "the line or its predecessor was changed")
        elif position <= before.position:
            self._broken(position, "two lines have this position")
        else:
            self._over_gap(before, position, row, stored)
        if any(position == one.position and stored != one.chain_hash for one in self._known):
            self._broken(position, "the chain was computed anew")
        if self._keyring is not None:
            self._under_seal(self._keyring, row["seal"], position, stored)
        self.head = Head(position, stored, seal=row["seal"])
        self.lines += 1
        self.lost += (row["objects"] or 0) if row["action"] == LINES_LOST else 0

    def end(self, stray: int, twice: Iterable[int | None]) -> None:
        """Say what is wrong with the whole: how many lines are astray, which are there again."""
        last = self.head.position if self.head else 0
        if self._keyring is not None and last > max(self._sealed_to, self._begun):
            self._unsealed(last)
        if stray:
            self._broken(0, f"{stray} lines pretend to be in the chain")
        for position in twice:
            # Its attestation is that of the line it was copied from.
            self._broken(position or 0, "the line is a copy of another one")
        newest = max((one.position for one in self._known), default=0)
        if last < newest:
            self._broken(
                newest,
                f"the log ends at line {last}, before the head that was kept:"
                " a backup was restored, or its end was cut off",
            )

    def _over_gap(self, before: Head, position: int, row: Mapping[str, Any], stored: bytes) -> None:
        missing = position - before.position - 1
        gap = self._gaps.get((before.position + 1, position - 1))
        if gap is None:
            # Late lines of a month that was dropped were chained between younger ones.
            if position > self._old_limit + 1:
                self._broken(position, f"{missing} lines are missing")
            return
        self._sealed_to = max(self._sealed_to, gap.last)
        if not _bridges(gap, before, position, row, stored):
            self._broken(position, "the lines on either side of what was dropped were changed")

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
        # A line of its own has said in what state those before it were found.
        said = first in self._doubted
        if first > max(self._sealed_to, self._begun) + 1 and not said:
            self._unsealed(first - 1)
        self._sealed_to = position

    def _unsealed(self, last: int) -> None:
        first = max(self._sealed_to, self._begun) + 1
        self._broken(
            last,
            f"lines {first} to {last} have no seal: a service without the key of the log, or a"
            " release before, wrote them, or somebody else did",
        )

    def _broken(self, position: int, reason: str) -> None:
        self.breaks.append(Break(position, reason))


def _bridges(gap: Gap, before: Head, position: int, row: Mapping[str, Any], stored: bytes) -> bool:
    """Return whether the lines on either side of a gap are those that its statement names."""
    if gap.after != before.chain_hash:
        return False
    if gap.last_hash is not None:
        return link(gap.last_hash, position, row) == stored
    return digest(position, row) == gap.next_digest


def _chained(connection: Connection) -> Iterator[Mapping[str, Any]]:
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
