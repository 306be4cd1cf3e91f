"""CSV as people and spreadsheets save it: encodings, separators, line ends, damaged values."""

import pytest

from draw_api.services.csv_lists import MAX_LIST_BYTES, MAX_LIST_LINES, MAX_PROBLEMS
from draw_api.services.retrieve_lists import list_of_csv
from draw_shared.contracts.failures import Invalid


def items(raw):
    return list_of_csv(raw if isinstance(raw, bytes) else raw.encode()).items


def patients(raw):
    return [item.patient_id for item in items(raw)]


def problems(raw):
    with pytest.raises(Invalid) as caught:
        items(raw)
    return {p.field: p.message for p in caught.value.problems}


def test_a_list_without_end_is_refused_before_its_lines_are_looked_at():
    told = problems(b"PatientID\n" + b"*\n" * (MAX_LIST_LINES + 1))
    assert told == {"body": f"the list has more than {MAX_LIST_LINES} lines"}


LINES = ["Name;Patient ID;Größe", "Müller;0042;1,5", "Grün;0043;2,5"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize(
    ("encoding", "mark"),
    [
        ("utf-8", b""),
        ("utf-8", b"\xef\xbb\xbf"),
        ("utf-16-le", b"\xff\xfe"),
        ("utf-16-be", b"\xfe\xff"),
        ("utf-16-le", b""),
        ("utf-16-be", b""),
        ("cp1252", b""),
    ],
)
def test_encodings_and_line_ends(encoding, mark, end):
    for ended in (end, ""):
        raw = mark + (end.join(LINES) + ended).encode(encoding)
        assert patients(raw) == ["0042", "0043"]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separators(separator):
    text = f"Name{separator}PatientID{separator}Note\nX{separator}1{separator}\nY{separator}2\n"
    assert patients(text) == ["1", "2"]


@pytest.mark.parametrize("told", ["sep=;", "SEP=;", '"sep=;"', "sep=;;;"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_separator_line_of_excel(told, end):
    text = end.join([told, "PatientID;Comma, comma, comma", "1;x", "#REF!;y"])
    assert patients(text.removesuffix(f"{end}#REF!;y")) == ["1"]
    assert list(problems(text)) == ["line 4, column PatientID"]
    assert patients("sep=\t\nPatientID\ta,b,c\n1\t2\n") == ["1"]
    assert patients("sep=\\t\nPatientID\ta,b,c\n1\t2\n") == ["1"]


def test_a_separator_line_may_name_an_unusual_one():
    assert patients("sep=^\nPatientID^Name\n1^x\n") == ["1"]


def test_empty_columns_and_lines_at_the_end_mean_nothing():
    assert patients("PatientID;;;\n1;;;\n;;;\n\n2;;\n;;;\n\n") == ["1", "2"]


def test_an_empty_first_column_stays_a_column():
    assert patients("\tPatientID\n9\t1\n") == ["1"]


def test_quoted_line_ends_and_separators():
    text = 'PatientID;Note;"Address; one"\n1;"two\r\nlines";x\n2;"a ""quote""; here";\nE;;;f\n'
    found = problems(text)
    # The second line of the file goes on in the third.
    assert list(found) == ["line 5"]
    assert "more cells" in found["line 5"]
    assert patients(text.removesuffix("E;;;f\n")) == ["1", "2"]


def test_blanks_around_values_are_none_of_them():
    assert patients('Name, PatientID\n"Smith, J", "1"\nX,\u00a02\u00a0\nY,\ufeff3\n') == [
        "1",
        "2",
        "3",
    ]


def test_a_comma_without_quotes_is_seen():
    assert list(problems("Name,PatientID\nSmith, John,12\n")) == ["line 2"]
    assert list(problems("PatientID\n12,5\n")) == ["line 2"]


def test_several_uids_in_one_line_without_a_heading_are_not_dropped():
    assert list(problems("1.2.3,1.2.4\n")) == ["line 1"]


@pytest.mark.parametrize(
    ("raw", "field", "words"),
    [
        (b"", "body", "empty"),
        (b"\n \n;;\n", "body", "empty"),
        (b"PatientID;Name\n", "body", "heading and no line"),
        (b"PatientID;Name\n;;\n\n", "body", "heading and no line"),
        (b"Age;Name\n1;x\n", "line 1", "no column names"),
        (b"PatientID;Patient ID\n1;2\n", "line 1", "mean the same"),
        (b"PatientID\n1\n2\0\n", "line 3", "NUL"),
        (b"PatientID\r1\r2\x07\r", "line 3", "control"),
        ("PatientID\n1\nA\x85B\n", "line 3", "control"),
        (b'PatientID\n1\n"2\n3\n', "line 3", "quotation"),
        (b'PatientID\n1\n"2"x\n', "line 3", "quotation"),
        (b"PK\x03\x04rest", "body", ".xlsx"),
        (b"\xd0\xcf\x11\xe0\xa1", "body", ".xls"),
        (b"PatientID\n\x81\n", "body", "UTF-8"),
        (b"\xff\xfeP\xd8", "body", "UTF-16"),
        (b"a" * (MAX_LIST_BYTES + 1), "body", "longer than 4 MB"),
        (b"PatientID\n" + b"1" * 200_000, "line 2", "longer"),
    ],
)
def test_what_is_no_list_is_refused_in_words(raw, field, words):
    found = problems(raw)
    assert list(found) == [field]
    assert words in found[field]


def test_keys_with_the_same_value_in_different_columns_are_different():
    found = items("PatientID;AccessionNumber\n123;\n;123\n123;\n")
    assert [(one.patient_id, one.accession_number) for one in found] == [("123", ""), ("", "123")]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("1.23E+11", "shortened"),
        ("1,23E+11", "shortened"),
        ("4e+15", "shortened"),
        ("123456789012345000", "rounds"),
        ("01.02.2026", "date"),
        ("1/2/26", "date"),
        ("2026-01-02", "date"),
        ("2026/1/2 00:00:00", "date"),
        ("03. Apr", "date"),
        ("Mrz 12", "date"),
        ("3-Dec-26", "date"),
        ("avr.-03", "date"),
        ("#N/A", "instead of a value"),
        ("########", "instead of a value"),
        ("12*", "single value"),
        ("1" * 65, "longer than 64"),
    ],
)
def test_what_a_spreadsheet_has_destroyed_is_refused_with_its_place(value, words):
    found = problems(f"Patient ID;Name\n1;x\n{value};y\n")
    assert list(found) == ["line 3, column Patient ID"]
    assert words in found["line 3, column Patient ID"]


@pytest.mark.parametrize(
    "value",
    ["12E3", "17-OCT", "12-2026", "2026/1234", "4500-12-01", "1234567890123456", "MAR7", "12.5.1"],
)
def test_identifiers_that_only_resemble_those_are_kept(value):
    assert patients(f"PatientID\n{value}\n") == [value]


def test_text_that_was_kept_from_the_spreadsheet_is_unwrapped():
    assert patients('PatientID;N\n="0042";x\n"=""0043""";y\n\'-44;z\n') == ["0042", "0043", "-44"]


def test_uids_that_resemble_dates_are_uids():
    assert [i.study_instance_uid for i in items("StudyUID\n1.2.34\n01.02.2026\n")] == [
        "1.2.34",
        "01.02.2026",
    ]


def test_zeros_that_may_be_lost_are_a_doubt():
    numbers = ["123456"] * 5
    raw = "\n".join(["PatientID", *(str(int(n) + i) for i, n in enumerate(numbers)), "4711"])
    [doubt] = list_of_csv(raw.encode()).doubts
    assert doubt.field == "line 7, column PatientID"
    assert "leading zeros" in doubt.message
    assert not list_of_csv(raw.replace("4711", "004711").encode()).doubts
    assert not list_of_csv(raw.replace("4711", "A4711").encode()).doubts
    [fraction] = list_of_csv(b"PatientID\n17.0\n").doubts
    assert "17.0 may have been 17" in fraction.message


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Study Instance UID", "study_instance_uid"),
        ("study_uid", "study_instance_uid"),
        ("StudyIUID", "study_instance_uid"),
        ("PATIENT-ID", "patient_id"),
        ("MRN", "patient_id"),
        ("Patientennummer", "patient_id"),
        ("Accession #", "accession_number"),
        ("Acc. No.", "accession_number"),
    ],
)
def test_synonyms_of_headings(title, name):
    [item] = items(f"Name;{title}\nx;1.2\n")
    assert getattr(item, name) == "1.2"


def test_problems_are_not_listed_without_end():
    assert len(problems("StudyInstanceUID\n" + "x\n" * 1000)) == MAX_PROBLEMS


def test_a_heading_with_line_ends_within_quotes_shows_its_separator():
    assert patients('"Patient\nID";"Accession\r\nNumber"\r\n0042;A1\r\n') == ["0042"]
    assert patients('"Patient ID, as printed";"Patient ID"\n7;0042\n') == ["0042"]


@pytest.mark.parametrize("encoding", ["cp850", "mac_roman"])
@pytest.mark.parametrize("name", ["Jäger", "Kämpf^Bärbel"])
def test_files_of_ms_dos_and_old_macintosh_are_not_taken_for_windows_ones(encoding, name):
    raw = f"Patient ID;Name\r\n0042;Smith\r\n0043;{name}\r\n".encode(encoding)
    found = problems(raw)
    assert set(found) <= {"line 3", "body"}
    assert "save it as UTF-8" in " ".join(found.values())


@pytest.mark.parametrize(
    "name",
    ["Dušan ŽIŽEK", "Šimek", "O\u2019Brien", "\u201eJäger\u201c", "Meyer\u2013Lüdenscheidt"],
)
def test_windows_names_stay(name):
    assert patients(f"Patient ID;Name\r\n0042;{name}\r\n".encode("cp1252")) == ["0042"]
