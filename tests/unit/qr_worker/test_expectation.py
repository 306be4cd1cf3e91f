"""What a retrieve expects, by what a node is able to tell. The DIMSE side is not covered."""

from contextlib import contextmanager

import pytest

from draw_qr_worker.models import FindEnd, Node, NothingThere, StatusPermanent, Subject
from draw_qr_worker.services.expectation import Expectations

STUDY = {
    "1.1": ["1.1.1", "1.1.2"],
    "1.2": ["1.2.1"],
}


class Nodes:
    """A node that answers from a study, as far as its abilities go."""

    def __init__(self, series=None, *, images=True, numbers=True, cut=False):
        self.series = STUDY if series is None else series
        self.images, self.numbers, self.cut = images, numbers, cut
        self.asked = []

    @contextmanager
    def finder(self, _node, _supervision):
        yield self

    def find(self, level, keys, take):
        self.asked.append((level, dict(keys)))
        matches = list(getattr(self, f"_{level.lower()}")(keys))
        for match in matches:
            take(match)
        return FindEnd(len(matches), self.cut and level == "IMAGE", "Success (0x0000)")

    def _study(self, _keys):
        number = sum(map(len, self.series.values()))
        yield {"StudyInstanceUID": "1", "NumberOfStudyRelatedInstances": number}

    def _series(self, keys):
        wanted = keys["SeriesInstanceUID"]
        for uid, instances in self.series.items():
            if wanted in {"", uid}:
                number = {"NumberOfSeriesRelatedInstances": str(len(instances))}
                yield {"SeriesInstanceUID": uid} | (number if self.numbers else {})

    def _image(self, keys):
        if not self.images:
            raise StatusPermanent("no")
        for uid in self.series[keys["SeriesInstanceUID"]]:
            yield {"SOPInstanceUID": uid, "SOPClassUID": "9"}


def node(**settings):
    return Node(1, "n", "AE", "h", 104, **settings)


def expected(nodes, subject=Subject("1"), **settings):  # noqa: B008 - frozen
    return Expectations(nodes).of(node(**settings), subject, None)


def test_instances_are_listed_series_by_series():
    found = expected(Nodes())
    assert [item.sop_instance_uid for item in found.items] == ["1.1.1", "1.1.2", "1.2.1"]
    assert {item.sop_class_uid for item in found.items} == {"9"}
    assert found.count == 3


def test_a_series_brings_its_own_instances_only():
    assert expected(Nodes(), Subject("1", "1.2")).count == 1


def test_named_instances_are_expected_whatever_the_node_lists():
    found = expected(Nodes(), Subject("1", "1.1", ("1.1.1", "1.1.7")))
    assert [(i.sop_instance_uid, i.sop_class_uid) for i in found.items] == [
        ("1.1.1", "9"),
        ("1.1.7", ""),
    ]


@pytest.mark.parametrize("nodes", [Nodes(images=False), Nodes(cut=True)])
def test_without_a_whole_list_the_numbers_of_the_series_count(nodes):
    found = expected(nodes)
    assert (found.items, found.count) == ((), 3)


def test_without_numbers_of_series_that_of_the_study_counts():
    assert expected(Nodes(images=False, numbers=False)).count == 3
    assert expected(Nodes(images=False, numbers=False), Subject("1", "1.1")).count is None


def test_a_study_that_is_not_there_is_nothing_to_retrieve():
    with pytest.raises(NothingThere):
        expected(Nodes(series={}))


def test_a_node_without_queries_leaves_only_its_own_word():
    nodes = Nodes()
    found = expected(nodes, supports_find=False)
    assert (found.studies, found.count, nodes.asked) == (("1",), None, [])
    with pytest.raises(NothingThere):
        expected(nodes, Subject(patient_id="P"), supports_find=False)


def test_studies_of_a_patient_are_looked_up():
    nodes = Nodes()
    assert expected(nodes, Subject(patient_id="P", accession_number="A")).studies == ("1",)
    assert nodes.asked[0][1] == {"StudyInstanceUID": "", "PatientID": "P", "AccessionNumber": "A"}


def test_the_patient_model_gets_its_unique_key():
    nodes = Nodes()
    expected(nodes, Subject("1", patient_id="P"), query_model="patient")
    assert all(keys["PatientID"] == "P" for _, keys in nodes.asked)
