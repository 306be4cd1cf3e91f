"""Deliveries as rows with the planner of a worker, whose jobs the test ends itself."""

import json

from draw_qr_worker.adapters.delivery_queries import PostgresDeliveryLedger
from draw_qr_worker.services.deliveries import DeliveryPlanner
from support.delivery_rows import DeliveryRows

WITH_JOB = """
    SELECT d.*, j.state AS job_state, j.cancel_requested, j.not_before
    FROM deliveries d LEFT JOIN jobs j ON j.id = d.job_id WHERE d.id = :id
"""
END_JOB = """
    UPDATE jobs SET state = :state, error = :error, result = CAST(:result AS jsonb),
        finished_at = now() WHERE id = :id
"""
RETRIED = """
    INSERT INTO job_attempts (job_id, number, fence, worker, outcome, error, finished_at)
    SELECT id, n, n, 'one', :outcome, 'away', now() FROM jobs, generate_series(1, :tries) AS n
    WHERE id = :id
"""
RUN = """
    INSERT INTO job_attempts (job_id, number, fence, worker, started_at)
    VALUES (:id, 99, 99, 'one', now() - make_interval(secs => :seconds))
"""
ADD_NODE = """
    INSERT INTO remote_nodes (name, ae_title, host, port, paused, active)
    VALUES (:name, 'PACS', '127.0.0.1', :port, :paused, :active)
"""
WAIT_ON = (
    "UPDATE jobs SET state = 'waiting', error = 'away', not_before = now() + interval '1 hour'"
    " WHERE id = :id"
)


class PlannedDeliveries(DeliveryRows):
    """A planner with what it has counted."""

    def __init__(self, database):
        super().__init__(database)
        self.ends = []
        self.ledger = PostgresDeliveryLedger(database)
        self.planner = DeliveryPlanner(self.ledger, lambda *end: self.ends.append(end))
        self.plan = self.planner.plan

    def value(self, statement, **values):
        """Return the one value that a statement finds."""
        [row] = self.execute(statement, **values)
        [value] = row.values()
        return value

    def with_job(self, number):
        """Return a row of deliveries with what matters of its job."""
        return self.execute(WITH_JOB, id=number)[0]

    def end_job(self, number, state, error="", **result):
        """Let the job of a delivery have ended."""
        job = self.delivery(number)["job_id"]
        self.execute(END_JOB, id=job, state=state, error=error, result=json.dumps(result))

    def fail_tries(self, number, tries, outcome="retry"):
        """Let the job of a delivery have failed so often, and wait."""
        job = self.delivery(number)["job_id"]
        self.execute(RETRIED, id=job, tries=tries, outcome=outcome)
        self.execute(WAIT_ON, id=job)

    def show(self, number, **progress):
        """Let the job of a delivery have shown progress."""
        statement = "UPDATE jobs SET progress = CAST(:progress AS jsonb) WHERE id = :id"
        job = self.delivery(number)["job_id"]
        self.execute(statement, id=job, progress=json.dumps(progress))

    def run(self, number, seconds):
        """Let the job of a delivery have run for so long."""
        job = self.delivery(number)["job_id"]
        self.execute(RUN, id=job, seconds=seconds)
        self.execute("UPDATE jobs SET state = 'running' WHERE id = :id", id=job)

    def add_node(self, name, port=104, **fields):
        """Add a remote node."""
        values = {"paused": False, "active": True} | fields
        self.execute(ADD_NODE, name=name, port=port, **values)
