"""What a retrieve expects, by what a node is able to tell. The DIMSE side is not covered.

Nodes that are wrong in several ways at once are generated in tests/property.
"""

import pytest

from draw_qr_worker.models import InvalidJob, NothingThere, RemoteNode, Subject
from draw_qr_worker.services.expectation import Expectations
from draw_qr_worker.services.lookup import MAX_PATIENTS
from draw_shared.dicom.network.peer_failures import NotSupported
from support.generated_node import NUMBERS, GeneratedNode, Index

HONEST = {keyword: (lambda number: number) for keyword in NUMBERS}
LEFT = ("NumberOfSeriesRelatedInstances", "NumberOfStudyRelatedInstances")


def objects(study="1", patient="P", accession="A", sizes=(2, 1), day="20260102"):
    """Return the objects of a study with series of these sizes."""
    return [
        {
            "PatientID": patient,
            "StudyInstanceUID": study,
            "StudyDate": day,
            "StudyTime": "120000",
            "AccessionNumber": accession,
            "SeriesInstanceUID": f"{study}.{s + 1}",
            "SOPInstanceUID": f"{study}.{s + 1}.{i + 1}",
        }
        for s, size in enumerate(sizes)
        for i in range(size)
    ]


def having(*studies, **faults):
    """Return a node that has these objects."""
    return GeneratedNode([one for study in studies for one in study], Index(), **faults)


def expected(node, subject=Subject("1"), most=100, **settings):  # noqa: B008 - frozen
    remote = RemoteNode(1, "n", "AE", "h", 104, **settings)
    return Expectations(node, node, max_studies=most).expect(remote, subject, None)


def one(node, subject=Subject("1"), **settings):  # noqa: B008 - frozen
    """Return what is expected of the only study."""
    [study] = expected(node, subject, **settings).studies
    return study


def numbers(*keywords):
    return {keyword: HONEST[keyword] for keyword in keywords}


def test_instances_are_listed_series_by_series():
    found = one(having(objects()))
    assert [item.sop_instance_uid for item in found.items] == ["1.1.1", "1.1.2", "1.2.1"]
    assert {item.sop_class_uid for item in found.items} == {"9"}
    assert (found.count, found.listed, found.doubt) == (3, True, "")


def test_a_class_that_is_no_uid_is_not_known():
    class Misnaming(GeneratedNode):
        def _row(self, level, of):
            return super()._row(level, of) | {"SOPClassUID": "CT Image"}

    found = one(Misnaming(objects(), Index()))
    assert {item.sop_class_uid for item in found.items} == {""}


def test_a_series_brings_its_own_instances_only():
    assert one(having(objects()), Subject("1", "1.2")).count == 1


def test_named_instances_are_expected_whatever_the_node_lists():
    for node in (having(objects()), having(objects(), refused=frozenset({"IMAGE", "SERIES"}))):
        found = one(node, Subject("1", "1.1", ("1.1.1", "1.1.7")))
        assert [item.sop_instance_uid for item in found.items] == ["1.1.1", "1.1.7"]
        assert (found.count, found.listed) == (2, True)


@pytest.mark.parametrize(
    "faults",
    [
        {"refused": frozenset({"IMAGE"})},
        {"empty": frozenset({"IMAGE"})},
        {"limits": {"IMAGE": 1}, "says_so": True},
        {"limits": {"IMAGE": 1}},
    ],
)
@pytest.mark.parametrize("keyword", LEFT)
def test_without_a_whole_list_the_number_of_the_level_above_counts(faults, keyword):
    found = one(having(objects(), numbers=numbers(keyword), **faults))
    assert (found.count, found.listed, found.doubt) == (3, False, "")


@pytest.mark.parametrize("limit", [{"SERIES": 1}, {"IMAGE": 1}])
def test_a_list_that_was_cut_and_that_no_number_reaches_past_leaves_a_doubt(limit):
    for known in ({}, numbers("NumberOfPatientRelatedStudies")):
        found = one(having(objects(), limits=limit, says_so=True, numbers=known))
        assert (found.listed, bool(found.doubt)) == (False, True)


def test_where_levels_disagree_the_larger_counts():
    less = {keyword: (lambda number: number - 1) for keyword in NUMBERS}
    assert one(having(objects(), numbers=less)).count == 3
    more = numbers(*LEFT) | {"NumberOfStudyRelatedInstances": lambda number: number + 4}
    found = one(having(objects(), numbers=more))
    assert (found.count, len(found.items), found.listed) == (7, 3, False)


def test_a_series_that_is_not_named_is_expected_and_leaves_a_doubt():
    known = numbers("NumberOfStudyRelatedSeries")
    found = one(having(objects(), limits={"SERIES": 1}, numbers=known))
    assert (found.count, found.listed) == (3, False)
    assert found.doubt == "the node does not name 1 series"


def test_matches_listed_twice_without_a_uid_or_of_another_study_count_once_or_not_at_all():
    strangers = objects("2", patient="Q", sizes=(3,))
    node = having(
        objects(), strangers, doubled=True, nameless=True, ignored=frozenset({"StudyInstanceUID"})
    )
    assert [item.sop_instance_uid for item in one(node).items] == ["1.1.1", "1.1.2", "1.2.1"]


def test_a_round_number_that_nothing_checks_is_not_taken_for_everything():
    found = one(having(objects(sizes=(100,))))
    assert (found.count, found.listed) == (100, False)
    assert "stops at 100" in found.unchecked
    checked = one(having(objects(sizes=(100,)), numbers=numbers("NumberOfSeriesRelatedInstances")))
    assert (checked.count, checked.listed, checked.unchecked) == (100, True, "")


@pytest.mark.parametrize("limits", [{"IMAGE": 10}, {"IMAGE": 30}, {"SERIES": 10}])
def test_a_small_round_list_is_not_taken_for_everything_where_no_number_speaks_of_it(limits):
    found = one(having(objects(sizes=(32,) + (3,) * 11), limits=limits))
    assert not found.listed
    assert "nothing proves that these are all" in found.unchecked


def test_where_nothing_is_said_nothing_is_expected():
    node = having(objects(), refused=frozenset({"SERIES", "IMAGE"}))
    assert (one(node).count, one(node).items) == (None, ())
    silent = having(objects(), empty=frozenset({"IMAGE"}))
    assert one(silent).count is None


def test_a_study_that_is_not_there_is_nothing_to_retrieve():
    with pytest.raises(NothingThere):
        expected(having())


def test_a_node_without_queries_leaves_only_its_own_word():
    node = having(objects())
    found = one(node, supports_find=False)
    assert (found.study_instance_uid, found.count, node.asked) == ("1", None, [])
    named = one(node, Subject("1", "1.1", ("1.1.1",)), supports_find=False)
    assert (named.count, named.listed) == (1, True)
    with pytest.raises(NothingThere):
        expected(node, Subject(patient_id="P"), supports_find=False)


def test_studies_are_looked_up_and_only_those_that_fit_are_expected():
    node = having(
        objects("1"),
        objects("2", patient="P2"),
        objects("3", accession="B"),
        prefixes=True,
        ignored=frozenset({"AccessionNumber"}),
    )
    found = expected(node, Subject(patient_id="P", accession_number="A"))
    assert [study.study_instance_uid for study in found.studies] == ["1"]
    assert found.unfit == ("2", "3")
    asked = node.asked[0][2]
    assert (asked["PatientID"], asked["AccessionNumber"]) == ("P", "A")


@pytest.mark.parametrize("name", ["*", "1.2.?", "1.2\\t3", "study 7", "1." + 70 * "2"])
def test_a_study_that_is_named_by_no_uid_is_not_asked_for_and_is_known_to_lack(name):
    found = expected(having(objects(), objects(name)), Subject(patient_id="P"))
    assert [study.study_instance_uid for study in found.studies] == ["1"]
    assert found.lacking == "the node names a study by an invalid Study Instance UID"
    with pytest.raises(NothingThere):
        expected(having(objects(name)), Subject(patient_id="P"))


def test_a_match_that_does_not_return_a_key_fits_none():
    node = having(objects(), left_out=frozenset({"AccessionNumber"}))
    with pytest.raises(NothingThere, match="it named 1 that do not fit"):
        expected(node, Subject(accession_number="A"))


def test_a_study_of_another_patient_than_the_job_names_is_not_expected():
    node = having(objects(patient="Q"), ignored=frozenset({"PatientID"}))
    with pytest.raises(NothingThere):
        expected(node, Subject("1", patient_id="P"))


@pytest.mark.parametrize("says_so", [True, False])
def test_studies_beyond_the_nodes_limit_are_found_by_asking_in_parts(says_so):
    fifteen = [objects(str(n), day=f"202601{n + 9}") for n in range(1, 16)]
    node = having(*fifteen, limits={"STUDY": 10}, says_so=says_so)
    found = expected(node, Subject(patient_id="P"))
    assert (len(found.studies), found.doubt, found.lacking) == (15, "", "")


def test_studies_that_no_asking_brings_leave_a_doubt_or_are_known_to_lack():
    fifteen = [objects(str(n)) for n in range(1, 16)]
    node = having(*fifteen, limits={"STUDY": 10}, says_so=True)
    assert "stops at its limit" in expected(node, Subject(patient_id="P")).doubt
    node = having(*fifteen, limits={"STUDY": 10}, numbers=HONEST)
    lacking = expected(node, Subject(patient_id="P")).lacking
    assert lacking == "the node says that there are 15 studies and names 10"


def test_instances_of_the_patient_beyond_those_of_the_studies_are_known_to_lack():
    known = {"NumberOfPatientRelatedInstances": lambda number: number + 1}
    found = expected(having(objects(), numbers=known), Subject(patient_id="P"))
    assert found.lacking == "the node says that the patient has 4 objects and names 3"


def test_more_studies_than_one_item_may_fetch_are_refused():
    some = [objects(str(n)) for n in range(1, 6)]
    with pytest.raises(InvalidJob, match="more than 4 studies"):
        expected(having(*some), Subject(patient_id="P"), most=4)
    # What does not fit is no reason.
    others = [objects(str(n), patient="Q") for n in range(6, 30)]
    node = having(*some[:1], *others, ignored=frozenset({"PatientID"}))
    assert len(expected(node, Subject(patient_id="P"), most=4).studies) == 1


def test_the_patient_model_gets_its_unique_key_asked_for_first_when_unknown():
    node = having(objects(), accepted=frozenset({"patient", "study"}))
    assert one(node, query_model="patient").patient_id == "P"
    assert [(model, level) for model, level, _ in node.asked][:2] == [
        ("study", "STUDY"),
        ("patient", "SERIES"),
    ]
    below = [keys for model, _, keys in node.asked if model == "patient"]
    assert all(keys["PatientID"] == "P" for keys in below)
    alone = having(objects(), accepted=frozenset({"patient"}))
    assert one(alone, Subject("1", patient_id="P"), query_model="patient").count == 3


@pytest.mark.parametrize("subject", [Subject("1"), Subject(accession_number="A")])
def test_a_node_that_speaks_patient_root_alone_is_asked_for_its_patients_first(subject):
    some = [objects(), objects("2", patient="Q", accession="B")]
    alone = having(*some, accepted=frozenset({"patient"}))
    assert one(alone, subject, query_model="patient").patient_id == "P"
    assert next((level, keys["PatientID"]) for _, level, keys in alone.asked) == ("PATIENT", "")
    assert all(keys["PatientID"] for _, level, keys in alone.asked if level != "PATIENT")


def test_patients_who_cannot_all_be_asked_for_leave_a_doubt_or_have_to_be_named():
    odd = having(objects(), objects("2", patient="Q*"), accepted=frozenset({"patient"}))
    found = expected(odd, Subject(accession_number="A"), query_model="patient")
    assert [study.study_instance_uid for study in found.studies] == ["1"]
    assert "cannot be asked for" in found.doubt
    many = [objects(str(n), patient=f"P{n}", sizes=(1,)) for n in range(MAX_PATIENTS + 1)]
    with pytest.raises(InvalidJob, match="name the patient"):
        expected(
            having(*many, accepted=frozenset({"patient"})),
            Subject(accession_number="A"),
            query_model="patient",
        )


def test_patient_study_only_is_never_asked_below_the_study():
    node = having(objects(), accepted=frozenset({"patient_study"}), numbers=HONEST)
    found = one(node, Subject("1", patient_id="P"), query_model="patient_study")
    assert (found.count, found.listed) == (3, False)
    assert {level for _, level, _ in node.asked} == {"STUDY"}
    with pytest.raises(NotSupported, match="Patient/Study Only, has no level SERIES"):
        expected(node, Subject("1", "1.1", patient_id="P"), query_model="patient_study")
