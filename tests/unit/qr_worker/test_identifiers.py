"""Answers of nodes as people read them, whatever the node says of its character set."""

import pytest
from pydicom.dataset import Dataset
from pynetdicom.dsutils import encode

from draw_qr_worker.adapters.identifiers import decode_identifier
from draw_shared.dicom.encoding.uids import EXPLICIT_LITTLE, IMPLICIT_LITTLE

GREEK = b"\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2"


def read(syntax, charset=None, **values):
    """Return what is read of an answer that holds these bytes."""
    answer = Dataset()
    if charset is not None:
        answer.SpecificCharacterSet = charset
    answer.StudyInstanceUID = "1.2.3"
    for keyword, raw in values.items():
        setattr(answer, keyword, raw)
    return decode_identifier(encode(answer, syntax == IMPLICIT_LITTLE, True), syntax)


@pytest.mark.parametrize("syntax", [IMPLICIT_LITTLE, EXPLICIT_LITTLE])
@pytest.mark.parametrize(
    ("charset", "raw", "text"),
    [
        (None, "Müller^Jürgen=王^小東".encode(), "Müller^Jürgen=王^小東"),
        ("", "Müller".encode(), "Müller"),
        ("ISO_IR 6", "Müller".encode(), "Müller"),
        ("ISO_IR 192", "Müller".encode(), "Müller"),
        (None, b"M\xfcller", "Müller"),
        ("ISO_IR 100", b"M\xfcller", "Müller"),
        ("ISO_IR 192", b"M\xfcller", "Müller"),
        ("ISO_IR 126", GREEK, "Διονυσιος"),
        # Legal text of what is declared, and so believed.
        ("ISO_IR 100", "Müller".encode(), "MÃ¼ller"),
        ("NO SUCH SET", "Müller".encode(), "Müller"),
        (None, b"Mueller^J", "Mueller^J"),
    ],
)
def test_text_is_read_in_the_declared_set_or_as_what_it_is(syntax, charset, raw, text):
    found = read(syntax, charset, PatientName=raw, StudyDescription=raw)
    assert (found["PatientName"], found["StudyDescription"]) == (text, text)
    assert found["StudyInstanceUID"] == "1.2.3"


def test_each_value_is_read_by_itself():
    found = read(
        EXPLICIT_LITTLE,
        PatientName="Müller".encode(),
        StudyDescription=b"Sch\xe4del ",
        OtherPatientNames="Müller\\Möller ".encode(),
        PatientComments="zwei\\Wörter".encode(),
        NumberOfStudyRelatedInstances="3",
    )
    assert found["PatientName"] == "Müller"
    assert found["StudyDescription"] == "Schädel"
    assert found["OtherPatientNames"] == ["Müller", "Möller"]
    assert found["PatientComments"] == "zwei\\Wörter"
    assert found["NumberOfStudyRelatedInstances"] == 3


def test_two_unreadable_identifiers_are_two():
    found = [read(EXPLICIT_LITTLE, "GB18030", PatientID=raw) for raw in (b"AB\xff ", b"AB\xfe ")]
    one, other = (match["PatientID"] for match in found)
    assert one.startswith("AB�~")
    assert one != other


def test_an_element_that_cannot_be_read_hides_no_other():
    raw = b"".join(
        (
            b"\x08\0\x50\0SH\4\0A123",
            b"\x10\0\x10\0PN\x08\0M\xfcller^J",
            b"\x20\0\x0d\0\x55\x07\6\0001.2.3\0",
            b"\x20\0\x10\0SH\4\0S-1 ",
        )
    )
    assert decode_identifier(raw, EXPLICIT_LITTLE) == {
        "AccessionNumber": "A123", "PatientName": "Müller^J", "StudyID": "S-1"
    }  # fmt: skip
