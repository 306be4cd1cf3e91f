"""The studies that lines of the transaction log are about, in PostgreSQL."""

from collections.abc import Collection, Sequence
from typing import Final

from sqlalchemy import text
from sqlmodel import Session
from typing_extensions import override

from draw_api.models.transactions import LoggedStudy
from draw_api.ports.transactions import LoggedStudyRepository, StudyDeletion

MAX_STUDIES: Final = 200
MAX_TOKENS: Final = 100

PRESENT: Final = text(
    """
    SELECT s.study_instance_uid, false AS deleted, p.patient_id, p.name AS patient_name,
        s.study_date, s.description, s.modalities
    FROM unnest(CAST(:study_uids AS text[])) AS k (uid)
    CROSS JOIN LATERAL (SELECT * FROM studies WHERE study_instance_uid = k.uid OFFSET 0) s
    CROSS JOIN LATERAL (SELECT * FROM patients WHERE id = s.patient_pk OFFSET 0) p
    """
)
DELETED: Final = text(
    """
    SELECT study_instance_uid, true AS deleted, patient_id, '' AS patient_name, study_date,
        description, modalities, deleted_at
    FROM deleted_studies WHERE study_instance_uid = ANY(:study_uids)
    ORDER BY deleted_at DESC LIMIT 1000
    """
)
OF_PATIENT: Final = text(
    """
    SELECT s.study_instance_uid FROM patients p JOIN studies s ON s.patient_pk = p.id
    WHERE p.patient_id = :patient_id LIMIT :most
    """
)
DELETED_OF_PATIENT: Final = text(
    """
    SELECT study_instance_uid FROM deleted_studies WHERE patient_id = :patient_id
    ORDER BY deleted_at DESC LIMIT :most
    """
)
TOKENS: Final = text(
    """
    SELECT DISTINCT t.name FROM users u JOIN api_tokens t ON t.user_id = u.id
    WHERE u.name = :name LIMIT :most
    """
)


class PostgresLoggedStudyRepository(LoggedStudyRepository):
    """Present and deleted studies, within one transaction."""

    def __init__(self, session: Session) -> None:
        self._connection = session.connection()

    @override
    def present(self, uids: Collection[str]) -> dict[str, LoggedStudy]:
        rows = self._connection.execute(PRESENT, {"study_uids": list(uids)}).mappings()
        return {row["study_instance_uid"]: LoggedStudy.model_validate(row) for row in rows}

    @override
    def deleted(self, uids: Collection[str]) -> Sequence[StudyDeletion]:
        rows = self._connection.execute(DELETED, {"study_uids": list(uids)}).mappings()
        return [StudyDeletion(LoggedStudy.model_validate(row), row["deleted_at"]) for row in rows]

    @override
    def of_patient(self, patient_id: str, *, also_deleted: bool) -> set[str]:
        values = {"patient_id": patient_id, "most": MAX_STUDIES}
        found = set(self._connection.execute(OF_PATIENT, values).scalars())
        if also_deleted:
            found |= set(self._connection.execute(DELETED_OF_PATIENT, values).scalars())
        return found

    @override
    def tokens_of(self, user: str) -> Sequence[str]:
        values = {"name": user, "most": MAX_TOKENS}
        return self._connection.execute(TOKENS, values).scalars().all()
