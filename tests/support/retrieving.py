"""What tests of retrieves have in common: a suite with an impatient worker, its REST client."""

import json
import time
from contextlib import contextmanager

from support import senders, service_finder
from support.datasets import series
from support.faulty_peer import AE
from support.suite import Suite, signed_in
from support.waiting import wait_until
from tools.processes import free_port
from tools.service_process import SERVICES, ServiceProcess

FINAL = {"complete", "unproved", "partial", "failed", "cancelled"}
IMPATIENT = {
    "DRAW_QR_WORKER_LEASE_SECONDS": "5",
    "DRAW_QR_WORKER_SWEEP_SECONDS": "0.3",
    "DRAW_QR_WORKER_ARRIVAL_SECONDS": "4",
    "DRAW_QR_WORKER_BACK_OFF_SECONDS": "[0.4, 0.8]",
}
OVER_SECONDS = 120.0


class Ground:
    """A running suite as an operator's program sees it."""

    def __init__(self, suite, client):
        self.suite = suite
        self.client = client
        self._nodes = 0

    def node(self, port, ae_title=AE, **settings):
        """Set a remote node up and return its id."""
        self._nodes += 1
        body = {
            "name": f"node {self._nodes}",
            "ae_title": ae_title,
            "host": "127.0.0.1",
            "port": port,
            "supports_get": True,
            "timeout_seconds": 10,
            **settings,
        }
        answer = self.client.post("/api/v1/nodes", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    def ask(self, node_id, *items, status=201, **options):
        """Ask for retrieves and return the job or batch; items are study UIDs or documents."""
        named = [{"study_instance_uid": i} if isinstance(i, str) else i for i in items]
        body = {"node_id": node_id, "items": named, **options}
        answer = self.client.post("/api/v1/retrieves", json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    def read(self, job):
        """Return the job as it is now."""
        answer = self.client.get(f"/api/v1/retrieves/{job['id']}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def over(self, job, seconds=OVER_SECONDS):
        """Return the job once it is over."""
        return self._until(f"/api/v1/retrieves/{job['id']}", FINAL, seconds)

    def job_over(self, job, seconds=OVER_SECONDS):
        """Return a job of any kind once it is over."""
        return self._until(f"/api/v1/jobs/{job['id']}", FINAL, seconds)

    def query_over(self, query, seconds=OVER_SECONDS):
        """Return a query once it is over."""
        return self._until(f"/api/v1/queries/{query['id']}", FINAL, seconds)

    def list_over(self, path, seconds=OVER_SECONDS):
        """Return a batch query when every node has answered every line."""
        return self._until(path, FINAL, seconds)

    def running(self, job, seconds=10.0):
        """Return the job once it has begun to bring objects."""

        def brings():
            return self.read(job)["progress"].get("arrived")

        assert wait_until(brings, seconds), self.read(job)
        return self.read(job)

    def post(self, path, status, **body):
        """Post and return what comes back."""
        answer = self.client.post(path, json=body or None)
        assert answer.status_code == status, answer.text
        return answer.json()

    def missing(self, job):
        """Return the SOP Instance UIDs that a job lacks."""
        path = f"/api/v1/retrieves/{job['id']}/instances"
        page = self.client.get(path, params={"missing": True, "limit": 500}).json()
        return {item["sop_instance_uid"] for item in page["items"]}

    def stored(self, objects):
        """Return the stored data sets of these objects by SOP Instance UID."""
        uids = [one.SOPInstanceUID for one in objects]
        rows = self.suite.rows(
            "SELECT sop_instance_uid, path FROM instances WHERE sop_instance_uid = ANY(:uids)",
            uids=uids,
        )
        return {
            row["sop_instance_uid"]: senders.read(self.suite.storage / row["path"]) for row in rows
        }

    def file_of(self, sop_instance_uid):
        """Return where the file of an object lies."""
        found = "SELECT path FROM instances WHERE sop_instance_uid = :uid"
        [row] = self.suite.rows(found, uid=sop_instance_uid)
        return self.suite.storage / row["path"]

    def require_identical(self, objects):
        """Fail unless every object is here, with an identical data set."""
        stored = self.stored(objects)
        assert len(stored) == len(objects)
        for one in objects:
            assert stored[one.SOPInstanceUID] == one

    def replica(self, service, name, **environment):
        """Return one more process of a service, not started yet."""
        [known] = [s for s in SERVICES if s.name == service]
        settings = {"DRAW_REPLICA": name, known.http_variable: str(free_port()), **environment}
        log = self.suite.folder / "logs" / f"{name}.log"
        return ServiceProcess(known, self.suite.environment | self.suite.addresses | settings, log)

    def _until(self, path, states, seconds):
        deadline = time.monotonic() + seconds
        while True:
            answer = self.client.get(path)
            assert answer.status_code == 200, answer.text
            found = answer.json()
            if found["state"] in states:
                return found
            assert time.monotonic() < deadline, json.dumps(found, indent=1)
            time.sleep(0.1)


@contextmanager
def ground(folder, postgres_url, template, broker, **environment):
    """Yield a running suite with an impatient worker, and a signed-in client."""
    with (
        service_finder.cloned_database(postgres_url, template) as database_url,
        broker.vhost() as broker_url,
    ):
        suite = Suite(folder, database_url, broker_url, **IMPATIENT | environment)
        suite.seed()
        try:
            suite.start()
            with signed_in(suite.web_url) as client:
                yield Ground(suite, client)
        finally:
            suite.end()


def studies(count, objects, *, size_bytes=3000):
    """Return `count` studies of so many objects each."""
    return [series(objects, size_bytes=size_bytes) for _ in range(count)]


def uid_of(study):
    """Return the Study Instance UID of a study's objects."""
    return study[0].StudyInstanceUID
