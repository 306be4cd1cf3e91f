"""Reads remote nodes from PostgreSQL and records their circuits, congestion and test results."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, time
from typing import Any, Final

import structlog
from sqlalchemy import Connection, RowMapping, TextClause, text
from typing_extensions import override

from draw_qr_worker.models import Circuit, Congestion, NodeWindow, RemoteNode
from draw_qr_worker.ports.jobs import NodeHealth
from draw_qr_worker.ports.node_tests import NodeFindings
from draw_shared.db.session import Database
from draw_shared.wording import message

log = structlog.get_logger()

NODES: Final = text("SELECT * FROM remote_nodes ORDER BY id")
NODE: Final = text("SELECT * FROM remote_nodes WHERE id = :id")
CIRCUIT_FOR_UPDATE: Final = text(
    "SELECT circuit, now() AS now FROM remote_nodes WHERE id = :id FOR UPDATE"
)
WRITE_CIRCUIT: Final = text(
    "UPDATE remote_nodes SET circuit = CAST(:circuit AS jsonb) WHERE id = :id"
)
END_REST: Final = text(
    """
    UPDATE remote_nodes SET congestion = congestion || '{"refusals": 0, "rest_until": null}'
    WHERE id = :id AND congestion ->> 'rest_until' IS NOT NULL
    """
)
CONGESTION_FOR_UPDATE: Final = text("SELECT congestion FROM remote_nodes WHERE id = :id FOR UPDATE")
RUNNING: Final = text(
    """
    SELECT count(*) AS running, clock_timestamp() AS now FROM jobs
    WHERE node_id = :id AND state IN ('running', 'cancelling') AND lease_until IS NOT NULL
    """
)
WRITE_CONGESTION: Final = text(
    "UPDATE remote_nodes SET congestion = CAST(:congestion AS jsonb) WHERE id = :id"
)
RELIEVE: Final = text(
    """
    UPDATE remote_nodes SET congestion = CASE WHEN CAST(:limit AS integer) IS NULL
        THEN '{}'::jsonb ELSE congestion || jsonb_build_object('limit', CAST(:limit AS integer),
            'changed_at', CAST(:changed_at AS text), 'refusals', 0, 'rest_until', NULL) END
    WHERE id = :id AND congestion ->> 'changed_at' = :known
    """
)
CLOSE_CIRCUIT: Final = text(
    "UPDATE remote_nodes SET circuit = '{}' WHERE id = :id AND circuit <> '{}'"
)
WAKE_PARKED: Final = text(
    "UPDATE jobs SET not_before = now() WHERE node_id = :id AND state = 'waiting'"
    " AND error = :reason"
)
WRITE_TEST: Final = text(
    "UPDATE remote_nodes SET last_test = CAST(:found AS jsonb)"
    " || jsonb_build_object('at', now()) WHERE id = :id"
)
MERGE_CAPABILITIES: Final = text(
    "UPDATE remote_nodes SET capabilities = jsonb_strip_nulls(capabilities"
    " || CAST(:found AS jsonb)) || jsonb_build_object('at', now()) WHERE id = :id"
)
CIRCUIT_OPEN: Final = message("the node failed repeatedly and is left alone for a while")
AfterRefusal = Callable[[Congestion | None, int, datetime], Congestion]
DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class PostgresNodeStates(NodeHealth, NodeFindings):
    """Circuits, congestion and findings of nodes, shared by all replicas."""

    def __init__(
        self,
        database: Database,
        after_failure: Callable[[Circuit, datetime], Circuit],
        relieved: Callable[[RemoteNode, datetime], Congestion | None],
    ) -> None:
        self._database = database
        self._after_failure = after_failure
        self._relieved = relieved

    @override
    def record_success(self, node_id: int) -> None:
        with self._database.session() as session:
            connection = session.connection()
            connection.execute(END_REST, {"id": node_id})
            if connection.execute(CLOSE_CIRCUIT, {"id": node_id}).rowcount:
                connection.execute(WAKE_PARKED, {"id": node_id, "reason": CIRCUIT_OPEN})
            session.commit()

    @override
    def record_failure(self, node_id: int, reason: str) -> None:
        with self._database.session() as session:
            connection = session.connection()
            row = connection.execute(CIRCUIT_FOR_UPDATE, {"id": node_id}).mappings().first()
            if row is None:
                return
            circuit = self._after_failure(circuit_of(row["circuit"]), row["now"])
            held = {
                "failures": circuit.failures,
                "open_until": circuit.open_until.isoformat() if circuit.open_until else None,
                "reason": reason,
            }
            connection.execute(WRITE_CIRCUIT, {"id": node_id, "circuit": json.dumps(held)})
            session.commit()
        if circuit.open_until is not None:
            log.warning("node.circuit_open", node_id=node_id, failures=circuit.failures)

    @override
    def is_shared(self, node_id: int) -> bool:
        with self._database.session() as session:
            running: int = session.connection().execute(RUNNING, {"id": node_id}).one().running
        return running > 1

    def relieve(self) -> None:
        """Raise by one the limit of each congested node that was spared long enough."""
        with self._database.session() as session:
            connection = session.connection()
            now = connection.execute(text("SELECT now()")).scalar_one()
            for node in read_nodes(connection):
                after = self._relieved(node, now)
                if node.congestion is not None and after != node.congestion:
                    values = {
                        "id": node.id,
                        "known": node.congestion.changed_at.isoformat(),
                        "limit": after.limit if after else None,
                        "changed_at": after.changed_at.isoformat() if after else None,
                    }
                    connection.execute(RELIEVE, values)
            session.commit()

    @override
    def record_test(self, node_id: int, found: Mapping[str, Any]) -> None:
        self._write(WRITE_TEST, node_id, found)

    @override
    def remember(self, node_id: int, found: Mapping[str, Any]) -> None:
        self._write(MERGE_CAPABILITIES, node_id, found)

    def _write(self, statement: TextClause, node_id: int, found: Mapping[str, Any]) -> None:
        with self._database.session() as session:
            session.connection().execute(
                statement, {"id": node_id, "found": json.dumps(dict(found))}
            )
            session.commit()


def lower_concurrency(
    connection: Connection, node_id: int, reason: str, after_refusal: AfterRefusal
) -> None:
    """Lower the node's limit after it refused one of our jobs.

    Refusals of several jobs at once are counted one after the other.
    """
    held = connection.execute(CONGESTION_FOR_UPDATE, {"id": node_id}).first()
    if held is None:
        return
    # Read after locking, so that jobs that gave their place back are not counted.
    count = connection.execute(RUNNING, {"id": node_id}).one()
    after = after_refusal(congestion_of(held.congestion), count.running, count.now)
    written = {
        "limit": after.limit,
        "changed_at": after.changed_at.isoformat(),
        "refusals": after.refusals,
        "rest_until": after.rest_until.isoformat() if after.rest_until else None,
        "reason": reason,
    }
    values = {"id": node_id, "congestion": json.dumps(written)}
    connection.execute(WRITE_CONGESTION, values)
    log.info("node.congested", node_id=node_id, limit=after.limit, refusals=after.refusals)


def read_nodes(connection: Connection) -> list[RemoteNode]:
    """Return every node."""
    return [node_of(row) for row in connection.execute(NODES).mappings()]


def node_of(row: RowMapping) -> RemoteNode:
    """Return the node in one row of `remote_nodes`."""
    return RemoteNode(
        id=row["id"],
        name=row["name"],
        ae_title=row["ae_title"],
        host=row["host"],
        port=row["port"],
        calling_ae=row["calling_ae"],
        supports_find=row["supports_find"],
        supports_move=row["supports_move"],
        supports_get=row["supports_get"],
        query_model=row["query_model"],
        timeout_seconds=row["timeout_seconds"],
        max_pdu_bytes=row["max_pdu_bytes"],
        move_destination=row["move_destination"],
        stores_from=tuple(row["stores_from"]),
        tls=row["tls"],
        tls_fingerprint=row["tls_fingerprint"],
        max_associations=row["max_associations"],
        max_bytes_per_second=row["max_bytes_per_second"],
        windows=windows_of(row["windows"]),
        paused=row["paused"],
        active=row["active"],
        circuit=circuit_of(row["circuit"]),
        congestion=congestion_of(row["congestion"]),
        capabilities=row["capabilities"],
    )


def circuit_of(held: Mapping[str, Any]) -> Circuit:
    """Return the circuit stored in the column."""
    until = held.get("open_until")
    return Circuit(int(held.get("failures", 0)), datetime.fromisoformat(until) if until else None)


def congestion_of(held: Mapping[str, Any]) -> Congestion | None:
    """Return the congestion stored in the column; None when there is none."""
    if not held:
        return None
    until = held.get("rest_until")
    return Congestion(
        held["limit"],
        datetime.fromisoformat(held["changed_at"]),
        held["refusals"],
        datetime.fromisoformat(until) if until else None,
    )


def windows_of(held: Sequence[Mapping[str, Any]]) -> tuple[NodeWindow, ...]:
    """Return the windows in the column: `[{"days": ["mon"], "start": "22:00", "end": "06:00"}]`."""
    return tuple(
        NodeWindow(
            days=frozenset(DAYS.index(day) for day in item["days"]),
            start=time.fromisoformat(item["start"]),
            end=time.fromisoformat(item["end"]),
        )
        for item in held
    )
