"""What the index makes of objects that agree, contradict each other or come again.

Not covered here: the order of events, see test_order; headers, see the unit tests.
"""

from uuid import uuid4

import pytest
from sqlalchemy import text

from draw_indexer.models import Reason
from draw_indexer.services.indexing import IndexingService
from draw_shared.contracts.server_config import DuplicatePolicy
from support import arrivals
from support.arrivals import arrival

pytestmark = pytest.mark.integration

KEEP, REPLACE = DuplicatePolicy.KEEP_EXISTING, DuplicatePolicy.REPLACE


@pytest.fixture(scope="module")
def own_database(postgres_url, template):
    with arrivals.shared_database(postgres_url, template) as database:
        yield database


@pytest.fixture
def database(own_database):
    arrivals.empty(own_database)
    return own_database


@pytest.fixture
def index(database):
    def index(*batch, policy=KEEP):
        return IndexingService(arrivals.index_in(database), lambda: policy).index(batch)

    return index


@pytest.fixture
def rows(database):
    return lambda query, **values: arrivals.rows(database, query, **values)


def only(found):
    assert len(found) == 1, found
    return found[0]


def contradictions(rows):
    return {r["sop_instance_uid"]: r["reason"] for r in rows("SELECT * FROM instance_conflicts")}


def test_counts_modalities_and_classes(index, rows):
    index(
        arrival("1.1", series="2.1", study="3.1", second=1),
        arrival("1.2", series="2.1", study="3.1", second=2),
        arrival("1.3", series="2.2", study="3.1", second=3, Modality="RTSTRUCT"),
    )
    index(arrival("1.4", series="2.3", study="3.1", second=4, Modality=""))
    study = only(rows("SELECT * FROM studies"))
    sizes = [r["size_bytes"] for r in rows("SELECT size_bytes FROM instances")]
    assert study["modalities"] == ["CT", "RTSTRUCT"]
    assert study["sop_classes"] == [arrivals.CT]
    assert (study["series_count"], study["instance_count"]) == (3, 4)
    assert study["size_bytes"] == sum(sizes)
    patient = only(rows("SELECT * FROM patients"))
    assert (patient["study_count"], patient["series_count"], patient["instance_count"]) == (1, 3, 4)
    first = only(rows("SELECT * FROM series WHERE series_instance_uid = '2.1'"))
    assert first["instance_count"] == 2
    assert first["last_received_at"] == arrivals.BEGINNING.replace(second=2)


def test_values_lie_where_the_keys_say(index, rows):
    index(
        arrival(
            PatientName="Müller^Jörg=山田",
            PatientBirthDate="1960.01.02",
            PatientComments="careful",
            StudyDate="20200230",
            StudyTime="10:20:30",
            StudyDescription="Schädel",
            SeriesNumber="12a",
            InstanceNumber="7",
            Rows="512",
            ReferringPhysicianName="Doe^J",
        )
    )
    patient = only(rows("SELECT * FROM patients"))
    assert patient["name"] == "Müller^Jörg=山田"
    assert patient["name_search"] == "=muller^jorg=山田="
    assert patient["birth_date"].isoformat() == "1960-01-02"
    assert patient["attributes"] == {"PatientComments": "careful"}
    study = only(rows("SELECT * FROM studies"))
    assert study["study_date"] is None
    assert study["attributes"] == {"StudyDate": "20200230"}
    assert study["study_time"].isoformat() == "10:20:30"
    assert study["description_search"] == "schadel"
    assert study["referring_physician_search"] == "=doe^j="
    series = only(rows("SELECT * FROM series"))
    assert series["series_number"] is None
    assert series["attributes"] == {"SeriesNumber": "12a"}
    instance = only(rows("SELECT * FROM instances"))
    assert instance["instance_number"] == 7
    assert instance["attributes"] == {"Rows": "512"}


def test_the_same_again_changes_nothing(index, database, rows):
    index(arrival(), arrival("1.2"))
    before = (
        arrivals.snapshot(database),
        rows("SELECT * FROM changes"),
        rows("SELECT updated_at FROM studies"),
    )
    written = index(arrival("1.2", second=9), arrival())
    assert (written.fresh, written.unchanged, written.conflicts) == (0, 2, 0)
    assert before == (
        arrivals.snapshot(database),
        rows("SELECT * FROM changes"),
        rows("SELECT updated_at FROM studies"),
    )


def test_other_bytes_are_kept_beside_the_existing_object(index, rows):
    first, other = arrival(content="a"), arrival(content="b", second=5, PatientName="Other")
    index(first)
    index(other)
    index(other)
    assert only(rows("SELECT path FROM instances"))["path"] == first.stored.path
    conflict = only(rows("SELECT * FROM instance_conflicts"))
    assert conflict["path"] == other.stored.path
    assert conflict["content_sha256"].hex() == other.stored.content_sha256
    assert conflict["reason"] == Reason.KEPT
    assert only(rows("SELECT name FROM patients"))["name"] == "Test^Patient"
    assert only(rows("SELECT objects FROM reception_days"))["objects"] == 2


def test_other_bytes_replace_the_existing_object(index, rows):
    first = arrival(content="a")
    other = arrival(content="b", second=5, PatientName="Corrected")
    index(first, policy=REPLACE)
    index(other, policy=REPLACE)
    instance = only(rows("SELECT * FROM instances"))
    assert instance["path"] == other.stored.path
    assert only(rows("SELECT path FROM instance_conflicts"))["path"] == first.stored.path
    assert contradictions(rows) == {"1.1": Reason.REPLACED}
    assert only(rows("SELECT name FROM patients"))["name"] == "Corrected"
    study = only(rows("SELECT * FROM studies"))
    assert (study["instance_count"], study["size_bytes"]) == (1, other.stored.size_bytes)
    kinds = [r["kind"] for r in rows("SELECT kind FROM changes ORDER BY sequence")]
    assert kinds == ["instance.stored", "instance.stored", "instance.conflict"]


def test_a_replaced_object_that_comes_again_is_current_again(index, rows):
    first, other = arrival(content="a"), arrival(content="b", second=5)
    for one in (first, other, arrival(content="a", second=9)):
        index(one, policy=REPLACE)
    assert only(rows("SELECT path FROM instances"))["path"] == first.stored.path
    assert only(rows("SELECT path FROM instance_conflicts"))["path"] == other.stored.path
    assert only(rows("SELECT objects FROM reception_days"))["objects"] == 2


def test_a_replaced_object_leaves_no_empty_rows_behind(index, rows):
    index(arrival(content="a", series="2.1", study="3.1", patient="P1"), policy=REPLACE)
    moved = arrival(content="b", second=5, series="2.2", study="3.2", patient="P2")
    index(moved, policy=REPLACE)
    assert [r["patient_id"] for r in rows("SELECT patient_id FROM patients")] == ["P2"]
    assert [r["study_instance_uid"] for r in rows("SELECT * FROM studies")] == ["3.2"]
    assert [r["series_instance_uid"] for r in rows("SELECT * FROM series")] == ["2.2"]


def test_patients_with_one_id_of_two_issuers_are_two(index, rows):
    index(
        arrival("1.1", study="3.1", series="2.1", IssuerOfPatientID="A"),
        arrival("1.2", study="3.2", series="2.2", IssuerOfPatientID="B"),
    )
    assert len(rows("SELECT * FROM patients")) == 2


def test_patients_without_an_id_are_one_for_each_study(index, rows):
    index(
        arrival("1.1", study="3.1", series="2.1", patient="", PatientName="A"),
        arrival("1.2", study="3.2", series="2.2", patient="", PatientName="B"),
        arrival("1.3", study="3.2", series="2.2", patient="", PatientName=""),
    )
    found = rows("SELECT unidentified_study_uid, name FROM patients ORDER BY 1")
    assert [tuple(row.values()) for row in found] == [("3.1", "A"), ("3.2", "B")]


def test_a_study_finds_its_patient_when_an_object_names_him(index, rows):
    index(arrival("1.1", patient="", PatientName="A^B", PatientSex="F"))
    index(arrival("1.2", second=1, patient="P1", PatientName="A^B"))
    patient = only(rows("SELECT * FROM patients"))
    assert (patient["patient_id"], patient["sex"], patient["instance_count"]) == ("P1", "F", 2)
    assert contradictions(rows) == {}


def test_an_object_of_another_patient_is_recorded(index, rows):
    index(arrival("1.1", patient="P1"))
    index(arrival("1.2", second=1, patient="P2"))
    assert only(rows("SELECT patient_id FROM patients"))["patient_id"] == "P1"
    assert contradictions(rows) == {"1.2": Reason.OTHER_PATIENT}
    # An earlier object arrives late, and the study is the other patient's after all.
    index(arrival("1.0", second=-1, patient="P2"))
    assert only(rows("SELECT patient_id FROM patients"))["patient_id"] == "P2"
    assert contradictions(rows) == {"1.1": Reason.OTHER_PATIENT}


def test_an_object_of_another_study_in_the_same_series_is_recorded(index, rows):
    index(arrival("1.1", series="2.1", study="3.1"))
    index(arrival("1.2", second=1, series="2.1", study="3.2"))
    assert only(rows("SELECT study_instance_uid FROM studies"))["study_instance_uid"] == "3.1"
    assert contradictions(rows) == {"1.2": Reason.OTHER_STUDY}


def test_a_series_that_moves_takes_along_what_names_another_study(index, rows):
    """An earlier object arrives late: what the series has contradicts its study now, or agrees."""
    index(
        arrival("1.1", second=1, series="2.1", study="3.1"),
        arrival("1.2", second=2, series="2.1", study="3.2", patient="P2"),
        arrival("1.3", second=3, series="2.1", study="3.1", patient="P3"),
    )
    assert contradictions(rows) == {"1.2": Reason.OTHER_STUDY, "1.3": Reason.OTHER_PATIENT}
    index(arrival("1.0", second=0, series="2.1", study="3.2"))
    assert [r["study_instance_uid"] for r in rows("SELECT * FROM studies")] == ["3.2"]
    assert contradictions(rows) == {
        "1.1": Reason.OTHER_STUDY,
        "1.2": Reason.OTHER_PATIENT,
        "1.3": Reason.OTHER_STUDY,
    }
    named = rows("SELECT study_instance_uid AS uid FROM instance_conflicts ORDER BY 1")
    assert [row["uid"] for row in named] == ["3.1", "3.1", "3.2"]
    # And back.
    index(arrival("0.9", second=-1, series="2.1", study="3.1"))
    assert contradictions(rows) == {
        "1.0": Reason.OTHER_STUDY,
        "1.2": Reason.OTHER_STUDY,
        "1.3": Reason.OTHER_PATIENT,
    }


@pytest.mark.parametrize("policy", DuplicatePolicy)
def test_what_no_release_has_recorded_is_found_when_it_is_announced_again(
    index, database, rows, policy
):
    first = arrival("1.1", second=1, series="2.1", study="3.1")
    other = arrival("1.2", second=2, series="2.1", study="3.2")
    index(first, other, policy=policy)
    before = rows("SELECT * FROM instances ORDER BY sop_instance_uid")
    named = contradictions(rows)
    with database.session() as session:
        session.connection().execute(text("DELETE FROM instance_conflicts"))
        session.commit()
    index(first, other, policy=policy)
    assert contradictions(rows) == named
    assert rows("SELECT * FROM instances ORDER BY sop_instance_uid") == before
    assert only(rows("SELECT objects FROM reception_days"))["objects"] == 2


def test_expected_objects_have_arrived_once_they_are_received(index, database, rows):
    def arrived():
        found = rows("SELECT sop_instance_uid FROM retrieve_items WHERE arrived_at IS NOT NULL")
        return {row["sop_instance_uid"] for row in found}

    index(arrival("1.1"))
    job = uuid4()
    with database.session() as session:
        connection = session.connection()
        connection.execute(
            text("INSERT INTO jobs (id, kind, state) VALUES (:job, 'retrieve', 'running')"),
            {"job": job},
        )
        for uid in ("1.1", "1.2", "1.3"):
            connection.execute(
                text(
                    "INSERT INTO retrieve_items (job_id, study_instance_uid, sop_instance_uid)"
                    " VALUES (:job, '3.1', :uid)"
                ),
                {"job": job, "uid": uid},
            )
        session.commit()
    index(arrival("1.1"))
    assert arrived() == set(), "what was here is announced again, as a reindex does"
    index(arrival("1.1", second=3), arrival("1.2"))
    assert arrived() == {"1.1", "1.2"}


def test_changes_name_where_each_object_is(index, rows):
    index(arrival("1.2", series="2.1", study="3.1"), arrival("1.1", series="2.1", study="3.1"))
    found = rows("SELECT * FROM changes ORDER BY sequence")
    assert [row["sop_instance_uid"] for row in found] == ["1.1", "1.2"]
    assert {(r["kind"], r["series_instance_uid"], r["study_instance_uid"]) for r in found} == {
        ("instance.stored", "2.1", "3.1")
    }


@pytest.mark.security
def test_hostile_text_is_text(index, rows):
    odd = '\'; DROP TABLE studies; -- \\x00 \\u0000 {"a": 1} \U0001f9e0 \u202e'
    index(arrival(PatientName=odd, StudyDescription=odd, PatientComments=odd))
    assert only(rows("SELECT name FROM patients"))["name"] == odd
    assert only(rows("SELECT description FROM studies"))["description"] == odd
    assert only(rows("SELECT attributes FROM patients"))["attributes"]["PatientComments"] == odd


@pytest.mark.security
@pytest.mark.parametrize("character", ["x", "ä", "\U0001f9e0", "ﷺ"])
def test_long_text_does_not_break_an_index(index, rows, character):
    # As long as the reader lets each kind of value be.
    index(
        arrival(
            patient=character * 256,
            IssuerOfPatientID=character * 256,
            PatientName=character * 512,
            AccessionNumber=character * 256,
            StudyID=character * 256,
            StudyDescription=character * 256,
            ReferringPhysicianName=character * 512,
            PatientComments=character * 10_240,
            Modality=character * 64,
        )
    )
    assert only(rows("SELECT name FROM patients"))["name"] == character * 512
