"""Several people under one Patient ID: told apart, flagged, and found by their own names.

Not covered: when two names are two people (unit tests of draw_shared.dicom.encoding.persons), the
order of arrival (test_order), the pages.
"""

from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pynetdicom.dsutils import encode

from draw_indexer.services.indexing import IndexingService
from draw_shared.contracts.server_config import DuplicatePolicy
from draw_shared.db.catalogue_sql import find_statement
from draw_shared.db.deletion import delete_instances, delete_study
from draw_shared.dicom.encoding.uids import IMPLICIT_LITTLE, PATIENT_ROOT_FIND, STUDY_ROOT_FIND
from draw_shared.dicom.network.service import PresentationContext, QueryRequest
from draw_shared.dicom.query.query import parse_find
from draw_shared.storage.removal import StorageFiles
from support import arrivals
from support.arrivals import arrival

pytestmark = pytest.mark.integration

JOHN = {"PatientName": "DOE^JOHN", "PatientBirthDate": "19600102", "PatientSex": "M"}
JANE = {"PatientName": "SMITH^JANE", "PatientBirthDate": "19710304", "PatientSex": "F"}
RELATIONAL = b"\1"


@pytest.fixture(scope="module")
def own_database(postgres_url, template):
    with arrivals.shared_database(postgres_url, template) as database:
        yield database


class Index:
    def __init__(self, database):
        arrivals.empty(database)
        self._database = database
        self.policy = DuplicatePolicy.KEEP_EXISTING

    def add(self, *batch):
        return IndexingService(arrivals.index_in(self._database), lambda: self.policy).index(batch)

    def rows(self, query, **values):
        return arrivals.rows(self._database, query, **values)

    def run(self, action, *arguments, **values):
        with self._database.session() as session:
            action(session.connection(), *arguments, **values)
            session.commit()

    def delete(self, study):
        self.run(delete_study, study, _NoFiles(Path("/nonexistent")), by="somebody")

    @property
    def ambiguous(self):
        return [row["ambiguous"] for row in self.rows("SELECT ambiguous FROM patients")]

    def found(self, level="STUDY", model=STUDY_ROOT_FIND, **keys):
        """Return by unique key of the level whom the answers to a C-FIND name."""
        key = {"PATIENT": "PatientID", "STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID"}
        identifier = Dataset()
        identifier.QueryRetrieveLevel = level
        asked = dict.fromkeys([key[level], *JOHN], "") | keys
        for keyword, value in asked.items():
            setattr(identifier, keyword, value)
        context = PresentationContext(1, model, IMPLICIT_LITTLE)
        encoded = encode(identifier, is_implicit_vr=True, is_little_endian=True)
        query = parse_find(QueryRequest(1, model, context, encoded), RELATIONAL)
        names = [attribute.keyword for attribute in query.columns]
        with self._database.engine.connect() as connection:
            driver = connection.connection.driver_connection
            answers = [
                dict(zip(names, row, strict=True))
                for row in driver.execute(*find_statement(query)).fetchall()
            ]
        return {one[key[level]]: {k: one[k] or "" for k in JOHN} for one in answers}


class _NoFiles(StorageFiles):
    """A volume without files, whose clock is that of no deletion before."""

    def moment(self, given_ns=None):
        return given_ns or 1


@pytest.fixture
def index(own_database):
    return Index(own_database)


@pytest.fixture
def two_people(index):
    index.add(arrival("1.1", series="2.1", study="3.1", second=1, **JOHN))
    index.add(arrival("1.2", series="2.2", study="3.2", second=2, **JANE))
    return index


def test_two_people_are_one_patient_who_is_flagged_once(index):
    first = index.add(arrival("1.1", series="2.1", study="3.1", second=1, **JOHN))
    second = index.add(arrival("1.2", series="2.2", study="3.2", second=2, **JANE))
    third = index.add(arrival("1.3", series="2.3", study="3.3", second=3, **JANE))
    assert [list(w.ambiguous) for w in (first, second, third)] == [[], ["3.2"], []]
    assert index.ambiguous == [True]
    told = index.rows("SELECT study_instance_uid FROM changes WHERE kind = 'patient.ambiguous'")
    assert told == [{"study_instance_uid": "3.2"}]


def test_each_study_is_found_by_its_own_name_and_answered_with_it(two_people):
    found = two_people.found
    assert found() == {"3.1": JOHN, "3.2": JANE}
    for whom, study in ((JOHN, "3.1"), (JANE, "3.2")):
        series = study.replace("3.", "2.", 1)
        for keys in (
            {"PatientName": whom["PatientName"]},
            {"PatientName": f"*{whom['PatientName'][1:4].lower()}*"},
            {"PatientName": whom["PatientName"].replace("^", "^*")},
            {"PatientBirthDate": whom["PatientBirthDate"]},
            {"PatientBirthDate": whom["PatientBirthDate"], "PatientName": whom["PatientName"]},
            {"PatientSex": whom["PatientSex"], "PatientID": "P1"},
        ):
            assert found(**keys) == {study: whom}
            assert found("SERIES", **keys) == {series: whom}
            assert found(model=PATIENT_ROOT_FIND, **keys) == {study: whom}
            assert found("PATIENT", PATIENT_ROOT_FIND, **keys) == {"P1": whom}
    mixed = {"PatientName": "SMITH^JANE", "PatientBirthDate": "19600102"}
    assert found(**mixed) == {}
    assert found("PATIENT", PATIENT_ROOT_FIND, **mixed) == {}
    assert found("PATIENT", PATIENT_ROOT_FIND) == {"P1": JOHN}


def test_a_study_of_both_is_found_by_either(index):
    index.add(
        arrival("1.1", series="2.1", study="3.1", second=1, **JOHN),
        arrival("1.2", series="2.2", study="3.1", second=2, **JANE),
    )
    assert index.found() == {"3.1": JOHN}
    assert index.found(PatientName="doe*") == {"3.1": JOHN}
    assert index.found(PatientName="smith*") == {"3.1": JANE}


def test_a_study_that_names_nobody_is_not_given_a_name_of_several(two_people):
    nobody = dict.fromkeys(JOHN, "")
    two_people.add(arrival("1.3", series="2.3", study="3.3", second=3, **nobody))
    assert two_people.found(PatientID="P1") == {"3.1": JOHN, "3.2": JANE, "3.3": nobody}
    assert two_people.found(PatientName="DOE*").keys() == {"3.1"}


def test_another_name_with_the_same_birth_date_is_a_correction_and_found_by_both(index):
    married = JOHN | {"PatientName": "ROE^JOHN"}
    index.add(arrival("1.1", series="2.1", study="3.1", second=1, **JOHN))
    index.add(arrival("1.2", series="2.2", study="3.2", second=2, **married))
    assert index.ambiguous == [False]
    for name in ("DOE^JOHN", "roe*"):
        assert index.found(PatientName=name) == {"3.1": JOHN, "3.2": JOHN}
        assert index.found("PATIENT", PATIENT_ROOT_FIND, PatientName=name) == {"P1": JOHN}


@pytest.mark.parametrize("name", ["Doe^John^^^", "doe^john", "DOE^JOHN=山田^太郎", ""])
def test_another_spelling_is_the_same_person(index, name):
    index.add(arrival("1.1", series="2.1", study="3.1", second=1, **JOHN))
    other = {"PatientName": name, "PatientBirthDate": "19710304"}
    index.add(arrival("1.2", series="2.2", study="3.2", second=2, **other))
    assert index.ambiguous == [False]
    assert index.found(PatientName="DOE^JOHN").keys() == {"3.1", "3.2"}


def test_an_object_of_another_patient_makes_nobody_ambiguous(index):
    index.add(arrival("1.1", series="2.1", study="3.1", second=1, **JOHN))
    index.add(arrival("1.2", series="2.1", study="3.1", second=2, patient="P2", **JANE))
    assert index.ambiguous == [False]
    assert index.rows("SELECT * FROM stated_persons") == []


@pytest.mark.parametrize(("deleted", "left", "whom"), [("3.2", "3.1", JOHN), ("3.1", "3.2", JANE)])
def test_deleting_one_of_the_two_leaves_the_other_alone(two_people, deleted, left, whom):
    two_people.delete(deleted)
    assert two_people.ambiguous == [False]
    assert two_people.found() == two_people.found(PatientName=whom["PatientName"]) == {left: whom}
    assert two_people.found("PATIENT", PATIENT_ROOT_FIND) == {"P1": whom}
    assert two_people.rows("SELECT * FROM stated_persons") == []


def test_a_lost_object_contradicts_no_more(two_people):
    (row,) = two_people.rows("SELECT path FROM instances WHERE sop_instance_uid = '1.1'")
    two_people.run(delete_instances, [("1.1", row["path"])], by="test")
    assert two_people.ambiguous == [False]
    assert two_people.found() == {"3.2": JANE}


def test_a_corrected_object_contradicts_no_more(two_people):
    two_people.policy = DuplicatePolicy.REPLACE
    corrected = JANE | {"PatientName": "DOE^JOHN"}
    two_people.add(arrival("1.2", content="b", series="2.2", study="3.2", second=9, **corrected))
    assert two_people.ambiguous == [False]
    assert two_people.found(PatientName="SMITH*") == {}
    assert two_people.found(PatientName="DOE*").keys() == {"3.1", "3.2"}


@pytest.mark.parametrize("policy", DuplicatePolicy)
def test_what_an_earlier_release_has_indexed_counts_as_its_patient_s_row_says(index, policy):
    index.policy = policy
    old = arrival("1.1", series="2.1", study="3.1", second=1, **JOHN)
    index.add(old)
    for statement in (
        "UPDATE instances SET stated_person = NULL RETURNING 1",
        "UPDATE series SET persons = '{}' RETURNING 1",
        "UPDATE studies SET persons = '{}' RETURNING 1",
    ):
        index.run(lambda c, s: c.exec_driver_sql(s), statement)
    index.add(arrival("1.2", series="2.2", study="3.2", second=2, **JANE))
    assert index.ambiguous == [True]
    assert index.found() == {"3.1": JOHN, "3.2": JANE}
    index.add(old)
    assert index.rows("SELECT * FROM instances WHERE stated_person IS NULL") == []
    assert index.found(PatientName="doe*") == {"3.1": JOHN}
