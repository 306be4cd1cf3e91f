"""Reads from the index the objects that a job sends."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import text
from typing_extensions import override

from draw_qr_worker.models import IndexedObject, Item, Subject
from draw_qr_worker.ports.sending import StoredObjectRepository
from draw_shared.db.session import Database

OBJECTS: Final = text(
    """
    SELECT s.study_instance_uid, e.series_instance_uid, i.sop_instance_uid, i.sop_class_uid,
        i.transfer_syntax_uid, i.path, i.size_bytes, i.content_sha256, i.calling_ae,
        i.peer_address,
        e.stable_at IS NULL OR (:series = '' AND s.stable_at IS NULL) AS grows
    FROM studies s JOIN series e ON e.study_pk = s.id JOIN instances i ON i.series_pk = e.id
    WHERE s.study_instance_uid = :study
        AND (:series = '' OR e.series_instance_uid = :series)
        AND (:no_sops OR i.sop_instance_uid = ANY(:sops))
    ORDER BY e.id, i.instance_number, i.id
    """
)


class PostgresStoredObjectRepository(StoredObjectRepository):
    """Reads objects and their file paths from the index."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @override
    def objects(self, subject: Subject) -> Sequence[IndexedObject]:
        values = {
            "study": subject.study_instance_uid,
            "series": subject.series_instance_uid,
            "sops": list(subject.sop_instance_uids),
            "no_sops": not subject.sop_instance_uids,
        }
        with self._database.session() as session:
            rows = session.connection().execute(OBJECTS, values).mappings()
            return [
                IndexedObject(
                    Item(
                        row["study_instance_uid"],
                        row["series_instance_uid"],
                        row["sop_instance_uid"],
                        row["sop_class_uid"],
                    ),
                    row["transfer_syntax_uid"],
                    row["path"],
                    row["size_bytes"],
                    bytes(row["content_sha256"]),
                    row["calling_ae"],
                    row["peer_address"],
                    row["grows"],
                )
                for row in rows
            ]
