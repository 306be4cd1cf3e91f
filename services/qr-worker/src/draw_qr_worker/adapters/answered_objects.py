"""Keeps in PostgreSQL which objects an endpoint has answered for, in which contents."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import text
from typing_extensions import override

from draw_qr_worker.adapters.job_queries import hold
from draw_qr_worker.models import AnsweredObject, Lease
from draw_qr_worker.ports.delivering import AnsweredObjectRepository
from draw_shared.db.session import Database

ANSWERED: Final = text(
    """
    SELECT sop_instance_uid, content_sha256, status, origin, hops FROM delivered_objects
    WHERE endpoint = :endpoint AND sop_instance_uid = ANY(:uids) ORDER BY answered_at
    """
)
# The latest is the latest whatever the clock says.
RECORD: Final = text(
    """
    INSERT INTO delivered_objects AS d (endpoint, sop_instance_uid, content_sha256, delivery_id,
        status, origin, hops, answered_at)
    SELECT :endpoint, given.uid, given.content, given.delivery, given.status, given.origin,
        given.hops, greatest(clock_timestamp(), (
            SELECT max(answered_at) + interval '1 microsecond' FROM delivered_objects
            WHERE endpoint = :endpoint AND sop_instance_uid = given.uid))
    FROM unnest(CAST(:uids AS text[]), CAST(:contents AS bytea[]), CAST(:statuses AS int[]),
        CAST(:origins AS text[]), CAST(:hops AS int[]), CAST(:deliveries AS bigint[]))
        AS given (uid, content, status, origin, hops, delivery)
    ON CONFLICT (endpoint, sop_instance_uid, content_sha256) DO UPDATE
        SET delivery_id = EXCLUDED.delivery_id, status = EXCLUDED.status,
            answered_at = EXCLUDED.answered_at, origin = coalesce(EXCLUDED.origin, d.origin),
            hops = d.hops + EXCLUDED.hops
    """
)


class PostgresAnsweredObjectRepository(AnsweredObjectRepository):
    """The table `delivered_objects`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @override
    def answered(
        self, endpoint: str, uids: Sequence[str]
    ) -> Mapping[str, Sequence[AnsweredObject]]:
        found: defaultdict[str, list[AnsweredObject]] = defaultdict(list)
        values = {"endpoint": endpoint, "uids": list(uids)}
        with self._database.session() as session:
            for uid, content, *rest in session.connection().execute(ANSWERED, values):
                found[uid].append(AnsweredObject(uid, bytes(content), *rest))
        return found

    @override
    def record(
        self,
        lease: Lease,
        endpoint: str,
        delivery_ids: Sequence[int],
        objects: Sequence[AnsweredObject],
    ) -> None:
        values = {
            "endpoint": endpoint,
            "deliveries": list(delivery_ids),
            "uids": [one.sop_instance_uid for one in objects],
            "contents": [one.content_sha256 for one in objects],
            "statuses": [one.status for one in objects],
            "origins": [one.origin for one in objects],
            "hops": [one.hops for one in objects],
        }
        with self._database.session() as session:
            hold(session, lease).execute(RECORD, values)
            session.commit()
