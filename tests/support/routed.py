"""An indexer's routing in the test's process, with what it decided."""

import json

from prometheus_client import CollectorRegistry
from sqlalchemy import text

from draw_indexer.adapters.routing_queries import PostgresRoutingFeedRepository
from draw_indexer.metrics import RoutingMetrics
from draw_indexer.models import FileMissing
from draw_indexer.services.routing import RoutingDecisionService
from draw_shared.routing.document import RoutingDocument
from draw_shared.storage.header_values import read_header_values
from support.routing_documents import with_destinations

COMPLETE = """
    WITH closed AS (UPDATE series SET stable_at = now(), new_instance_count = 0
        WHERE series_instance_uid = :uid RETURNING *)
    INSERT INTO changes (kind, study_instance_uid, series_instance_uid, reason, new_instance_count)
    SELECT 'series.stable', s.study_instance_uid, r.series_instance_uid, :reason,
        :number FROM closed r JOIN studies s ON s.id = r.study_pk RETURNING sequence
"""
COMPLETE_STUDY = """
    WITH closed AS (UPDATE studies SET stable_at = now(), new_instance_count = 0
        WHERE study_instance_uid = :uid RETURNING *)
    INSERT INTO changes (kind, study_instance_uid, reason, new_instance_count)
    SELECT 'study.stable', study_instance_uid, :reason, :number FROM closed RETURNING sequence
"""


class ValuesHere:
    """Reads values of headers without a process for it, which takes a second to start."""

    def __init__(self, root):
        self._root = root
        self.then = lambda: None
        self.asked = []

    def values(self, paths, subjects):
        self.asked += paths
        found = [self._values(self._root / path, subjects) for path in paths]
        self.then()
        return found

    def _values(self, path, subjects):
        return read_header_values(path, subjects) if path.exists() else FileMissing(str(path))


class Routed:
    """One indexer's routing on the volume and index of an archive."""

    def __init__(self, database, root, values=None):
        self.database = database
        self.registry = CollectorRegistry()
        self.wakes = []
        self.values = values or ValuesHere(root)
        self.rows_of_feed = PostgresRoutingFeedRepository(database)
        self.service = RoutingDecisionService(
            self.rows_of_feed,
            self.values,
            RoutingMetrics(self.registry),
            lambda: self.wakes.append(True),
        )

    def decide(self):
        """Look at every change that is there; return the decisions that there are then."""
        self.service.decide()
        return self.decisions()

    def put(self, *rules, destinations=None):
        """Put rules in force, by default with a folder for each destination that they name."""
        document = {"rules": list(rules)}
        if destinations is None:
            document = with_destinations(document)
        else:
            document["destinations"] = destinations
        self.store(RoutingDocument.model_validate(document).stored())

    def store(self, document):
        """Put a document in force as it is."""
        self.execute(
            "INSERT INTO routing_documents (version, document, created_by)"
            " SELECT coalesce(max(version), 0) + 1, CAST(:document AS jsonb), 'admin'"
            " FROM routing_documents",
            document=json.dumps(document),
        )

    def due(self):
        """Have every postponed decision looked at again now."""
        self.execute("UPDATE routing_postponed SET look_again_at = now()")

    def complete(self, series, reason="association_ended", number=1):
        """Say in the feed that a series is complete; return the number of the change."""
        return self.execute(COMPLETE, uid=series, reason=reason, number=number)

    def complete_study(self, study, reason="quiet", number=1):
        """Say in the feed that a study is complete; return the number of the change."""
        return self.execute(COMPLETE_STUDY, uid=study, reason=reason, number=number)

    def execute(self, statement, **values):
        """Run a statement in a transaction of its own; return the first value, if there is one."""
        with self.database.session() as session:
            found = session.connection().execute(text(statement), values)
            value = found.scalar() if found.returns_rows else None
            session.commit()
        return value

    def rows(self, statement, **values):
        """Return what a query finds."""
        with self.database.session() as session:
            return list(session.connection().execute(text(statement), values))

    def decisions(self):
        """Return the rows of decisions, oldest first."""
        return self.rows("SELECT * FROM routing_decisions ORDER BY id")

    def deliveries(self):
        """Return the rows of deliveries, oldest first."""
        return self.rows("SELECT * FROM deliveries ORDER BY id")

    def position(self):
        """Return the position in the feed."""
        return self.execute("SELECT sequence FROM feed_positions WHERE consumer = 'routing'")

    def last(self):
        """Return the last change of the feed."""
        return self.execute("SELECT coalesce(max(sequence), 0) FROM changes")

    def sample(self, name, **labels):
        """Return the value of a metric."""
        return self.registry.get_sample_value(f"draw_indexer_routing_{name}", labels)
