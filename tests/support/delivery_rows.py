"""Rules, deliveries and destinations as rows, for tests without an indexer."""

import json

from pydicom.uid import generate_uid
from sqlalchemy import text

DECIDE = """
    INSERT INTO routing_decisions (routing_version, trigger, study_instance_uid,
        series_instance_uid, applied, destinations)
    VALUES (1, :trigger, :study, :series, '{another, a rule}', '{}') RETURNING id
"""
DELIVER = """
    INSERT INTO deliveries (decision_id, destination, study_instance_uid, series_instance_uid,
        sop_instance_uid, state, failures, error, instance_count, delivered_count, created_at,
        next_attempt_at, give_up_at, finished_at)
    VALUES (:decision, :destination, :study, :series, :sop, :state, :failures, :error, 2,
        :delivered,
        now() - make_interval(secs => :age_seconds), now() - interval '1 second',
        now() + make_interval(secs => :left_seconds),
        CASE WHEN :state IN ('delivered', 'partial', 'failed', 'superseded') THEN now() END)
    RETURNING id
"""
HOLD = """
    INSERT INTO destination_states (name, mode, mode_since)
    VALUES (:name, :mode, now() - make_interval(secs => :age_seconds))
    ON CONFLICT (name) DO UPDATE SET mode = EXCLUDED.mode, mode_since = EXCLUDED.mode_since
"""


class DeliveryRows:
    """Puts rows of routing in and looks at them."""

    def __init__(self, database):
        self._database = database

    def execute(self, statement, **values):
        """Run a statement in a transaction of its own; return the rows that it finds."""
        with self._database.session() as session:
            result = session.connection().execute(text(statement), values)
            rows = [dict(row) for row in result.mappings()] if result.returns_rows else []
            session.commit()
        return rows

    def put(self, *destinations):
        """Put a document in force whose first rule names these destinations."""
        names = [one["name"] for one in destinations]
        rules = [{"name": "a rule", "destinations": names}] if names else []
        self.execute(
            "INSERT INTO routing_documents (version, document, created_by)"
            " SELECT coalesce(max(version), 0) + 1, CAST(:document AS jsonb), 'admin'"
            " FROM routing_documents",
            document=json.dumps({"rules": rules, "destinations": destinations}),
        )

    def deliver(self, destination, series=None, age_seconds=0, study=None, sop="", **fields):
        """Decide on a series, by default a new one, and return the number of the delivery.

        With `sop` on that instance, with the series "" on the whole study.
        """
        series = str(generate_uid()) if series is None else series
        uids = {"study": study or f"{series[:60]}.1", "series": series}
        trigger = "instance" if sop else "series_complete" if series else "study_complete"
        [decision] = self.execute(DECIDE, trigger=trigger, **uids)
        values = {
            "state": "pending",
            "failures": 0,
            "error": "",
            "left_seconds": 60,
            "delivered": 0,
        }
        values |= fields
        [made] = self.execute(
            DELIVER,
            decision=decision["id"],
            destination=destination,
            age_seconds=age_seconds,
            sop=sop,
            **uids,
            **values,
        )
        return made["id"]

    def hold(self, name, mode, age_seconds=0):
        """Set a destination's mode, as an operator does."""
        self.execute(HOLD, name=name, mode=mode, age_seconds=age_seconds)

    def delivery(self, number):
        """Return a row of deliveries."""
        return self.execute("SELECT * FROM deliveries WHERE id = :id", id=number)[0]

    def state(self, name):
        """Return a row of destination_states, or None."""
        found = self.execute("SELECT * FROM destination_states WHERE name = :name", name=name)
        return found[0] if found else None
