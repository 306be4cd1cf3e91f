"""Values of subjects in files: kinds of numbers, sequences, character sets, and damage.

What the index gives instead is in tests/integration/api/test_routing.py.
"""

from datetime import UTC, datetime

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from draw_shared.routing.document import Trigger
from draw_shared.routing.subjects import subject_of
from draw_shared.storage.header_values import file_facts, read_header_values

NAMES = [
    "Modality",
    "ImageType",
    "SeriesDescription",
    "StudyComments",
    "KVP",
    "Rows",
    "SmallestImagePixelValue",
    "DopplerCorrectionAngle",
    "ReferencePixelX0",
    "RedPaletteColorLookupTableData",
    "ProcedureCodeSequence",
    "ProcedureCodeSequence.CodeMeaning",
    "RequestAttributesSequence.ScheduledProtocolCodeSequence.CodeValue",
    "StudyID",
    "0019xx0C[SIEMENS MR HEADER]",
    "0019xx0C[OUR OWN]",
    "0021xx0C[OUR OWN]",
    "calling_ae",
]
SUBJECTS = [subject_of(name) for name in NAMES]


def code(meaning="", value="", characters=""):
    item = Dataset()
    item.CodeMeaning, item.CodeValue = meaning, value
    if characters:
        item.SpecificCharacterSet = characters
    return item


def written(path, syntax):
    held = Dataset()
    held.SpecificCharacterSet = "ISO_IR 100"
    held.Modality = "CT"
    held.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL", "AXIAL"]
    held.SeriesDescription = "Schädel "
    held.StudyComments = "a\\b"
    held.KVP = ["120", "80"]
    held.Rows = 512
    held.PixelRepresentation = 1
    held.SmallestImagePixelValue = -7
    held.DopplerCorrectionAngle = -1.5
    held.ReferencePixelX0 = -3
    held.RedPaletteColorLookupTableData = b"\0\1"
    held.StudyID = ""
    held.ProcedureCodeSequence = Sequence(
        [code("Schädel"), code("頭部", characters="ISO_IR 192"), code("Kopf")]
    )
    requested = Dataset()
    requested.ScheduledProtocolCodeSequence = Sequence([code(value="A"), code(value="B")])
    held.RequestAttributesSequence = Sequence([requested])
    known = held.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    known.add_new(0x0C, "IS", "1000")
    other = held.private_block(0x0019, "OUR OWN", create=True)
    other.add_new(0x0C, "LO", "private")
    held.PixelData = b"\0\0"
    held["PixelData"].VR = "OW"
    held.file_meta = FileMetaDataset()
    held.file_meta.TransferSyntaxUID = UID(syntax)
    held.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    held.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    held.file_meta.SendingApplicationEntityTitle = "CT_1"
    held.file_meta.ReceivingApplicationEntityTitle = "DRAW_SCP"
    held.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]
)
def test_values_are_those_of_the_data_set_in_every_encoding(tmp_path, syntax):
    found = read_header_values(written(tmp_path / "a.dcm", syntax), SUBJECTS)
    assert found.complete
    values = dict(found.values)
    assert values.pop("ProcedureCodeSequence")[0].endswith("bytes")
    assert values == {
        "Modality": ("CT",),
        "ImageType": ("ORIGINAL", "PRIMARY", "AXIAL"),
        "SeriesDescription": ("Schädel",),
        "StudyComments": ("a\\b",),
        "KVP": ("120", "80"),
        "Rows": ("512",),
        "SmallestImagePixelValue": ("-7",),
        "DopplerCorrectionAngle": ("-1.5",),
        "ReferencePixelX0": ("-3",),
        "RedPaletteColorLookupTableData": ("2 bytes",),
        "0019xx0C[SIEMENS MR HEADER]": ("1000",),
        "0019xx0C[OUR OWN]": ("private",),
        "ProcedureCodeSequence.CodeMeaning": ("Schädel", "頭部", "Kopf"),
        "RequestAttributesSequence.ScheduledProtocolCodeSequence.CodeValue": ("A", "B"),
    }


def test_a_file_tells_who_sent_it(tmp_path):
    path = written(tmp_path / "a.dcm", ExplicitVRLittleEndian)
    known = file_facts(path, SUBJECTS, Trigger.INSTANCE, datetime(2026, 11, 30, tzinfo=UTC))
    assert (known.values["calling_ae"], known.values["called_ae"]) == (("CT_1",), ("DRAW_SCP",))
    assert known.values["size_bytes"] == (str(path.stat().st_size),)
    assert not known.unreadable


@pytest.mark.parametrize("damage", ["absent", "empty", "foreign", "short", "garbage"])
def test_a_file_that_cannot_be_read_says_so(tmp_path, damage):
    path = tmp_path / "a.dcm"
    whole = written(path, ExplicitVRLittleEndian).read_bytes()
    if damage == "absent":
        path.unlink()
    else:
        cut = whole.index(b"LO\x08\0Sch")
        path.write_bytes(
            {
                "empty": b"",
                "foreign": b"x" * 5000,
                "short": whole[: cut + 10],
                "garbage": whole[:cut] + b"\xff" * 300,
            }[damage]
        )
    found = read_header_values(path, SUBJECTS)
    assert not found.complete
    assert "StudyComments" not in found.values
