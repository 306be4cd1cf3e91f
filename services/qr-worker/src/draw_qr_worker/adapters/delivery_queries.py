"""The rows of deliveries, their jobs, and how destinations do, in PostgreSQL."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

from pydantic import ValidationError
from sqlalchemy import RowMapping, text
from sqlmodel import Session
from typing_extensions import override

from draw_qr_worker.adapters.node_queries import read_nodes
from draw_qr_worker.models import DestinationState, OpenDelivery, PlanningOrder, RemoteNode
from draw_qr_worker.ports.deliveries import DeliveryLedger, DeliveryTurn
from draw_shared.db.deliveries import PLANNER_LOCK
from draw_shared.db.guard import require_served_schema
from draw_shared.db.session import Database, limit_idling
from draw_shared.errors import Transient
from draw_shared.routing.document import RoutingDocument
from draw_shared.wording import message

ROUTING: Final = "routing"
"""In whose name jobs of deliveries are made."""

TRY_LOCK: Final = text("SELECT pg_try_advisory_xact_lock(:key)")
ANY_OPEN: Final = text("SELECT EXISTS (SELECT FROM deliveries WHERE finished_at IS NULL)")
VERSION: Final = text("SELECT max(version) FROM routing_documents")
DOCUMENT: Final = text("SELECT document FROM routing_documents WHERE version = :version")
COLUMNS: Final = """
    d.id, d.decision_id, d.destination, d.study_instance_uid, d.series_instance_uid,
    d.sop_instance_uid, d.payload, d.state, d.target, d.target_since, d.job_id, d.attempts,
    d.failures, d.delivered_count, d.created_at, d.give_up_at, d.instance_count, d.error,
    d.started_at IS NOT NULL AS begun_before,
    c.sequence, c.applied, c.routing_version
"""
# A delivery that runs, or whose job has just ended, ends by itself; what has arrived counts for the
# later one.
SUPERSEDE: Final = text(
    """
    WITH older AS (
        SELECT d.id, d.job_id FROM deliveries d LEFT JOIN jobs j ON j.id = d.job_id
        WHERE d.finished_at IS NULL AND d.sop_instance_uid = ''
            AND coalesce(j.state, 'queued') IN ('queued', 'waiting')
            AND EXISTS (SELECT FROM deliveries n
                JOIN routing_decisions nc ON nc.id = n.decision_id
                JOIN routing_decisions dc ON dc.id = d.decision_id
                WHERE n.study_instance_uid = d.study_instance_uid
                    AND n.series_instance_uid = d.series_instance_uid
                    AND n.sop_instance_uid = '' AND n.destination = d.destination
                    AND n.id > d.id AND n.finished_at IS NULL AND nc.trigger = dc.trigger)
        FOR UPDATE OF d),
    cancelled AS (UPDATE jobs SET cancel_requested = true
        WHERE id IN (SELECT job_id FROM older) AND finished_at IS NULL),
    untold AS (UPDATE webhook_deliveries SET state = 'dead', finished_at = now()
        WHERE sequence IN (SELECT -id FROM older) AND state = 'pending')
    UPDATE deliveries SET state = 'superseded', error = :reason, finished_at = now()
    WHERE id IN (SELECT id FROM older) RETURNING destination
    """
)
BEGUN: Final = text(
    f"""
    WITH open AS MATERIALIZED (
        SELECT * FROM deliveries WHERE finished_at IS NULL AND job_id IS NOT NULL),
    told AS MATERIALIZED (
        SELECT j.id, j.state AS job_state, coalesce(j.error, '') AS job_error,
            coalesce(j.result, '{{}}') AS job_result, coalesce(j.progress, '{{}}') AS job_progress,
            coalesce(j.cancel_requested, false) AS cancel_requested,
            coalesce(j.parameters->'target', '{{}}') AS made_for,
            coalesce(j.parameters->'target'->>'kind' = 'priors', false) AS retrieves,
            coalesce(jsonb_array_length(j.parameters->'deliveries'), 1) AS shared_by,
            a.tries, a.refusals, a.last_try_at,
            CASE WHEN j.state IN ('running', 'cancelling') THEN a.began_at
                WHEN j.state = 'waiting' THEN a.failing_since END AS running_since
        FROM (SELECT DISTINCT job_id FROM open) o
        -- Looked up one by one: there are far more jobs than deliveries under way.
        CROSS JOIN LATERAL (SELECT * FROM jobs WHERE id = o.job_id OFFSET 0) j
        CROSS JOIN LATERAL (
            SELECT count(*) FILTER (WHERE outcome = 'retry') AS tries,
                count(*) FILTER (WHERE outcome = 'refused') AS refusals,
                max(finished_at) FILTER (WHERE outcome = 'retry') AS last_try_at,
                min(started_at) FILTER (WHERE outcome = 'retry') AS failing_since,
                max(started_at) FILTER (WHERE finished_at IS NULL) AS began_at
            FROM job_attempts WHERE job_id = j.id) a
        WHERE j.kind <> 'batch')
    SELECT {COLUMNS}, t.job_state, t.job_error, t.job_result, t.job_progress, t.cancel_requested,
        t.made_for, t.retrieves, t.shared_by, t.tries, t.refusals, t.last_try_at, t.running_since
    FROM open d JOIN told t ON t.id = d.job_id JOIN routing_decisions c ON c.id = d.decision_id
    ORDER BY d.created_at, d.id
    """  # noqa: S608 - names of columns
)
WITH_BATCHES: Final = text(
    f"""
    SELECT {COLUMNS}, true AS in_batch, k.error AS job_error,
        CASE WHEN j.finished_at IS NOT NULL THEN j.state WHEN k.idle THEN 'waiting'
            ELSE 'running' END AS job_state,
        j.parameters || jsonb_build_object('expected', k.expected, 'studies', k.studies,
            'complete', k.complete) AS job_result,
        jsonb_build_object('arrived', k.arrived) AS job_progress
    FROM deliveries d JOIN routing_decisions c ON c.id = d.decision_id
    CROSS JOIN LATERAL (SELECT * FROM jobs WHERE id = d.job_id OFFSET 0) j
    CROSS JOIN LATERAL (
        SELECT count(*) AS studies, count(*) FILTER (WHERE state = 'complete') AS complete,
            coalesce(sum((progress->>'expected')::bigint), 0) AS expected,
            coalesce(sum((progress->>'arrived')::bigint), 0) AS arrived,
            bool_and(finished_at IS NOT NULL OR state IN ('scheduled', 'waiting')) AS idle,
            coalesce((array_agg(error ORDER BY created_at) FILTER (WHERE error <> ''))[1], '')
                AS error
        FROM jobs WHERE parent_id = j.id) k
    WHERE d.finished_at IS NULL AND d.job_id IS NOT NULL AND j.kind = 'batch'
    ORDER BY d.created_at, d.id
    """  # noqa: S608 - names of columns
)
# A dead one has no state: it is told again, until the delivery is given up.
WITH_WEBHOOKS: Final = text(
    f"""
    SELECT {COLUMNS}, CASE WHEN w.state = 'delivered' THEN 'complete'
            WHEN w.state = 'pending' AND (NOT w.active OR w.last_error <> '') THEN 'waiting'
            WHEN w.state = 'pending' THEN 'running' END AS job_state,
        CASE WHEN w.active THEN w.last_error ELSE :off END AS job_error,
        d.target_since AS running_since,
        jsonb_build_object('kind', 'webhook', 'name', d.target, 'webhook_id', w.webhook_id)
            AS made_for,
        greatest(coalesce(w.attempts, 0) - 1, 0) AS tries
    FROM deliveries d JOIN routing_decisions c ON c.id = d.decision_id
    -- One that left a webhook for another has a row with each.
    LEFT JOIN LATERAL (SELECT v.*, h.active
        FROM webhook_deliveries v JOIN webhooks h ON h.id = v.webhook_id
        WHERE v.sequence = -d.id ORDER BY v.finished_at DESC LIMIT 1) w ON true
    WHERE d.finished_at IS NULL AND d.job_id IS NULL AND d.state IN ('running', 'waiting')
    ORDER BY d.created_at, d.id
    """  # noqa: S608 - names of columns
)
# One of a series at a place at a time, so that no object is sent by two at once; one of a study
# where all of its series would bring the same. Those of batches come behind all others. None of
# what grows again: half of its next generation would go with it.
PENDING: Final = text(
    f"""
    SELECT {COLUMNS} FROM unnest(CAST(:names AS text[])) AS k(name)
    CROSS JOIN (VALUES (false), (true)) AS of (batch) CROSS JOIN LATERAL (
        SELECT o.* FROM deliveries o JOIN routing_decisions m ON m.id = o.decision_id
        WHERE o.destination = k.name AND (m.batch_id IS NOT NULL) = of.batch
            AND o.finished_at IS NULL AND o.job_id IS NULL
            AND o.state = 'pending' AND o.next_attempt_at <= now()
            AND (o.sop_instance_uid <> '' OR NOT EXISTS (SELECT FROM series e
                WHERE e.series_instance_uid = o.series_instance_uid AND e.stable_at IS NULL))
            AND (o.series_instance_uid <> '' OR NOT EXISTS (SELECT FROM studies s
                WHERE s.study_instance_uid = o.study_instance_uid AND s.stable_at IS NULL))
            AND NOT EXISTS (SELECT FROM deliveries b JOIN jobs j ON j.id = b.job_id
                WHERE b.study_instance_uid = o.study_instance_uid AND b.id <> o.id
                    AND j.finished_at IS NULL
                    AND (b.destination = o.destination OR (o.destination, b.target) IN (
                        SELECT * FROM unnest(CAST(:sharing AS text[]), CAST(:shared AS text[]))))
                    AND (b.sop_instance_uid = '' OR o.sop_instance_uid = ''
                        OR b.sop_instance_uid = o.sop_instance_uid
                        OR o.destination <> ALL(:side_by_side))
                    AND (b.series_instance_uid = o.series_instance_uid
                        OR b.series_instance_uid = '' OR o.series_instance_uid = ''
                        OR b.destination = ANY(:alone)))
        ORDER BY o.created_at, o.id LIMIT :most) d
    JOIN routing_decisions c ON c.id = d.decision_id
    ORDER BY c.batch_id IS NOT NULL, d.created_at, d.id
    """  # noqa: S608 - names of columns
)
# A worker gives up a shared job when the first of its deliveries is to be given up.
COMPANIONS: Final = text(
    f"""
    SELECT {COLUMNS} FROM (
        SELECT DISTINCT ON (o.sop_instance_uid) o.*
        FROM deliveries o JOIN routing_decisions m ON m.id = o.decision_id
        JOIN deliveries f ON f.id = :id JOIN routing_decisions n ON n.id = f.decision_id
        WHERE o.study_instance_uid = :study AND o.series_instance_uid = :series
            AND o.destination = f.destination AND o.sop_instance_uid <> ''
            AND (m.batch_id IS NULL) = (n.batch_id IS NULL)
            AND o.finished_at IS NULL AND o.job_id IS NULL AND o.started_at IS NULL
            AND o.state = 'pending' AND o.next_attempt_at <= now() AND o.give_up_at > now()
            AND o.give_up_at BETWEEN f.give_up_at - interval '10 minutes'
                AND f.give_up_at + interval '10 minutes'
            AND o.sop_instance_uid <> f.sop_instance_uid
            AND o.sop_instance_uid NOT IN (
                SELECT b.sop_instance_uid FROM deliveries b JOIN jobs j ON j.id = b.job_id
                WHERE b.study_instance_uid = :study AND b.series_instance_uid = :series
                    AND (b.destination = ANY(CAST(:at_place AS text[]))
                        OR b.target = ANY(CAST(:at_place AS text[])))
                    AND j.finished_at IS NULL)
        ORDER BY o.sop_instance_uid, o.created_at, o.id) d
    JOIN routing_decisions c ON c.id = d.decision_id
    ORDER BY d.created_at, d.id LIMIT :most
    """  # noqa: S608 - names of columns
)
LOST: Final = text(
    f"""
    SELECT {COLUMNS} FROM deliveries d JOIN routing_decisions c ON c.id = d.decision_id
    WHERE d.finished_at IS NULL AND d.job_id IS NULL AND d.destination <> ALL(:names)
    ORDER BY d.id LIMIT :most
    """  # noqa: S608 - names of columns
)
STATES: Final = text(
    "SELECT name, mode, mode_since, failures, failing_since, last_attempt_at, last_success_at,"
    " last_error_at, last_error, in_force FROM destination_states"
)
WEBHOOKS: Final = text("SELECT id FROM webhooks WHERE active")
# Jobs of one turn are taken in the order in which they were made.
ADD_JOB: Final = text(
    """
    INSERT INTO jobs (id, kind, state, node_id, priority, parameters, created_by, created_at)
    VALUES (:id, 'deliver', 'queued', :node_id, 5, CAST(:parameters AS jsonb), :by,
        clock_timestamp())
    """
)
BEGIN_WITH_JOB: Final = text(
    """
    UPDATE deliveries SET state = 'running', target = :target, target_since = now(),
        job_id = :job_id, attempts = 0, failures = 0, error = '',
        started_at = coalesce(started_at, now())
    WHERE id = ANY(CAST(:ids AS bigint[]))
    """
)
TELL_WEBHOOK: Final = text(
    """
    INSERT INTO webhook_deliveries (webhook_id, sequence, kind, body, state)
    SELECT id, :sequence, 'routing.delivery', :body, 'pending' FROM webhooks
    WHERE id = :webhook_id AND active
    ON CONFLICT (webhook_id, sequence) DO UPDATE SET state = 'pending', attempts = 0,
        next_attempt_at = now(), finished_at = NULL, last_error = '', body = EXCLUDED.body
    RETURNING id
    """
)
BEGIN_WITH_WEBHOOK: Final = text(
    """
    UPDATE deliveries SET state = 'running', target = :target, target_since = now(),
        attempts = 0, failures = 0, error = '', started_at = coalesce(started_at, now())
    WHERE id = :id
    """
)
SAY: Final = text("UPDATE deliveries SET error = :error WHERE id = :id AND error <> :error")
FOLLOW: Final = text(
    """
    UPDATE deliveries SET state = :state, attempts = :tries, failures = :failures, error = :error,
        delivered_count = greatest(delivered_count, :arrived)
    WHERE id = :id AND finished_at IS NULL AND (state, attempts, failures, error, delivered_count)
        IS DISTINCT FROM (:state, :tries, :failures, :error, greatest(delivered_count, :arrived))
    """
)
FOLLOW_BATCH: Final = text(
    """
    UPDATE deliveries SET job_id = :batch_id, state = 'running', attempts = 0, error = ''
    WHERE id = :id AND finished_at IS NULL AND EXISTS (SELECT FROM jobs WHERE id = :batch_id)
    """
)
GIVE_BACK: Final = text(
    "UPDATE deliveries SET state = 'pending', job_id = NULL, target = '', target_since = NULL,"
    " attempts = 0, failures = 0, started_at = CASE WHEN :as_new THEN NULL ELSE started_at END"
    " WHERE id = :id AND finished_at IS NULL"
)
LEAVE: Final = text(
    "UPDATE deliveries SET state = 'waiting', target = '', error = :error"
    " WHERE id = :id AND finished_at IS NULL"
)
TELL_NO_MORE: Final = text(
    "UPDATE webhook_deliveries SET state = 'dead', finished_at = now()"
    " WHERE sequence = :sequence AND state = 'pending'"
)
CANCEL_JOB: Final = text(
    "UPDATE jobs SET cancel_requested = true"
    " WHERE (id = :job_id OR parent_id = :job_id) AND finished_at IS NULL AND NOT cancel_requested"
)
END: Final = text(
    """
    UPDATE deliveries SET state = :state, error = :error, finished_at = now(),
        target = CASE WHEN target = '' THEN :target ELSE target END,
        started_at = coalesce(started_at, now()),
        delivered_count = coalesce(:delivered, CASE WHEN :state = 'delivered'
            THEN instance_count ELSE delivered_count END),
        instance_count = greatest(instance_count, coalesce(CAST(:expected AS int), 0))
    WHERE id = :id AND finished_at IS NULL
    """
)
KEEP_STATE: Final = text(
    """
    INSERT INTO destination_states (name, failures, failing_since, last_attempt_at,
        last_success_at, last_error_at, last_error, in_force)
    VALUES (:name, :failures, :failing_since, :last_attempt_at, :last_success_at, :last_error_at,
        :last_error, :in_force)
    ON CONFLICT (name) DO UPDATE SET failures = EXCLUDED.failures,
        failing_since = EXCLUDED.failing_since, last_attempt_at = EXCLUDED.last_attempt_at,
        last_success_at = EXCLUDED.last_success_at, last_error_at = EXCLUDED.last_error_at,
        last_error = EXCLUDED.last_error, in_force = EXCLUDED.in_force
    """
)
# A circuit whose time is over lets one job try.
TRY_NODE: Final = text(
    """
    UPDATE remote_nodes SET circuit = jsonb_set(circuit, '{open_until}', to_jsonb(now()::text))
    WHERE id = :node_id AND (circuit ->> 'open_until')::timestamptz > now()
    """
)
WAKE: Final = text(
    """
    UPDATE jobs SET state = 'queued', not_before = NULL WHERE id IN (
        SELECT j.id FROM deliveries d JOIN jobs j ON j.id = d.job_id
        WHERE d.finished_at IS NULL AND d.target = :target AND j.state = 'waiting'
            AND j.kind = 'deliver'
        ORDER BY (SELECT count(*) FROM job_attempts a WHERE a.job_id = j.id
            AND a.outcome = 'retry') / :in_a_turn, d.created_at, d.id LIMIT :most
        FOR UPDATE OF j SKIP LOCKED)
    """
)
HOLD: Final = text(
    """
    UPDATE jobs SET not_before = now() + interval '60 seconds' WHERE id IN (
        SELECT j.id FROM deliveries d JOIN jobs j ON j.id = d.job_id
        WHERE d.finished_at IS NULL AND d.target = :target AND j.state = 'waiting'
            AND j.kind = 'deliver' AND j.not_before < now() + interval '45 seconds'
        FOR UPDATE OF j SKIP LOCKED)
    """
)
ALL: Final = 1_000_000
WEBHOOK_OFF: Final = message("the webhook is off; what is for it waits until somebody turns it on")


class UnreadableRoutingDocument(Transient):
    """The rules in force are of a later release; deliveries wait until others are in force."""


class PostgresDeliveryLedger(DeliveryLedger):
    """The tables `deliveries` and `destination_states`, and the jobs of deliveries."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._document: tuple[int, RoutingDocument] = (0, RoutingDocument())

    @override
    @contextmanager
    def turn(self) -> Iterator["PostgresDeliveryTurn | None"]:
        with self._database.session() as session:
            require_served_schema(session)
            connection = session.connection()
            if (
                not connection.execute(ANY_OPEN).scalar()
                or not connection.execute(TRY_LOCK, {"key": PLANNER_LOCK}).scalar()
            ):
                yield None
                return
            limit_idling(connection)
            yield PostgresDeliveryTurn(session, self._read_document)
            session.commit()

    @override
    def destinations(self) -> Sequence[str]:
        with self._database.session() as session:
            return [one.name for one in self._read_document(session).destinations]

    def _read_document(self, session: Session) -> RoutingDocument:
        connection = session.connection()
        version = connection.execute(VERSION).scalar() or 0
        if version != self._document[0]:
            stored = connection.execute(DOCUMENT, {"version": version}).scalar_one()
            try:
                self._document = version, RoutingDocument.model_validate(stored)
            except ValidationError as error:
                raise UnreadableRoutingDocument(
                    message("version %(version)s of the rules cannot be read", version=version)
                ) from error
        return self._document[1]


class PostgresDeliveryTurn(DeliveryTurn):
    """One turn of the planner, in one transaction."""

    def __init__(self, session: Session, read: Any) -> None:  # noqa: ANN401 - a method
        self._session = session
        self._connection = session.connection()
        self._read = read

    @override
    def now(self) -> datetime:
        moment: datetime = self._connection.execute(text("SELECT now()")).scalar_one()
        return moment

    @override
    def document(self) -> RoutingDocument:
        found: RoutingDocument = self._read(self._session)
        return found

    @override
    def supersede(self, reason: str) -> Sequence[str]:
        return self._connection.execute(SUPERSEDE, {"reason": reason}).scalars().all()

    @override
    def begun(self) -> Sequence[OpenDelivery]:
        found = [
            OpenDelivery(**row)
            for statement, values in (
                (BEGUN, {}),
                (WITH_BATCHES, {}),
                (WITH_WEBHOOKS, {"off": WEBHOOK_OFF}),
            )
            for row in self._connection.execute(statement, values).mappings()
        ]
        return sorted(found, key=lambda one: (one.created_at, one.id))

    @override
    def pending(self, order: PlanningOrder, most: int) -> Sequence[OpenDelivery]:
        values = {
            "names": list(order.names),
            "alone": list(order.alone),
            "side_by_side": list(order.side_by_side),
            "sharing": [one for one, _ in order.sharing],
            "shared": [other for _, other in order.sharing],
            "most": most,
        }
        return _deliveries(self._connection.execute(PENDING, values).mappings().all())

    @override
    def companions(
        self, delivery: OpenDelivery, at_place: Sequence[str], most: int
    ) -> Sequence[OpenDelivery]:
        values = {
            "id": delivery.id,
            "study": delivery.study_instance_uid,
            "series": delivery.series_instance_uid,
            "at_place": [delivery.destination, *at_place],
            "most": most,
        }
        return _deliveries(self._connection.execute(COMPANIONS, values).mappings().all())

    @override
    def lost(self, names: Sequence[str], most: int) -> Sequence[OpenDelivery]:
        values = {"names": list(names), "most": most}
        return _deliveries(self._connection.execute(LOST, values).mappings().all())

    @override
    def states(self) -> Mapping[str, DestinationState]:
        rows = self._connection.execute(STATES).mappings()
        return {row["name"]: DestinationState(**row) for row in rows}

    @override
    def nodes(self) -> Mapping[str, RemoteNode]:
        return {node.name: node for node in read_nodes(self._connection)}

    @override
    def webhooks(self) -> Collection[int]:
        return set(self._connection.execute(WEBHOOKS).scalars())

    @override
    def start_job(
        self,
        deliveries: Sequence[OpenDelivery],
        target: str,
        node_id: int | None,
        parameters: Mapping[str, Any],
    ) -> UUID:
        job_id = uuid4()
        self._connection.execute(
            ADD_JOB,
            {
                "id": job_id,
                "node_id": node_id,
                "parameters": json.dumps(dict(parameters)),
                "by": ROUTING,
            },
        )
        self._connection.execute(
            BEGIN_WITH_JOB,
            {"ids": [one.id for one in deliveries], "target": target, "job_id": job_id},
        )
        return job_id

    @override
    def tell_webhook(self, delivery: OpenDelivery, target: str, webhook_id: int, body: str) -> bool:
        values = {"webhook_id": webhook_id, "sequence": -delivery.id, "body": body}
        if self._connection.execute(TELL_WEBHOOK, values).first() is None:
            return False
        self._connection.execute(BEGIN_WITH_WEBHOOK, {"id": delivery.id, "target": target})
        return True

    @override
    def say(self, delivery: OpenDelivery, error: str) -> None:
        self._connection.execute(SAY, {"id": delivery.id, "error": error})

    @override
    def follow(self, delivery: OpenDelivery, state: str) -> None:
        tries = delivery.tries + delivery.refusals
        arrived = int(delivery.job_progress.get("arrived") or 0)
        values = {
            "id": delivery.id,
            "state": state,
            "tries": tries,
            "failures": delivery.tries,
            "error": delivery.job_error,
            "arrived": arrived,
        }
        held = delivery.state, delivery.attempts, delivery.failures, delivery.error
        same = held == (state, tries, delivery.tries, delivery.job_error)
        # There may be hundreds of which nothing has changed.
        if not same or arrived > delivery.delivered_count:
            self._connection.execute(FOLLOW, values)

    @override
    def follow_batch(self, delivery: OpenDelivery, batch_id: UUID) -> bool:
        values = {"id": delivery.id, "batch_id": batch_id}
        return bool(self._connection.execute(FOLLOW_BATCH, values).rowcount)

    @override
    def give_back(self, delivery: OpenDelivery, *, as_new: bool = False) -> None:
        self._connection.execute(GIVE_BACK, {"id": delivery.id, "as_new": as_new})

    @override
    def leave_target(self, delivery: OpenDelivery) -> None:
        self._connection.execute(LEAVE, {"id": delivery.id, "error": delivery.job_error})
        self._stop(delivery)

    @override
    def end(self, delivery: OpenDelivery, state: str, error: str, delivered: int | None) -> None:
        values = {
            "id": delivery.id,
            "state": state,
            "error": error,
            "target": delivery.made_for.get("name", ""),
            "delivered": delivered,
            "expected": delivery.job_result.get("expected"),
        }
        self._connection.execute(END, values)
        self._stop(delivery)

    def _stop(self, delivery: OpenDelivery) -> None:
        if delivery.job_id is None:
            self._connection.execute(TELL_NO_MORE, {"sequence": -delivery.id})
        else:
            self._connection.execute(CANCEL_JOB, {"job_id": delivery.job_id})

    @override
    def keep_state(self, state: DestinationState) -> None:
        values = asdict(state)
        del values["mode"], values["mode_since"]
        self._connection.execute(KEEP_STATE, values)

    @override
    def hold(self, target: str) -> None:
        self._connection.execute(HOLD, {"target": target})

    @override
    def try_node(self, node_id: int) -> None:
        self._connection.execute(TRY_NODE, {"node_id": node_id})

    @override
    def wake(self, target: str, most: int | None, in_a_turn: int) -> None:
        values = {"target": target, "most": ALL if most is None else most, "in_a_turn": in_a_turn}
        self._connection.execute(WAKE, values)


def _deliveries(rows: Sequence[RowMapping]) -> list[OpenDelivery]:
    return [OpenDelivery(**row) for row in rows]
