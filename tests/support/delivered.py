"""Rules and remote nodes of a running suite, as tests of deliveries set them up."""

from support.suite import Suite

UNFINISHED = "SELECT id FROM deliveries WHERE finished_at IS NULL"
DELIVERIES = (
    "SELECT d.destination, d.target, d.state, d.error, d.series_instance_uid AS series,"
    " d.study_instance_uid AS study, d.instance_count, d.delivered_count, d.attempts,"
    " extract(epoch FROM d.finished_at) AS finished"
    " FROM deliveries d WHERE d.series_instance_uid = ANY(:uids) ORDER BY d.id"
)


def add_node(suite: Suite, name: str, peer, **fields) -> int:
    """Make a peer known to the suite as a remote node, and return its number."""
    body = {"name": name, "ae_title": peer.ae_title, "host": "127.0.0.1", "port": peer.port}
    answer = suite.admin.post("/api/v1/nodes", json=body | fields)
    answer.raise_for_status()
    return answer.json()["id"]


def put_rules(suite: Suite, document: dict) -> int:
    """Put a document of rules in force, and return its version."""
    answer = suite.admin.put("/api/v1/routing", json=document, headers={"If-Match": "*"})
    assert answer.status_code == 200, answer.text
    return answer.json()["version"]


def deliveries(suite: Suite, *series: str) -> list[dict]:
    """Return the deliveries of these series, in the order in which they were made."""
    return suite.rows(DELIVERIES, uids=[str(one) for one in series])
