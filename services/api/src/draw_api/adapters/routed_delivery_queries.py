"""Deliveries in PostgreSQL, as operators read and steer them; the worker has its own queries."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import TextClause, text
from sqlmodel import Session
from typing_extensions import override

from draw_api.models.deliveries import (
    GIVEN_UP_BY,
    MAX_SHOWN_OBJECTS,
    NOT_ARRIVED,
    DeliveredObject,
    DeliveryCriteria,
    FailedDeliveries,
    RoutedDelivery,
    RoutedDeliveryDetail,
)
from draw_api.models.paging import Page, decode_cursor, encode_cursor, page_of
from draw_api.ports.deliveries import RoutedDeliveryRepository, SteeredDelivery
from draw_shared.db.deliveries import PLANNER_LOCK

LAST: Final = 2**63 - 1
COLUMNS: Final = """
    d.id, d.destination, d.target, d.state, d.error,
    ARRAY(SELECT rule ->> 'name' FROM routing_documents v
        CROSS JOIN LATERAL jsonb_path_query(v.document, '$.rules[*]') AS rule
        WHERE v.version = c.routing_version AND rule ->> 'name' = ANY(c.applied)
            AND (rule -> 'destinations' @> to_jsonb(d.destination)
                OR EXISTS (SELECT FROM jsonb_path_query(
                        v.document, '$.destinations[*] ? (@.mode == "all")') AS whole
                    WHERE whole -> 'members' @> to_jsonb(d.destination)
                        AND rule -> 'destinations' @> (whole -> 'name')))) AS rules,
    c.routing_version,
    c.sequence, c.batch_id, c.trigger, d.study_instance_uid, d.series_instance_uid,
    d.sop_instance_uid, d.instance_count AS instances, d.delivered_count AS delivered, d.attempts,
    d.created_at, d.started_at, d.give_up_at, d.finished_at, d.job_id,
    CASE WHEN d.finished_at IS NULL THEN (SELECT j.not_before FROM jobs j WHERE j.id = d.job_id)
        END AS next_try_at,
    coalesce(s.patient_name, '') AS patient_name, coalesce(s.description, '') AS study_description,
    s.study_date, coalesce(r.modality, '') AS modality,
    coalesce(r.description, '') AS series_description
"""
ABOUT: Final = """
    JOIN routing_decisions c ON c.id = d.decision_id
    LEFT JOIN LATERAL (
        SELECT t.description, t.study_date, CASE WHEN p.ambiguous THEN '' ELSE p.name END
            AS patient_name
        FROM studies t JOIN patients p ON p.id = t.patient_pk
        WHERE t.study_instance_uid = d.study_instance_uid OFFSET 0) s ON true
    LEFT JOIN LATERAL (SELECT e.modality, e.description FROM series e
        WHERE e.series_instance_uid = d.series_instance_uid OFFSET 0) r ON true
"""


class DeliveryLists(NamedTuple):
    """The statements of one order; which is used depends on the index that helps most."""

    by_state: TextClause
    by_destination: TextClause
    by_series: TextClause
    by_series_or_study: TextClause
    by_study: TextClause


def _in_order(direction: str) -> DeliveryLists:
    after, until, end = ("<", ">", 0) if direction == "DESC" else (">", "<", LAST)

    def listed(chosen: str) -> TextClause:
        return text(
            f"SELECT {COLUMNS} FROM ({chosen} ORDER BY id {direction} LIMIT :limit) d {ABOUT}"  # noqa: S608 - parts of our own
            f" ORDER BY d.id {direction}"
        )

    # In this order only one index has them, so that a rare state is not searched for among others.
    def of_each_state(*columns: str) -> TextClause:
        row = ", ".join(f"i.{column}" for column in (*columns, "state", "id"))
        key = ", ".join((*(f":{column}" for column in columns), "k.state"))
        order = ", ".join(f"{column} {direction}" for column in row.split(", "))
        return listed(
            "SELECT o.* FROM unnest(CAST(:states AS text[])) AS k (state) CROSS JOIN LATERAL ("  # noqa: S608
            f"SELECT * FROM deliveries i WHERE ({row}) {after} ({key}, :cursor)"
            f" AND ({row}) {until} ({key}, {end}) ORDER BY {order} LIMIT :limit) o"
        )

    def of_subject(condition: str) -> TextClause:
        return listed(
            f"SELECT * FROM deliveries WHERE {condition} AND id {after} :cursor"  # noqa: S608
            " AND state = ANY(:states) AND (:destination = '' OR destination = :destination)"
        )

    return DeliveryLists(
        of_each_state(),
        of_each_state("destination"),
        of_subject(
            "series_instance_uid = :series AND (:study = '' OR study_instance_uid = :study)"
        ),
        of_subject(
            "study_instance_uid = :study AND (series_instance_uid = :series"
            " OR series_instance_uid = '' AND created_at >= (SELECT min(received_at)"
            " FROM instances i JOIN series r ON r.id = i.series_pk"
            " WHERE r.series_instance_uid = :series))"
        ),
        of_subject("study_instance_uid = :study"),
    )


NEWEST_FIRST: Final = _in_order("DESC")
OLDEST_FIRST: Final = _in_order("ASC")
# Nobody looks through all deliveries of the last days for a few of them.
FAILED: Final = text(
    f"""
    WITH newest AS MATERIALIZED (
        SELECT o.* FROM unnest(CAST(:states AS text[])) AS k (state) CROSS JOIN LATERAL (
            SELECT destination, state, id, error FROM deliveries i
            WHERE (i.state, i.id) < (k.state, {LAST}) AND (i.state, i.id) > (k.state, 0)
                AND finished_at > :since AND NOT starts_with(error, :given_up)
            ORDER BY i.state DESC, i.id DESC LIMIT :most) o),
    full_states AS (SELECT state FROM newest GROUP BY state HAVING count(*) >= :most)
    SELECT destination, count(*) AS number, (array_agg(error ORDER BY id DESC))[1] AS error,
        EXISTS (SELECT FROM full_states) AS more
    FROM newest GROUP BY destination ORDER BY max(id) DESC
    """  # noqa: S608 - a constant
)
ONE: Final = text(
    f"SELECT {COLUMNS}, c.undecided, d.payload AS fields FROM deliveries d {ABOUT} WHERE d.id = :id"  # noqa: S608
)
# What a folder was given has no answer of a node, nor has what is being replaced there.
OBJECTS: Final = text(
    """
    SELECT sop_instance_uid, endpoint, status, answered_at FROM delivered_objects
    WHERE delivery_id = :id AND left(endpoint, 1) <> '/' AND content_sha256 <> ''
    ORDER BY answered_at, sop_instance_uid LIMIT :limit
    """
)
HOLD: Final = text("SELECT pg_advisory_xact_lock(:key)")
# What has arrived of a job that several share is not counted in their rows until it is over.
STEERED: Final = text(
    """
    SELECT d.id, d.destination, d.target, d.state, d.study_instance_uid, d.created_at,
        greatest(d.delivered_count, CAST(EXISTS (SELECT FROM delivered_objects o
            WHERE o.delivery_id = d.id AND left(o.endpoint, 1) <> '/'
                AND o.content_sha256 <> '') AS int)) AS delivered,
        d.job_id, j.state AS job_state
    FROM deliveries d LEFT JOIN jobs j ON j.id = d.job_id
    WHERE d.id = ANY(CAST(:ids AS bigint[])) ORDER BY d.id
    """
)
RESTART: Final = text(
    """
    UPDATE deliveries SET state = 'pending', target = '', target_since = NULL, job_id = NULL,
        attempts = 0, failures = 0, error = '', next_attempt_at = now(), finished_at = NULL,
        give_up_at = now() + make_interval(days => :days)
    WHERE id = :id
    """
)
HASTEN: Final = text("UPDATE deliveries SET next_attempt_at = now() WHERE id = :id")
HASTEN_WEBHOOK: Final = text(
    "UPDATE webhook_deliveries SET next_attempt_at = now()"
    " WHERE sequence = :sequence AND state = 'pending'"
)
# When a destination that rests may be tried depends on when it was tried last.
PROBE: Final = text("UPDATE destination_states SET last_attempt_at = NULL WHERE name = ANY(:names)")
END: Final = text(
    "UPDATE deliveries SET state = :state, error = :error, finished_at = now() WHERE id = :id"
)
TELL_NO_MORE: Final = text(
    "UPDATE webhook_deliveries SET state = 'dead', finished_at = now()"
    " WHERE sequence = :sequence AND state = 'pending'"
)


class PostgresRoutedDeliveryRepository(RoutedDeliveryRepository):
    """The table `deliveries`, within one transaction."""

    def __init__(self, session: Session) -> None:
        self._connection = session.connection()

    @override
    def page(
        self, criteria: DeliveryCriteria, *, oldest_first: bool, cursor: str | None, limit: int
    ) -> Page[RoutedDelivery]:
        lists = OLDEST_FIRST if oldest_first else NEWEST_FIRST
        begin = 0 if oldest_first else LAST
        values: dict[str, Any] = {
            "states": list(criteria.states),
            "cursor": decode_cursor(cursor, (int,))[0] if cursor is not None else begin,
            "limit": limit + 1,
        }
        if criteria.series_instance_uid or criteria.study_instance_uid:
            values |= {"destination": criteria.destination, "study": criteria.study_instance_uid}
            statement = lists.by_study
            if criteria.series_instance_uid:
                statement = lists.by_series_or_study if criteria.whole_study else lists.by_series
                values["series"] = criteria.series_instance_uid
        elif criteria.destination:
            statement = lists.by_destination
            values["destination"] = criteria.destination
        else:
            statement = lists.by_state
        rows = self._connection.execute(statement, values).mappings()
        found = [(encode_cursor(row["id"]), RoutedDelivery.model_validate(row)) for row in rows]
        return page_of(found, limit)

    @override
    def failed(self, since: datetime, most: int) -> list[FailedDeliveries]:
        values = {
            "states": list(NOT_ARRIVED),
            "since": since,
            "given_up": GIVEN_UP_BY,
            "most": most,
        }
        rows = self._connection.execute(FAILED, values).mappings()
        return [FailedDeliveries(**row) for row in rows]

    @override
    def one(self, delivery_id: int) -> RoutedDeliveryDetail | None:
        row = self._connection.execute(ONE, {"id": delivery_id}).mappings().first()
        if row is None:
            return None
        asked = {"id": delivery_id, "limit": MAX_SHOWN_OBJECTS}
        objects = self._connection.execute(OBJECTS, asked).mappings()
        return RoutedDeliveryDetail.model_validate(
            {**row, "objects": [DeliveredObject.model_validate(one) for one in objects]}
        )

    @override
    def hold(self) -> None:
        self._connection.execute(HOLD, {"key": PLANNER_LOCK})

    @override
    def steered(self, ids: Sequence[int]) -> Sequence[SteeredDelivery]:
        rows = self._connection.execute(STEERED, {"ids": list(ids)}).mappings()
        return [SteeredDelivery(**row) for row in rows]

    @override
    def restart(self, delivery_id: int, give_up_after_days: int) -> None:
        self._connection.execute(RESTART, {"id": delivery_id, "days": give_up_after_days})

    @override
    def hasten(self, delivery_id: int) -> None:
        self._connection.execute(HASTEN, {"id": delivery_id})
        self._connection.execute(HASTEN_WEBHOOK, {"sequence": -delivery_id})

    @override
    def probe(self, names: Sequence[str]) -> None:
        self._connection.execute(PROBE, {"names": list(names)})

    @override
    def end(self, delivery_id: int, state: str, error: str) -> None:
        self._connection.execute(END, {"id": delivery_id, "state": state, "error": error})
        self._connection.execute(TELL_NO_MORE, {"sequence": -delivery_id})
