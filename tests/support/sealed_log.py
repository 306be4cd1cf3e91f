"""A sealed transaction log, and somebody who may write every row of it but has no key."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

from sqlalchemy import text

from draw_shared.db import partitions, transaction_chain
from draw_shared.db.seals import Keyring, attested
from draw_shared.db.transaction_chain import Sealing
from draw_shared.db.transaction_lines import COLUMNS, GENESIS, link
from draw_shared.db.transaction_verification import verify

KEYS = Keyring.read("k" * 64)
SEALING = Sealing(KEYS, "indexer")
NOW = datetime.now(UTC)
INSERT = text(
    "INSERT INTO transactions (record_id, occurred_at, kind, outcome, replica, actor, action,"
    " detail, attestation) VALUES (:record_id, :occurred_at, :kind, :outcome, :replica, :actor,"
    " :action, :detail, :attestation)"
)
LINES = text(
    f"SELECT {', '.join(COLUMNS)}, chain_position, chain_hash, seal, attestation"  # noqa: S608
    " FROM transactions ORDER BY chain_position, id"
)
PLACE = text(
    "UPDATE transactions SET chain_position = :position, chain_hash = :hash, seal = :seal"
    " WHERE id = :id AND occurred_at = :at"
)


def reported(*moments):
    """Return lines of services, as the broker brings them."""
    return json.dumps(
        [
            {
                "record_id": str(uuid4()),
                "occurred_at": moment.isoformat(),
                "kind": "c-store",
                "outcome": "success",
                "replica": "scp",
                "status": 0,
                "duration_seconds": 0.25,
                "calling_ae": "CT",
            }
            for moment in moments
        ]
    )


def managed(connection, action="config.update", *, moment=NOW, keyring=KEYS, **more):
    """Write a line as the API does, unchained; without a key as an attacker can."""
    line = {
        "record_id": uuid4(),
        "occurred_at": moment,
        "kind": "management",
        "outcome": "success",
        "replica": "api",
        "actor": "admin",
        "action": action,
        "detail": "x",
    } | more
    connection.execute(INSERT, attested(line, keyring))


class SealedLog:
    """The log of one connection, as an indexer keeps it."""

    def __init__(self, connection, sealing=SEALING):
        self.connection = connection
        self.sealing = sealing

    def begin(self):
        """Begin sealing what is there."""
        self._grown(partitions.begin_sealing(self.connection, self.sealing))
        return self

    def report(self, *moments):
        """Append lines of services in one batch."""
        rows = reported(*(moments or (NOW,)))
        self._grown(transaction_chain.append(self.connection, rows, self.sealing))
        return self

    def extend(self):
        """Chain what was written unchained."""
        self._grown(transaction_chain.extend(self.connection, self.sealing))
        return self

    def drop(self, first):
        """Drop the months before a day."""
        return partitions.drop_before(
            self.connection, first, replica="indexer", sealing=self.sealing
        )

    def verify(self, *known, keyring=KEYS):
        """Return what a check finds, with the newest head that was kept elsewhere."""
        kept = known or ((self.sealing.known,) if self.sealing and self.sealing.known else ())
        return verify(self.connection, kept, keyring)

    def lines(self):
        """Return all lines with what the chain gave them."""
        return [row._asdict() for row in self.connection.execute(LINES)]

    def _grown(self, head):
        if head is not None and self.sealing is not None:
            self.sealing = replace(self.sealing, known=head)


def filled(connection):
    """Return a log of several batches, a month dropped and lines of operators, sealed."""
    partitions.ensure_months(connection, date(2020, 1, 1), ahead=2)
    january, february = datetime(2020, 1, 9, tzinfo=UTC), datetime(2020, 2, 9, tzinfo=UTC)
    log = SealedLog(connection).begin()
    log.report(january, january + timedelta(hours=1), february)
    # A line of January that came late.
    log.report(january + timedelta(hours=2))
    log.report(february + timedelta(hours=1), february + timedelta(hours=2))
    managed(connection, "user.create")
    managed(connection, "user.delete")
    log.extend()
    log.drop(date(2020, 2, 1))
    log.report()
    log.report(NOW + timedelta(seconds=1), NOW + timedelta(seconds=2))
    managed(connection, "config.update")
    log.extend()
    return log


def rehashed(log, start):
    """Number and hash all lines from a position on anew, as whoever knows the code can."""
    lines = [row for row in log.lines() if row["chain_position"] is not None]
    before = [row for row in lines if row["chain_position"] < start]
    position = before[-1]["chain_position"] if before else start - 1
    chain_hash = bytes(before[-1]["chain_hash"]) if before else GENESIS
    for row in lines[len(before) :]:
        position += 1
        chain_hash = link(chain_hash, position, row)
        values = {"position": position, "hash": chain_hash, "seal": row["seal"]}
        log.connection.execute(PLACE, values | {"id": row["id"], "at": row["occurred_at"]})
