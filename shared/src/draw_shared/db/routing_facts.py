"""What the index knows about a series, study or object, as facts for the rules of routing.

Elements that the index does not have are read from files: from that of the object, or from that of
the first object of each series.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, text

from draw_shared.db.feed import SERIES_STABLE, STUDY_STABLE
from draw_shared.dicom.encoding.flaws import Flaw
from draw_shared.dicom.query.keys import BY_TAG, SAID_BY_OBJECTS, IndexedAttribute, Level
from draw_shared.routing import subjects
from draw_shared.routing.document import Trigger
from draw_shared.routing.facts import (
    ArchivedFacts,
    ArrivalFacts,
    HeaderValues,
    Occasion,
    Reader,
    RoutingFacts,
)
from draw_shared.routing.subjects import ConditionSubject, split_values

Texts = dict[str, tuple[str, ...]]

HIDING: Final = (Flaw.UNREADABLE, Flaw.CUT_SHORT)
"""Flaws of a header behind which there may be elements that nobody has read."""
MAX_RECENT: Final = 2000
"""Completed series or studies, newest first, among which the reason is looked for."""
MAX_FILES: Final = 64
"""Files that are read for the facts of one study."""
OF_LEVEL: Final = {
    Level.PATIENT: "patient",
    Level.STUDY: "study",
    Level.SERIES: "series",
    Level.IMAGE: "instance",
}
NOT_SHOWN: Final = "'{sources,persons,request_attributes}'"

SERIES: Final = text(
    f"""
    SELECT s.study_instance_uid, to_jsonb(p) AS patient, to_jsonb(s) AS study,
        jsonb_build_array(to_jsonb(r) - CAST({NOT_SHOWN} AS text[])) AS series,
        coalesce(c.occurred_at, r.stable_at, r.last_received_at) AS at,
        coalesce(c.reason, '') AS reason,
        coalesce(c.new_instance_count, r.new_instance_count) AS new_instances
    FROM series r JOIN studies s ON s.id = r.study_pk JOIN patients p ON p.id = s.patient_pk
    LEFT JOIN LATERAL (
        SELECT occurred_at, reason, new_instance_count FROM (
            SELECT * FROM changes WHERE kind = :kind ORDER BY sequence DESC LIMIT :recent) n
        WHERE r.stable_at IS NOT NULL AND n.series_instance_uid = r.series_instance_uid
        ORDER BY sequence DESC LIMIT 1) c ON true
    WHERE r.series_instance_uid = :uid
    """  # noqa: S608 - constants
)
STUDY: Final = text(
    f"""
    SELECT s.study_instance_uid, to_jsonb(p) AS patient, to_jsonb(s) AS study,
        (SELECT jsonb_agg(to_jsonb(r) - CAST({NOT_SHOWN} AS text[])
            ORDER BY r.series_number NULLS LAST, r.id)
            FROM series r WHERE r.study_pk = s.id) AS series,
        coalesce(c.occurred_at, s.stable_at, s.last_received_at) AS at,
        coalesce(c.reason, '') AS reason,
        coalesce(c.new_instance_count, s.new_instance_count) AS new_instances
    FROM studies s JOIN patients p ON p.id = s.patient_pk
    LEFT JOIN LATERAL (
        SELECT occurred_at, reason, new_instance_count FROM (
            SELECT * FROM changes WHERE kind = :kind ORDER BY sequence DESC LIMIT :recent) n
        WHERE s.stable_at IS NOT NULL AND n.study_instance_uid = s.study_instance_uid
        ORDER BY sequence DESC LIMIT 1) c ON true
    WHERE s.study_instance_uid = :uid
    """  # noqa: S608 - constants
)
INSTANCE: Final = text(
    """
    SELECT s.study_instance_uid, to_jsonb(p) AS patient, to_jsonb(s) AS study,
        to_jsonb(r) AS series, to_jsonb(i) AS instance, i.received_at AS at, i.path,
        i.header_damage LIKE ANY(:hiding) AS unreadable, i.size_bytes,
        i.calling_ae, i.peer_address AS address, i.move_originator_ae AS move_originator
    FROM instances i JOIN series r ON r.id = i.series_pk JOIN studies s ON s.id = r.study_pk
    JOIN patients p ON p.id = s.patient_pk
    WHERE i.sop_instance_uid = :uid
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
    FROM instances WHERE series_pk = ANY(:series)
    """
)
FIRSTS: Final = text(
    """
    SELECT f.path FROM unnest(CAST(:series AS bigint[])) WITH ORDINALITY AS k(id, place)
    CROSS JOIN LATERAL (SELECT path FROM instances WHERE series_pk = k.id
        ORDER BY instance_number NULLS LAST, id LIMIT 1) f
    ORDER BY k.place
    """
)
IMAGES: Final = text(
    """
    SELECT keyword, value FROM (
        SELECT keyword, value, row_number() OVER (PARTITION BY keyword ORDER BY value) AS place
        FROM (SELECT DISTINCT k.keyword, coalesce(
                i.attributes ->> k.keyword, CASE k.place
                    WHEN 'sop_instance_uid' THEN i.sop_instance_uid
                    WHEN 'sop_class_uid' THEN i.sop_class_uid
                    WHEN 'instance_number' THEN i.instance_number::text END) AS value
            FROM instances i
            CROSS JOIN unnest(CAST(:keywords AS text[]), CAST(:places AS text[]))
                AS k(keyword, place)
            WHERE i.series_pk = ANY(:series)) d) n
    WHERE place <= :most ORDER BY keyword, place
    """
)


def archived_facts(
    connection: Connection,
    trigger: Trigger,
    uid: str,
    wanted: Iterable[ConditionSubject],
    read: Reader,
    occasion: Occasion | None = None,
) -> ArchivedFacts | None:
    """Return what is known about a series, study or object; None if the index has none such.

    Args:
        connection: the transaction in which the index is read.
        trigger: what it is.
        uid: its UID.
        wanted: what is asked about elements.
        read: reads files.
        occasion: why the rules are looked at; None: its last completion, as far as it is known.
    """
    names = {subject.name for subject in wanted}
    asked = [subject for subject in wanted if subject.is_element]
    indexed = {s: BY_TAG[s.tags[0]] for s in asked if len(s.tags) == 1 and s.tags[0] in BY_TAG}
    others = [subject for subject in asked if subject not in indexed]
    of_object = trigger is Trigger.INSTANCE
    row = _row(connection, trigger, uid, search=occasion is None)
    if row is None:
        return None
    levels = {level: _rows(row.get(name)) for level, name in OF_LEVEL.items()}
    series = [one["id"] for one in levels[Level.SERIES]]
    values: Texts = {}
    for subject, attribute in indexed.items():
        texts = (_of_row(one, attribute) for one in levels[attribute.level])
        values[subject.name] = _different(split_values(one, attribute.vr) for one in texts)
    if of_object:
        values |= _own(row["instance"]["attributes"], indexed.values())
        came = row
        paths = [row["path"]]
    else:
        said = [
            a for a in indexed.values() if a.level is Level.IMAGE or a.keyword in SAID_BY_OBJECTS
        ]
        for keyword, found in _of_images(connection, series, said).items():
            # Objects of releases before say of these attributes nothing.
            values[keyword] = _different((values.get(keyword, ()), found))
        came = _arrival(connection, series)
        paths = []
    needed = bool(others) or subjects.CALLED_AE in names
    if needed and not of_object:
        paths = list(connection.execute(FIRSTS, {"series": series[:MAX_FILES]}).scalars())
    headers = [read(path, others) for path in paths] if needed else []
    values |= _of_headers(headers)
    why = occasion or Occasion(
        row["at"], row.get("reason", ""), 1 if of_object else row["new_instances"]
    )
    arrival = ArrivalFacts(
        calling_ae=_texts(came["calling_ae"]),
        called_ae=_different((header.receiving_ae,) for header in headers),
        address=_texts(came["address"]),
        move_originator=_texts(came["move_originator"]),
        reason=why.reason,
        instances=1 if of_object else came["instances"],
        new_instances=why.new_instances,
        size_bytes=came["size_bytes"],
    )
    unreadable = came["unreadable"] or not all(h.complete or h.awaited for h in headers)
    awaited = any(header.awaited for header in headers)
    facts = RoutingFacts(
        trigger, values | arrival.values(), why.at, unreadable=unreadable, awaited=awaited
    )
    return ArchivedFacts(
        row["study_instance_uid"],
        "" if trigger is Trigger.STUDY_COMPLETE else levels[Level.SERIES][0]["series_instance_uid"],
        arrival.instances,
        facts,
    )


def _row(connection: Connection, trigger: Trigger, uid: str, *, search: bool) -> RowMapping | None:
    """Return the rows of all levels; `search` for the reason why it was complete."""
    if trigger is Trigger.INSTANCE:
        return connection.execute(INSTANCE, {"uid": uid, "hiding": _hiding()}).mappings().first()
    statement, kind = (
        (SERIES, SERIES_STABLE) if trigger is Trigger.SERIES_COMPLETE else (STUDY, STUDY_STABLE)
    )
    values = {"uid": uid, "kind": kind, "recent": MAX_RECENT if search else 0}
    return connection.execute(statement, values).mappings().first()


def _arrival(connection: Connection, series: Sequence[int]) -> RowMapping:
    return connection.execute(ARRIVAL, {"series": series, "hiding": _hiding()}).mappings().one()


def _hiding() -> list[str]:
    return [f"%{flaw}%" for flaw in HIDING]


def _rows(found: Any) -> Sequence[dict[str, Any]]:  # noqa: ANN401 - JSON of a statement
    """Return the rows of one level: those of one object's are not in a list."""
    if found is None:
        return ()
    return found if isinstance(found, list) else (found,)


def _texts(found: str | Sequence[str]) -> tuple[str, ...]:
    if isinstance(found, str):
        return (found,) if found else ()
    return tuple(found)


def _of_row(row: dict[str, Any], attribute: IndexedAttribute) -> str:
    """Return the text of an attribute of a level; `attributes` has what a column cannot hold."""
    text_of = row["attributes"].get(attribute.keyword)
    if text_of is None and attribute.column:
        text_of = row.get(attribute.column)
        if text_of is not None and attribute.vr in {"DA", "TM"}:
            text_of = str(text_of).replace("-", "").replace(":", "")
    return "" if text_of is None else str(text_of)


def _own(said: dict[str, str], attributes: Iterable[IndexedAttribute]) -> Texts:
    """Return what an object says itself of attributes of its series."""
    return {
        a.keyword: split_values(said[a.keyword], a.vr)
        for a in attributes
        if a.keyword in SAID_BY_OBJECTS and a.keyword in said
    }


def _of_images(
    connection: Connection, series: Sequence[int], attributes: Sequence[IndexedAttribute]
) -> Texts:
    """Return the different values of all objects of some series."""
    if not attributes:
        return {}
    vrs = {attribute.keyword: attribute.vr for attribute in attributes}
    found: dict[str, list[tuple[str, ...]]] = {}
    asked = {
        "series": series,
        "keywords": list(vrs),
        "places": [attribute.column for attribute in attributes],
        "most": subjects.MAX_VALUES,
    }
    for keyword, value in connection.execute(IMAGES, asked):
        found.setdefault(keyword, []).append(split_values(value or "", vrs[keyword]))
    return {keyword: _different(values) for keyword, values in found.items()}


def _of_headers(headers: Sequence[HeaderValues]) -> Texts:
    """Return the different values of some files."""
    names = dict.fromkeys(name for header in headers for name in header.values)
    return {name: _different(header.values.get(name, ()) for header in headers) for name in names}


def _different(found: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """Return the different values, as many as are looked at, without empty ones."""
    different = dict.fromkeys(value for values in found for value in values if value)
    return tuple(different)[: subjects.MAX_VALUES]
