"""The SQL of the index's writer; every statement takes a whole batch.

Each statement gets its rows as one JSON document, which is the cheapest form on both sides.
"""

from typing import Final

from sqlalchemy import TextClause, text

VERSIONS: Final = text(
    """
    SELECT i.sop_instance_uid, encode(i.content_sha256, 'hex') AS content_sha256,
        i.received_at, i.path, i.size_bytes, i.calling_ae, r.series_instance_uid,
        coalesce(c.study_instance_uid, s.study_instance_uid) AS study_instance_uid,
        i.stated_person IS NOT NULL AS person_known
    FROM instances i JOIN series r ON r.id = i.series_pk JOIN studies s ON s.id = r.study_pk
    LEFT JOIN instance_conflicts c ON c.sop_instance_uid = i.sop_instance_uid
        AND c.content_sha256 = i.content_sha256
    WHERE i.sop_instance_uid = ANY(:uids)
    """
)
"""The current versions, each with the study that it names: its conflict's, or its series'."""

SETTLED: Final = text(
    """
    SELECT k.number
    FROM unnest(CAST(:numbers AS int[]), CAST(:uids AS text[]), CAST(:hashes AS text[]),
        CAST(:paths AS text[])) AS k (number, uid, hash, path)
    WHERE EXISTS (SELECT FROM instances i WHERE i.sop_instance_uid = k.uid
            AND i.content_sha256 = decode(k.hash, 'hex') AND i.path <> k.path)
        OR EXISTS (SELECT FROM instance_conflicts c WHERE c.sop_instance_uid = k.uid
            AND c.content_sha256 = decode(k.hash, 'hex') AND c.path <> k.path)
    """
)
"""Which of these objects the index has with the same bytes under another path."""

RECORDED: Final = text(
    """
    SELECT k.number, c.path
    FROM unnest(CAST(:numbers AS int[]), CAST(:uids AS text[]), CAST(:hashes AS text[]),
        CAST(:paths AS text[]), CAST(:studies AS text[])) AS k (number, uid, hash, path, study)
    JOIN file_copies c ON c.study_instance_uid = k.study AND c.sop_instance_uid = k.uid
        AND c.content_sha256 = decode(k.hash, 'hex') AND c.path <> k.path
    """
)
"""Where else these objects are stored, by the records of files that may be removed."""

REMOVING: Final = text(
    """
    SELECT k.number
    FROM unnest(CAST(:numbers AS int[]), CAST(:uids AS text[]), CAST(:hashes AS text[]),
        CAST(:paths AS text[])) AS k (number, uid, hash, path)
    WHERE EXISTS (SELECT FROM file_deletions d WHERE d.path = k.path
            AND d.sop_instance_uid = k.uid)
        OR EXISTS (SELECT FROM file_copies c WHERE c.path = k.path
            AND c.sop_instance_uid = k.uid AND c.content_sha256 = decode(k.hash, 'hex'))
    """
)
"""Which of these objects have an unfinished removal under this path."""

# As JSON, so that dates and times have the form in which they are written.
SERIES: Final = text(
    """
    SELECT to_jsonb(r) || jsonb_build_object('study_instance_uid', s.study_instance_uid)
    FROM series r JOIN studies s ON s.id = r.study_pk
    WHERE r.series_instance_uid = ANY(:uids)
    """
)

STUDIES: Final = text(
    """
    SELECT to_jsonb(s) || jsonb_build_object('patient', to_jsonb(p))
    FROM studies s JOIN patients p ON p.id = s.patient_pk
    WHERE s.study_instance_uid = ANY(:uids)
    """
)

PATIENTS: Final = text(
    """
    SELECT to_jsonb(p) FROM patients p
    JOIN unnest(CAST(:ids AS text[]), CAST(:issuers AS text[]), CAST(:studies AS text[]))
        AS k (patient_id, issuer, study)
    ON p.patient_id = k.patient_id AND p.issuer_of_patient_id = k.issuer
        AND p.unidentified_study_uid = k.study
    """
)


def _upsert(table: str, unique: str, columns: str) -> TextClause:
    """Return the statement that inserts or updates rows of `table` in the order of their keys."""
    names = [name.strip() for name in f"{unique}, {columns}".split(",")]
    keys = [name.strip() for name in unique.split(",")]
    dated = "" if table == "instances" else ", updated_at = now()"
    changed = ", ".join(f"{name} = EXCLUDED.{name}" for name in names if name not in keys)
    listed = ", ".join(names)
    return text(
        f"INSERT INTO {table} ({listed})"  # noqa: S608 - names from this module
        f" SELECT {listed} FROM jsonb_populate_recordset(NULL::{table}, CAST(:rows AS jsonb))"
        f" ORDER BY {unique}"
        f" ON CONFLICT ({unique}) DO UPDATE SET {changed}{dated}"
        f" RETURNING id, {unique}"
    )


UPSERT_PATIENTS: Final = _upsert(
    "patients",
    "patient_id, issuer_of_patient_id, unidentified_study_uid",
    "name, name_search, birth_date, sex, attributes, sources",
)
UPSERT_STUDIES: Final = _upsert(
    "studies",
    "study_instance_uid",
    "patient_pk, study_date, study_time, accession_number, study_id, description,"
    " description_search, referring_physician, referring_physician_search, attributes, sources",
)
UPSERT_SERIES: Final = _upsert(
    "series",
    "series_instance_uid",
    "study_pk, modality, series_number, description, body_part_examined, performed_date,"
    " performed_time, request_attributes, attributes, sources",
)
UPSERT_INSTANCES: Final = _upsert(
    "instances",
    "sop_instance_uid",
    "series_pk, sop_class_uid, transfer_syntax_uid, instance_number, attributes, path,"
    " size_bytes, content_sha256, received_at, association_id, calling_ae, peer_address,"
    " move_originator_ae, stated_patient, stated_person, header_damage",
)

COUNT_SERIES: Final = text(
    """
    UPDATE series r SET instance_count = c.instances, size_bytes = c.bytes,
        sop_classes = c.classes, persons = coalesce(c.persons, '{}'),
        last_received_at = c.latest, updated_at = now(),
        new_instance_count = r.new_instance_count + coalesce((SELECT n.number FROM
            unnest(CAST(:fresh AS bigint[]), CAST(:numbers AS int[])) AS n (id, number)
            WHERE n.id = r.id), 0),
        stable_at = CASE WHEN r.id = ANY(:reopened) THEN NULL ELSE r.stable_at END
    FROM (SELECT series_pk, count(*) AS instances, sum(size_bytes) AS bytes,
            array_agg(DISTINCT sop_class_uid ORDER BY sop_class_uid) AS classes,
            (array_agg(DISTINCT stated_person || chr(9) || stated_patient
                ORDER BY stated_person || chr(9) || stated_patient)
                FILTER (WHERE stated_person IS NOT NULL))[1:500] AS persons,
            max(received_at) AS latest
        FROM instances WHERE series_pk = ANY(:ids) GROUP BY series_pk) c
    WHERE r.id = c.series_pk
    """
)

COUNT_STUDIES: Final = text(
    """
    UPDATE studies s SET series_count = c.series, instance_count = c.instances,
        size_bytes = c.bytes, modalities = c.modalities, last_received_at = c.latest,
        sop_classes = coalesce((SELECT array_agg(DISTINCT k.uid ORDER BY k.uid)
            FROM series r, unnest(r.sop_classes) AS k (uid) WHERE r.study_pk = s.id), '{}'),
        persons = coalesce((SELECT (array_agg(DISTINCT k.said ORDER BY k.said))[1:500]
            FROM series r, unnest(r.persons) AS k (said) WHERE r.study_pk = s.id), s.persons),
        updated_at = now(),
        new_instance_count = s.new_instance_count + coalesce((SELECT n.number FROM
            unnest(CAST(:fresh AS bigint[]), CAST(:numbers AS int[])) AS n (id, number)
            WHERE n.id = s.id), 0),
        stable_at = CASE WHEN s.id = ANY(:reopened) THEN NULL ELSE s.stable_at END
    FROM (SELECT study_pk, count(*) AS series, sum(instance_count) AS instances,
            sum(size_bytes) AS bytes, max(last_received_at) AS latest,
            coalesce(array_agg(DISTINCT modality ORDER BY modality)
                FILTER (WHERE modality <> ''), '{}') AS modalities
        FROM series WHERE study_pk = ANY(:ids) GROUP BY study_pk) c
    WHERE s.id = c.study_pk
    """
)

COUNT_PATIENTS: Final = text(
    """
    UPDATE patients p SET study_count = c.studies, series_count = c.series,
        instance_count = c.instances, size_bytes = c.bytes, updated_at = now()
    FROM (SELECT patient_pk, count(*) AS studies, sum(series_count) AS series,
            sum(instance_count) AS instances, sum(size_bytes) AS bytes
        FROM studies WHERE patient_pk = ANY(:ids) GROUP BY patient_pk) c
    WHERE p.id = c.patient_pk
    """
)

LEFT: Final = text(
    """
    SELECT r.id AS series, s.id AS study, s.patient_pk AS patient
    FROM studies s LEFT JOIN series r
        ON r.study_pk = s.id AND r.series_instance_uid = ANY(:series)
    WHERE s.id IN (SELECT id FROM studies WHERE study_instance_uid = ANY(:studies)
        UNION SELECT study_pk FROM series WHERE series_instance_uid = ANY(:series))
    """
)
"""Rows that lose objects in a batch."""

DROP_EMPTY_SERIES: Final = text(
    "DELETE FROM series r WHERE id = ANY(:ids)"
    " AND NOT EXISTS (SELECT FROM instances WHERE series_pk = r.id)"
)
DROP_EMPTY_STUDIES: Final = text(
    "DELETE FROM studies s WHERE id = ANY(:ids)"
    " AND NOT EXISTS (SELECT FROM series WHERE study_pk = s.id)"
)
DROP_EMPTY_PATIENTS: Final = text(
    "DELETE FROM patients p WHERE id = ANY(:ids)"
    " AND NOT EXISTS (SELECT FROM studies WHERE patient_pk = p.id)"
)

SETTLE: Final = text(
    """
    DELETE FROM instance_conflicts c
    USING unnest(CAST(:uids AS text[]), CAST(:hashes AS text[])) AS k (uid, hash)
    WHERE c.sop_instance_uid = k.uid AND c.content_sha256 = decode(k.hash, 'hex')
    RETURNING k.uid, k.hash, c.study_instance_uid, c.path
    """
)

UPSERT_CONFLICTS: Final = text(
    """
    INSERT INTO instance_conflicts AS c (sop_instance_uid, study_instance_uid, path,
        size_bytes, content_sha256, reason, calling_ae, received_at)
    SELECT sop_instance_uid, study_instance_uid, path, size_bytes, content_sha256, reason,
        calling_ae, received_at
    FROM jsonb_populate_recordset(NULL::instance_conflicts, CAST(:rows AS jsonb))
    ORDER BY sop_instance_uid, content_sha256
    ON CONFLICT (sop_instance_uid, content_sha256) DO UPDATE SET reason = EXCLUDED.reason,
        calling_ae = EXCLUDED.calling_ae, received_at = EXCLUDED.received_at
    WHERE c.reason <> EXCLUDED.reason OR CASE WHEN CAST(:latest AS boolean)
        THEN (c.received_at, c.path) < (EXCLUDED.received_at, EXCLUDED.path)
        ELSE (c.received_at, c.path) > (EXCLUDED.received_at, EXCLUDED.path) END
    RETURNING (xmax = 0) AS made, sop_instance_uid, encode(content_sha256, 'hex') AS hash
    """
)

REVIEW_SERIES: Final = text(
    """
    WITH moved AS (
        SELECT r.id, k.former, s.study_instance_uid AS study, p.patient_id ||
            CASE WHEN p.issuer_of_patient_id = '' THEN ''
                ELSE '^^^' || p.issuer_of_patient_id END AS patient
        FROM unnest(CAST(:series AS text[]), CAST(:formers AS text[])) AS k (uid, former)
        JOIN series r ON r.series_instance_uid = k.uid
        JOIN studies s ON s.id = r.study_pk JOIN patients p ON p.id = s.patient_pk),
    objects AS (
        SELECT o.*, CASE WHEN o.named <> o.study THEN CAST(:other_study AS text)
            WHEN o.stated_patient NOT IN ('', o.patient) THEN CAST(:other_patient AS text)
            END AS reason
        FROM (SELECT i.*, m.study, m.patient, coalesce(c.study_instance_uid, m.former) AS named
            FROM moved m JOIN instances i ON i.series_pk = m.id
            LEFT JOIN instance_conflicts c ON c.sop_instance_uid = i.sop_instance_uid
                AND c.content_sha256 = i.content_sha256) o),
    agreeing AS (
        DELETE FROM instance_conflicts c USING objects o
        WHERE c.sop_instance_uid = o.sop_instance_uid AND c.content_sha256 = o.content_sha256
            AND o.reason IS NULL)
    INSERT INTO instance_conflicts AS c (sop_instance_uid, study_instance_uid, path, size_bytes,
        content_sha256, reason, calling_ae, received_at)
    SELECT sop_instance_uid, named, path, size_bytes, content_sha256, reason, calling_ae,
        received_at
    FROM objects WHERE reason IS NOT NULL ORDER BY sop_instance_uid
    ON CONFLICT (sop_instance_uid, content_sha256) DO UPDATE SET reason = EXCLUDED.reason
    WHERE c.reason <> EXCLUDED.reason
    """
)
"""After series moved to another study: other current objects of theirs contradict it now.

An object without a conflict has named the former study.
"""

REVIEW_PATIENTS: Final = text(
    """
    WITH objects AS (
        SELECT i.*, s.study_instance_uid, i.stated_patient <> '' AND i.stated_patient <>
            p.patient_id || CASE WHEN p.issuer_of_patient_id = '' THEN ''
                ELSE '^^^' || p.issuer_of_patient_id END AS contradicts
        FROM studies s JOIN patients p ON p.id = s.patient_pk
        JOIN series r ON r.study_pk = s.id JOIN instances i ON i.series_pk = r.id
        WHERE s.study_instance_uid = ANY(:studies)),
    agreeing AS (
        DELETE FROM instance_conflicts c USING objects o
        WHERE c.sop_instance_uid = o.sop_instance_uid AND c.content_sha256 = o.content_sha256
            AND NOT o.contradicts AND c.reason = CAST(:reason AS text))
    INSERT INTO instance_conflicts (sop_instance_uid, study_instance_uid, path, size_bytes,
        content_sha256, reason, calling_ae, received_at)
    SELECT sop_instance_uid, study_instance_uid, path, size_bytes, content_sha256,
        CAST(:reason AS text), calling_ae, received_at
    FROM objects WHERE contradicts ORDER BY sop_instance_uid
    ON CONFLICT (sop_instance_uid, content_sha256) DO NOTHING
    """
)
"""After a study got another patient: other current objects of it contradict it now."""

HOMES: Final = text(
    """
    SELECT i.sop_instance_uid, s.study_instance_uid
    FROM instances i JOIN series r ON r.id = i.series_pk JOIN studies s ON s.id = r.study_pk
    WHERE i.sop_instance_uid = ANY(:uids)
    """
)
"""The studies that contain these objects."""

COUNT_DAYS: Final = text(
    """
    INSERT INTO reception_days AS d (day, objects, size_bytes)
    SELECT day, objects, size_bytes
    FROM jsonb_populate_recordset(NULL::reception_days, CAST(:rows AS jsonb)) ORDER BY day
    ON CONFLICT (day) DO UPDATE SET objects = d.objects + EXCLUDED.objects,
        size_bytes = d.size_bytes + EXCLUDED.size_bytes
    """
)

NOTE_ARRIVALS: Final = text(
    """
    UPDATE retrieve_items SET arrived_at = now() WHERE id IN (
        SELECT id FROM retrieve_items
        WHERE sop_instance_uid = ANY(:uids) AND arrived_at IS NULL AND arrives_here
        ORDER BY id FOR UPDATE)
    """
)

NOTE_ASSOCIATIONS: Final = text(
    """
    WITH came AS (
        SELECT * FROM unnest(CAST(:associations AS text[]), CAST(:titles AS text[]),
            CAST(:series AS text[]), CAST(:ordinals AS int[])) AS k (id, title, series, ordinal)),
    accounted AS (
        INSERT INTO association_arrivals AS a (association_id, ordinals)
        SELECT id, range_agg(int4range(ordinal, ordinal, '[]'))
        FROM came WHERE ordinal IS NOT NULL GROUP BY id ORDER BY id
        ON CONFLICT (association_id) DO UPDATE
            SET ordinals = a.ordinals + EXCLUDED.ordinals, updated_at = now())
    INSERT INTO series_arrivals (series_pk, association_id, calling_ae, counted)
    SELECT r.id, c.id, max(c.title), bool_or(c.ordinal IS NOT NULL) FROM came c
    JOIN series r ON r.series_instance_uid = c.series
    WHERE r.stable_at IS NULL OR c.ordinal IS NOT NULL
    GROUP BY r.id, c.id
    ON CONFLICT DO NOTHING
    """
)
"""Accounts for the objects that associations brought, and for the series they brought them to.

A complete series may grow while an association is open that began with what the series has.
"""

APPEND_CHANGES: Final = text(
    """
    INSERT INTO changes (kind, study_instance_uid, series_instance_uid, sop_instance_uid)
    SELECT CAST(:kind AS text), study, series, sop FROM unnest(CAST(:studies AS text[]),
        CAST(:series AS text[]), CAST(:uids AS text[])) AS k (study, series, sop)
    ORDER BY sop, study
    """
)
