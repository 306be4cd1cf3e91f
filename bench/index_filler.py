"""Fills the index with plausible studies, directly in PostgreSQL.

A patient has two or three studies, a study three series, a series three or four images: ten
instances a study, enough rows to make an index large. What a query finds does not depend on
the size, so that what is compared is the cost of finding it: there are always 20 patients
called SMITH or HAMMERSMITH, and an archive becomes larger by going further back in time,
with 100 studies a day. Of the others, one in two is two people.
"""

from typing import Final

import psycopg

PATIENTS_PER_THOUSAND_STUDIES: Final = 400
SERIES_PER_STUDY: Final = 3
STUDIES_PER_DAY: Final = 100
NAMED: Final = 20

FIRST_PARTS: Final = (
    "AND BER CAR DOM EIC FEL GUN HAR IVA JAN KOW LIN MAR NOV OST PET QUI ROS SCH TOM ULR VAN "
    "WEI XIA YIL ZIM ALT BRA CHR DUR ECK FUR GRO HOF"
)
LAST_PARTS: Final = (
    "ERSON GMAN TELLI INGER STROM HORN ERT NEN LER BACH KOVA OVIC DOTTIR ESCU IAN OGLU AWA MOTO "
    "FELD HEIM WOOD FORD TON LEY RIDGE SEN BERG QUIST"
)
GIVEN_NAMES: Final = (
    "ANNA PAUL MARIA JAN EVA OTTO LENA IVAN MEI ALI SOFIA TOM INES LUC NORA ERIK ZOE MAX IDA LEO"
)

PATIENTS: Final = """
    INSERT INTO patients (patient_id, name, name_search, birth_date, sex, study_count,
        ambiguous)
    SELECT 'P' || lpad(n::text, 8, '0'), name, '=' || lower(name) || '=',
        date '1930-01-01' + (n * 7919 %% 30000)::int, (ARRAY['F', 'M', 'O'])[1 + n %% 3], 2,
        n > {named} AND n %% 2 = 1
    FROM (SELECT n, CASE WHEN n <= {named} THEN
            (ARRAY['SMITH', 'HAMMERSMITH'])[1 + n %% 2] || '^' || given
        ELSE first || last || (ARRAY['', 'A', 'E', 'I'])[1 + n * 31 %% 4] || '^' || given
        END AS name
        FROM (SELECT n,
            (%(first)s::text[])[1 + n * 104729 %% array_length(%(first)s::text[], 1)] AS first,
            (%(last)s::text[])[1 + n * 7907 / 13 %% array_length(%(last)s::text[], 1)] AS last,
            (%(given)s::text[])[1 + n * 17 %% array_length(%(given)s::text[], 1)] AS given
            FROM generate_series(1::bigint, %(patients)s) n) parts) named
"""
STUDIES: Final = """
    INSERT INTO studies (patient_pk, study_instance_uid, study_date, study_time,
        accession_number, study_id, description, description_search, persons, modalities,
        sop_classes,
        series_count, instance_count, size_bytes, last_received_at, stable_at)
    SELECT p.id, '1.2.826.0.1.3680043.10.1.' || n,
        date '2025-12-31' - (n / {daily})::int, time '07:00' + (n * 37 %% 40000) * interval '1 s',
        'A' || lpad(n::text, 9, '0'), n::text, d.words, lower(d.words),
        ARRAY[concat(p.birth_date, chr(9), p.sex, chr(9), p.name, chr(9), p.patient_id)],
        ARRAY[d.modality], ARRAY['1.2.840.10008.5.1.4.1.1.2'], {series}, 10, 5300000, now(), now()
    FROM generate_series(1::bigint, %(studies)s) n
    JOIN patients p ON p.patient_id = 'P' || lpad((1 + n %% %(patients)s)::text, 8, '0')
    CROSS JOIN LATERAL (SELECT (ARRAY['CT', 'MR', 'CR', 'US', 'MG', 'DX', 'PT', 'XA', 'RTPLAN',
        'NM'])[1 + n * 13 %% 10] AS modality, (ARRAY['Head without contrast', 'Thorax', 'Abdomen',
        'Knee left', 'Planning pelvis', 'Follow-up'])[1 + n * 11 %% 6] AS words) d
"""
SERIES: Final = """
    INSERT INTO series (study_pk, series_instance_uid, modality, series_number, description,
        instance_count, size_bytes, last_received_at, stable_at)
    SELECT s.id, s.study_instance_uid || '.' || k, s.modalities[1], k, 'Series ' || k,
        CASE WHEN k = 1 THEN 4 ELSE 3 END, 1700000, now(), now()
    FROM studies s, generate_series(1, {series}) k
"""
INSTANCES: Final = """
    INSERT INTO instances (series_pk, sop_instance_uid, sop_class_uid, transfer_syntax_uid,
        instance_number, path, size_bytes, content_sha256, received_at)
    SELECT r.id, r.series_instance_uid || '.' || i, '1.2.840.10008.5.1.4.1.1.2',
        '1.2.840.10008.1.2.1', i, 'objects/none/' || r.id || '.' || i, 530000,
        decode(md5(r.id::text), 'hex'), now()
    FROM series r, generate_series(1, 4) i WHERE i <= r.instance_count
"""

PERSONS: Final = """
    INSERT INTO stated_persons (patient_pk, study_pk, name, name_search, birth_date, sex)
    SELECT p.id, s.id, w.name, '=' || lower(w.name) || '=', p.birth_date + 400 * w.second, p.sex
    FROM patients p JOIN studies s ON s.patient_pk = p.id
    CROSS JOIN LATERAL (SELECT s.id %% 2 = 0 AS other) o
    CROSS JOIN LATERAL (SELECT o.other::int AS second,
        CASE WHEN o.other THEN upper(left(md5(p.id::text), 8)) || '^JO' ELSE p.name END AS name) w
    WHERE p.ambiguous
"""


def fill(database_url: str, studies: int) -> None:
    """Add `studies` studies to a migrated, empty index, and have its statistics taken."""
    values = {
        "first": FIRST_PARTS.split(),
        "last": LAST_PARTS.split(),
        "given": GIVEN_NAMES.split(),
        "studies": studies,
        "patients": max(NAMED + 1, studies * PATIENTS_PER_THOUSAND_STUDIES // 1000),
    }
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        for statement in (PATIENTS, STUDIES, SERIES, INSTANCES, PERSONS):
            connection.execute(
                statement.format(
                    named=NAMED, series=SERIES_PER_STUDY, daily=STUDIES_PER_DAY
                ).encode(),
                values,
            )
        connection.execute(
            "VACUUM ANALYZE patients, studies, series, instances, stated_persons, study_words"
        )
