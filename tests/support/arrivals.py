"""Objects on their way into the index, without files, and what the index made of them."""

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from sqlalchemy import text

from draw_indexer.adapters.index_queries import PostgresIndexRepository
from draw_indexer.models import AnnouncedObject, Arrival, Header
from draw_shared.db.session import Database
from draw_shared.dicom.query.keys import BY_KEYWORD, Level
from draw_shared.storage.removal import StorageFiles
from support import service_finder

BEGINNING = datetime(2026, 1, 2, 12, tzinfo=UTC)
CT = "1.2.840.10008.5.1.4.1.1.2"
EMPTIED = ("instances", "patients", "instance_conflicts", "reception_days", "changes", "jobs",
           "transactions", "tombstones", "association_arrivals", "association_ends",
           "proved_arrivals")  # fmt: skip
"""What is below them goes with them."""

SNAPSHOTS = {
    "patients": """
        SELECT patient_id, issuer_of_patient_id, unidentified_study_uid, name, name_search,
            birth_date, sex, attributes, sources, study_count, series_count, instance_count,
            size_bytes, ambiguous FROM patients ORDER BY 1, 2, 3""",
    "stated_persons": """
        SELECT p.patient_id, s.study_instance_uid, n.name, n.name_search, n.birth_date, n.sex
        FROM stated_persons n JOIN patients p ON p.id = n.patient_pk
        JOIN studies s ON s.id = n.study_pk ORDER BY 1, 2, 3, 5, 6""",
    "studies": """
        SELECT study_instance_uid, p.patient_id, p.issuer_of_patient_id,
            p.unidentified_study_uid, study_date, study_time, accession_number, description,
            description_search, referring_physician, s.attributes, s.sources, modalities,
            sop_classes, persons, s.series_count, s.instance_count, s.size_bytes, last_received_at
        FROM studies s JOIN patients p ON p.id = patient_pk ORDER BY 1""",
    "series": """
        SELECT series_instance_uid, s.study_instance_uid, modality, series_number,
            r.description, body_part_examined, request_attributes, r.attributes, r.sources,
            r.sop_classes, r.persons, r.instance_count, r.size_bytes, r.last_received_at
        FROM series r JOIN studies s ON s.id = study_pk ORDER BY 1""",
    "instances": """
        SELECT sop_instance_uid, r.series_instance_uid, sop_class_uid, transfer_syntax_uid,
            instance_number, i.attributes, path, i.size_bytes, content_sha256, received_at,
            calling_ae, stated_patient, stated_person
        FROM instances i JOIN series r ON r.id = series_pk ORDER BY 1""",
    "instance_conflicts": """
        SELECT sop_instance_uid, content_sha256, study_instance_uid, path, size_bytes, reason,
            calling_ae, received_at FROM instance_conflicts ORDER BY 1, 2""",
    "reception_days": "SELECT day, objects, size_bytes FROM reception_days ORDER BY 1",
}


def arrival(
    uid="1.1", *, second=0, content="a", series="1.1.1", study="1.1.1.1", patient="P1", **texts
):
    """Return one announced object with its header; `texts` are values by keyword."""
    levels = {level: {} for level in Level}
    levels[Level.PATIENT]["PatientName"] = "Test^Patient"
    levels[Level.SERIES]["Modality"] = "CT"
    levels[Level.IMAGE]["InstanceNumber"] = "1"
    for keyword, value in {"PatientID": patient, **texts}.items():
        level = BY_KEYWORD[keyword].level if keyword in BY_KEYWORD else Level.SERIES
        if value:
            levels[level][keyword] = value
        else:
            levels[level].pop(keyword, None)
    digest = sha256(f"{uid}{content}".encode()).hexdigest()
    stored = AnnouncedObject(
        sop_instance_uid=uid,
        sop_class_uid=CT,
        series_instance_uid=series,
        study_instance_uid=study,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        path=f"objects/{uid}-{digest[:6]}.dcm",
        size_bytes=1000 + int(digest[:2], 16),
        content_sha256=digest,
        received_at=BEGINNING + timedelta(seconds=second),
        calling_ae="SENDER",
    )
    return Arrival(stored, Header(*levels.values()))


def index_in(database):
    """Return the index in a database, beside a storage volume without files."""
    return PostgresIndexRepository(database, StorageFiles(Path("/nonexistent")))


def snapshot(database):
    """Return everything that does not depend on when and in which order it was indexed."""
    with database.session() as session:
        connection = session.connection()
        return {
            table: [dict(row) for row in connection.execute(text(query)).mappings()]
            for table, query in SNAPSHOTS.items()
        }


def empty(database):
    """Remove everything that was indexed, expected or logged."""
    with database.session() as session:
        # Faster than to truncate, which makes and removes the files of all tables and indexes.
        for table in EMPTIED:
            session.connection().execute(text(f"DELETE FROM {table}"))  # noqa: S608
        session.commit()


@contextmanager
def shared_database(postgres_url, template):
    """Yield a database for the tests of one file, which empty it themselves."""
    with service_finder.cloned_database(postgres_url, template) as url:
        database = Database(url, pool_size=10)
        yield database
        database.dispose()


def rows(database, query, **values):
    """Return what a query finds."""
    with database.session() as session:
        found = session.connection().execute(text(query), values)
        return [dict(row) for row in found.mappings()]
