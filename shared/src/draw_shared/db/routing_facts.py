"""What the index knows about a series, as facts for the rules of routing.

Elements that the index does not have are read from the file of the first object of the series.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from sqlalchemy import Connection, text

from draw_shared.db.feed import SERIES_STABLE
from draw_shared.dicom.encoding.flaws import Flaw
from draw_shared.dicom.query.keys import BY_TAG, IndexedAttribute, Level
from draw_shared.routing import subjects
from draw_shared.routing.document import Trigger
from draw_shared.routing.facts import ArrivalFacts, HeaderValues, RoutingFacts
from draw_shared.routing.subjects import ConditionSubject, split_values

Reader = Callable[[str, Sequence[ConditionSubject]], HeaderValues]
"""Reads subjects from a file, by its path below the storage root."""

HIDING: Final = (Flaw.UNREADABLE, Flaw.CUT_SHORT)
"""Flaws of a header behind which there may be elements that nobody has read."""
MAX_RECENT: Final = 2000
"""Completed series, newest first, among which the reason is looked for."""
OF_LEVEL: Final = {Level.PATIENT: "patient", Level.STUDY: "study", Level.SERIES: "series"}

SERIES: Final = text(
    """
    SELECT r.id, to_jsonb(p) AS patient, to_jsonb(s) AS study, to_jsonb(r) AS series,
        r.new_instance_count, coalesce(r.stable_at, r.last_received_at) AS at,
        coalesce(c.reason, '') AS reason, c.new_instance_count AS completed_count
    FROM series r JOIN studies s ON s.id = r.study_pk JOIN patients p ON p.id = s.patient_pk
    LEFT JOIN LATERAL (
        SELECT reason, new_instance_count FROM (
            SELECT sequence, series_instance_uid, reason, new_instance_count FROM changes
            WHERE kind = :kind ORDER BY sequence DESC LIMIT :recent) n
        WHERE r.stable_at IS NOT NULL AND n.series_instance_uid = r.series_instance_uid
        ORDER BY sequence DESC LIMIT 1) c ON true
    WHERE r.series_instance_uid = :uid
    """
)
ARRIVAL: Final = text(
    """
    SELECT count(*) AS instances, coalesce(sum(size_bytes), 0)::bigint AS size_bytes,
        coalesce(array_agg(DISTINCT calling_ae) FILTER (WHERE calling_ae <> ''), '{}')
            AS calling_ae,
        coalesce(array_agg(DISTINCT peer_address) FILTER (WHERE peer_address <> ''), '{}')
            AS address,
        coalesce(array_agg(DISTINCT move_originator_ae) FILTER (WHERE move_originator_ae <> ''),
            '{}') AS move_originator,
        coalesce(bool_or(header_damage LIKE ANY(:hiding)), false) AS unreadable
    FROM instances WHERE series_pk = :series
    """
)
FIRST: Final = text(
    """
    SELECT path FROM instances WHERE series_pk = :series
    ORDER BY instance_number NULLS LAST, id LIMIT 1
    """
)
IMAGES: Final = text(
    """
    SELECT DISTINCT k.keyword, coalesce(
        i.attributes ->> k.keyword, CASE k.place
            WHEN 'sop_instance_uid' THEN i.sop_instance_uid
            WHEN 'sop_class_uid' THEN i.sop_class_uid
            WHEN 'instance_number' THEN i.instance_number::text END) AS value
    FROM instances i
    CROSS JOIN unnest(CAST(:keywords AS text[]), CAST(:places AS text[])) AS k(keyword, place)
    WHERE i.series_pk = :series ORDER BY 1, 2 LIMIT :most
    """
)


def series_facts(
    connection: Connection,
    series_instance_uid: str,
    wanted: Iterable[ConditionSubject],
    read: Reader,
) -> tuple[str, RoutingFacts] | None:
    """Return the study of a series and what is known about the series; None if there is none."""
    row = (
        connection.execute(
            SERIES, {"uid": series_instance_uid, "kind": SERIES_STABLE, "recent": MAX_RECENT}
        )
        .mappings()
        .first()
    )
    if row is None:
        return None
    hiding = [f"%{flaw}%" for flaw in HIDING]
    came = connection.execute(ARRIVAL, {"series": row["id"], "hiding": hiding}).mappings().one()
    path = connection.execute(FIRST, {"series": row["id"]}).scalar()
    asked = [subject for subject in wanted if subject.is_element]
    indexed = {s: BY_TAG[s.tags[0]] for s in asked if len(s.tags) == 1 and s.tags[0] in BY_TAG}
    others = [subject for subject in asked if subject not in indexed]
    values: dict[str, Sequence[str]] = {}
    for subject, attribute in indexed.items():
        if attribute.level is not Level.IMAGE:
            found = _of_row(row[OF_LEVEL[attribute.level]], attribute)
            values[subject.name] = split_values(found, attribute.vr)
    images = [a for a in indexed.values() if a.level is Level.IMAGE]
    values |= _of_images(connection, row["id"], images)
    names = {subject.name for subject in wanted}
    header = HeaderValues(complete=True)
    if path is not None and (others or subjects.CALLED_AE in names):
        header = read(path, others)
    values |= header.values
    arrival = ArrivalFacts(
        calling_ae=tuple(came["calling_ae"]),
        called_ae=(header.receiving_ae,) if header.receiving_ae else (),
        address=tuple(came["address"]),
        move_originator=tuple(came["move_originator"]),
        reason=row["reason"],
        instances=came["instances"],
        new_instances=(
            row["new_instance_count"] if row["completed_count"] is None else row["completed_count"]
        ),
        size_bytes=came["size_bytes"],
    )
    unreadable = came["unreadable"] or not header.complete
    return row["study"]["study_instance_uid"], RoutingFacts(
        Trigger.SERIES_COMPLETE, values | arrival.values(), row["at"], unreadable=unreadable
    )


def _of_row(row: dict[str, Any], attribute: IndexedAttribute) -> str:
    """Return the text of an attribute of a level; `attributes` has what a column cannot hold."""
    text_of = row["attributes"].get(attribute.keyword)
    if text_of is None and attribute.column:
        text_of = row.get(attribute.column)
        if text_of is not None and attribute.vr in {"DA", "TM"}:
            text_of = str(text_of).replace("-", "").replace(":", "")
    return "" if text_of is None else str(text_of)


def _of_images(
    connection: Connection, series: int, attributes: Sequence[IndexedAttribute]
) -> dict[str, Sequence[str]]:
    """Return the different values of all objects of a series."""
    values: dict[str, dict[str, None]] = {}
    vrs = {attribute.keyword: attribute.vr for attribute in attributes}
    if not attributes:
        return {}
    asked = {
        "series": series,
        "keywords": list(vrs),
        "places": [attribute.column for attribute in attributes],
        "most": subjects.MAX_VALUES * len(vrs),
    }
    for keyword, value in connection.execute(IMAGES, asked):
        split = split_values(value or "", vrs[keyword])
        values.setdefault(keyword, {}).update(dict.fromkeys(split))
    return {keyword: tuple(found) for keyword, found in values.items()}
