"""Writes a batch of objects into the index: one transaction, the same rows in any order.

It decides which version of each SOP instance is current, which object gives each attribute of a
series, study or patient, and to which study a series and to which patient a study belongs. The
steps are: read the rows that the arrivals concern, judge the versions, merge the descriptions,
write everything at once.

Concurrency: consumers of all indexers call this in parallel, but writers take turns (see
`IndexRepository.writing`), so what a batch read stays true until its commit. If the process dies
before the commit, nothing is written and the broker delivers the batch again; after it, writing the
batch a second time changes nothing.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from draw_indexer.models import (
    AnnouncedObject,
    Arrival,
    CurrentVersion,
    IndexChanges,
    IndexedBatch,
    PatientKey,
    Reason,
    Row,
    Verdict,
    Whereabouts,
)
from draw_indexer.ports.indexing import IndexRepository, IndexTransaction
from draw_indexer.services.description import Description, whole_number
from draw_indexer.services.versions import Versions, conflict_of
from draw_shared.contracts.server_config import DuplicatePolicy
from draw_shared.dicom.encoding.persons import Person
from draw_shared.dicom.query.keys import SAID_BY_OBJECTS, Level

PATIENT: Final = "PatientID"
STUDY: Final = "StudyInstanceUID"


class IndexingService:
    """Indexes batches."""

    def __init__(self, index: IndexRepository, policy: Callable[[], DuplicatePolicy]) -> None:
        self._index = index
        self._policy = policy

    def index(self, arrivals: Sequence[Arrival]) -> IndexedBatch:
        """Return once the batch is committed.

        Raises:
            Transient: the database does not answer; the same batch may be given again.
        """
        versions = Versions(self._policy())
        with self._index.writing() as rows:
            batch = _Batch(rows, versions, arrivals)
            written = rows.write(batch.build_changes())
            rows.commit()
        return batch.summarise(written)

    def look_up(self, objects: Sequence[AnnouncedObject]) -> Sequence[Whereabouts]:
        """Return what is known of objects without their file; see `IndexRepository.look_up`."""
        return self._index.look_up(objects)


class _Batch:
    """Turns one batch of arrivals into rows."""

    def __init__(
        self, rows: IndexTransaction, versions: Versions, arrivals: Sequence[Arrival]
    ) -> None:
        self._rows = rows
        self._versions = versions
        self._departed = rows.find_departed(arrivals)
        gone = {id(a) for a in (*self._departed.deleted, *self._departed.missing)}
        if gone:
            arrivals = [arrival for arrival in arrivals if id(arrival) not in gone]
        self._changes = IndexChanges(
            sorted({a.stored.sop_instance_uid for a in arrivals}), versions.latest
        )
        self._changes.brought = [
            arrival.stored
            for arrival in (*arrivals, *self._departed.deleted)
            if not arrival.stored.reread
        ]
        self._size = len(arrivals)
        self._verdicts = self._judge(arrivals)
        self._describing = [a for v in self._verdicts for a in v.describing]

    def build_changes(self) -> IndexChanges:
        """Return the changes to write."""
        if self._describing:
            self._merge_series()
            self._merge_studies_and_patients()
            self._merge_instances()
        return self._changes

    def summarise(self, written: Mapping[str, int]) -> IndexedBatch:
        """Return what the batch changed."""
        fresh = sum(verdict.fresh for verdict in self._verdicts)
        conflicts = sum(len(verdict.set_aside) for verdict in self._verdicts)
        recorded = self._changes.conflicts
        deleted = [arrival.stored for arrival in self._departed.deleted]
        missing = [arrival.stored for arrival in self._departed.missing]
        return IndexedBatch(
            fresh,
            self._size - fresh,
            conflicts,
            written,
            recorded,
            self._changes.ambiguous,
            deleted,
            missing,
        )

    def _judge(self, arrivals: Sequence[Arrival]) -> list[Verdict]:
        by_uid: defaultdict[str, list[Arrival]] = defaultdict(list)
        for arrival in arrivals:
            by_uid[arrival.stored.sop_instance_uid].append(arrival)
        known = self._rows.versions(self._changes.arrived)
        found = []
        for uid in self._changes.arrived:
            if any(_is_new_reception(arrival.stored, known.get(uid)) for arrival in by_uid[uid]):
                self._changes.came.append(uid)
            verdict = self._versions.judge(known.get(uid), by_uid[uid])
            if verdict.current is None:
                # It describes nothing new: the same bytes, or bytes that were set aside.
                verdict.describing = [
                    a
                    for a in verdict.describing
                    if a.stored.content_sha256 != known[uid].content_sha256
                ]
            if verdict.displaced is not None:
                displaced = verdict.displaced
                self._changes.left_series.add(displaced.series_instance_uid)
                self._changes.displaced.add((uid, displaced.content_sha256))
            self._changes.conflicts += verdict.set_aside
            self._changes.doubtful += _find_doubtful(verdict, known.get(uid), by_uid[uid])
            found.append(verdict)
        return found

    def _merge_series(self) -> None:
        uids = sorted({a.stored.series_instance_uid for a in self._describing})
        held = self._rows.series(uids)
        said = _group(self._describing, lambda a: a.stored.series_instance_uid, Level.SERIES)
        for uid in uids:
            row = held.get(uid)
            description = Description(Level.SERIES, self._versions.before, row)
            if row is not None:
                self._changes.ids[Level.SERIES, uid] = row["id"]
                description.set_parent(STUDY, row["sources"], row["study_instance_uid"])
            for arrival in self._first_of_each(said[uid]):
                description.add(arrival.stored.source, arrival.header.series)
                description.add_parent(
                    STUDY, arrival.stored.source, arrival.stored.study_instance_uid
                )
            study = description.parent(STUDY)
            self._changes.study_of[uid] = study
            if row is not None and study != row["study_instance_uid"]:
                self._changes.left_studies.add(row["study_instance_uid"])
                self._changes.moved_series[uid] = row["study_instance_uid"]
            if description.changed:
                self._changes.series[uid] = description.row()

    def _merge_studies_and_patients(self) -> None:
        uids = sorted(set(self._changes.study_of.values()))
        held = self._rows.studies(uids)
        said = _group(
            (a for a in self._describing if self._study(a) == a.stored.study_instance_uid),
            lambda a: a.stored.study_instance_uid,
            Level.STUDY,
        )
        moved: dict[PatientKey, list[Row]] = {}
        for uid in uids:
            row = held.get(uid)
            description = Description(Level.STUDY, self._versions.before, row)
            if row is not None:
                self._changes.ids[Level.STUDY, uid] = row["id"]
                before = _key_of(row["patient"])
                if before.patient_id:
                    description.set_parent(PATIENT, row["sources"], before)
            for arrival in self._first_of_each(said[uid]):
                description.add(arrival.stored.source, arrival.header.study)
                if key := _stated_patient(arrival):
                    description.add_parent(PATIENT, arrival.stored.source, key)
            patient = description.parent(PATIENT) or PatientKey("", "", uid)
            self._changes.patient_of[uid] = patient
            if row is not None and patient != _key_of(row["patient"]):
                self._move(uid, patient, row["patient"], moved)
            if description.changed or uid in self._changes.moved_studies:
                self._changes.studies[uid] = description.row()
        self._merge_patients({uid: row["patient"] for uid, row in held.items()}, moved)

    def _move(
        self, study: str, to: PatientKey, former: Row, moved: dict[PatientKey, list[Row]]
    ) -> None:
        """Record that a study leaves its patient; an unidentified patient's values go with it."""
        self._changes.left_patients.add(former["id"])
        self._changes.moved_studies.add(study)
        if not _key_of(former).patient_id:
            moved.setdefault(to, []).append(former)

    def _merge_patients(
        self, of_studies: Mapping[str, Row], moved: Mapping[PatientKey, list[Row]]
    ) -> None:
        wanted = set(self._changes.patient_of.values())
        held = {key: row for row in of_studies.values() if (key := _key_of(row)) in wanted}
        held |= self._rows.patients(sorted(wanted - held.keys()))
        said = _group(
            (a for a in self._describing if self._names_its_patient(a)),
            lambda a: self._changes.patient_of[self._study(a)],
            Level.PATIENT,
        )
        for key in sorted(wanted):
            row = held.get(key)
            description = Description(Level.PATIENT, self._versions.before, row)
            if row is not None:
                self._changes.ids[Level.PATIENT, key] = row["id"]
            for former in moved.get(key, ()):
                description.absorb(Description(Level.PATIENT, self._versions.before, former))
            for arrival in self._first_of_each(said[key]):
                description.add(arrival.stored.source, arrival.header.patient)
            if description.changed:
                self._changes.patients[key] = description.row()

    def _merge_instances(self) -> None:
        for verdict in self._verdicts:
            arrival = verdict.current
            if arrival is None:
                continue
            stored = arrival.stored
            self._changes.settled.append((stored.sop_instance_uid, stored.content_sha256))
            self._changes.instances.append(instance_row(arrival))
            if verdict.fresh:
                self._changes.received.append(arrival)
                self._changes.reopened.add(stored.series_instance_uid)
            reason = self._contradiction(arrival)
            if reason is not None:
                self._changes.conflicts.append(conflict_of(stored, reason))

    def _contradiction(self, arrival: Arrival) -> Reason | None:
        if self._study(arrival) != arrival.stored.study_instance_uid:
            return Reason.OTHER_STUDY
        return None if self._names_its_patient(arrival) else Reason.OTHER_PATIENT

    def _study(self, arrival: Arrival) -> str:
        """Return the study that contains the object's series."""
        return self._changes.study_of[arrival.stored.series_instance_uid]

    def _names_its_patient(self, arrival: Arrival) -> bool:
        """Return whether the object names its study's patient, or none at all."""
        key = _stated_patient(arrival)
        return key is None or key == self._changes.patient_of[self._study(arrival)]

    def _first_of_each(self, said: Mapping[int, list[Arrival]]) -> Iterable[Arrival]:
        """Yield, of arrivals with the same values, only the one that takes precedence."""
        for arrivals in said.values():
            first = arrivals[0]
            for arrival in arrivals[1:]:
                if self._versions.before(arrival.stored.source, first.stored.source):
                    first = arrival
            yield first


def _is_new_reception(stored: AnnouncedObject, known: CurrentVersion | None) -> bool:
    """Return whether the announced reception is new to the index, and not a repetition.

    A reindex announces earlier receptions, which prove nothing about what a node has sent.
    """
    return not stored.reread and (known is None or known.received_at != stored.received_at)


def _find_doubtful(
    verdict: Verdict, known: CurrentVersion | None, arrivals: Sequence[Arrival]
) -> Iterable[AnnouncedObject]:
    """Return the objects whose path differs from the current version's."""
    current = verdict.current.stored if verdict.current else known
    path = current.path if current else ""
    return [arrival.stored for arrival in arrivals if arrival.stored.path != path]


Said = defaultdict[Any, defaultdict[Any, list[Arrival]]]


def _group(arrivals: Iterable[Arrival], key: Callable[[Arrival], Any], level: Level) -> Said:
    """Return the arrivals by the row they describe, and there by their values."""
    found: Said = defaultdict(lambda: defaultdict(list))
    for arrival in arrivals:
        header = arrival.header
        document = (header.patient, header.study, header.series)[level]
        # Readers return the same document for objects of a batch with the same values. The parent
        # of the row is one of those values.
        said = (
            id(document),
            id(header.patient) if level is Level.STUDY else 0,
            arrival.stored.study_instance_uid,
        )
        found[key(arrival)][said].append(arrival)
    return found


def _stated_patient(arrival: Arrival) -> PatientKey | None:
    texts = arrival.header.patient
    patient_id = texts.get(PATIENT)
    if not patient_id:
        return None
    return PatientKey(patient_id, texts.get("IssuerOfPatientID", ""))


def _key_of(row: Mapping[str, Any]) -> PatientKey:
    return PatientKey(row["patient_id"], row["issuer_of_patient_id"], row["unidentified_study_uid"])


def instance_row(arrival: Arrival) -> Row:
    """Return the columns of one current version; its series is resolved when it is written."""
    stored, image = arrival.stored, dict(arrival.header.image)
    number = image.pop("InstanceNumber", None)
    whole = whole_number(number) if number else None
    if number and whole is None:
        image["InstanceNumber"] = number
    for keyword in ("SOPInstanceUID", "SOPClassUID"):
        image.pop(keyword, None)
    series = arrival.header.series
    image |= {keyword: series[keyword] for keyword in SAID_BY_OBJECTS if series.get(keyword)}
    stated = _stated_patient(arrival)
    return {
        "sop_instance_uid": stored.sop_instance_uid,
        "sop_class_uid": stored.sop_class_uid,
        "series_instance_uid": stored.series_instance_uid,
        "transfer_syntax_uid": stored.transfer_syntax_uid,
        "instance_number": whole,
        "attributes": image,
        "path": stored.path,
        "size_bytes": stored.size_bytes,
        "content_sha256": f"\\x{stored.content_sha256}",
        "received_at": stored.received_at.isoformat(),
        "association_id": stored.association_id,
        "calling_ae": stored.calling_ae,
        "peer_address": stored.peer_address,
        "move_originator_ae": stored.move_originator_ae,
        "stated_patient": stated.stated if stated else "",
        "stated_person": Person.from_texts(arrival.header.patient).text,
        "header_damage": arrival.header.damage,
    }
