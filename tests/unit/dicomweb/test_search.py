"""Parameters of a search become the query of C-FIND (PS3.18 10.6.1.2)."""

import pytest

from draw_shared.db.catalogue_sql import MatchPage, find_statement
from draw_shared.dicom.query.keys import Level
from draw_shared.dicom.query.matching import Dates, Names, Nothing, Texts, name_fits
from draw_shared.dicom.query.web_search import parse_search


def conditions(level, *keys, within=(), fuzzy=False):
    found = parse_search(level, within, keys, (), fuzzy=fuzzy).query.conditions
    return {attribute.keyword: condition for attribute, condition in found.items()}


def answered(level, *included, within=()):
    query = parse_search(level, within, (), included).query
    return {attribute.keyword for attribute in query.columns}


@pytest.mark.parametrize("name", ["PatientID", "00100020"])
def test_keywords_and_tags_mean_the_same(name):
    assert conditions(Level.STUDY, (name, "A7")) == {"PatientID": Texts(("A7",))}


def test_a_path_leads_into_the_sequence():
    for path in (
        "RequestAttributesSequence.RequestedProcedureID",
        "00400275.00401001",
        "00400275.RequestedProcedureID",
    ):
        found = conditions(Level.SERIES, (path, "R1"))["RequestAttributesSequence"]
        assert found.conditions == (("RequestedProcedureID", Texts(("R1",))),)


@pytest.mark.parametrize(
    "name", ["Nonsense", "0010", "Modality", "RequestAttributesSequence", "PatientID.Modality", ""]
)
def test_what_cannot_be_compared_is_told(name):
    search = parse_search(Level.STUDY, (), [(name, "x")], ())
    assert search.ignored == (name,)
    assert search.query.conditions == {}


def test_uids_are_a_list_with_commas_or_given_twice():
    both = Texts(("1.2", "1.3"))
    assert conditions(Level.STUDY, ("StudyInstanceUID", "1.2,1.3"))["StudyInstanceUID"] == both
    twice = [("StudyInstanceUID", "1.2"), ("StudyInstanceUID", "1.3")]
    assert conditions(Level.STUDY, *twice)["StudyInstanceUID"] == both


@pytest.mark.parametrize(("key", "kept"), [("1.2", True), ("1.3,1.2", True), ("1.3", False)])
def test_a_key_never_leads_out_of_the_path(key, kept):
    found = conditions(
        Level.SERIES, ("StudyInstanceUID", key), within=[("StudyInstanceUID", "1.2")]
    )
    assert found["StudyInstanceUID"] == (Texts(("1.2",)) if kept else Nothing())


def test_dates_are_ranges():
    found = conditions(Level.STUDY, ("StudyDate", "20200101-20200131"))["StudyDate"]
    assert isinstance(found, Dates)
    assert conditions(Level.STUDY, ("StudyDate", "yesterday")) == {"StudyDate": Nothing()}


@pytest.mark.parametrize(
    ("asked", "name", "fits"),
    [
        ("eva müller", "Müller^Eva", True),
        ("MUELL", "Müller^Eva", False),
        ("mül", "Müller^Eva", True),
        ("müller^hans", "Müller^Eva", False),
        ("müller", "Meyer^Eva=ミュラー", False),
    ],
)
def test_fuzzy_names_match_in_any_order_and_in_part(asked, name, fits):
    found = conditions(Level.STUDY, ("PatientName", asked), fuzzy=True)["PatientName"]
    assert isinstance(found, Names)
    assert name_fits(found, name) is fits


def test_an_answer_has_the_attributes_of_its_level():
    assert {"StudyInstanceUID", "PatientName", "ModalitiesInStudy"} <= answered(Level.STUDY)
    assert "PatientName" in answered(Level.SERIES)
    within = [("StudyInstanceUID", "1.2")]
    assert "PatientName" not in answered(Level.SERIES, within=within)
    assert "StudyInstanceUID" in answered(Level.SERIES, within=within)
    assert "PatientName" in answered(Level.SERIES, "PatientName", within=within)
    assert {"PatientName", "ProtocolName", "StudyID"} <= answered(Level.SERIES, "all")
    assert "Rows" not in answered(Level.SERIES, "all", "Rows")


def test_pages_come_in_an_order():
    for level in (Level.STUDY, Level.SERIES, Level.IMAGE):
        query = parse_search(level, (), (), ()).query
        statement, _ = find_statement(query, MatchPage(101, 300))
        assert b" ORDER BY " in statement
        assert statement.endswith(b"LIMIT 101 OFFSET 300")
        assert b"LIMIT 101" not in find_statement(query)[0]
