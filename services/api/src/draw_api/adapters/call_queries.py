"""Reads recent calls of peers from the transaction log."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import TextClause, text
from sqlmodel import Session
from typing_extensions import override

from draw_api.models.devices import PeerLine
from draw_api.ports.devices import CallRepository

MAX_LINES: Final = 100
"""Lines of a kind, or of a peer; a device that is being set up has few."""
COLUMNS: Final = (
    "occurred_at, kind, outcome, association_id, calling_ae, called_ae, peer_address, detail"
)
# Each kind by its own index: C-STOREs of others may be most of the log. With = the order would be
# that of time alone, and all of the log lie before the newest of a rare kind.
NEWEST_CALLS: Final = text(
    f"""
    SELECT line.* FROM unnest('{{association,rejection,c-echo}}'::text[]) AS kinds (kind),
        LATERAL (SELECT {COLUMNS} FROM transactions t
            WHERE t.kind >= kinds.kind AND t.kind <= kinds.kind
                AND t.occurred_at > CAST(:after AS timestamptz)
            ORDER BY t.kind DESC, t.occurred_at DESC LIMIT :lines) line
    ORDER BY line.occurred_at DESC
    """  # noqa: S608 - our own words
)
NEWEST_CALLS_OF: Final = text(
    f"SELECT {COLUMNS} FROM transactions"  # noqa: S608 - our own words
    " WHERE calling_ae = :calling_ae AND occurred_at > CAST(:after AS timestamptz)"
    " ORDER BY occurred_at DESC LIMIT :lines"
)


class PostgresCallRepository(CallRepository):
    """The table `transactions`, within one transaction."""

    def __init__(self, session: Session) -> None:
        self._connection = session.connection()

    @override
    def newest(self, since: datetime) -> Sequence[PeerLine]:
        return self._read(NEWEST_CALLS, since)

    @override
    def newest_of(self, ae_title: str, since: datetime) -> Sequence[PeerLine]:
        return self._read(NEWEST_CALLS_OF, since, calling_ae=ae_title)

    def _read(self, statement: TextClause, since: datetime, **more: str) -> list[PeerLine]:
        asked = {"after": since, "lines": MAX_LINES} | more
        return [PeerLine(*row) for row in self._connection.execute(statement, asked)]
