"""Every matching rule of C-FIND over a real PostgreSQL against a reference in plain Python.

The population has the characters that go wrong: wildcards of SQL and DICOM as data,
backslashes between values, accents, scripts without case, empty and unreadable values.
Not covered: what a peer's character set does to a key (test_characters, test_query).
"""

import itertools
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from draw_scp.adapters.catalogue import PostgresCatalogue
from draw_scp.services.query import FindService
from draw_shared.db.index_connections import IndexConnections
from draw_shared.dicom.encoding.data_set import scanner_for
from draw_shared.dicom.encoding.uids import IMPLICIT_LITTLE, STUDY_ROOT_FIND
from draw_shared.dicom.network.service import PresentationContext, QueryRequest
from draw_shared.dicom.network.shares import Claimant
from draw_shared.dicom.query.answers import ElementWriter
from draw_shared.dicom.query.keys import BY_KEYWORD, Level
from draw_shared.dicom.query.query import COMPUTED, REQUEST_ATTRIBUTE_TAGS, parse_find
from support import index_rows, service_finder
from support import matching_reference as reference

pytestmark = [pytest.mark.property, pytest.mark.integration]

SERIES = 240
LETTERS = "aAbBéÄ山%_[.{|+$"
CHOSEN = settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
VRS = {a.keyword: (a.tag, a.vr, a.level) for a in (*BY_KEYWORD.values(), *COMPUTED)}
ITEM_KEYWORD = "RequestedProcedureDescription"
RELATIONAL = b"\1"
COMBINED = b"\1\1"
ASKING = Claimant("192.0.2.1", "ASKING", listed=False)


def _text(pick, most=4, letters=LETTERS):
    return "".join(pick.choice(letters) for _ in range(pick.randint(1, most)))


def _name(pick):
    groups = [
        "^".join(_text(pick, 2) for _ in range(pick.randint(1, 3))) + "^" * pick.randint(0, 2)
        for _ in range(pick.randint(1, 3))
    ]
    return "=".join(groups)


def _maybe(pick, *values):
    return pick.choice(["", *values])


def _day(pick):
    return f"2024{pick.choice(['01', '02', '12'])}{pick.randint(1, 28):02}"


def _time(pick):
    whole = f"{pick.choice(['00', '10', '23'])}{pick.choice(['00', '15', '59'])}"
    return whole + _maybe(pick, "00", "59", "30.5", "59.999999")


def _entity(pick, number):
    """Return the attributes of one series with its study and patient, by keyword."""
    return {
        "PatientID": f"{number}{_text(pick, 2)}",
        "PatientName": _maybe(pick, _name(pick), _name(pick), _name(pick)),
        "OtherPatientNames": _maybe(pick, _name(pick), f"{_name(pick)}\\{_name(pick)}"),
        "OtherPatientIDs": _maybe(pick, _text(pick), f"{_text(pick)}\\{_text(pick)}"),
        "PatientComments": _maybe(pick, _text(pick), f"{_text(pick)}\\{_text(pick)}"),
        "StudyInstanceUID": f"1.2.{number}",
        "StudyDate": _maybe(pick, _day(pick), _day(pick)),
        "StudyTime": _maybe(pick, _time(pick), _time(pick)),
        "StudyDescription": _maybe(pick, _text(pick), _text(pick)),
        "PatientWeight": _maybe(pick, "70", "70.0", "7E1", "heavy", "0.5"),
        "SeriesInstanceUID": f"1.2.{number}.1",
        "SeriesNumber": _maybe(pick, "1", "2", "-3", "none"),
        "SeriesDate": _maybe(pick, _day(pick), "2024.01.05", "unknown", "2024010"),
        "SeriesTime": _maybe(pick, _time(pick), "10:15:30", "noon"),
        "Laterality": _maybe(pick, "L", "R"),
        "ModalitiesInStudy": "\\".join(
            sorted(pick.sample(["CT", "MR", "C%", "PT"], pick.randint(0, 3)))
        ),
        "items": [_text(pick) for _ in range(pick.randint(0, 2))],
    }


def _tree(one):
    def of(level):
        return {
            keyword: value
            for keyword, value in one.items()
            if keyword in BY_KEYWORD and BY_KEYWORD[keyword].level is level
        }

    series = {
        **of(Level.SERIES),
        "request_attributes": [{ITEM_KEYWORD: item} for item in one["items"]],
    }
    modalities = [m for m in one["ModalitiesInStudy"].split("\\") if m]
    study = {**of(Level.STUDY), "modalities": modalities, "series": [series]}
    return {**of(Level.PATIENT), "studies": [study]}


class Index:
    """A filled index with what it was filled with."""

    def __init__(self, queries, entities):
        self.queries = queries
        self.entities = entities

    def __repr__(self):
        return "the index"

    def find(self, keys, extended=RELATIONAL):
        """Return the numbers of the series that C-FIND answers."""
        encoding = ElementWriter(IMPLICIT_LITTLE)
        asked = {0x00080005: ("CS", b"ISO_IR 192"), 0x00080052: ("CS", b"SERIES")}
        asked[BY_KEYWORD["SeriesInstanceUID"].tag] = ("UI", b"")
        for keyword, value in keys.items():
            tag, vr, _ = VRS[keyword]
            raw = value if isinstance(value, bytes) else value.encode()
            asked[tag] = vr, raw
        identifier = b"".join(encoding.element(t, *asked[t]) for t in sorted(asked))
        context = PresentationContext(1, STUDY_ROOT_FIND, IMPLICIT_LITTLE)
        query = parse_find(QueryRequest(1, STUDY_ROOT_FIND, context, identifier), extended)
        portions = self.queries.answers(query, IMPLICIT_LITTLE, ASKING)
        found = itertools.chain.from_iterable(portion.identifiers for portion in portions)
        return sorted(_series_of(identifier) for identifier in found)

    def expected(self, fits):
        """Return the numbers of the series that fit."""
        return [n for n, one in enumerate(self.entities) if fits(one)]


def _series_of(identifier):
    tag = BY_KEYWORD["SeriesInstanceUID"].tag
    for found, _, raw in scanner_for(IMPLICIT_LITTLE).elements(identifier):
        if found == tag:
            return int(raw.rstrip(b"\0").split(b".")[2])
    raise AssertionError("an answer without its unique key")


@pytest.fixture(scope="module")
def index(postgres_url, template):
    pick = random.Random(11)
    entities = [_entity(pick, number) for number in range(SERIES)]
    with service_finder.cloned_database(postgres_url, template) as url:
        index_rows.fill(url, [_tree(one) for one in entities])
        connections = IndexConnections(url, most=2, statement_seconds=20)
        try:
            yield Index(
                FindService(PostgresCatalogue(connections), lambda: "X", lambda: 0), entities
            )
        finally:
            connections.stop(5)


def _agree(index, keyword, key):
    vr = VRS[keyword][1]
    wanted = index.expected(lambda one: reference.matches(vr, key, one[keyword]))
    assert index.find({keyword: key}) == wanted, (keyword, key)


key_text = st.text(alphabet=LETTERS + "*?", min_size=0, max_size=5)
group = st.lists(st.text(alphabet=LETTERS + "*?", max_size=3), min_size=1, max_size=3).map("^".join)
name_key = st.lists(group, min_size=1, max_size=3).map("=".join)
days = st.builds(
    "2024{}{:02}".format,
    st.sampled_from(["01", "02", "12"]),
    st.integers(min_value=1, max_value=28),
)
times = st.sampled_from(
    [
        "00",
        "10",
        "1015",
        "10:15",
        "101530",
        "101530.5",
        "235959.999999",
        "2359",
        "235959",
        "00:00:00",
    ]
)


def _ranges(ends):
    return st.one_of(
        ends,
        ends.map("{}-".format),
        ends.map("-{}".format),
        st.tuples(ends, ends).map("-".join),
    )


@CHOSEN
@given(key=name_key, keyword=st.sampled_from(["PatientName", "OtherPatientNames"]))
def test_person_names(index, key, keyword):
    _agree(index, keyword, key)


@CHOSEN
@given(number=st.integers(min_value=0, max_value=SERIES - 1), data=st.data())
def test_person_names_cut_from_real_ones(index, number, data):
    name = index.entities[number]["PatientName"]
    at = data.draw(st.integers(min_value=0, max_value=len(name)))
    mark = data.draw(st.sampled_from(["*", "?", "*^*", ""]))
    _agree(index, "PatientName", (name[:at] + mark + name[at + 1 :]).upper())
    _agree(index, "PatientName", name[:at] + "*")


@CHOSEN
@given(
    key=key_text,
    keyword=st.sampled_from(["StudyDescription", "PatientComments", "OtherPatientIDs"]),
)
def test_text(index, key, keyword):
    _agree(index, keyword, key)


@CHOSEN
@given(keys=st.lists(key_text, min_size=2, max_size=3))
def test_lists_of_text(index, keys):
    _agree(index, "StudyDescription", "\\".join(keys))


@CHOSEN
@given(
    number=st.integers(min_value=0, max_value=SERIES - 1), suffix=st.sampled_from(["", "*", "?"])
)
def test_identifiers(index, number, suffix):
    _agree(index, "PatientID", index.entities[number]["PatientID"][:-1] + suffix)
    _agree(index, "PatientID", index.entities[number]["PatientID"])


@CHOSEN
@given(numbers=st.lists(st.integers(min_value=0, max_value=2 * SERIES), min_size=1, max_size=5))
def test_lists_of_uids(index, numbers):
    _agree(index, "StudyInstanceUID", "\\".join(f"1.2.{n}" for n in numbers))


@CHOSEN
@given(key=_ranges(days), keyword=st.sampled_from(["StudyDate", "SeriesDate"]))
def test_dates(index, key, keyword):
    _agree(index, keyword, key)


@CHOSEN
@given(key=_ranges(times), keyword=st.sampled_from(["StudyTime", "SeriesTime"]))
def test_times(index, key, keyword):
    _agree(index, keyword, key)


@CHOSEN
@given(day=_ranges(days), time=_ranges(times), of=st.sampled_from(["Study", "Series"]))
def test_date_and_time_are_one_moment_only_when_negotiated(index, day, time, of):
    keys = {f"{of}Date": day, f"{of}Time": time}
    apart = index.expected(
        lambda one: (
            reference.matches("DA", day, one[f"{of}Date"])
            and reference.matches("TM", time, one[f"{of}Time"])
        )
    )
    assert index.find(keys) == apart
    together = index.expected(
        lambda one: reference.moment_matches(day, time, one[f"{of}Date"], one[f"{of}Time"])
    )
    assert index.find(keys, COMBINED) == together


@CHOSEN
@given(
    key=st.sampled_from(["1", " 1", "+2", "-3", "70", "70.0", "7e1", "0.5", "5", "1\\2"]),
    keyword=st.sampled_from(["SeriesNumber", "PatientWeight"]),
)
def test_numbers(index, key, keyword):
    _agree(index, keyword, key)


IMPOSSIBLE = {
    "DA": ["-", "2024", "20241301", "20240100", "00000101", "2024010*", "20240101-2024", "noon",
           "20240101\\20240102", "2024010120240102", "?", "20240101-20240102-20240103"],
    "TM": ["-", "1", "24", "1060", "101561", "noon", "101530.1234567", "10-noon", "10*", "10\\11"],
    "IS": ["one", "1_0", "NaN", "1e9999", "-", "1*", "0x10", "1 0", "\u0661"],
    "DS": ["heavy", "Infinity", "1E+99999999", "7O", "--1", "."],
}  # fmt: skip


@pytest.mark.parametrize(
    "keyword",
    ["StudyDate", "StudyTime", "SeriesDate", "SeriesTime", "SeriesNumber", "PatientWeight"],
)
def test_what_is_no_value_of_its_attribute_matches_nothing(index, keyword):
    for key in IMPOSSIBLE[VRS[keyword][1]]:
        assert index.find({keyword: key}) == []
        assert index.find({keyword: key}, COMBINED) == []
        _agree(index, keyword, key)


@CHOSEN
@given(
    key=st.text(alphabet="0123459-.: ", max_size=12),
    keyword=st.sampled_from(["StudyDate", "SeriesDate", "StudyTime", "SeriesTime"]),
)
def test_dates_and_times_of_any_form(index, key, keyword):
    _agree(index, keyword, key)


@CHOSEN
@given(
    key=st.text(alphabet="0123457eE+-. n", max_size=6),
    keyword=st.sampled_from(["SeriesNumber", "PatientWeight"]),
)
def test_numbers_of_any_form(index, key, keyword):
    _agree(index, keyword, key)


@CHOSEN
@given(key=st.sampled_from(["CT", "MR", "C%", "C*", "?T", "*", "CT\\MR", "NM", "C?\\PT", "c*"]))
def test_modalities_in_study(index, key):
    wanted = index.expected(lambda one: reference.matches("CS", key, one["ModalitiesInStudy"]))
    assert index.find({"ModalitiesInStudy": key}) == wanted


@CHOSEN
@given(key=key_text)
def test_items_of_request_attributes(index, key):
    encoding = ElementWriter(IMPLICIT_LITTLE)
    tag = next(t for t, keyword in REQUEST_ATTRIBUTE_TAGS.items() if keyword == ITEM_KEYWORD)
    item = encoding.item(encoding.element(tag, "LO", key.encode()))
    wanted = index.expected(
        lambda one: (
            reference.universal(key.strip(" "))
            or any(reference.matches("LO", key, held) for held in one["items"])
        )
    )
    assert index.find({"RequestAttributesSequence": item}) == wanted


@CHOSEN
@given(name=name_key, day=_ranges(days), modality=st.sampled_from(["CT", "", "*"]), text=key_text)
def test_several_keys_must_all_match(index, name, day, modality, text):
    keys = {
        "PatientName": name,
        "StudyDate": day,
        "ModalitiesInStudy": modality,
        "StudyDescription": text,
    }
    wanted = index.expected(
        lambda one: all(reference.matches(VRS[k][1], key, one[k]) for k, key in keys.items())
    )
    assert index.find(keys) == wanted


def test_the_reference_finds_something_and_not_everything(index):
    found = [
        index.expected(lambda one, k=k, key=key: reference.matches(VRS[k][1], key, one[k]))
        for k, key in {
            "PatientName": "a*",
            "OtherPatientNames": "*b*",
            "StudyDescription": "?%*",
            "StudyDate": "20240201-20240229",
            "SeriesTime": "10-",
        }.items()
    ]
    assert all(0 < len(numbers) < SERIES for numbers in found)


def test_no_key_is_ever_sql(index):
    hostile = ["'; DROP TABLE studies; --", "%s", "{0}", "$1", "\\'", "a'b*"]
    for keyword, key in itertools.product(
        ["PatientID", "PatientName", "StudyDescription"], hostile
    ):
        assert index.find({keyword: key}) == []
    assert len(index.find({})) == SERIES
