"""Fills the index directly, as `draw_shared.dicom.query.keys` says what lies where."""

import json

import psycopg
import pydicom

from draw_shared.dicom.encoding.dates import parse_date, parse_time
from draw_shared.dicom.encoding.search_text import person_name_search_text, search_text
from draw_shared.dicom.query.keys import BY_KEYWORD, UNIQUE_KEYS, Level, of_level

TABLES = {
    Level.PATIENT: "patients",
    Level.STUDY: "studies",
    Level.SERIES: "series",
    Level.IMAGE: "instances",
}
PARENTS = {Level.STUDY: "patient_pk", Level.SERIES: "study_pk", Level.IMAGE: "series_pk"}


def row(level, values):
    """Return the columns of one entity, given by keywords; other names go as they are."""
    columns, beside = {}, {}
    for keyword, value in values.items():
        attribute = BY_KEYWORD.get(keyword)
        if attribute is None:
            columns[keyword] = json.dumps(value) if keyword == "request_attributes" else value
        elif attribute.level is not level:
            raise ValueError(keyword)
        elif value:
            _place(attribute, value, columns, beside)
    return columns | {"attributes": json.dumps(beside)}


def _place(attribute, value, columns, beside):
    parsed = _parsed(attribute.vr, value) if attribute.column else None
    if parsed is None:
        beside[attribute.keyword] = value
        return
    columns[attribute.column] = parsed
    if attribute.search:
        make = person_name_search_text if attribute.vr == "PN" else search_text
        columns[attribute.search] = make(value)


def _parsed(vr, value):
    if vr == "DA":
        return parse_date(value)
    if vr == "TM":
        return parse_time(value)
    if vr == "IS":
        return int(value) if value.lstrip("+-").isdigit() else None
    return value


def insert(connection, level, values, parent=None):
    """Insert one entity and return its id."""
    columns = row(level, values)
    if parent is not None:
        columns[PARENTS[level]] = parent
    names = ", ".join(columns)
    marks = ", ".join(["%s"] * len(columns))
    statement = f"INSERT INTO {TABLES[level]} ({names}) VALUES ({marks}) RETURNING id"  # noqa: S608
    return connection.execute(statement, list(columns.values())).fetchone()[0]


def fill(database_url, patients):
    """Insert patients given as `{..., "studies": [{..., "series": [{..., "instances": []}]}]}`."""
    with psycopg.connect(database_url) as connection:
        for patient in patients:
            _insert_tree(connection, Level.PATIENT, patient, None)


def _insert_tree(connection, level, entity, parent):
    below = {"studies", "series", "instances"}
    own = {name: value for name, value in entity.items() if name not in below}
    made = insert(connection, level, own, parent)
    for name in below & entity.keys():
        for child in entity[name]:
            _insert_tree(connection, Level(level + 1), child, made)


def instance(uid, *, sop_class="1.2.840.10008.5.1.4.1.1.2", path="objects/none", **values):
    """Return one instance with what the table requires."""
    return {
        "SOPInstanceUID": uid,
        "SOPClassUID": sop_class,
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "path": path,
        "content_sha256": b"\0" * 32,
        **values,
    }


def fill_from_storage(database_url, root):
    """Insert every object that lies in a storage root, as the indexer would."""
    known = {}
    with psycopg.connect(database_url) as connection:
        for path in sorted((root / "objects").rglob("*.dcm")):
            held = pydicom.dcmread(path, stop_before_pixels=True)
            parent = None
            for level in (Level.PATIENT, Level.STUDY, Level.SERIES):
                key = level, str(held.get(UNIQUE_KEYS[level], ""))
                if key not in known:
                    known[key] = insert(connection, level, _values(held, level), parent)
                parent = known[key]
            one = instance(
                str(held.SOPInstanceUID),
                sop_class=str(held.SOPClassUID),
                path=str(path.relative_to(root)),
                **_values(held, Level.IMAGE, but=("SOPInstanceUID", "SOPClassUID")),
            )
            one["transfer_syntax_uid"] = str(held.file_meta.TransferSyntaxUID)
            insert(connection, Level.IMAGE, one, parent)
        for statement in COUNTS:
            connection.execute(statement)


def _values(held, level, but=()):
    found = {}
    for attribute in of_level(level):
        value = held.get(attribute.keyword)
        if attribute.keyword in but or value in {None, ""}:
            continue
        many = isinstance(value, pydicom.multival.MultiValue)
        found[attribute.keyword] = "\\".join(map(str, value)) if many else str(value)
    return found


COUNTS = (
    (
        "UPDATE series SET instance_count = n FROM (SELECT series_pk, count(*) AS n FROM instances"
        " GROUP BY series_pk) AS found WHERE series_pk = series.id"
    ),
    (
        "UPDATE studies SET series_count = n, instance_count = i, modalities = m FROM"
        " (SELECT study_pk, count(*) AS n, sum(instance_count) AS i,"
        " array_agg(DISTINCT modality ORDER BY modality) AS m FROM series GROUP BY study_pk)"
        " AS found WHERE study_pk = studies.id"
    ),
    (
        "UPDATE patients SET study_count = n, series_count = e, instance_count = i FROM"
        " (SELECT patient_pk, count(*) AS n, sum(series_count) AS e, sum(instance_count) AS i"
        " FROM studies GROUP BY patient_pk) AS found WHERE patient_pk = patients.id"
    ),
)
