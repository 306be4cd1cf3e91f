"""Statements of the transaction log about itself.

Statements are log lines that explain the gaps in the chain and report lines without a valid
seal. With a key, only attested statements count, because an attacker with access to the database
alone could write such a line.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Self
from uuid import uuid4

from sqlalchemy import Connection, text

from draw_shared.contracts.transaction import (
    ACCEPTED,
    DROPPED,
    FINDINGS,
    SEALING_BEGUN,
    TransactionKind,
    TransactionOutcome,
)
from draw_shared.db.seals import Keyring
from draw_shared.db.transaction_lines import COLUMNS
from draw_shared.wording import message

STATEMENTS: Final = (DROPPED, SEALING_BEGUN, *FINDINGS, ACCEPTED)

_GAP: Final = re.compile(
    "lines ([0-9]{1,18}) to ([0-9]{1,18}), after ([0-9a-f]{64}), (last|next) ([0-9a-f]{64})"
)
_OLD_GAP: Final = re.compile("up to position ([0-9]{1,18})$")
_UP_TO: Final = re.compile("up to line ([0-9]{1,18})")
_SAID: Final = text(
    f"SELECT chain_position, attestation, {', '.join(COLUMNS)} FROM transactions"  # noqa: S608
    " WHERE action = ANY(:actions) AND chain_position IS NOT NULL ORDER BY chain_position"
)


@dataclass(frozen=True, slots=True)
class LogStatement:
    """A line in which the log states something about itself."""

    position: int
    action: str
    detail: str
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class Gap:
    """Missing lines and what surrounds them."""

    first: int
    last: int
    after: bytes
    """The hash of the line before the gap; 32 zero bytes at the beginning of the chain."""
    last_hash: bytes | None
    """The hash of the last missing line, which the line after the gap follows."""
    next_digest: bytes | None = None
    """If `last_hash` was lost: the hash of the line after the gap alone."""

    @classmethod
    def read(cls, detail: str) -> Self | None:
        """Return the gap that a statement describes; None for one of an earlier release."""
        found = _GAP.search(detail)
        if found is None:
            return None
        far = bytes.fromhex(found[5])
        last_hash, next_digest = (far, None) if found[4] == "last" else (None, far)
        return cls(int(found[1]), int(found[2]), bytes.fromhex(found[3]), last_hash, next_digest)

    def words(self, why: str) -> str:
        """Return the text of the statement; its end is for the previous release."""
        values = {"first": self.first, "last": self.last, "after": self.after.hex(), "why": why}
        if self.last_hash:
            return message(
                "lines %(first)s to %(last)s, after %(after)s, last %(hash)s, %(why)s, up to"
                " position %(last)s",
                hash=self.last_hash.hex(),
                **values,
            )
        return message(
            "lines %(first)s to %(last)s, after %(after)s, next %(hash)s, %(why)s, up to"
            " position %(last)s",
            hash=(self.next_digest or b"").hex(),
            **values,
        )


class LogAccount:
    """All trusted statements of the log about itself.

    Args:
        connection: within one transaction.
        keyring: None trusts every line of the chain, for logs without seals.
    """

    def __init__(self, connection: Connection, keyring: Keyring | None) -> None:
        rows = [row._asdict() for row in connection.execute(_SAID, {"actions": list(STATEMENTS)})]
        self.statements = [
            _statement(row) for row in rows if keyring is None or keyring.attests(row)
        ]
        self._old = [
            (row["chain_position"], int(found[1]))
            for row in rows
            if row["action"] == DROPPED
            and not _GAP.search(row["detail"] or "")
            and (found := _OLD_GAP.search(row["detail"] or ""))
        ]
        self._sealed = keyring is not None

    @property
    def begun(self) -> int:
        """The last position that existed before sealing began; 0 without any.

        It comes from the attested text: a database writer could change the line's position.
        """
        return self._up_to(SEALING_BEGUN)

    @property
    def sealing(self) -> bool:
        """Whether sealing has begun; earlier lines may have been dropped with their month."""
        return any(True for one in self.statements if one.action in {SEALING_BEGUN, DROPPED})

    @property
    def accepted(self) -> int:
        """The position up to which an operator has accepted the findings."""
        return self._up_to(ACCEPTED)

    def _up_to(self, action: str) -> int:
        found = (_UP_TO.search(one.detail) for one in self.of(action))
        return max((int(one[1]) for one in found if one), default=0)

    def of(self, *actions: str) -> Iterator[LogStatement]:
        """Yield the statements of these actions, oldest first."""
        return (one for one in self.statements if one.action in actions)

    def gaps(self) -> dict[tuple[int, int], Gap]:
        """Return the gaps by their first and last position; the latest statement counts."""
        said = (Gap.read(one.detail) for one in self.of(DROPPED))
        return {(gap.first, gap.last): gap for gap in said if gap is not None}

    def old_limit(self) -> int:
        """Return the position up to which lines may be missing by statements of earlier releases.

        Those name only this limit. In a sealed log they count only for positions from before
        sealing began.
        """
        begun = self.begun
        return max(
            (limit for position, limit in self._old if not self._sealed or position <= begun),
            default=0,
        )


def line(
    action: str, detail: str, replica: str, keyring: Keyring | None, *, objects: int | None = None
) -> dict[str, Any]:
    """Return an attested statement of the log about itself, in the form for `append`."""
    outcome = TransactionOutcome.WARNING if action in FINDINGS else TransactionOutcome.SUCCESS
    row: dict[str, Any] = {
        "record_id": str(uuid4()),
        "occurred_at": datetime.now(UTC),
        "kind": str(TransactionKind.MANAGEMENT),
        "outcome": str(outcome),
        "replica": replica,
        "objects": objects,
        "actor": "system",
        "action": action,
        "detail": detail,
    }
    attestation = None if keyring is None else f"\\x{keyring.attest(row).hex()}"
    return row | {"occurred_at": row["occurred_at"].isoformat(), "attestation": attestation}


def _statement(row: Mapping[str, Any]) -> LogStatement:
    return LogStatement(
        row["chain_position"], row["action"], row["detail"] or "", row["occurred_at"]
    )
